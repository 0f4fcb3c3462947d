"""Pause, resume and cancel jobs, and try their failed entities again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet

from ai_migration.dispatch import wake
from ai_migration.entities import registry
from ai_migration.exceptions import InvalidRequestError
from ai_migration.indexing.targets import target_of
from ai_migration.jobs.steer.changes import change, check_changes, describe, joined, require_budget
from ai_migration.jobs.steer.failures import feed_retries, last_failure
from ai_migration.jobs.steer.scheduling import admit, start_waiting
from ai_migration.jobs.steer.states import STATES, Action
from ai_migration.jobs.steer.transitions import find_job, refused, transition
from ai_migration.models import Collection, EntityFailure, MigrationJob
from ai_migration.models.jobs import JobPhase
from ai_migration.models.leases import our_database
from ai_migration.models.sql.clock import Now
from ai_migration.types import CollectionStatus, EntryStatus, JobChanges, JobKind, JobStatus


def pause_migration(job_id: str, *, actor: str = "", reason: str = "") -> MigrationJob:
    """Stop claiming a job's entries; the batch in flight ends.

    Raises:
        UnknownJobError: There is no such job.
        InvalidTransitionError: It is neither running nor waiting.
    """
    using = our_database()
    moved = transition(
        job_id, JobStatus.PAUSED, using=using, actor=actor, reason=reason, throttle_reason=""
    )
    if moved.happened:
        start_waiting(using)
    return moved.job


def resume_migration(
    job_id: str, *, actor: str = "", reason: str = "", changes: JobChanges | None = None
) -> MigrationJob:
    """Resume a paused or failed job where it stopped.

    Args:
        job_id: The job.
        actor: The user who asks, for the audit log.
        reason: The reason, for the audit log.
        changes: Adjustments of the job, such as a larger budget.

    Raises:
        UnknownJobError: There is no such job.
        InvalidRequestError: A changed value is not acceptable, or its budget is used up.
        InvalidTransitionError: It is completed or cancelled.
        ConflictingJobError: Another open job writes its collection by now.
        RebuildRequiredError: The embedder changed meanwhile.
    """
    using = our_database()
    job = find_job(job_id, using)
    changed = check_changes(job, changes or JobChanges())
    state = STATES[JobStatus(job.status)]
    if Action.RESUME in state.answers:
        change(job, changed, using=using, actor=actor, reason=reason)
        return find_job(job_id, using)
    if Action.RESUME not in state.permits:
        raise refused(job)
    require_budget(job, changed)
    return _go_on(job, using, actor, joined(reason, describe(job, changed)), **changed)


def cancel_migration(job_id: str, *, actor: str = "", reason: str = "") -> MigrationJob:
    """End a job for good. What it indexed stays indexed.

    Raises:
        UnknownJobError: There is no such job.
        InvalidTransitionError: It is completed.
    """
    using = our_database()
    with transaction.atomic(using=using):
        moved = transition(
            job_id,
            JobStatus.CANCELLED,
            using=using,
            actor=actor,
            reason=reason,
            completed_at=Now(),
        )
        if moved.happened:
            moved.job.entries.filter(status=EntryStatus.PENDING).delete()
            Collection.objects.using(using).filter(
                pk=moved.job.collection_id, status=CollectionStatus.BUILDING
            ).update(status=CollectionStatus.RETIRED, retired_at=Now())
    if moved.happened:
        start_waiting(using)
    return moved.job


def retry_failed(
    job_id: str, *, actor: str = "", only: Iterable[int] | None = None
) -> MigrationJob:
    """Try a job's failed entities again. An open job does it before it finishes.

    Args:
        job_id: The job.
        actor: The user who asks, for the audit log.
        only: Primary keys of the failures to try; None: all of them. A job that is not
            COMPLETED tries all of them, too.

    Raises:
        UnknownJobError: There is no such job.
        InvalidTransitionError: It is cancelled.
        InvalidRequestError: It has no failed entities.
    """
    using = our_database()
    job = find_job(job_id, using)
    if Action.RETRY not in STATES[JobStatus(job.status)].permits:
        raise refused(job)
    failures = job.failures.all() if only is None else job.failures.filter(pk__in=list(only))
    if not failures.exists():
        raise InvalidRequestError(f"{job_id} has no failed entities to retry", field="job_id")
    unfinished = MigrationJob.objects.using(using).exclude(status=JobStatus.COMPLETED)
    asked = unfinished.filter(pk=job_id).update(retry_failed=True)
    job = find_job(job_id, using)
    if not asked:
        return _go_on(
            job,
            using,
            actor,
            "retry of failed entities",
            None if only is None else failures,
            phase=JobPhase.RETRY,
            cursor=None if only is None else last_failure(job),
        )
    if job.status == JobStatus.FAILED:
        return _go_on(job, using, actor, "retry of failed entities")
    return job


def _go_on(
    job: MigrationJob,
    using: str,
    actor: str,
    reason: str,
    failures: QuerySet[EntityFailure] | None = None,
    **values: Any,
) -> MigrationJob:
    if job.collection.status == CollectionStatus.RETIRED:
        raise refused(
            job, advice="The index it filled was replaced by a newer one: start a new migration."
        )
    if job.kind == JobKind.MIGRATION or job.repair:
        target_of(job.collection)
    registry.get(job.entity_type).require_indexable()
    with transaction.atomic(using=using):
        moved = admit(
            job,
            using=using,
            actor=actor,
            reason=reason,
            breaker_processed=F("processed_entities"),
            breaker_failed=F("failed_entities"),
            superseded_configs={},  # a resume confirms that the present config is the right one
            **values,
        )
        if moved.happened and failures is not None:
            feed_retries(moved.job, failures)
    wake()
    return moved.job
