"""The status of the engine, in a handful of bounded queries, for dashboards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ai_migration.engine.insight.attendance import LOOKED_AT, Waiting, sort_out
from ai_migration.engine.insight.freshness import Freshness
from ai_migration.engine.insight.heartbeats import SUPERVISOR
from ai_migration.engine.insight.metrics import Done, entities_done, freshness
from ai_migration.models import EntityFailure, MigrationJob, QueueEntry, WorkerSlot
from ai_migration.models.leases import our_database
from ai_migration.models.sql import clock
from ai_migration.models.sql.counting import bounded_count
from ai_migration.pace.limits import CoolDown, cool_downs
from ai_migration.types import OPEN_STATUSES, EntryStatus, JobStatus, Priority

_SLOTS = 1_000
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Worker:
    """A worker that holds a slot.

    Attributes:
        name: The slot.
        holder: ``host:pid``.
        last_seen_at: Its last sign of life.
    """

    name: str
    holder: str
    last_seen_at: datetime | None


@dataclass(frozen=True)
class EngineStatus:
    """The status of the engine.

    Attributes:
        at: The present time, by the database's clock.
        jobs: Open jobs by their status.
        waiting: Entries that wait to be claimed, by priority; those of paused jobs do not.
        waiting_is_all: Whether all of them were counted.
        oldest_waiting: The time since which the oldest of them waits.
        failures_last_hour: Entities that failed, at most :data:`LOOKED_AT` and one.
        workers: Workers that hold a slot.
        supervisor_seen_at: Its last sign of life.
        cool_downs: Embedders that are in a cool-down.
        done: What was done, oldest first: by the minute, or by the hour for more than a day.
        entities_per_second: In the last whole minute, while somebody worked.
        freshness: The waits of the live changes that became searchable in the last hour.
        abandoned: The live changes that no worker takes, though they wait for a while; None: there
            are none.
    """

    at: datetime
    jobs: Mapping[JobStatus, int]
    waiting: Mapping[Priority, int]
    waiting_is_all: bool
    oldest_waiting: datetime | None
    failures_last_hour: int
    workers: Sequence[Worker]
    supervisor_seen_at: datetime | None
    cool_downs: Sequence[CoolDown]
    done: Sequence[Done]
    entities_per_second: float
    freshness: Freshness
    abandoned: Waiting | None


def engine_status(last: timedelta = timedelta(hours=3)) -> EngineStatus:
    """Return the status of the queue and the workers, in a few bounded queries.

    Args:
        last: How far back the throughput goes.
    """
    using = our_database()
    now = clock.now(using)
    jobs = MigrationJob.objects.using(using).filter(status__in=OPEN_STATUSES)
    known = list(jobs.values_list("pk", "status", "entity_type")[:LOOKED_AT])
    status_of = {pk: status for pk, status, _ in known}
    pending = QueueEntry.objects.using(using).filter(status=EntryStatus.PENDING)
    columns = ("priority", "created_at", "job", "entity_type", "available_at")
    looked_at = list(pending.order_by("priority", "id").values_list(*columns)[:LOOKED_AT])
    waiting = [
        (priority, since)
        for priority, since, job, *_ in looked_at
        if job is None or status_of.get(job) == JobStatus.RUNNING
    ]
    live = [
        (entity_type, since)
        for _, since, job, entity_type, due in looked_at
        if job is None and (due is None or due <= now)
    ]
    failures = EntityFailure.objects.using(using)
    recent = failures.filter(last_failed_at__gt=now - timedelta(hours=1))
    slots = WorkerSlot.objects.using(using).exclude(last_seen_at=None).order_by("-last_seen_at")
    seen = list(slots[:_SLOTS])
    running = {kind for _, status, kind in known if status == JobStatus.RUNNING}
    sorted_out = sort_out(live, seen, running, now)
    return EngineStatus(
        at=now,
        jobs=Counter(JobStatus(status) for status in status_of.values()),
        waiting=Counter(Priority(priority) for priority, _ in waiting),
        waiting_is_all=len(looked_at) < LOOKED_AT,
        oldest_waiting=min((since for _, since in waiting), default=None),
        failures_last_hour=min(bounded_count(recent, LOOKED_AT, everywhere=True)[0], LOOKED_AT + 1),
        workers=[
            Worker(slot.name, slot.holder, slot.last_seen_at)
            for slot in seen
            if slot.lease_expires_at is not None and slot.lease_expires_at > now
        ],
        supervisor_seen_at=next((s.last_seen_at for s in seen if s.name == SUPERVISOR), None),
        cool_downs=cool_downs(using),
        done=entities_done(now - last, hourly=last > _DAY),
        entities_per_second=_rate(now),
        freshness=freshness(),
        abandoned=next((each for each in sorted_out if each.is_abandoned), None),
    )


def _rate(now: datetime) -> float:
    last = now.replace(second=0, microsecond=0) - timedelta(minutes=1)
    found = (done.entities / done.seconds for done in entities_done(last) if done.at == last)
    return next(found, 0.0)
