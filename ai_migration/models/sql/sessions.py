"""What a worker asks of its database sessions while it works.

A session is not always ours to keep: a pooler such as PgBouncer gives it to another program
with the end of a transaction. What is set on PostgreSQL therefore ends with the transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

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
    if connection.vendor == "postgresql":
        with connection.execute_wrapper(_LimitFirst(seconds)):
            yield
    elif getattr(connection, "mysql_is_mariadb", False):
        with _mariadb_limit(connection, seconds):
            yield
    else:
        yield


def end_if_still(using: str, seconds: float) -> None:
    """The same for the transaction that is open, on PostgreSQL."""
    if connections[using].vendor == "postgresql":
        with connections[using].cursor() as cursor:
            cursor.execute(_limit(seconds))


def is_own_session(connection: BaseDatabaseWrapper) -> bool:
    """Whether what is set on a session of PostgreSQL stays with this connection. A pooler in
    between cannot tell its clients the number of the process that serves them, because it
    changes: it makes one up."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        row = cursor.fetchone()
    return bool(row) and row[0] == connection.connection.info.backend_pid


class _LimitFirst:
    """Begins each transaction of a connection to PostgreSQL with the limit: one statement more."""

    def __init__(self, seconds: float) -> None:
        self._statement = _limit(seconds)

    def __call__(
        self,
        execute: Callable[..., Any],
        sql: str,
        params: Any,
        many: bool,
        context: dict[str, Any],
    ) -> Any:
        from psycopg.pq import TransactionStatus

        connection = context["connection"]
        session = connection.connection
        if connection.in_atomic_block and session.info.transaction_status == TransactionStatus.IDLE:
            with connection.wrap_database_errors:
                session.execute(self._statement)
        return execute(sql, params, many, context)


def _limit(seconds: float) -> str:
    return f"SET LOCAL idle_in_transaction_session_timeout = {max(1, round(seconds * 1000))}"


@contextmanager
def _mariadb_limit(connection: BaseDatabaseWrapper, seconds: float) -> Iterator[None]:
    """MariaDB knows it for a session only; the session gets back what it had."""
    name = "SESSION idle_transaction_timeout"
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@SESSION.idle_transaction_timeout")
        [before] = cursor.fetchone()
        cursor.execute(f"SET {name} = {max(1, round(seconds))}")
    try:
        yield
    finally:
        with suppress(Error), connection.cursor() as cursor:  # it may have been lost meanwhile
            cursor.execute(f"SET {name} = {int(before)}")
