"""One class for each vendor of databases, all with the same functions.

What a database does in its own way stands in its class, and what any of them does in
:class:`~ai_migration.models.sql.dialects.base.Dialect`. Nobody else asks whose a database is.
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
"""By what Django calls the vendor; others are read from only, as any database is."""


def dialect(using: str) -> Dialect:
    """How to talk to a database.

    Args:
        using: Database alias.
    """
    return dialect_of(connections[using])


def dialect_of(connection: BaseDatabaseWrapper) -> Dialect:
    """The same for a connection at hand."""
    return DIALECTS.get(connection.vendor, Dialect)(connection)
