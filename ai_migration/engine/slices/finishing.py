"""The last entry of a job: build indexes, verify, activate, complete."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db import transaction
from django.db.models import F

from ai_migration.conf import get_settings
from ai_migration.engine.slices.building import build_index
from ai_migration.exceptions import OwnershipLostError, StoreError
from ai_migration.indexing import queue
from ai_migration.jobs.feed.collections import activate, verify
from ai_migration.jobs.findings import in_words
from ai_migration.jobs.steer.scheduling import start_waiting
from ai_migration.jobs.steer.transitions import transition
from ai_migration.models import Collection, MigrationJob, QueueEntry
from ai_migration.models.jobs import JobPhase
from ai_migration.models.leases import Lease
from ai_migration.models.sql.clock import Now
from ai_migration.stores import stores
from ai_migration.types import CollectionStatus, EntryStatus, JobKind, JobStatus

logger = logging.getLogger(__name__)


def finish_job(entry: QueueEntry, lease: Lease, heartbeat: Callable[[], None]) -> None:
    """Finish the job of a claimed FINISH entry.

    Args:
        entry: The claimed entry.
        lease: The worker's lease.
        heartbeat: Called while a long index build runs elsewhere.

    Raises:
        OwnershipLostError: Another worker finishes it; nothing was changed.
        StoreError: The store could not build its index.
    """
    using = lease.using
    job = MigrationJob.objects.using(using).select_related("collection").get(pk=entry.job_id)
    is_migration = job.kind == JobKind.MIGRATION
    if is_migration and not job.filter_config:  # a small selection may precede a bulk load
        build_index(stores[job.collection.store], job.collection.ref, using, heartbeat)
    problem = ""
    if job.collection.status == CollectionStatus.BUILDING:
        problem = verify(job, using, get_settings().MAX_FAILURE_RATIO)
    with transaction.atomic(using=using):
        lease.renew()
        # Locks the job: a pause, a cancellation or a retry comes before or after.
        jobs = MigrationJob.objects.using(using).filter(pk=job.pk, status=JobStatus.RUNNING)
        if not jobs.update(last_updated_at=Now()):
            queue.requeue(lease, [entry.pk])
            return
        if not queue.owned(lease, [entry.pk]).update(
            status=EntryStatus.COMPLETED, completed_at=Now(), claimed_by=None, claims=0
        ):
            raise OwnershipLostError(f"{job.pk} is finished by another worker")
        if _retries_first(job.pk, using):
            return
        if problem:
            transition(
                job.pk,
                JobStatus.FAILED,
                using=using,
                actor="engine",
                error_message=f"The new collection is not activated: {problem}",
                completed_at=Now(),
                phase=JobPhase.FINISH,  # a resume verifies again
            )
            return
        activate(job.collection, using)
        if is_migration and not job.filter_config:
            Collection.objects.using(using).filter(pk=job.collection_id).update(
                config_snapshot=job.config_snapshot
            )
        transition(
            job.pk,
            JobStatus.COMPLETED,
            using=using,
            actor="engine",
            reason="" if is_migration else in_words(job),
            completed_at=Now(),
            total_entities=F("processed_entities"),
            total_is_estimate=False,
            throttled_until=None,
            throttle_reason="",
        )
    if is_migration:
        _tell_store(job.collection)
    start_waiting(using)


def _retries_first(job_id: str, using: str) -> bool:
    """Start the phase RETRY, if a retry was requested while this entry waited; return whether."""
    return bool(
        MigrationJob.objects.using(using)
        .filter(pk=job_id, retry_failed=True, failed_entities__gt=0)
        .update(phase=JobPhase.RETRY, cursor=None, retry_failed=False)
    )


def _tell_store(collection: Collection) -> None:
    """Tell the store which collection is active. The job is done even if this fails: our own tables
    say which one answers searches."""
    try:
        stores[collection.store].activated(collection.ref)
    except StoreError as error:
        logger.warning(
            "the store was not told that %s is active, the next job does it: %s",
            collection.ref.name,
            error,
        )
