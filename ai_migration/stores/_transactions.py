"""Where stores that live in a Django database meet it: transactions and errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error, InterfaceError, OperationalError, connections, transaction

from ai_migration.exceptions import StoreError
from ai_migration.types import CollectionRef

_READ_ONLY = "25006"
"""A primary that became a standby, or is to be spared for a while."""


@contextmanager
def atomically(using: str, collection: CollectionRef) -> Iterator[None]:
    """Joins the open transaction or has its own, and any error rolls it back,
    even where somebody catches the error.

    Raises:
        StoreError: Instead of the database's errors.
    """
    with translating(using, collection), transaction.atomic(using=using, savepoint=False):
        yield


@contextmanager
def translating(using: str, collection: CollectionRef) -> Iterator[None]:
    """Translates what a database answers.

    Raises:
        StoreError: Transient where trying again can help.
    """
    try:
        yield
    except Error as error:
        connection = connections[using]
        if not connection.in_atomic_block:
            if _state(error) == _READ_ONLY:  # and it stays so, for as long as this is open
                connection.close()
            connection.close_if_unusable_or_obsolete()
        raise translated(error, collection.name) from error


def translated(error: Error, subject: str) -> StoreError:
    """A database's error in our words; never its DETAIL, which quotes values."""
    cause = error.__cause__
    said = (str(error).splitlines() or [type(error).__name__])[0][:200]
    # psycopg, sqlite3 and MySQL drivers, in this order.
    state = _state(error)
    sqlite = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    number = cause.args[0] if cause and cause.args and isinstance(cause.args[0], int) else 0
    if state == "53100" or sqlite == 13 or number in (1021, 1114):
        return StoreError(
            f"{subject}: the disk of the database is full ({said}). Free space, then resume."
        )
    if state == "42P01" or number == 1146 or said.startswith("no such table"):
        return StoreError(
            f"{subject}: a table is missing ({said}). If this is a new database, run: "
            f"manage.py migrate. If the store was lost, start a migration with --rebuild."
        )
    transient = (
        isinstance(error, InterfaceError)
        or state[:2] in ("08", "40", "53", "57")
        or state in ("55P03", _READ_ONLY, "25P03")
        or sqlite in (5, 6)
        or number in (1040, 1053, 1205, 1213, 1317, 1927, 2002, 2003, 2006, 2013, 2055, 4031)
        or (isinstance(error, OperationalError) and not (state or sqlite or number))
    )
    return StoreError(f"{subject}: {said}", transient=transient)


def _state(error: Error) -> str:
    return str(getattr(error.__cause__, "sqlstate", None) or "")
