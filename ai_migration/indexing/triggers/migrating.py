"""Database migrations on SQLite: triggers make way for them.

SQLite refuses to drop a column, or to rename a table, that a trigger names; and Django makes a
table anew for most changes, which drops its triggers without a word. The other databases have
neither: their triggers take a column that is missing for changed.
"""

from __future__ import annotations

import logging
from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate, pre_migrate

from ai_migration.entities import registry
from ai_migration.exceptions import AIMigrationError
from ai_migration.indexing import outbox
from ai_migration.indexing.triggers import service
from ai_migration.indexing.triggers.service import TriggerState
from ai_migration.models.leases import our_database

logger = logging.getLogger("ai_migration")

_removed: list[str] = []


def connect() -> None:
    """Connect the signals; may be called again."""
    pre_migrate.connect(_remove, dispatch_uid="ai_migration.triggers")
    post_migrate.connect(_install, dispatch_uid="ai_migration.triggers")


def _is_ours(sender: AppConfig, using: str) -> bool:
    """Return whether a signal, which is sent for each app, is the one to answer."""
    is_here = sender.label == "ai_migration" and using == our_database()
    return is_here and connections[using].vendor == "sqlite"


def _remove(sender: AppConfig, using: str, plan: Any = (), **_: Any) -> None:
    if not plan or not _is_ours(sender, using):
        return
    try:
        there = {TriggerState.INSTALLED, TriggerState.OUTDATED}
        _removed[:] = [each.entity_type for each in service.status() if each.state in there]
        service.remove()
    except AIMigrationError as error:
        logger.warning("Triggers stay where they are: %s", error)


def _install(sender: AppConfig, using: str, **_: Any) -> None:
    if not _removed or not _is_ours(sender, using):
        return
    names, _removed[:] = [*_removed], []
    outbox.forget_tables()
    if not outbox.is_ready(using):  # they were removed too
        return
    try:
        service.install([name for name in names if name in registry.names()])
    except AIMigrationError as error:
        logger.warning(
            "The triggers of %s were removed for this migration, and could not be installed again: "
            "%s Run: manage.py ai_migration triggers install",
            ", ".join(names),
            error,
        )
