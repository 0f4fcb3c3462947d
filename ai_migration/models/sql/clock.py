"""The database's clock: what leases and versions are measured by."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, ExpressionWrapper, Value, functions
from django.db.models.expressions import Combinable
from django.db.models.sql.compiler import SQLCompiler

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOW = {
    "postgresql": "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
    "mysql": "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))",
}


class Now(functions.Now):  # noqa: TID251
    """Django's, in UTC on MySQL and MariaDB too: there it is in the time zone of the server,
    while every other moment is stored in UTC, and a lease would last an hour longer or
    shorter whenever its clocks are changed."""

    def as_mysql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra_context: Any
    ) -> tuple[str, Any]:
        if not settings.USE_TZ:
            return super().as_mysql(compiler, connection, **extra_context)
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **extra_context)


def now_microseconds(using: str) -> int:
    """Microseconds since 1970 by the clock of a database, moving within a transaction.

    SQLite lives on one host: its clock is this process's.
    """
    connection = connections[using]
    query = _NOW.get(connection.vendor)
    if query is None:
        return time.time_ns() // 1000
    with connection.cursor() as cursor:
        cursor.execute(query)
        return int(cursor.fetchone()[0])


def now(using: str) -> datetime:
    """The same clock as an aware datetime."""
    return _EPOCH + timedelta(microseconds=now_microseconds(using))


def after(seconds: float) -> Combinable:
    """The moment so many seconds from now, for use within a query; before now if negative."""
    return ExpressionWrapper(
        Now() + Value(timedelta(seconds=seconds)), output_field=DateTimeField()
    )
