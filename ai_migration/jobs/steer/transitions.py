"""Move jobs between states: each transition is one conditional UPDATE and an audit event."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction

from ai_migration.exceptions import (
    ConflictingJobError,
    InvalidTransitionError,
    UnknownJobError,
)
from ai_migration.jobs.steer.states import STATES, sources_of
from ai_migration.models import JobEvent, MigrationJob
from ai_migration.models.sql.clock import Now
from ai_migration.types import OPEN_STATUSES, JobKind, JobStatus


@dataclass(frozen=True)
class Transitioned:
    """The result of a transition: nothing changed if the job was there already."""

    job: MigrationJob
    happened: bool


def find_job(job_id: str, using: str) -> MigrationJob:
    """Return a job by its id, which may be any text.

    Raises:
        UnknownJobError: There is no such job.
    """
    try:
        if "\0" in job_id:
            raise ValueError("no database takes a NUL")
        return MigrationJob.objects.using(using).select_related("collection").get(pk=job_id)
    except (MigrationJob.DoesNotExist, ValueError) as error:
        raise UnknownJobError(job_id) from error


def refused(
    job: MigrationJob, target: JobStatus = JobStatus.RUNNING, advice: str = ""
) -> InvalidTransitionError:
    """Return the error that says why a job does not become ``target``, and what to do."""
    status = JobStatus(job.status)
    return InvalidTransitionError(job.pk, status, target, advice or STATES[status].advice)


def transition(
    job_id: str,
    target: JobStatus,
    *,
    using: str,
    actor: str = "",
    reason: str = "",
    sources: Iterable[JobStatus] | None = None,
    **values: Any,
) -> Transitioned:
    """Move a job, and note it in the audit log, in one transaction.

    Args:
        job_id: The job.
        target: The state to move it to.
        using: Database alias of our tables.
        actor: The user who asks, for the audit log.
        reason: The reason, for the audit log; default: the edge's own.
        sources: Only from these states; default: every state with an edge to ``target``.
        values: Columns to set along with the status.

    Raises:
        UnknownJobError: There is no such job.
        InvalidTransitionError: There is no edge from its state.
        ConflictingJobError: Another open job writes the same collection.
    """
    jobs = MigrationJob.objects.using(using)
    allowed = sources_of(target) if sources is None else list(sources)
    while True:
        job = find_job(job_id, using)
        current = JobStatus(job.status)
        if current == target:
            return Transitioned(job, happened=False)
        if current not in allowed or target not in STATES[current].edges:
            raise refused(job, target)
        try:
            with transaction.atomic(using=using):
                moved = jobs.filter(pk=job_id, status=current).update(
                    status=target, last_updated_at=Now(), **values
                )
                if moved:
                    why = reason or STATES[current].edges[target]
                    write_event(job_id, current, target, why, using=using, actor=actor)
        except IntegrityError as error:
            other = (
                jobs.filter(collection=job.collection_id, kind=job.kind, status__in=OPEN_STATUSES)
                .exclude(pk=job_id)
                .first()
            )
            if other is None:
                raise
            raise conflict_with(other) from error
        if moved:
            return Transitioned(jobs.get(pk=job_id), happened=True)
        # It was moved in between: look at its state again.


def conflict_with(job: MigrationJob) -> ConflictingJobError:
    """Return the conflict with an open job of the same kind and collection."""
    does = "verifies" if job.kind == JobKind.VERIFY else "writes"
    return ConflictingJobError(job.entity_type, job.pk, job.status, does)


def note(job_id: str, words: str, *, using: str, actor: str) -> None:
    """Write a line in the audit log that is not a transition. Call it under the lock of the job's
    row, or the line could come between those of a transition.

    Args:
        job_id: The job.
        words: The text of the line.
        using: Database alias of our tables.
        actor: The user who did it.
    """
    status = MigrationJob.objects.using(using).values_list("status", flat=True).get(pk=job_id)
    write_event(job_id, status, status, words, using=using, actor=actor)


def write_event(
    job_id: str, before: str, after: str, reason: str, *, using: str, actor: str
) -> None:
    """Write a line in the audit log.

    Args:
        job_id: The job.
        before: Its state before; empty: it is new.
        after: Its state now.
        reason: The reason.
        using: Database alias of our tables.
        actor: The user who did it.
    """
    JobEvent.objects.using(using).create(
        job_id=job_id, actor=actor[:255], from_status=before, to_status=after, reason=reason
    )
