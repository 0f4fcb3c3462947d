"""The state machine of jobs: the edges are data, a change is one conditional UPDATE."""

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
from ai_migration.models import JobEvent, MigrationJob
from ai_migration.models.sql.clock import Now
from ai_migration.types import OPEN_STATUSES, JobStatus

S = JobStatus

EDGES: dict[tuple[JobStatus, JobStatus], str] = {
    (S.PENDING, S.RUNNING): "a slot of MAX_CONCURRENT_JOBS is free",
    (S.PENDING, S.PAUSED): "somebody paused it before it began",
    (S.PENDING, S.CANCELLED): "somebody cancelled it before it began",
    (S.RUNNING, S.PAUSED): "somebody paused it",
    (S.RUNNING, S.COMPLETED): "every entity is indexed, skipped, removed or listed as failed",
    (S.RUNNING, S.FAILED): "it cannot go on until somebody acts",
    (S.RUNNING, S.CANCELLED): "somebody cancelled it",
    (S.PAUSED, S.RUNNING): "somebody resumed it",
    (S.PAUSED, S.PENDING): "somebody resumed it, and no slot is free",
    (S.PAUSED, S.CANCELLED): "somebody cancelled it",
    (S.FAILED, S.RUNNING): "somebody resumed it after the cause was removed",
    (S.FAILED, S.PENDING): "somebody resumed it, and no slot is free",
    (S.FAILED, S.CANCELLED): "somebody gave it up",
    (S.COMPLETED, S.RUNNING): "somebody retries its failed entities",
    (S.COMPLETED, S.PENDING): "somebody retries its failed entities, and no slot is free",
}
"""From where to where a job can go, and why it would."""

ADVICE = {
    S.PENDING: "It waits for a free slot: it can be paused or cancelled.",
    S.RUNNING: "It can be paused or cancelled.",
    S.PAUSED: "It can be resumed or cancelled.",
    S.COMPLETED: "It is done; start a new migration, or retry its failed entities.",
    S.FAILED: "It can be resumed after its cause is removed, or cancelled.",
    S.CANCELLED: "It is over; start a new migration.",
}


@dataclass(frozen=True)
class Change:
    """What a transition did: nothing, when the job was there already."""

    job: MigrationJob
    happened: bool


def find_job(job_id: str, using: str) -> MigrationJob:
    """A job by its id, whatever somebody typed for it.

    Raises:
        UnknownJobError: There is none.
    """
    try:
        if "\0" in job_id:
            raise ValueError("no database takes a NUL")
        return MigrationJob.objects.using(using).select_related("collection").get(pk=job_id)
    except (MigrationJob.DoesNotExist, ValueError) as error:
        raise UnknownJobError(job_id) from error


def sources_of(target: JobStatus) -> list[JobStatus]:
    """The states from which a job can become ``target``."""
    return [source for source, to in EDGES if to == target]


def transition(
    job_id: str,
    target: JobStatus,
    *,
    using: str,
    actor: str = "",
    reason: str = "",
    sources: Iterable[JobStatus] | None = None,
    **values: Any,
) -> Change:
    """Move a job, and note it in the audit log, in one transaction.

    Args:
        job_id: Which job.
        target: Where to.
        using: Database alias of our tables.
        actor: Who asks.
        reason: Why; default: the edge's own reason.
        sources: Only from these states; default: every state with an edge to ``target``.
        values: Columns to set along with the status.

    Raises:
        UnknownJobError: There is no such job.
        InvalidTransitionError: There is no edge from where it is.
        ConflictingJobError: Another open job writes the same collection.
    """
    jobs = MigrationJob.objects.using(using)
    allowed = sources_of(target) if sources is None else list(sources)
    while True:
        job = find_job(job_id, using)
        current = JobStatus(job.status)
        if current == target:
            return Change(job, happened=False)
        if current not in allowed or (current, target) not in EDGES:
            raise InvalidTransitionError(job_id, current, target, ADVICE[current])
        try:
            with transaction.atomic(using=using):
                moved = jobs.filter(pk=job_id, status=current).update(
                    status=target, last_updated_at=Now(), **values
                )
                if moved:
                    why = reason or EDGES[current, target]
                    record(job_id, current, target, why, using=using, actor=actor)
        except IntegrityError as error:
            other = (
                jobs.filter(collection=job.collection_id, status__in=OPEN_STATUSES)
                .exclude(pk=job_id)
                .first()
            )
            if other is None:
                raise
            raise ConflictingJobError(job.entity_type, other.pk, other.status) from error
        if moved:
            return Change(jobs.get(pk=job_id), happened=True)
        # Somebody else moved it in between: look again where it is now.


def note(job_id: str, words: str, *, using: str, actor: str) -> None:
    """Write a line in the audit log that is no change of state. Call it under the lock of the
    job's row, or the line could come between those of a change.

    Args:
        job_id: Which job.
        words: What happened.
        using: Database alias of our tables.
        actor: Who did it.
    """
    status = MigrationJob.objects.using(using).values_list("status", flat=True).get(pk=job_id)
    record(job_id, status, status, words, using=using, actor=actor)


def record(job_id: str, before: str, after: str, reason: str, *, using: str, actor: str) -> None:
    """Write a line in the audit log.

    Args:
        job_id: Which job.
        before: Where it was; empty: it is new.
        after: Where it is now.
        reason: Why.
        using: Database alias of our tables.
        actor: Who did it.
    """
    JobEvent.objects.using(using).create(
        job_id=job_id, actor=actor[:255], from_status=before, to_status=after, reason=reason
    )
