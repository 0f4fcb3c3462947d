"""Feed a job's queue, range by range, and move it from phase to phase.

All of it happens under the job's row lock: upper bound, entry and cursor commit together,
so that a kill neither skips a range nor feeds it twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import transaction

from ai_migration.conf import get_settings
from ai_migration.entities import registry
from ai_migration.entities.entity import Entity
from ai_migration.entities.filtering.filters import apply_filters, load_filters
from ai_migration.entities.rows.paging import next_bound
from ai_migration.exceptions import AIMigrationError
from ai_migration.indexing.standbys import require_shown
from ai_migration.jobs.feed.following import follow_config, is_superseded, start_over_if_refused
from ai_migration.jobs.feed.removals import require_few_removals
from ai_migration.jobs.feed.settling import require_settled
from ai_migration.models import (
    EntityFailure,
    MigrationJob,
    QueueEntry,
)
from ai_migration.models.jobs import JobPhase
from ai_migration.models.queue import OPEN_ENTRIES
from ai_migration.models.sql import ledger
from ai_migration.models.sql.clock import Now
from ai_migration.models.sql.dialects import dialect
from ai_migration.pace.batch_sizes import adapt_batch_size
from ai_migration.types import (
    CollectionStatus,
    JobKind,
    JobStatus,
    MigrationMode,
    Operation,
    Priority,
)

SWEEP_SIZE = 20_000
"""Ledger rows in one sweep: only their ids are read."""
_COMPARED_SIZE = 4_000
"""Ledger rows that a verify compares at once, at most."""
_COMPARED_BYTES = 8 << 20
"""Vectors that it holds in memory meanwhile, if each entity has one."""


def feed(job_id: str, using: str) -> int:
    """Fill a running job's window of ``QUEUE_WINDOW`` open entries.

    Args:
        job_id: The job; nothing happens unless it is RUNNING.
        using: Database alias of our tables.

    Returns:
        The number of entries added.

    Raises:
        EntityConfigError: The entity type is gone or its config is wrong.
        ReplicaBehindError: Its rows come from a standby that is behind its start.
        UnsettledError: Transactions that do not know of its new index are still open.
        RemovalsRefusedError: Its index would lose more than it may.
        AIMigrationError: The collection it fills was replaced.
        UnusableKeyError: The rows cannot be walked by their primary key.
    """
    with transaction.atomic(using=using):
        jobs = MigrationJob.objects.using(using).filter(pk=job_id)
        if not jobs.filter(status=JobStatus.RUNNING).update(last_updated_at=Now()):  # locks
            return 0
        job = jobs.select_related("collection").get()
        if job.collection.status == CollectionStatus.RETIRED:  # while the job was started
            raise AIMigrationError(
                f"The index that {job_id} fills was replaced by a newer one: start a new migration."
            )
        entity = registry.get(job.entity_type)
        if is_superseded(job, entity):
            return 0
        start_over_if_refused(job)
        require_shown(job, entity)
        require_settled(job, entity)
        follow_config(job, entity)
        adapt_batch_size(job)
        open_entries = job.entries.filter(status__in=OPEN_ENTRIES).count()
        entries: list[QueueEntry] = []
        while open_entries + len(entries) < get_settings().QUEUE_WINDOW:
            entry = _next_entry(job, entity)
            if entry is not None:
                entries.append(entry)
            elif open_entries + len(entries) or not _advance(job, entity):
                break
        QueueEntry.objects.using(using).bulk_create(entries)
        changed = ["cursor", "phase", "retry_failed", "batch_size", "last_updated_at"]
        job.save(using=using, update_fields=changed)
    return len(entries)


def _next_entry(job: MigrationJob, entity: Entity) -> QueueEntry | None:
    """Return the next entry of the job's phase, and move the cursor past it."""
    match job.phase:
        case JobPhase.SOURCE if job.filter_config.get("entity_ids"):
            return _next_ids(job)
        case JobPhase.SOURCE:
            return _next_range(job, entity)
        case JobPhase.SWEEP:
            return _next_sweep(job)
        case JobPhase.WALK if job.cursor is None:  # its entries feed the next ones
            job.cursor = 0
            return _entry(job, Operation.WALK)
        case JobPhase.RETRY:
            return _next_retry(job)
        case JobPhase.FINISH:
            job.phase = JobPhase.DONE
            return _entry(job, Operation.FINISH)
    return None


