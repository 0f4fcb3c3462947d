"""Lists of jobs, and of their failures and events: page by page, by key and never by offset."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime
from typing import TypeVar

from django.db.models import Model, QuerySet

from ai_migration.entities.filtering.moments import instant_of, parse_moment
from ai_migration.exceptions import InvalidRequestError, shown
from ai_migration.jobs.steer.transitions import find_job
from ai_migration.jobs.values import require_range, require_text
from ai_migration.models import EntityFailure, JobEvent, MigrationJob
from ai_migration.models.leases import our_database
from ai_migration.types import JobStatus

ORDERS = {"-id": "lt", "id": "gt"}
"""The orders of a list of jobs, each with the lookup that finds the jobs after one."""
MAX_LIMIT = 2**31 - 1
_MAX_KEY = 2**63 - 1

Row = TypeVar("Row", bound=Model)


def get_job(job_id: str) -> MigrationJob:
    """Return a job by its id.

    Raises:
        UnknownJobError: There is no such job.
    """
    return find_job(job_id, our_database())


def list_jobs(
    *,
    entity_type: str | None = None,
    status: JobStatus | str | None = None,
    created_by: str | None = None,
    started_after: date | datetime | str | None = None,
    started_before: date | datetime | str | None = None,
    before: str | None = None,
    limit: int = 50,
    order: str = "-id",
) -> list[MigrationJob]:
    """Return jobs, newest first. The cost does not depend on how many there are.

    Args:
        entity_type: Only of this entity type.
        status: Only in this state.
        created_by: Only those that this user asked for.
        started_after: Only those that began at this time or later. A date means its start; a naive
            time is in the time zone of the settings.
        started_before: Only those that began before this time.
        before: The id of the last job of the previous page: only those that come after it in
            ``order``.
        limit: The number of results, at most.
        order: ``"-id"``: newest first; ``"id"``: oldest first.

    Raises:
        InvalidRequestError: A value is not acceptable; ``field`` says which.
    """
    require_range(limit, "limit", MAX_LIMIT)
    _require_known(order, "order", ORDERS)
    jobs = MigrationJob.objects.using(our_database()).order_by(order)
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


def list_failures(job_id: str, *, after: int = 0, limit: int = 50) -> list[EntityFailure]:
    """Return a job's failed entities, in the order they failed.

    Args:
        job_id: The job.
        after: Primary key of the last one of the previous page.
        limit: The number of results, at most.

    Raises:
        UnknownJobError: There is no such job.
        InvalidRequestError: A value is not acceptable; ``field`` says which.
    """
    return _page(get_job(job_id).failures.all(), after, limit)


def list_events(job_id: str, *, after: int = 0, limit: int = 100) -> list[JobEvent]:
    """Return a job's audit log, oldest first; arguments and errors as for :func:`list_failures`."""
    return _page(get_job(job_id).events.all(), after, limit)


def _page(rows: QuerySet[Row], after: int, limit: int) -> list[Row]:
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
