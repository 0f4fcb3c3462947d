"""Statements beneath Django's cursor, with the binary parameters of psycopg 3."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db.backends.utils import debug_transaction

from ai_migration.exceptions import MissingDependencyError
from ai_migration.models.sql.apart import is_djangos
from ai_migration.models.sql.arrays import BinaryArray

try:
    import psycopg
    from psycopg.adapt import Dumper
    from psycopg.pq import Format
except ImportError as error:  # psycopg2 alone has no binary parameters
    raise MissingDependencyError("psycopg", "pgvector", "PostgreSQL (psycopg 3)") from error

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


class _BinaryArrayDumper(Dumper):
    format = Format.BINARY
    oid = 0  # the cast in the statement decides

    def dump(self, obj: BinaryArray) -> bytes:
        return obj.data


def execute_raw(
    connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any] = (), *, binary: bool = False
) -> psycopg.RawCursor[tuple[Any, ...]]:
    """Run one statement on the connection beneath Django's, inside its transaction.

    Behaves as Django's own cursor: refuses to run in a broken transaction, translates
    errors to ``django.db`` ones, honours ``execute_wrappers``, appears in the query log.

    Args:
        connection: A PostgreSQL connection of Django.
        sql: The statement, with parameters ``$1``, ``$2``, …
        params: Values; whole columns as :mod:`~ai_migration.models.sql.arrays`.
        binary: Ask for results in binary format: types psycopg does not know (such as
            ``vector``) come back as their raw bytes.

    Returns:
        The cursor, to fetch from and to read ``rowcount`` of.

    Raises:
        django.db.Error: The database's error.
    """
    if is_djangos(type(connection)):
        connection.ensure_connection()
    else:  # it may say to the session whose rows are meant only when it gives a cursor
        connection.cursor().close()
    cursor: psycopg.RawCursor[tuple[Any, ...]] = psycopg.RawCursor(connection.connection)
    cursor.adapters.register_dumper(BinaryArray, _BinaryArrayDumper)

    def run(sql: str, params: Sequence[Any], many: bool, context: dict[str, Any]) -> None:
        connection.validate_no_broken_transaction()
        with connection.wrap_database_errors, debug_transaction(connection, sql):
            cursor.execute(sql, params, binary=binary)

    execute: Any = run
    for wrapper in reversed(connection.execute_wrappers):
        execute = partial(wrapper, execute)
    execute(sql, params, False, {"connection": connection, "cursor": cursor})
    return cursor
