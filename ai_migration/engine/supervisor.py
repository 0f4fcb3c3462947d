"""The tick: recovers what died, starts what waits, drops what is over."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from ai_migration.conf import get_settings
from ai_migration.engine.metrics import Tally, drop_old_metrics, record
from ai_migration.engine.quarantine import quarantine
from ai_migration.jobs.collections import drop_retired
from ai_migration.jobs.scheduling import start_waiting
from ai_migration.models import MigrationJob, QueueEntry, WorkerSlot
from ai_migration.models.leases import expire, our_database
from ai_migration.models.sql import clock
from ai_migration.types import EntryStatus, JobStatus


@dataclass(frozen=True)
class TickReport:
    """What a tick did.

    Attributes:
        recovered: Entries of dead workers that went back to the queue.
        quarantined: Entries that kill their workers, which were halved or given up.
        started: Jobs that waited and run now.
    """

    recovered: int
    quarantined: int
    started: list[str]


def tick() -> TickReport:
    """Recover expired leases, isolate what kills workers, and start waiting jobs. Any number
    may run at once."""
    using = our_database()
    recovered = expire(using, _dead_holders(using))
    if recovered:
        slot, _ = WorkerSlot.objects.using(using).get_or_create(name="supervisor")
        record(slot.pk, Tally(recoveries=recovered), using)
    QueueEntry.objects.using(using).filter(
        status=EntryStatus.PENDING, job__status=JobStatus.CANCELLED
    ).delete()
    return TickReport(recovered, quarantine(using), start_waiting(using))


def clean_up() -> int:
    """Drop retired collections and old jobs, as the settings say.

    Returns:
        How many jobs were deleted.
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


def holder_name() -> str:
    """Who this process is, as ``host/namespace:pid``. The namespace tells containers that
    share a host name apart, whose process numbers mean different processes."""
    return f"{_host()}:{os.getpid()}"


def _host() -> str:
    namespace = Path("/proc/self/ns/pid")
    inode = namespace.stat().st_ino if namespace.exists() else 0
    return f"{socket.gethostname()}/{inode}"


def _dead_holders(using: str) -> set[str]:
    """Holders of this very host whose process is gone: no need to wait for their lease."""
    prefix = f"{_host()}:"
    holders = WorkerSlot.objects.using(using).filter(
        lease_expires_at__isnull=False, holder__startswith=prefix
    )
    return {
        holder
        for holder in holders.values_list("holder", flat=True)
        if not _is_alive(holder.removeprefix(prefix))
    }


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):
        return True
    return True
