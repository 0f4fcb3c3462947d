"""Counts with a bound: exact while that is cheap, the planner's estimate beyond."""

from __future__ import annotations

from typing import Any

from django.db import connections
from django.db.models import QuerySet

COUNT_BOUND = 1_000_000


def bounded_count(
    rows: QuerySet[Any], bound: int = COUNT_BOUND, *, everywhere: bool = False
) -> tuple[int, bool]:
    """How many rows a queryset has.

    Args:
        rows: The queryset.
        bound: Rows that are counted, at most, where the database can estimate the rest.
        everywhere: Keep the bound where the database cannot: ``bound + 1`` means more.

    Returns:
        The count, and whether it is an estimate.
    """
    can_estimate = connections[rows.db].vendor == "postgresql"
    if not (can_estimate or everywhere):
        return rows.count(), False
    exact = rows.order_by().values("pk")[: bound + 1].count()
    if exact <= bound or not can_estimate:
        return exact, exact > bound
    plan = rows.order_by().values("pk").explain(format="json")
    return max(exact, _rows_of(plan)), True


def _rows_of(plan: str) -> int:
    import json

    try:
        return int(json.loads(plan.replace("'", '"'))[0]["Plan"]["Plan Rows"])
    except (ValueError, KeyError, IndexError, TypeError):
        return 0
