"""The progress of jobs: how far they are, how fast, and the time left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import reduce
from operator import or_

from django.db import Error
from django.db.models import OuterRef, Q, Subquery
from django.db.models.functions import Coalesce

from ai_migration.exceptions import AIMigrationError
from ai_migration.jobs.activity import (
    IDLE_AFTER,
    Span,
    common,
    length,
    per_second,
    running_spans,
    worked,
)
from ai_migration.jobs.steer.transitions import find_job
from ai_migration.jobs.values import CENT
from ai_migration.models import MigrationJob, QueueEntry
from ai_migration.models.jobs import JobPhase
from ai_migration.models.leases import our_database
from ai_migration.models.sql import clock
from ai_migration.stores import stores
from ai_migration.types import (
    OPEN_STATUSES,
    EntryStatus,
    IndexBuild,
    JobStatus,
    MigrationProgress,
)

RECENT_ENTRIES = 40
"""Completed entries from which the rate is computed."""


def get_progress(job_id: str) -> MigrationProgress:
    """Return the progress of a job.

    Raises:
        UnknownJobError: There is no such job.
    """
    return get_progress_of([find_job(job_id, our_database())])[0]


def get_progress_of(
    jobs: Sequence[MigrationJob], *, spans: Mapping[str, Sequence[Span]] | None = None
) -> list[MigrationProgress]:
    """Return the progress of several jobs, with as many queries as for one.

    Args:
        jobs: Freshly read, with their collections.
        spans: When each was running, if it is known already.
    """
    using = our_database()
    now = clock.now(using)
    if spans is None:
        spans = running_spans(jobs, now, using)
    rates = recent_rates(jobs, spans, now, using)
    return [
        _progress(job, now, rates.get(job.pk, 0.0), length(spans.get(job.pk, []))) for job in jobs
    ]


def _index_build(job: MigrationJob) -> IndexBuild | None:
    """Return the progress of the index that a finishing job waits for, if the store can tell."""
    if job.status != JobStatus.RUNNING or job.phase != JobPhase.DONE:
        return None  # its last entry is not queued yet
    try:
        return stores[job.collection.store].index_build(job.collection.ref)
    except (AIMigrationError, Error):
        return None  # the worker reports it


def _progress(
    job: MigrationJob, now: datetime, rate: float, active: timedelta
) -> MigrationProgress:
    total = max(job.total_entities, job.processed_entities)
    left = total - job.processed_entities
    is_open = job.status in OPEN_STATUSES
    remaining, build = None, _index_build(job)
    if job.status == JobStatus.RUNNING and rate > 0 and build is None:
        remaining = timedelta(seconds=round(left / rate))
    throttled = job.throttled_until is not None and job.throttled_until > now
    has_reason = throttled or job.status == JobStatus.PAUSED
    return MigrationProgress(
        job_id=job.pk,
        entity_type=job.entity_type,
        status=JobStatus(job.status),
        total=total,
        total_is_estimate=job.total_is_estimate and is_open,
        processed=job.processed_entities,
        indexed=job.indexed_entities,
        skipped=job.skipped_entities,
        removed=job.removed_entities,
        failed=job.failed_entities,
        percent_complete=percent(job.processed_entities, total, JobStatus(job.status)),
        entities_per_second=round(rate, 1),
        estimated_time_remaining=remaining,
        throttle_reason=job.throttle_reason if has_reason else "",
        throttled_until=job.throttled_until if throttled else None,
        tokens=job.charged_tokens,
        cost=None if job.cost is None else job.cost.quantize(CENT),
        error_message=job.error_message,
        active_time=active,
        index_build=build,
    )


def percent(processed: int, total: int, status: JobStatus) -> float:
    """Return the percentage done, to one decimal place; 100 exactly for a completed job, and never
    above."""
    if status == JobStatus.COMPLETED:
        return 100.0
    if not total:
        return 0.0
    return min(round(100 * processed / total, 1), 99.9 if processed < total else 100.0)


def recent_rates(
    jobs: Sequence[MigrationJob],
    spans: Mapping[str, Sequence[Span]],
    now: datetime,
    using: str,
) -> dict[str, float]:
    """Return the entities a second by job: over its last completed entries, or over the whole run
    once it has ended. Only active time counts. Jobs of which nothing is known, and jobs that run
    without anybody working for them, are absent.

    Args:
        jobs: The jobs.
        spans: When each of them was running.
        now: The present time, by the database's clock.
        using: Database alias of our tables.
    """
    rates = {}
    for job in jobs:
        if job.pk in spans and job.completed_at is not None:
            rates[job.pk] = per_second(job.processed_entities, spans[job.pk])
    running = [job.pk for job in jobs if job.status == JobStatus.RUNNING and job.pk in spans]
    if not running:
        return rates
    done = QueueEntry.objects.using(using).filter(status=EntryStatus.COMPLETED)
    # The oldest of the last entries of each: from there on the index is read.
    newest = done.filter(job=OuterRef("pk")).order_by("-id").values("id")
    oldest = Coalesce(Subquery(newest[RECENT_ENTRIES - 1 : RECENT_ENTRIES]), 0)
    starts = MigrationJob.objects.using(using).filter(pk__in=running).values_list("pk", oldest)
    recent = reduce(or_, (Q(job=pk, id__gte=first) for pk, first in starts), Q(pk__in=[]))
    in_hand = Q(job__in=running, status=EntryStatus.CLAIMED)
    entries = QueueEntry.objects.using(using).filter(
        in_hand | Q(recent, status=EntryStatus.COMPLETED)
    )
    columns = ("job", "claimed_at", "completed_at", "indexed", "skipped", "removed", "failed")
    entities: dict[str, int] = defaultdict(int)
    batches: dict[str, list[Span]] = defaultdict(list)
    for pk, began, ended, *rows in entries.values_list(*columns):
        if began:
            entities[pk] += sum(rows)
            batches[pk].append(Span(began, ended or now))
    for pk, took in batches.items():
        active = worked(took, spans[pk])
        if now - active[-1].end > IDLE_AFTER:
            continue  # nobody works for it: its pace, and the time left, are anyone's guess
        since = Span(active[-1].end, now)
        rates[pk] = per_second(entities[pk], [*active, *common([since], spans[pk])])
    return rates


def duration(length: timedelta) -> str:
    """Return a duration for people: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    seconds = round(length.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    if seconds < 86_400:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"
    return f"{seconds // 86_400} d {seconds % 86_400 // 3600} h"
