"""Walks source rows in ranges of their primary keys: each row is in exactly one of them.

A bound is a key that went from the database to Python, to JSON, and back. If the stored key differs
from the bound (more digits than the field declares, a form that the field does not write), rows
would be read again and again, or never. So the database has to find the row again by its bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.models import QuerySet

from ai_migration.entities.entity import Entity
from ai_migration.exceptions import InvalidRequestError, UnusableKeyError
from ai_migration.models.sql.outages import is_unreadable
from ai_migration.types import JSONValue


def next_bound(entity: Entity, rows: QuerySet[Any], after: JSONValue, size: int) -> JSONValue:
    """Return the upper end of the next range of ``size`` rows.

    Args:
        entity: The entity type of the rows.
        rows: The rows to walk, unordered.
        after: The previous bound; None at the beginning.
        size: Rows in a range.

    Returns:
        A key as JSON; None where no row is left.

    Raises:
        UnusableKeyError: A key cannot be read, or does not come back as it was.
    """
    left = entity.key.in_range(rows, after, None)
    keys = left.order_by("pk").values_list("pk")
    refused = None
    while True:
        with reading_keys(entity):
            found = keys[size - 1 : size].first() or keys.order_by("-pk").first()
        if found is None:
            return None
        bound = entity.key.to_json(found[0])
        if bound != after and is_found(entity, rows, bound):
            return bound
        if bound == refused:  # and not a row that was deleted between the two reads
            raise lost_key(entity, bound)
        refused = bound


def is_found(entity: Entity, rows: QuerySet[Any], key: JSONValue) -> bool:
    """Return whether the database finds a key that was read; only queried where it may not."""
    try:
        typed = entity.key.from_json(key)
    except InvalidRequestError:
        return False
    return entity.key.comes_back(rows.db) or rows.filter(pk=typed).exists()


def lost_key(entity: Entity, key: JSONValue) -> UnusableKeyError:
    """Return the error that no row is found under a key that was read."""
    return UnusableKeyError(
        f"{entity.model._meta.label} cannot be walked by its primary key: a row was read with "
        f"the key {str(key)[:100]!r}, and the database finds no row under it. The stored "
        f"value is not what the field makes of it: more digits than the field declares, for "
        f"example, or another form. Correct the stored keys, or the field, or choose another "
        f"primary key."
    )


@contextmanager
def reading_keys(entity: Entity) -> Iterator[None]:
    """Wrap a statement that reads only keys: one that cannot be read belongs to no known row, and
    ends the work."""
    try:
        yield
    except Exception as error:
        if not is_unreadable(error):
            raise
        said = str(error).partition("\n")[0][:200]
        raise UnusableKeyError(
            f"A primary key of {entity.model._meta.label} cannot be read "
            f"({type(error).__name__}: {said}). Correct that row in the database."
        ) from error
