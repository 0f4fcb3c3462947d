"""Transactions and errors of stores that live in a Django database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error, connections, transaction

from ai_migration.exceptions import StoreError
from ai_migration.models.sql.outages import ErrorKind, is_outage, kind_of
from ai_migration.types import CollectionRef


@contextmanager
def atomically(using: str, collection: CollectionRef) -> Iterator[None]:
    """Join the open transaction or open one; any error rolls it back, even if the caller catches
    the error.

    Raises:
        StoreError: Instead of the database's errors.
    """
    with translating(using, collection), transaction.atomic(using=using, savepoint=False):
        yield


@contextmanager
def translating(using: str, collection: CollectionRef) -> Iterator[None]:
    """Translate a database's errors.

    Raises:
        StoreError: Transient if trying again can help.
    """
    try:
        yield
    except Error as error:
        connection = connections[using]
        if not connection.in_atomic_block:
            if kind_of(error) is ErrorKind.READ_ONLY:  # and stays so while this is open
                connection.close()
            connection.close_if_unusable_or_obsolete()
        raise translated(error, collection.name) from error


def translated(error: Error, subject: str) -> StoreError:
    """Return a database's error as our own, without its DETAIL, which quotes values."""
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
