"""The entries of a verify: compare a part of source, ledger or store, and count what differs."""

from __future__ import annotations

import time
from dataclasses import dataclass

from django.db import transaction

from ai_migration.entities.entity import Entity
from ai_migration.entities.rows.reader import EntityReader
from ai_migration.exceptions import OwnershipLostError
from ai_migration.indexing import queue
from ai_migration.indexing.comparing import Comparison
from ai_migration.indexing.differences import Compared
from ai_migration.indexing.mending import mend
from ai_migration.indexing.standbys import require_shown
from ai_migration.jobs.findings import WALK_SIZE, merged
from ai_migration.models import MigrationJob, QueueEntry
from ai_migration.models.leases import Lease
from ai_migration.models.sql import clock
from ai_migration.models.sql.clock import Now
from ai_migration.stores import stores
from ai_migration.types import EntryStatus, JobKind, Operation, Priority

_OPERATIONS = (Operation.COMPARE, Operation.SWEEP, Operation.WALK)


def is_comparison(entry: QueueEntry, job: MigrationJob) -> bool:
    """Return whether an entry compares; a verify that repairs has others, too."""
    return job.kind == JobKind.VERIFY and entry.operation in _OPERATIONS


@dataclass(frozen=True)
class Part:
    """A part that was compared.

    Attributes:
        compared: The result.
        comparison: Where it was compared.
        started: When that began, microseconds by our database's clock.
        since: The same by this process's monotonic clock, seconds.
    """

    compared: Compared
    comparison: Comparison
    started: int
    since: float


def compare(
    entry: QueueEntry, job: MigrationJob, reader: EntityReader, entity: Entity, *, using: str
) -> Part:
    """Compare what a claimed entry of a verify names. It writes nothing.

    Raises:
        ReplicaBehindError: The rows come from a standby that is behind the job's start.
        StoreError: The store does not answer, or the collection is gone.
    """
    since, started = time.monotonic(), clock.now_microseconds(using)
    store = stores[job.collection.store]
    comparison = Comparison(entity, reader, job.collection, store, using)
    return Part(_compared(entry, job, comparison), comparison, started, since)


def settle(entry: QueueEntry, job: MigrationJob, part: Part, lease: Lease) -> None:
    """Count what was found, repair it if the job does, and complete the entry: in one transaction.

    Raises:
        OwnershipLostError: Another worker does it; nothing was changed.
        StoreError: The store did not remove what it has to.
    """
    compared = part.compared
    with transaction.atomic(using=lease.using):
        lease.renew()
        done = queue.owned(lease, [entry.pk]).update(
            status=EntryStatus.COMPLETED,
            completed_at=Now(),
            claimed_by=None,
            claims=0,
            error="",
            skipped=compared.seen,
        )
        if not done:
            raise OwnershipLostError(
                f"Entry {entry.pk} no longer belongs to worker slot {lease.slot_id}: its result is "
                f"dropped"
            )
        put = mend(compared, part.comparison, job, part.started) if job.repair else 0
        if compared.following is not None:
            _go_on(entry, compared.following, lease.using)
        _count(job.pk, compared, put, lease.using)


def _compared(entry: QueueEntry, job: MigrationJob, comparison: Comparison) -> Compared:
    match entry.operation:
        case Operation.COMPARE:
            require_shown(job, comparison.entity)
            return comparison.of_rows(entry.lower, entry.upper)
        case Operation.SWEEP:
            assert entry.upper is not None
            return comparison.of_ledger(entry.lower, entry.upper)
    return comparison.of_store(entry.lower, WALK_SIZE, whole=job.repair)


def _go_on(entry: QueueEntry, cursor: object, using: str) -> None:
    """Put the next part of the store in the queue: only the store knows where it begins."""
    QueueEntry.objects.using(using).create(
        job=entry.job,
        entity_type=entry.entity_type,
        operation=Operation.WALK,
        priority=Priority.LOW,
        lower=cursor,
    )


def _count(job_id: str, compared: Compared, put: int, using: str) -> None:
    """Add to the job's counts and findings."""
    job = MigrationJob.objects.using(using).select_for_update().get(pk=job_id)
    job.findings = merged(job.findings, compared)
    job.processed_entities += compared.seen
    job.skipped_entities += compared.seen
    job.total_entities += put
    job.last_updated_at = Now()
    job.save(
        update_fields=[
            "findings",
            "processed_entities",
            "skipped_entities",
            "total_entities",
            "last_updated_at",
        ]
    )
