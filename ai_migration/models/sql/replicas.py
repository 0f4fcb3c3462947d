"""Which databases only follow another one, and how far a standby of PostgreSQL has come.

A standby shows what the primary has committed, up to a position in its write-ahead log
(https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-RECOVERY-CONTROL).
How far a replica of MySQL or MariaDB is, not every role may read: that is not told.
"""

from __future__ import annotations

from django.db import connections

_SAME_TABLE = (
    "SELECT oid::bigint, datname, to_regclass(%s)::oid::bigint FROM pg_database"
    " WHERE datname = current_database()"
)


def is_standby(alias: str) -> bool:
    """Whether a database only follows another one: in recovery on PostgreSQL, read-only on MySQL
    and MariaDB."""
    match connections[alias].vendor:
        case "postgresql":
            return bool(_value(alias, "SELECT pg_is_in_recovery()"))
        case "mysql":
            return _value(alias, "SELECT @@global.read_only") not in (0, "0", "OFF")
    return False


def is_same_table(one: str, other: str, table: str) -> bool:
    """Whether a table is the same one through two aliases of PostgreSQL, as on a primary and its
    standby: name and number of the database and the number of the table are."""
    if connections[one].vendor != "postgresql" or connections[other].vendor != "postgresql":
        return False
    quoted = connections[one].ops.quote_name(table)
    rows = []
    for alias in (one, other):
        with connections[alias].cursor() as cursor:
            cursor.execute(_SAME_TABLE, [quoted])
            rows.append(cursor.fetchone())
    return rows[0] == rows[1] and rows[0][2] is not None


def position(alias: str) -> str:
    """How far a primary has written its log; what was committed before stands before it."""
    return str(_value(alias, "SELECT pg_current_wal_lsn()"))


def shows(alias: str, position: str) -> bool:
    """Whether a standby, or what was one, shows everything that stands before a position."""
    return connections[alias].vendor != "postgresql" or bool(
        _value(
            alias,
            "SELECT NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= %s::pg_lsn",
            position,
        )
    )


def _value(alias: str, query: str, *parameters: str) -> object:
    with connections[alias].cursor() as cursor:
        cursor.execute(query, parameters)
        row = cursor.fetchone()
    return row[0] if row else None
