"""One class for each database vendor, all with the same methods.

What a database does differently is in its class, and what all do alike is in
:class:`~ai_migration.models.sql.dialects.base.Dialect`. No other module asks for the vendor.
"""

from __future__ import annotations

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from ai_migration.models.sql.dialects.base import Dialect
from ai_migration.models.sql.dialects.mysql import MySQL
from ai_migration.models.sql.dialects.postgresql import PostgreSQL
from ai_migration.models.sql.dialects.sqlite import SQLite

__all__ = ["DIALECTS", "Dialect", "MySQL", "PostgreSQL", "SQLite", "dialect", "dialect_of"]

DIALECTS: dict[str, type[Dialect]] = {"postgresql": PostgreSQL, "mysql": MySQL, "sqlite": SQLite}
"""By Django's name of the vendor; any other database is only read from."""


def dialect(using: str) -> Dialect:
    """Return the dialect of a database.

    Args:
        using: Database alias.
    """
    return dialect_of(connections[using])


def dialect_of(connection: BaseDatabaseWrapper) -> Dialect:
    """Return the dialect of a connection."""
    return DIALECTS.get(connection.vendor, Dialect)(connection)
