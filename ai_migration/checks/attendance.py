"""The check that somebody takes the live changes that wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage
from django.db import Error, transaction

from ai_migration.checks import codes
from ai_migration.checks.settings import OBJECT, settings_are_valid
from ai_migration.engine.insight.attendance import waiting_changes
from ai_migration.engine.insight.diagnosis import abandoned_fact, start_advice
from ai_migration.exceptions import AIMigrationError
from ai_migration.models.leases import our_database


def check_attendance(
    app_configs: object = None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Check that no live changes wait for a worker that does not come."""
    using = our_database()
    if using not in (databases or ()) or not settings_are_valid():
        return []
    try:
        with transaction.atomic(using=using):  # after a failure the caller's is still usable
            found = [waiting for waiting in waiting_changes() if waiting.is_abandoned]
        hint = f"{start_advice()}." if found else ""
    except (Error, AIMigrationError):  # no connection, no tables yet, or a wrong dispatcher
        return []
    return [
        codes.UNATTENDED.message(f"{abandoned_fact(waiting)}.", hint=hint, obj=OBJECT)
        for waiting in found
    ]
