"""Failed entities after a review: some are retried, some are discarded."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction
from django.db.models import Count, F, Max, QuerySet

from ai_migration.jobs.steer.transitions import note
from ai_migration.models import EntityFailure, MigrationJob, QueueEntry
from ai_migration.models.leases import our_database
from ai_migration.types import Operation, Priority
from ai_migration.words import counted

_AT_ONCE = 1_000


def last_failure(job: MigrationJob) -> int:
    """Return the cursor of the phase RETRY that is behind all of a job's failures."""
    last: int | None = job.failures.aggregate(last=Max("pk"))["last"]
    return last or 0


def feed_retries(job: MigrationJob, failures: QuerySet[EntityFailure]) -> None:
    """Put some of a job's failures into the queue. Call it in the transaction that lets the job go
    on, with its cursor at :func:`last_failure`: so no others are fed.

    Args:
        job: The job.
        failures: The failures to feed.
    """
    ids = list(failures.order_by("pk").values_list("entity_id", flat=True))
    QueueEntry.objects.using(failures.db).bulk_create(
        QueueEntry(
            job=job,
            entity_type=job.entity_type,
            operation=Operation.RETRY,
            priority=Priority.LOW,
            entity_ids=ids[start : start + job.batch_size],
        )
        for start in range(0, len(ids), job.batch_size)
    )


def discard_failures(failures: Iterable[int], *, actor: str = "") -> int:
    """Discard failures: the entities stay out of the index, and are no longer listed. Those of a
    job count as skipped from then on, which its audit log says.

    Args:
        failures: Primary keys of the failures.
        actor: The user who asks, for the audit log.

    Returns:
        The number of failures discarded.
    """
    using = our_database()
    ids = list(failures)
    parts = (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))
    return sum(_discard(part, using, actor) for part in parts)


def _discard(ids: list[int], using: str, actor: str) -> int:
    chosen = EntityFailure.objects.using(using).filter(pk__in=ids)
    jobs = MigrationJob.objects.using(using)
    with transaction.atomic(using=using):
        touched = sorted(set(chosen.exclude(job=None).values_list("job", flat=True)))
        for job in touched:  # the job's row first, as workers do that write its failures
            jobs.filter(pk=job).update(failed_entities=F("failed_entities"))
        by_job = chosen.filter(job__in=touched).values("job").annotate(count=Count("pk")).order_by()
        for job, count in list(by_job.values_list("job", "count")):
            jobs.filter(pk=job).update(
                failed_entities=F("failed_entities") - count,
                skipped_entities=F("skipped_entities") + count,
            )
            words = counted(count, "failed entity was", "failed entities were")
            note(job, f"{words} given up", using=using, actor=actor)
        deleted, _ = chosen.delete()
    return deleted
