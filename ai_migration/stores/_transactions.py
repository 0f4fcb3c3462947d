"""Where stores that live in a Django database meet it: transactions and errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error, connections, transaction

from ai_migration.exceptions import StoreError
from ai_migration.models.sql.outages import ErrorKind, is_outage, kind_of
from ai_migration.types import CollectionRef


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
            if kind_of(error) is ErrorKind.READ_ONLY:  # and stays so, as long as this is open
                connection.close()
            connection.close_if_unusable_or_obsolete()
        raise translated(error, collection.name) from error


def translated(error: Error, subject: str) -> StoreError:
    """A database's error in our words; never its DETAIL, which quotes values."""
    said = (str(error).splitlines() or [type(error).__name__])[0][:200]
    kind = kind_of(error)
    if kind is ErrorKind.FULL:
        return StoreError(
            f"{subject}: the disk of the database is full ({said}). Free space, then resume."
        )
    if kind is ErrorKind.NO_TABLE:
        return StoreError(
            f"{subject}: a table is missing ({said}). If this is a new database, run: "
            f"manage.py migrate. If the store was lost, start a migration with --rebuild."
        )
    transient = is_outage(error) or kind is ErrorKind.CROWDED
    return StoreError(f"{subject}: {said}", transient=transient)
