"""Database triggers that put changes of rows in the queue: one module for each vendor, all with
the same methods. What they write is what ``Dialect.put_changes`` writes."""

from __future__ import annotations

from django.db import connections

from ai_migration.models.sql.triggers.base import Triggers
from ai_migration.models.sql.triggers.mysql import MySQLTriggers
from ai_migration.models.sql.triggers.postgresql import PostgreSQLTriggers
from ai_migration.models.sql.triggers.sqlite import SQLiteTriggers

TRIGGERS: dict[str, type[Triggers]] = {
    "postgresql": PostgreSQLTriggers,
    "mysql": MySQLTriggers,
    "sqlite": SQLiteTriggers,
}
"""By Django's name of the vendor."""


def triggers_of(using: str) -> Triggers | None:
    """Return the triggers of a database; None: this package has none for its vendor.

    Args:
        using: Database alias.
    """
    connection = connections[using]
    made = TRIGGERS.get(connection.vendor)
    return made(connection) if made else None
