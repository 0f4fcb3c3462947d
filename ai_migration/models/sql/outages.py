"""Database errors: which are transient, which need action, and what to do."""

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
"""The exceptions Django raises for an outage, among other things."""


class ErrorKind(Enum):
    """The kinds of errors, with the codes databases give them.

    For PostgreSQL, SQLSTATEs or their first two characters, the class
    (https://www.postgresql.org/docs/current/errcodes-appendix.html); for MySQL and MariaDB, the
    numbers of server and client (https://dev.mysql.com/doc/mysql-errors/8.4/en/); for SQLite, which
    has one code for most errors, parts of the message, of which the first that is found decides.
    """

    UNREADABLE = ("Could not decode to UTF-8", "malformed JSON")  # a value, which may follow
    NO_TABLE = ("42P01", 1051, 1146, "no such table")
    NO_COLUMN = ("42703", 1054, "no such column", "has no column")
    FULL = ("53100", 1021, 1114, "database or disk is full")
    CROWDED = ("53",)  # no memory, no connections
    CONFLICT = ("40", 1213)  # a deadlock, or another transaction was first
    LOCKED = ("55", 1205, "is locked")
    READ_ONLY = ("25006",)  # a standby, or a primary that is about to become one
    IDLE = ("25P03", 4031)  # an idle transaction: the process was frozen
    STOPPED = ("57", 1053, 1317, 1927)  # the statement, the session or the server was ended
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
    """Return the kind of an error; None: another kind, or not a database's error.

    Args:
        error: The exception Django raised.
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
    """Return whether the driver or Django could not read a value: a year 20000, bytes that are not
    UTF-8, a date without a month. The statement and the connection are not at fault.

    Args:
        error: The exception raised while reading rows.
    """
    if isinstance(error, Error):
        return kind_of(error) is ErrorKind.UNREADABLE
    return isinstance(error, Exception) and not isinstance(error, FieldError | AIMigrationError)


def is_outage(error: BaseException) -> bool:
    """Return whether the same statement may succeed later without any action: a lost connection, a
    deadlock, a lock timeout. A full disk or a missing table is not an outage.

    Args:
        error: The exception Django raised.
    """
    return kind_of(error) in _PASSING


def in_words(error: BaseException) -> str:
    """Return a database's error with what to do about it: to migrate, only where that helps. Only
    its first line is kept, since the others quote values.

    Args:
        error: The exception Django raised.
    """
    said = (str(error).splitlines() or [type(error).__name__])[0]
    if kind_of(error) in (ErrorKind.NO_TABLE, ErrorKind.NO_COLUMN):
        return f"{said}. Run: manage.py migrate"
    if is_outage(error):
        return f"the database does not answer: {said}. Try again when it does"
    return f"the database refuses: {said}"
