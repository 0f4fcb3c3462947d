"""Attendance: whether somebody takes the live changes that wait."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q

from ai_migration.engine.insight.heartbeats import WORKER_NAME
from ai_migration.models import MigrationJob, QueueEntry, WorkerSlot
from ai_migration.models.leases import our_database
from ai_migration.models.sql import clock
from ai_migration.models.sql.clock import Now
from ai_migration.types import EntryStatus, JobStatus

PATIENCE = timedelta(minutes=1)
"""A worker that was seen within this time is there: between two slices it holds no slot. Work that
makes no progress for this long is taken for abandoned."""
LOOKED_AT = 10_000
"""Entries and failures that are counted, at most."""
FOREGROUND = "foreground"
"""Slots of workers that only work for their own job, and for live changes of its entity type."""

Change = tuple[str, datetime]
"""A live change that can be claimed: its entity type, and when it was made."""


@dataclass(frozen=True)
class Waiting:
    """Live changes that can be claimed.

    Attributes:
        changes: Their number.
        entity_types: Their entity types.
        since: When the oldest was made.
        age: How long it has waited.
        is_worked: Whether a worker that was seen lately takes them.
        unseen_for: How long no such worker was seen; None: there never was one.
    """

    changes: int
    entity_types: tuple[str, ...]
    since: datetime
    age: timedelta
    is_worked: bool
    unseen_for: timedelta | None

    @property
    def is_abandoned(self) -> bool:
        """Return whether they wait for a worker that does not come."""
        return not self.is_worked and self.age > PATIENCE


def workers_seen(slots: Iterable[WorkerSlot], now: datetime) -> list[str]:
    """Return the names of the workers that were seen lately.

    Args:
        slots: Rows of worker slots; heartbeats and locks among them are none.
        now: The present time, by the database's clock.
    """
    return [
        slot.name
        for slot in slots
        if re.search(WORKER_NAME, slot.name)
        and (
            (slot.lease_expires_at is not None and slot.lease_expires_at > now)
            or (slot.last_seen_at is not None and now - slot.last_seen_at < PATIENCE)
        )
    ]


def is_worker_seen(using: str) -> bool:
    """Return whether a worker was seen lately.

    Args:
        using: Database alias of our tables.
    """
    return bool(workers_seen(WorkerSlot.objects.using(using), clock.now(using)))


def waiting_changes() -> list[Waiting]:
    """Return the live changes that can be claimed: those that a worker takes, those that none does,
    or both, where only workers in the foreground run."""
    using = our_database()
    due = Q(available_at=None) | Q(available_at__lte=Now())
    entries = QueueEntry.objects.using(using).filter(due, job=None, status=EntryStatus.PENDING)
    changes = list(entries.order_by("id").values_list("entity_type", "created_at")[:LOOKED_AT])
    if not changes:
        return []
    running = MigrationJob.objects.using(using).filter(status=JobStatus.RUNNING)
    return sort_out(
        changes,
        list(WorkerSlot.objects.using(using)),
        set(running.values_list("entity_type", flat=True)),
        clock.now(using),
    )


def sort_out(
    changes: Collection[Change],
    slots: Collection[WorkerSlot],
    running: Collection[str],
    now: datetime,
) -> list[Waiting]:
    """Return live changes by whether a worker takes them.

    Args:
        changes: Those that can be claimed.
        slots: Rows of worker slots.
        running: Entity types of the running jobs.
        now: The present time, by the database's clock.
    """
    seen = workers_seen(slots, now)
    is_foreground = bool(seen) and all(map(_is_foreground, seen))
    found = []
    for is_worked in (True, False):
        mine = [
            change
            for change in changes
            if is_worked == (change[0] in running if is_foreground else bool(seen))
        ]
        if mine:
            since = min(made_at for _, made_at in mine)
            others = [s for s in slots if not (is_foreground and _is_foreground(s.name))]
            types = tuple(sorted({entity_type for entity_type, _ in mine}))
            unseen = None if is_worked else _unseen_for(others, now)
            found.append(Waiting(len(mine), types, since, now - since, is_worked, unseen))
    return found


def _is_foreground(name: str) -> bool:
    return name.startswith(f"{FOREGROUND}-")


def _unseen_for(slots: Iterable[WorkerSlot], now: datetime) -> timedelta | None:
    workers = (slot for slot in slots if re.search(WORKER_NAME, slot.name))
    moments = [slot.last_seen_at for slot in workers if slot.last_seen_at is not None]
    return now - max(moments) if moments else None
