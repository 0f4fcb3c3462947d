"""The check that database triggers are those of the present config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage
from django.db import Error, transaction

from ai_migration.checks import codes
from ai_migration.checks.settings import OBJECT, settings_are_valid
from ai_migration.exceptions import AIMigrationError
from ai_migration.indexing.triggers import service
from ai_migration.indexing.triggers.service import TriggerState
from ai_migration.models.leases import our_database


def check_triggers(
    app_configs: object = None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Check that the triggers that are there are those of the present config."""
    using = our_database()
    if using not in (databases or ()) or not settings_are_valid():
        return []
    try:
        with transaction.atomic(using=using):  # after a failure the caller's is still usable
            standings = service.status() if service.are_there() else []
    except (Error, AIMigrationError):  # no connection, a wrong config, or a vendor without them
        return []
    messages = []
    for each in standings:
        where = f"The database triggers of {each.entity_type!r}"
        if each.state is TriggerState.OUTDATED:
            text = f"{where} are not those of its present config, or some are missing."
            messages.append(codes.TRIGGERS.message(text, obj=OBJECT))
        elif each.state is TriggerState.LEFT_OVER:
            text = f"{where} are left over: {each.reason}."
            hint = "Run: manage.py ai_migration triggers remove, and install those you want."
            messages.append(codes.TRIGGERS.message(text, hint=hint, obj=OBJECT))
    return messages
