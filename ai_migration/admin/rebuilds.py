"""A rebuild that is needed, offered as a link to its form."""

from __future__ import annotations

from urllib.parse import urlencode

from django.urls import reverse
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from ai_migration.exceptions import AIMigrationError, RebuildRequiredError


def reason_of(error: AIMigrationError) -> str:
    """Return an error as a page shows it: with a link instead of a command, if a rebuild helps."""
    if not isinstance(error, RebuildRequiredError):
        return error.message
    query = urlencode({"entity_type": error.entity_type, "rebuild": 1})
    url = f"{reverse('admin:ai_migration_migrationjob_add')}?{query}"
    return format_html('{} <a href="{}">{}</a>', error.fact, url, _("Rebuild…"))


def with_reason(words: str, error: AIMigrationError) -> SafeString:
    """Return a message of ours with the error in the place of ``reason``."""
    return mark_safe(words % {"reason": conditional_escape(reason_of(error))})
