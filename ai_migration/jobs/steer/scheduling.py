"""The limit on jobs that run at once: ``MAX_CONCURRENT_JOBS``, over all hosts."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from ai_migration.conf import get_settings
from ai_migration.dispatch import wake
from ai_migration.exceptions import InvalidTransitionError
from ai_migration.jobs.steer.states import STATES, Action, sources_of
from ai_migration.jobs.steer.transitions import Transitioned, find_job, transition
from ai_migration.models import MigrationJob
from ai_migration.models.leases import lock
from ai_migration.models.sql.clock import Now
from ai_migration.types import JobStatus

_MUTEX = "scheduler"


def start_waiting(using: str) -> list[str]:
    """Let PENDING jobs run, oldest first, while slots are free.

    Returns:
        The ids of the jobs that run now.
    """
    jobs = MigrationJob.objects.using(using)
    if not jobs.filter(status=JobStatus.PENDING).exists():
        return []
    started = []
    with transaction.atomic(using=using):
        free = _lock_and_count(using)
        for job in jobs.filter(status=JobStatus.PENDING).order_by("pk")[: max(free, 0)]:
            values: dict[str, Any] = {} if job.started_at else {"started_at": Now()}
            try:
                transition(job.pk, JobStatus.RUNNING, using=using, actor="engine", **values)
            except InvalidTransitionError:
                continue  # cancelled or paused a moment ago
            started.append(job.pk)
    if started:
        wake()
    return started


def admit(
    job: MigrationJob, *, using: str, actor: str, reason: str = "", **values: Any
) -> Transitioned:
    """Let a paused, failed or completed job go on: RUNNING if a slot is free, else PENDING.
    Do nothing if another process was quicker.

    Raises:
        InvalidTransitionError: It cannot go on.
        ConflictingJobError: Another open job writes its collection.
    """
    with transaction.atomic(using=using):
        target = JobStatus.RUNNING if _lock_and_count(using) > 0 else JobStatus.PENDING
        now = find_job(job.pk, using)
        if Action.RESUME in STATES[JobStatus(now.status)].answers:
            return Transitioned(now, happened=False)
        return transition(
            job.pk,
            target,
            using=using,
            actor=actor,
            reason=reason,
            sources=sources_of(JobStatus.PENDING),
            completed_at=None,
            error_message="",
            throttled_until=None,
            throttle_reason="",
            **values,
        )


def _lock_and_count(using: str) -> int:
    """Take the mutex of the transaction, and count the free slots."""
    lock(_MUTEX, using)
    running = MigrationJob.objects.using(using).filter(status=JobStatus.RUNNING).count()
    return get_settings().MAX_CONCURRENT_JOBS - running
