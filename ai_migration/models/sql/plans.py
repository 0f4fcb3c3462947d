"""How the database plans a query, where it would plan it badly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections


@contextmanager
def in_index_order(using: str) -> Iterator[None]:
    """Queries within read an index in its order. Call it inside a transaction.

    PostgreSQL plans by statistics, which a table gets minutes after a backfill has begun to
    fill it. Until then it takes the rest of the table for seven rows and sorts all of it for
    each page: the cost of a page grows with the table. Other databases need no telling.

    Args:
        using: Database alias.
    """
    connection = connections[using]
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_sort = off")
        yield
        cursor.execute("SET LOCAL enable_sort TO DEFAULT")
