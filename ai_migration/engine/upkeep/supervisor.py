"""The tick: recovers from dead workers, starts waiting jobs, deletes what is over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ai_migration.conf import get_settings
from ai_migration.engine.holders import dead_holders
from ai_migration.engine.insight.metrics import Tally, add_to_minute, drop_old_metrics
from ai_migration.engine.upkeep.quarantine import quarantine
from ai_migration.jobs.feed.collections import drop_retired
from ai_migration.jobs.steer.scheduling import start_waiting
from ai_migration.models import MigrationJob, QueueEntry, WorkerSlot
from ai_migration.models.leases import expire, our_database
from ai_migration.models.sql import clock
from ai_migration.types import EntryStatus, JobStatus


@dataclass(frozen=True)
class TickReport:
    """The result of a tick.

    Attributes:
        recovered: Entries of dead workers that were requeued.
        quarantined: Entries that kill their workers, which were split or given up.
        started: Waiting jobs that were started.
    """

    recovered: int
    quarantined: int
    started: list[str]


def tick() -> TickReport:
    """Recover expired leases, quarantine what kills workers, and start waiting jobs. Safe to run
    concurrently."""
    using = our_database()
    recovered = expire(using, dead_holders(using))
    if recovered:
        slot, _ = WorkerSlot.objects.using(using).get_or_create(name="supervisor")
        add_to_minute(slot.pk, Tally(recoveries=recovered), using)
    QueueEntry.objects.using(using).filter(
        status=EntryStatus.PENDING, job__status=JobStatus.CANCELLED
    ).delete()
    return TickReport(recovered, quarantine(using), start_waiting(using))


def clean_up() -> int:
    """Drop retired collections and old jobs, as the settings say.

    Returns:
        The number of deleted jobs.
    """
    using, settings = our_database(), get_settings()
    drop_retired(using, settings.KEEP_RETIRED_DAYS)
    drop_old_metrics(using)
    if settings.CLEANUP_COMPLETED_AFTER_DAYS is None:
        return 0
    before = clock.now(using) - timedelta(days=settings.CLEANUP_COMPLETED_AFTER_DAYS)
    QueueEntry.objects.using(using).filter(
        job=None, status=EntryStatus.FAILED, completed_at__lt=before
    ).delete()
    over = MigrationJob.objects.using(using).filter(
        status__in=[JobStatus.COMPLETED, JobStatus.CANCELLED], completed_at__lt=before
    )
    deleted, _ = over.delete()
    return deleted
