"""Which database errors pass by themselves, which somebody has to act on, and how."""

from __future__ import annotations

from django.core.exceptions import FieldError
from django.db import (
    DatabaseError,
    DataError,
    InterfaceError,
    InternalError,
    OperationalError,
)

from ai_migration.exceptions import AIMigrationError

_POSTGRESQL = ("08", "40", "55", "57")
"""Classes of SQLSTATE: connection, rollback (deadlock), lock not available, operator
intervention (a restart). PostgreSQL's manual, appendix A."""
UNAVAILABLE = (OperationalError, InterfaceError, InternalError)
"""What Django raises for an outage, among other things."""
_PASSING = frozenset({"25P03", "25006"})
"""The server ended a transaction that stood still (the process was frozen); it is read-only (a
standby that is about to become the primary)."""
_MYSQL = frozenset({1040, 1053, 1205, 1213, 1317, 1927, 2002, 2003, 2006, 2013, 4031})
"""Too many connections, shutdown, lock wait, deadlock, interrupted, killed, no connection,
gone away, lost, idle for too long."""
_SQLITE = ("Could not decode to UTF-8", "malformed JSON")
"""What SQLite and its driver say of a value, as an OperationalError; the value may follow."""


def is_unreadable(error: BaseException) -> bool:
    """Whether a value is at fault that a driver or Django could make nothing of: a year 20000,
    bytes that are no UTF-8, a date without a month. The statement and the connection are not.

    Args:
        error: What reading rows raised.
    """
    if isinstance(error, DatabaseError | InterfaceError):
        return isinstance(error, DataError) or str(error).startswith(_SQLITE)
    return isinstance(error, Exception) and not isinstance(error, FieldError | AIMigrationError)


_MISSING = frozenset({"42P01", "42703", 1051, 1054, 1146})
"""No such table, no such column: PostgreSQL's, then MySQL's."""


def is_outage(error: BaseException) -> bool:
    """Whether the same statement may pass later without anybody acting: a lost connection,
    a deadlock, a lock that was not given. A full disk or a missing table is none.

    Args:
        error: What Django raised.
    """
    if isinstance(error, InterfaceError):
        return True
    state: str | None = getattr(error.__cause__, "sqlstate", "")
    if state in _PASSING:
        return True
    if not isinstance(error, OperationalError) or is_unreadable(error):
        return False
    if state != "":  # psycopg; without a state there was no server to give one
        return state is None or state.startswith(_POSTGRESQL)
    code = error.args[0] if error.args else None
    if isinstance(code, int):
        return code in _MYSQL
    return any(word in str(error) for word in ("locked", "busy"))


def is_missing(error: BaseException) -> bool:
    """Whether a table or a column is not there: what migrations make.

    Args:
        error: What Django raised.
    """
    code = error.args[0] if error.args else None
    if getattr(error.__cause__, "sqlstate", None) in _MISSING or code in _MISSING:
        return True
    return any(
        words in str(error) for words in ("no such table", "no such column", "has no column")
    )


def in_words(error: BaseException) -> str:
    """A database's error with what to do about it: to migrate, only where that helps. Never
    its further lines, which quote values.

    Args:
        error: What Django raised.
    """
    said = (str(error).splitlines() or [type(error).__name__])[0]
    if is_missing(error):
        return f"{said}. Run: manage.py migrate"
    if is_outage(error):
        return f"the database does not answer: {said}. Try again when it does"
    return f"the database refuses: {said}"
