"""What a worker asks of its connection while it works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper


@contextmanager
def no_standing_still(using: str, seconds: float) -> Iterator[None]:
    """Within the block the server ends a transaction that stands still for so long.

    A process that is frozen in the middle of one would keep its locks for as long as it is
    frozen, and whoever wants to take over its work would wait for them. PostgreSQL and
    MariaDB; others have no such thing, or no locks that outlive a statement.

    Args:
        using: Database alias.
        seconds: How long.
    """
    connection = connections[using]
    statements = _statements(connection, seconds)
    if statements is None:
        yield
        return
    begin, end = statements
    with connection.cursor() as cursor:
        cursor.execute(begin)
    try:
        yield
    finally:
        with suppress(Error), connection.cursor() as cursor:  # it may have been lost meanwhile
            cursor.execute(end)


def end_if_still(using: str, seconds: float) -> None:
    """The same for the transaction that is open, on PostgreSQL."""
    statements = _statements(connections[using], seconds)
    if statements and connections[using].vendor == "postgresql":
        with connections[using].cursor() as cursor:
            cursor.execute(statements[0].replace("SET", "SET LOCAL", 1))


def _statements(connection: BaseDatabaseWrapper, seconds: float) -> tuple[str, str] | None:
    if connection.vendor == "postgresql":
        name = "idle_in_transaction_session_timeout"
        return f"SET {name} = {max(1, round(seconds * 1000))}", f"RESET {name}"
    if getattr(connection, "mysql_is_mariadb", False):
        name = "idle_transaction_timeout"
        return f"SET SESSION {name} = {max(1, round(seconds))}", f"SET SESSION {name} = DEFAULT"
    return None
