"""Diagnoses of the engine's health, from its tables.

Each diagnosis is a frozen dataclass with a method ``run()``. A dispatcher adds its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Exists, OuterRef, Q, QuerySet

from ai_migration.conf import get_settings
from ai_migration.dispatch import get_dispatcher
from ai_migration.engine.insight.attendance import (
    LOOKED_AT,
    PATIENCE,
    Waiting,
    is_worker_seen,
    waiting_changes,
)
from ai_migration.engine.insight.freshness import seconds
from ai_migration.engine.insight.heartbeats import (
    LATE,
    SUPERVISOR,
    ago,
    is_cluster_alive,
    worker_slots,
)
from ai_migration.engine.insight.metrics import freshness
from ai_migration.exceptions import AIMigrationError
from ai_migration.findings import Diagnosis, Finding, Level
from ai_migration.jobs.report.overview import list_entities
from ai_migration.jobs.report.progress import duration
from ai_migration.models import MigrationJob, QueueEntry, WorkerSlot
from ai_migration.models.leases import our_database
from ai_migration.types import OPEN_STATUSES, EntryStatus, JobStatus
from ai_migration.words import counted

BACKLOG = timedelta(minutes=10)
"""Live changes that wait this long although workers run are more than these can do."""
MANY_CLAIMS = 3
MANY_ATTEMPTS = 3
_AT_MOST = 10
_CLUSTER = "Start the cluster: manage.py qcluster"
_RECOVER = "Run: manage.py ai_migration supervise"


def diagnose(wait: float = 0) -> list[Finding]:
    """Run all diagnoses of ``ai_migration doctor``, except the system checks.

    Args:
        wait: Seconds a cluster is given to run a task; 0: send it none.

    Raises:
        SettingsError: The settings are wrong, or the dispatcher cannot be made.
    """
    using = our_database()
    dispatcher = get_dispatcher()
    diagnoses: list[Diagnosis] = [
        Supervisor(using, is_needed=dispatcher.supports_schedules),
        Workers(using),
        Jobs(using),
        Entries(using),
        Searchable(),
        Indexes(),
        *dispatcher.diagnoses(wait),
    ]
    return [finding for diagnosis in diagnoses for finding in diagnosis.run()]


@dataclass(frozen=True)
class Supervisor:
    """The last tick: its time and its process."""

    using: str
    is_needed: bool

    def run(self) -> Iterator[Finding]:
        ticks = WorkerSlot.objects.using(self.using).filter(name=SUPERVISOR)
        slots = ticks.exclude(last_seen_at=None)
        seen = slots.annotate(seen=ago("last_seen_at")).values_list("seen", "holder").first()
        if seen is None:  # if that lasts, the schedule is late
            yield Finding("supervisor", "no tick yet")
            return
        fact = f"last tick {duration(seen[0])} ago by {seen[1]}"
        if self.is_needed and seen[0] > LATE:
            yield Finding("supervisor", fact, f"{_CLUSTER}. {_RECOVER}, from cron.", Level.ERROR)
        else:
            yield Finding("supervisor", fact)


@dataclass(frozen=True)
class Workers:
    """The workers that hold a slot."""

    using: str

    def run(self) -> Iterator[Finding]:
        held = worker_slots(self.using).exclude(lease_expires_at=None)
        slots = held.annotate(seen=ago("last_seen_at"), over=ago("lease_expires_at"))
        rows = slots.order_by("name").values_list("name", "holder", "seen", "over")
        for name, holder, seen, over in rows:
            fact = f"{name} held by {holder}, seen {duration(seen)} ago"
            if over < timedelta():
                yield Finding("worker", f"{fact}, lease for {duration(-over)}")
            elif over < LATE:
                yield Finding("worker", f"{fact}, died: the next tick ends its lease")
            else:
                fact += f", its lease ran out {duration(over)} ago and was not ended"
                yield Finding("worker", fact, _RECOVER, Level.ERROR)
        if not rows:
            yield Finding("worker", "no worker is busy")


@dataclass(frozen=True)
class Jobs:
    """Running and waiting jobs."""

    using: str

    def run(self) -> Iterator[Finding]:
        jobs = MigrationJob.objects.using(self.using).annotate(
            idle=ago("last_updated_at"), until=ago("throttled_until")
        )
        running = list(jobs.filter(status=JobStatus.RUNNING).order_by("pk"))
        is_worked = is_worker_seen(self.using)
        for job in running:
            fact = f"{job.pk} ({job.entity_type}) is RUNNING"
            if job.until is not None and job.until < timedelta():
                reason = f": {job.throttle_reason}" if job.throttle_reason else ""
                yield Finding("job", f"{fact}, throttled for {duration(-job.until)}{reason}")
            elif job.idle > PATIENCE and not is_worked:
                fact += f", and no worker has worked on it for {duration(job.idle)}"
                yield Finding("job", fact, start_advice(), Level.ERROR)
            elif not is_worked and not _is_cluster():
                yield _unattended("job", fact)
            else:
                yield Finding("job", f"{fact}, {counted(job.processed_entities, 'row')} done")
        limit = get_settings().MAX_CONCURRENT_JOBS
        for job in jobs.filter(status=JobStatus.PENDING).order_by("pk"):
            fact = f"{job.pk} ({job.entity_type}) is PENDING"
            if len(running) >= limit:
                yield Finding("job", f"{fact}: MAX_CONCURRENT_JOBS ({limit}) run")
            elif job.idle > PATIENCE:
                fact += f" for {duration(job.idle)}, and a place is free"
                yield Finding("job", fact, _RECOVER, Level.ERROR)
            elif not is_worked and not _is_cluster():
                yield _unattended("job", fact)
            else:
                yield Finding("job", f"{fact}: it starts with the next tick")


@dataclass(frozen=True)
class Entries:
    """Queue entries that make no progress."""

    using: str

    def run(self) -> Iterator[Finding]:
        entries = QueueEntry.objects.using(self.using)
        yield from self._claimed(entries.filter(status=EntryStatus.CLAIMED))
        yield from self._live()
        yield from self._given_up(entries.filter(job=None, status=EntryStatus.FAILED))
        yield from self._restless(entries)

    def _claimed(self, entries: QuerySet[QueueEntry]) -> Iterator[Finding]:
        held = (
            WorkerSlot.objects.annotate(over=ago("lease_expires_at"))
            .filter(over__lt=LATE)
            .filter(pk=OuterRef("claimed_by"), token=OuterRef("fence"))
        )
        if count := entries.exclude(Exists(held)).count():
            fact = counted(count, "claimed entry belongs", "claimed entries belong")
            fact += " to a worker that died" if count == 1 else " to workers that died"
            yield Finding("queue", fact, _RECOVER, Level.ERROR)
        elif count := entries.count():
            fact = counted(count, "entry is", "entries are")
            yield Finding("queue", f"{fact} in progress")

    @staticmethod
    def _live() -> Iterator[Finding]:
        for waiting in waiting_changes():
            if waiting.is_abandoned:
                yield Finding("queue", abandoned_fact(waiting), start_advice(), Level.ERROR)
                continue
            fact = f"{_changes(waiting)}, the oldest for {duration(waiting.age)}"
            if waiting.is_worked and waiting.age > BACKLOG:
                advice = "The workers cannot keep up: start more, or see their log for the cause."
                yield Finding("queue", fact, advice, Level.WARNING)
            elif not waiting.is_worked and not _is_cluster():
                yield _unattended("queue", fact)
            else:
                yield Finding("queue", fact)

    @staticmethod
    def _given_up(entries: QuerySet[QueueEntry]) -> Iterator[Finding]:
        if count := entries.count():
            error = entries.latest("pk").error
            fact = counted(count, "live change was", "live changes were")
            fact += f" given up, the last with: {error}"
            advice = "Correct that, and enqueue the entities again or migrate the entity type."
            yield Finding("queue", fact, advice, Level.WARNING)

    def _restless(self, entries: QuerySet[QueueEntry]) -> Iterator[Finding]:
        restless = entries.filter(
            Q(claims__gte=MANY_CLAIMS) | Q(attempts__gte=MANY_ATTEMPTS),
            status__in=[EntryStatus.PENDING, EntryStatus.CLAIMED],
        )
        for entry in restless.order_by("pk")[:_AT_MOST]:
            fact = (
                f"entry {entry.pk} ({entry.entity_type}, {entry.job_id or 'live'}): "
                f"{counted(entry.claims, 'unfinished claim')}, "
                f"{counted(entry.attempts, 'failed attempt')}"
            )
            fact += f": {entry.error}" if entry.error else ""
            advice = "See the workers' log for the cause: memory, a crash, a time-out."
            if entry.error:
                advice = "It is tried again. If the error persists, correct its cause."
            yield Finding("queue", fact, advice, Level.WARNING)


@dataclass(frozen=True)
class Searchable:
    """The freshness of live changes."""

    def run(self) -> Iterator[Finding]:
        if found := freshness():
            fact = counted(found.changes, "live change") + " of the last hour: half searchable"
            yield Finding(
                "freshness",
                f"{fact} within {seconds(found.p50)}, 95 % within {seconds(found.p95)}",
            )


@dataclass(frozen=True)
class Indexes:
    """Compares the number of indexed entities with the number of rows, for each entity type. Only a
    dry run finds indexed entities whose rows have changed."""

    def run(self) -> Iterator[Finding]:
        try:
            overviews = list_entities()
        except AIMigrationError:
            return  # reported by the checks
        for each in overviews:
            last = each.last_job
            if each.state is None or (last and last.status in OPEN_STATUSES):
                continue  # reported by the checks, or a job is under way
            fact = (
                f"{each.entity_type}: {each.indexed:,} indexed of {each.rows_text} rows; "
                f"{each.summary}"
            )
            advice = ""
            if each.problem:
                advice = "Correct that."
            elif each.meanwhile:
                advice = f"Run: manage.py migrate_ai_entities {each.entity_type} --rebuild"
            elif last and last.status == JobStatus.FAILED:
                advice = f"See why it failed: manage.py ai_migration show {last.pk}"
            elif each.difference:
                dry_run = f"manage.py migrate_ai_entities {each.entity_type} --dry-run"
                advice = f"Rows without text are never indexed. For other causes: {dry_run}"
            elif each.lacks_index:
                advice = _index_advice(each.entity_type)
            yield Finding("index", fact, advice, Level.WARNING if advice else Level.OK)


def abandoned_fact(waiting: Waiting) -> str:
    """Return what is known of live changes that nobody takes."""
    fact = f"{_changes(waiting)} since {waiting.since:%Y-%m-%d %H:%M} UTC, and no worker was "
    if waiting.unseen_for is None:
        return f"{fact}ever seen"
    return f"{fact}seen for {duration(waiting.unseen_for)}"


def _changes(waiting: Waiting) -> str:
    is_one = waiting.changes == 1
    count = f"{waiting.changes:,}{'+' if waiting.changes == LOOKED_AT else ''}"
    noun, verb = ("change", "waits") if is_one else ("changes", "wait")
    return f"{count} live {noun} of {', '.join(waiting.entity_types)} {verb}"


def _is_cluster() -> bool:
    """Return whether a cluster is alive, whose tasks take up fresh work."""
    return get_dispatcher().supports_messages and is_cluster_alive()


def _unattended(name: str, fact: str) -> Finding:
    """Return the finding about fresh work that nobody is there for."""
    return Finding(name, f"{fact}, and no worker is running", start_advice(), Level.WARNING)


def _index_advice(entity_type: str) -> str:
    if get_settings().BUILD_INDEX_ABOVE is None:
        return f"A full run builds it: manage.py migrate_ai_entities {entity_type}"
    return "A worker builds it within minutes. If none does, see its log, or: " + _RECOVER


def start_advice() -> str:
    """Return how to get work done that nobody is there for."""
    if get_dispatcher().supports_messages:
        return f"{_CLUSTER}. {_RECOVER}"
    return f"Start a worker: {start_command()}"


def start_command() -> str:
    """Return the command that starts a worker, or the cluster."""
    return (
        f"manage.py {'qcluster' if get_dispatcher().supports_messages else 'ai_migration worker'}"
    )
