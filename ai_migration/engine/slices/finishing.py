"""The last entry of a job: build indexes, verify, activate, complete."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextvars import copy_context

from django.db import connections, transaction
from django.db.models import F

from ai_migration.conf import get_settings
from ai_migration.exceptions import OwnershipLostError, StoreError
from ai_migration.indexing import queue
from ai_migration.jobs.feed.collections import activate, verify
from ai_migration.jobs.steer.scheduling import start_waiting
from ai_migration.jobs.steer.transitions import transition
from ai_migration.models import Collection, MigrationJob, QueueEntry
from ai_migration.models.jobs import JobPhase
from ai_migration.models.leases import Lease
from ai_migration.models.sql.apart import is_reproducible
from ai_migration.models.sql.clock import Now
from ai_migration.stores import VectorStore, stores
from ai_migration.types import CollectionRef, CollectionStatus, EntryStatus, JobStatus

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
    if not job.filter_config:  # a small selection would be followed by a bulk load
        _optimize(stores[job.collection.store], job.collection.ref, using, heartbeat)
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
        if not job.filter_config:
            Collection.objects.using(using).filter(pk=job.collection_id).update(
                config_snapshot=job.config_snapshot
            )
        transition(
            job.pk,
            JobStatus.COMPLETED,
            using=using,
            actor="engine",
            completed_at=Now(),
            total_entities=F("processed_entities"),
            total_is_estimate=False,
            throttled_until=None,
            throttle_reason="",
        )
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


def _optimize(
    store: VectorStore, ref: CollectionRef, using: str, heartbeat: Callable[[], None]
) -> None:
    """Let the store build its index, which may take an hour, in a thread of its own, while this one
    keeps the lease. If another thread may not find the collection, build it in this one: the lease
    may run out, and the next worker finds the index being built."""
    alias = getattr(store, "using", using if store.shares_transaction(using) else None)
    if alias is not None and not is_reproducible(alias):
        store.optimize(ref)
        return

    def build() -> None:
        try:
            store.optimize(ref)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1, thread_name_prefix="optimize") as executor:
        future = executor.submit(copy_context().run, build)
        while not future.done():
            wait_for([future], timeout=1.0)
            heartbeat()
        future.result()
