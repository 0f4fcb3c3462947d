"""Counts with a bound: exact while that is cheap, the planner's estimate beyond."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from ai_migration.models.sql.dialects import dialect

COUNT_BOUND = 1_000_000


def bounded_count(
    rows: QuerySet[Any], bound: int = COUNT_BOUND, *, everywhere: bool = False
) -> tuple[int, bool]:
    """Count the rows of a queryset, each once, also where a join repeats it.

    Args:
        rows: The queryset.
        bound: Rows that are counted, at most, where the database can estimate the rest.
        everywhere: Keep the bound where the database cannot: ``bound + 1`` means more.

    Returns:
        The count, and whether it is an estimate.
    """
    database = dialect(rows.db)
    keys = rows.order_by().values("pk")
    joins = (getattr(each, "join_field", None) for each in rows.query.alias_map.values())
    if any(getattr(field, "one_to_many", False) for field in joins):
        keys = keys.distinct()
    if not (database.can_estimate or everywhere):
        return keys.count(), False
    exact = keys[: bound + 1].count()
    return max(exact, database.estimated(rows) if exact > bound else 0), exact > bound
