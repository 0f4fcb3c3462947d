"""Errors of databases: which pass by themselves, which somebody has to act on, and how."""

from __future__ import annotations

from enum import Enum

from django.core.exceptions import FieldError
from django.db import (
    DataError,
    Error,
    InterfaceError,
    InternalError,
    OperationalError,
)

from ai_migration.exceptions import AIMigrationError

UNAVAILABLE = (OperationalError, InterfaceError, InternalError)
"""What Django raises for an outage, among other things."""


class ErrorKind(Enum):
    """What is the matter, with what databases say then.

    Of PostgreSQL, SQLSTATEs, or the first two characters, which are a class of them
    (https://www.postgresql.org/docs/current/errcodes-appendix.html); of MySQL and MariaDB the
    numbers of server and client (https://dev.mysql.com/doc/mysql-errors/8.4/en/); of SQLite,
    which has one code for most, words of which the first that are found decide.
    """

    UNREADABLE = ("Could not decode to UTF-8", "malformed JSON")  # a value, which may follow
    NO_TABLE = ("42P01", 1051, 1146, "no such table")
    NO_COLUMN = ("42703", 1054, "no such column", "has no column")
    FULL = ("53100", 1021, 1114, "database or disk is full")
    CROWDED = ("53",)  # no memory, no connections
    CONFLICT = ("40", 1213)  # a deadlock, or another transaction was first
    LOCKED = ("55", 1205, "is locked")
    READ_ONLY = ("25006",)  # a standby, or a primary that is about to become one
    IDLE = ("25P03", 4031)  # a transaction that stood still: the process was frozen
    STOPPED = ("57", 1053, 1317, 1927)  # somebody ended the statement, the session, the server
    LOST = ("08", 1040, 2002, 2003, 2006, 2013, 2055)  # no connection, or none any more


_KINDS: dict[object, ErrorKind] = {sign: kind for kind in ErrorKind for sign in kind.value}
_WORDS = {str(sign): kind for sign, kind in _KINDS.items() if " " in str(sign)}
_PASSING = {
    ErrorKind.CONFLICT,
    ErrorKind.LOCKED,
    ErrorKind.READ_ONLY,
    ErrorKind.IDLE,
    ErrorKind.STOPPED,
    ErrorKind.LOST,
}


def kind_of(error: BaseException) -> ErrorKind | None:
    """What is the matter; None: something else, or no error of a database.

    Args:
        error: What Django raised.
    """
    if not isinstance(error, Error):
        return None
    said = str(error)
    if isinstance(error, DataError) or said.startswith(ErrorKind.UNREADABLE.value):
        return ErrorKind.UNREADABLE
    if isinstance(error, InterfaceError):
        return ErrorKind.LOST
    is_operational = isinstance(error, OperationalError)
    state: str | None = getattr(error.__cause__, "sqlstate", "")
    if state is None:  # psycopg; without a state there was no server to give one
        return ErrorKind.LOST if is_operational else None
    code = error.args[0] if error.args else None
    if is_operational and not state and isinstance(code, str):
        return next((kind for words, kind in _WORDS.items() if words in said), None)
    return _KINDS.get(state) or _KINDS.get(state[:2]) or _KINDS.get(code)


def is_unreadable(error: BaseException) -> bool:
    """Whether a value is at fault that a driver or Django could make nothing of: a year 20000,
    bytes that are no UTF-8, a date without a month. The statement and the connection are not.

    Args:
        error: What reading rows raised.
    """
    if isinstance(error, Error):
        return kind_of(error) is ErrorKind.UNREADABLE
    return isinstance(error, Exception) and not isinstance(error, FieldError | AIMigrationError)


def is_outage(error: BaseException) -> bool:
    """Whether the same statement may pass later without anybody acting: a lost connection,
    a deadlock, a lock that was not given. A full disk or a missing table is none.

    Args:
        error: What Django raised.
    """
    return kind_of(error) in _PASSING


def in_words(error: BaseException) -> str:
    """A database's error with what to do about it: to migrate, only where that helps. Never
    its further lines, which quote values.

    Args:
        error: What Django raised.
    """
    said = (str(error).splitlines() or [type(error).__name__])[0]
    if kind_of(error) in (ErrorKind.NO_TABLE, ErrorKind.NO_COLUMN):
        return f"{said}. Run: manage.py migrate"
    if is_outage(error):
        return f"the database does not answer: {said}. Try again when it does"
    return f"the database refuses: {said}"
