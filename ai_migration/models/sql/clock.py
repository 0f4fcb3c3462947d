"""The database's clock: what leases and versions are measured by."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from django.db import connections

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOW = {
    "postgresql": "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
    "mysql": "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)",
}


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