def _next_range(job: MigrationJob, entity: Entity) -> QueueEntry | None:
    matching = apply_filters(entity, entity.rows(), load_filters(job.filter_config))
    upper = next_bound(entity, matching, job.cursor, job.batch_size)
    if upper is None:
        return None
    lower, job.cursor = job.cursor, upper
    operation = Operation.COMPARE if job.kind == JobKind.VERIFY else Operation.INDEX
    return _entry(job, operation, lower=lower, upper=upper)


def _next_ids(job: MigrationJob) -> QueueEntry | None:
    start = job.cursor or 0
    ids = job.filter_config["entity_ids"][start : start + job.batch_size]
    if not ids:
        return None
    job.cursor = start + len(ids)
    return _entry(job, Operation.INDEX, entity_ids=ids)


def _next_sweep(job: MigrationJob) -> QueueEntry | None:
    assert job._state.db is not None
    size = _compared_size(job) if job.kind == JobKind.VERIFY else SWEEP_SIZE
    rows = ledger.listed(job._state.db, job.collection_id, job.cursor)
    ids = rows.order_by("entity_id").values_list("entity_id", flat=True)
    with dialect(rows.db).in_index_order():
        upper = ids[size - 1 : size].first() or ids.order_by("-entity_id").first()
    if upper is None:
        return None
    lower, job.cursor = job.cursor, upper
    return _entry(job, Operation.SWEEP, lower=lower, upper=upper)


def _compared_size(job: MigrationJob) -> int:
    return max(1, min(_COMPARED_SIZE, _COMPARED_BYTES // (4 * job.collection.dimensions)))


def _next_retry(job: MigrationJob) -> QueueEntry | None:
    failures = EntityFailure.objects.using(job._state.db).filter(job=job, pk__gt=job.cursor or 0)
    part = list(failures.order_by("pk").values_list("pk", "entity_id")[: job.batch_size])
    if not part:
        return None
    job.cursor = part[-1][0]
    return _entry(job, Operation.RETRY, entity_ids=[entity_id for _, entity_id in part])


def _advance(job: MigrationJob, entity: Entity) -> bool:
    """Move to the next phase, and return whether there is something to feed in it.

    Raises:
        RemovalsRefusedError: The index would lose more than it may.
    """
    phases = list(_phases(job))
    later = phases[phases.index(JobPhase(job.phase)) + 1 :]
    if not later:
        return False
    may_remove = job.repair or (job.kind == JobKind.MIGRATION and later[0] == JobPhase.SWEEP)
    if job.phase == JobPhase.SOURCE and (may_remove or job.rebuild):
        require_few_removals(job, entity)
    job.phase, job.cursor = later[0], None
    if job.phase == JobPhase.RETRY:
        job.retry_failed = False
    return job.phase != JobPhase.DONE


def _phases(job: MigrationJob) -> Iterator[JobPhase]:
    yield JobPhase.SOURCE
    if job.phase == JobPhase.SWEEP or (not job.filter_config and job.mode != MigrationMode.MISSING):
        yield JobPhase.SWEEP
    if job.kind == JobKind.VERIFY:
        yield JobPhase.WALK
    if job.retry_failed or job.phase == JobPhase.RETRY:
        yield JobPhase.RETRY
    yield JobPhase.FINISH
    yield JobPhase.DONE


def _entry(job: MigrationJob, operation: Operation, **where: Any) -> QueueEntry:
    return QueueEntry(
        job=job,
        entity_type=job.entity_type,
        operation=operation,
        priority=Priority.LOW,
        **where,
    )
