"""Counts with a bound: exact while that is cheap, the planner's estimate beyond."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from ai_migration.models.sql.dialects import dialect

COUNT_BOUND = 1_000_000


def bounded_count(
    rows: QuerySet[Any], bound: int = COUNT_BOUND, *, everywhere: bool = False
) -> tuple[int, bool]:
    """Count the rows of a queryset.

    Args:
        rows: The queryset.
        bound: Rows that are counted, at most, where the database can estimate the rest.
        everywhere: Keep the bound where the database cannot: ``bound + 1`` means more.

    Returns:
        The count, and whether it is an estimate.
    """
    database = dialect(rows.db)
    if not (database.can_estimate or everywhere):
        return rows.count(), False
    exact = rows.order_by().values("pk")[: bound + 1].count()
    return max(exact, database.estimated(rows) if exact > bound else 0), exact > bound
