"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AIMigrationConfig(AppConfig):
    """Registers the system checks; discovery itself happens at first use, without a query."""

    name = "ai_migration"
    label = "ai_migration"
    verbose_name = _("AI migration")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from ai_migration import checks  # noqa: F401  (registers itself)
