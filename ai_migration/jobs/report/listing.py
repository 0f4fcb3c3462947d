"""Lists of jobs, and of what belongs to one: page by page, by key and never by offset."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime
from typing import TypeVar

from django.db.models import Model, QuerySet

from ai_migration.entities.filtering.moments import instant_of, parse_moment
from ai_migration.exceptions import InvalidRequestError, shown
from ai_migration.jobs.values import require_range, require_text
from ai_migration.models import MigrationJob
from ai_migration.types import JobStatus

ORDERS = {"-id": "lt", "id": "gt"}
"""The orders jobs are listed in, each with the look-up that finds what comes after."""
MAX_LIMIT = 2**31 - 1
_MAX_KEY = 2**63 - 1

Row = TypeVar("Row", bound=Model)


def find_jobs(
    using: str,
    *,
    entity_type: str | None,
    status: JobStatus | str | None,
    created_by: str | None,
    started_after: date | datetime | str | None,
    started_before: date | datetime | str | None,
    before: str | None,
    limit: int,
    order: str,
) -> list[MigrationJob]:
    """A page of jobs; see ``DataMigrationService.list_jobs``.

    Raises:
        InvalidRequestError: A value is not acceptable; ``field`` says which.
    """
    require_range(limit, "limit", MAX_LIMIT)
    _require_known(order, "order", ORDERS)
    jobs = MigrationJob.objects.using(using).order_by(order)
    for field, text, lookup in (
        ("entity_type", entity_type, "entity_type"),
        ("created_by", created_by, "created_by"),
        ("before", before, f"pk__{ORDERS[order]}"),
    ):
        if text is not None:
            require_text(text, field)
            jobs = jobs.filter(**{lookup: text})
    if status is not None:
        _require_known(status, "status", JobStatus.values)
        jobs = jobs.filter(status=status)
    column = MigrationJob._meta.get_field("started_at")
    for field, moment, lookup in (
        ("started_after", started_after, "gte"),
        ("started_before", started_before, "lt"),
    ):
        if (parsed := parse_moment(moment, field)) is not None:
            jobs = jobs.filter(**{f"started_at__{lookup}": instant_of(parsed, column, field)})
    return list(jobs[:limit])


def page_after(rows: QuerySet[Row], after: int, limit: int) -> list[Row]:
    """A page of rows, in the order of their keys.

    Raises:
        InvalidRequestError: A value is not acceptable; ``field`` says which.
    """
    require_range(limit, "limit", MAX_LIMIT)
    if isinstance(after, bool) or not isinstance(after, int) or not 0 <= after <= _MAX_KEY:
        raise InvalidRequestError(
            f"after must be the key of a row, a whole number from 0, not {shown(after, 20)}",
            field="after",
        )
    return list(rows.filter(pk__gt=after).order_by("pk")[:limit])


def _require_known(value: str, field: str, known: Collection[str]) -> None:
    if value not in known:
        raise InvalidRequestError(
            f"Unknown {field} {shown(value)}. Known: {', '.join(known)}.", field=field
        )
