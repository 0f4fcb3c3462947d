"""How far a job is, how fast it goes, and how long it still takes."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from django.db.models import F

from ai_migration.indexing.rate_limits import current_pace
from ai_migration.models import MigrationJob
from ai_migration.models.sql import clock
from ai_migration.types import EntryStatus, JobStatus, MigrationProgress

CENT = Decimal("0.01")
RECENT_ENTRIES = 40
"""Completed entries the rate is taken from."""


def progress_of(job: MigrationJob, using: str) -> MigrationProgress:
    """A job's progress, from its counters and its last completed entries: two small
    queries at any size.

    Args:
        job: The job, freshly read.
        using: Database alias of our tables.
    """
    rate = recent_rate(job, using)
    total = max(job.total_entities, job.processed_entities)
    left = total - job.processed_entities
    is_open = job.status in (JobStatus.RUNNING, JobStatus.PENDING, JobStatus.PAUSED)
    remaining = None
    if job.status == JobStatus.RUNNING and rate > 0:
        remaining = timedelta(seconds=round(left / rate))
    throttled = job.throttled_until is not None and job.throttled_until > clock.now(using)
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
        pace=current_pace(job.collection.embedder, using) if is_open else None,
        tokens=job.embedded_tokens,
        cost=None if job.cost is None else job.cost.quantize(CENT),
        error_message=job.error_message,
    )


def percent(processed: int, total: int, status: JobStatus) -> float:
    """Percent done, one digit; 100 exactly for a completed job, and never above."""
    if status == JobStatus.COMPLETED:
        return 100.0
    if not total:
        return 0.0
    return min(round(100 * processed / total, 1), 99.9 if processed < total else 100.0)


def recent_rate(job: MigrationJob, using: str) -> float:
    """Entities a second over the last completed entries; over the whole run once the job
    has ended. 0.0 when nothing is known."""
    if job.started_at is None:
        return 0.0
    if job.completed_at is not None:
        seconds = (job.completed_at - job.started_at).total_seconds()
        return job.processed_entities / seconds if seconds > 0 else 0.0
    if job.status != JobStatus.RUNNING:
        return 0.0
    done = job.entries.using(using).filter(status=EntryStatus.COMPLETED).order_by("-id")
    counted = F("indexed") + F("skipped") + F("removed") + F("failed")
    recent = list(done.values_list("claimed_at", counted)[:RECENT_ENTRIES])
    began = [claimed_at for claimed_at, _ in recent if claimed_at is not None]
    if not began:
        return 0.0
    seconds = (clock.now(using) - min(began)).total_seconds()
    return float(sum(rows for _, rows in recent)) / seconds if seconds > 0 else 0.0


def duration(length: timedelta) -> str:
    """A length of time as people say it: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    seconds = round(length.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    if seconds < 86_400:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"
    return f"{seconds // 86_400} d {seconds % 86_400 // 3600} h"
