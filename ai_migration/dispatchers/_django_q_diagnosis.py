"""Diagnoses of a django-q2 cluster: its schedules, and whether it takes tasks."""

from __future__ import annotations

import ast
import inspect
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Q, QuerySet
from django.utils import timezone

from ai_migration.conf import get_settings
from ai_migration.engine.insight.heartbeats import CANARY, LATE, SUPERVISOR, ago, send_canary
from ai_migration.findings import Finding, Level
from ai_migration.jobs.report.progress import duration
from ai_migration.models import WorkerSlot
from ai_migration.models.leases import our_database

if TYPE_CHECKING:
    from django_q.models import Schedule

SLOW = timedelta(seconds=30)
"""A canary that takes longer means that the cluster is overloaded."""
_LOOK_EVERY = 0.2
_INSTALL = "Run: manage.py ai_migration install-schedules"


@dataclass(frozen=True)
class Schedules:
    """The supervisor's schedule, and others that keep it from running: the scheduler takes all
    that are due in one transaction, and one that cannot be read aborts it.

    Attributes:
        name: Name of the supervisor's schedule.
        wanted: The values it has to have.
    """

    name: str
    wanted: dict[str, Any]

    def run(self) -> Iterator[Finding]:
        from django_q.models import Schedule

        ours = Schedule.objects.filter(name=self.name).first()
        if ours is None:
            text = "the supervisor has no schedule"
            yield Finding("schedule", text, _INSTALL, Level.ERROR)
        elif any(getattr(ours, key) != value for key, value in self.wanted.items()):
            text = "the supervisor's schedule was changed, or is another cluster's"
            yield Finding("schedule", text, _INSTALL, Level.ERROR)
        else:
            yield self._timeliness(ours)
        for schedule in _neighbours(Schedule.objects.exclude(repeats=0)):
            problem = unreadable(schedule)
            if problem:
                yield Finding(
                    "schedule",
                    f"schedule {schedule.name or schedule.func!r} (id {schedule.pk}) cannot be "
                    f"read: {problem}. While it is due, no schedule of its cluster runs",
                    "Correct its arguments or its cron expression in the admin, or delete it.",
                    Level.ERROR,
                )

    def _timeliness(self, ours: Schedule) -> Finding:
        if ours.next_run is None:
            text = "the supervisor's schedule has no next run"
            return Finding("schedule", text, f"Delete it. {_INSTALL}", Level.ERROR)
        late = timezone.now() - ours.next_run
        if late < timedelta():
            return Finding("schedule", f"the supervisor runs in {duration(-late)}")
        text = f"the supervisor was to run {duration(late)} ago"
        if late < LATE or _seen_lately(SUPERVISOR):  # or catches up with what it missed
            return Finding("schedule", text)
        return Finding(
            "schedule",
            text,
            "No cluster runs, or its scheduler hangs: see its log and restart it. "
            "Until then, run from cron: manage.py ai_migration supervise",
            Level.ERROR,
        )


@dataclass(frozen=True)
class Canary:
    """Sends the cluster a task, to see whether it comes back.

    Attributes:
        send: Sends the task.
        wait: Seconds to wait; 0: send none, and report the last one.
    """

    send: Callable[[int], None]
    wait: float

    def run(self) -> Iterator[Finding]:
        before = flight = _flight()
        ends = time.monotonic() + self.wait
        if self.wait:
            try:
                flight = self._flown(ends)
                if before.is_away and not flight.is_away:  # to see how long one takes now
                    before, flight = flight, self._flown(ends)
            except Exception as error:  # whatever the broker raises
                text = f"the broker takes no tasks: {type(error).__name__}: {error}"
                yield Finding("canary", text, "Start it, or correct Q_CLUSTER.", Level.ERROR)
                return
        yield self._judged(flight, before)

    def _flown(self, ends: float) -> Flight:
        """Send a task, unless one is away, and wait for it."""
        send_canary(self.send)
        while (flight := _flight()).is_away and time.monotonic() < ends:
            time.sleep(_LOOK_EVERY)
        return flight

    @staticmethod
    def _judged(flight: Flight, before: Flight) -> Finding:
        if flight.sent is None:
            return Finding("canary", "no task was sent yet")
        seen = f"{duration(flight.seen)} ago" if flight.seen is not None else "never"
        away = f"a task sent {duration(flight.sent)} ago has not come back; last success: {seen}"
        if flight.is_away and (flight.seen is None or flight.seen > LATE):
            advice = (
                "No cluster takes tasks: it is stopped or hangs. Stop it (with SIGKILL if "
                "SIGTERM has no effect) and start it: manage.py qcluster. Nothing is lost."
            )
            return Finding("canary", away, advice, Level.ERROR)
        took = before.took if flight.is_away and not before.is_away else flight.took
        text = away if flight.is_away else f"a task came back after {duration(took)}"
        if took > SLOW:
            advice = (
                f"Tasks wait for {duration(took)}: give the cluster more 'workers', or "
                f"migrations a cluster of their own (AI_MIGRATION['CLUSTER'])."
            )
            return Finding("canary", text, advice, Level.ERROR)
        return Finding("canary", text)


@dataclass(frozen=True)
class Flight:
    """The last canary: the time since it was sent, and since one came back."""

    sent: timedelta | None = None
    seen: timedelta | None = None

    @property
    def is_away(self) -> bool:
        """Return whether it was sent and has not come back."""
        return self.sent is not None and (self.seen is None or self.seen > self.sent)

    @property
    def took(self) -> timedelta:
        """The time it took, or has taken so far."""
        sent, seen = self.sent or timedelta(), self.seen or timedelta()
        return sent if self.is_away else sent - seen


def unreadable(schedule: Schedule) -> str:
    """Return the error that django-q2's scheduler would raise for a schedule; empty if there is
    none. Takes the same steps, but sends no task."""
    from django_q.tasks import async_task

    try:
        keywords = _keywords(schedule.kwargs)
        options = keywords.get("q_options", {})
        options.get("group")
        arguments = ast.literal_eval(schedule.args) if schedule.args else ()
        if not isinstance(arguments, tuple):
            arguments = (arguments,)
        inspect.signature(async_task).bind(schedule.func, *arguments, **keywords)
        if schedule.schedule_type != schedule.ONCE:
            schedule.calculate_next_run(schedule.next_run or timezone.now())
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _keywords(text: str | None) -> Any:
    if not text:
        return {}
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        try:
            call: Any = ast.parse(f"f({text})").body[0]
            return {each.arg: ast.literal_eval(each.value) for each in call.value.keywords}
        except (SyntaxError, ValueError):
            return {}


def _neighbours(schedules: QuerySet[Schedule]) -> QuerySet[Schedule]:
    """Return the schedules of the supervisor's cluster; the default cluster has no name in them."""
    from django_q.conf import Conf

    cluster = get_settings().CLUSTER or Conf.PREFIX
    taken = Q(cluster=cluster)
    return schedules.filter(taken | Q(cluster=None) if cluster == Conf.PREFIX else taken)


def _flight() -> Flight:
    slots = WorkerSlot.objects.using(our_database()).filter(name=CANARY)
    ages = slots.annotate(sent=ago("woken_at"), seen=ago("last_seen_at"))
    found = ages.values_list("sent", "seen").first()
    return Flight(*found) if found else Flight()


def _seen_lately(name: str) -> bool:
    slots = WorkerSlot.objects.using(our_database()).annotate(seen=ago("last_seen_at"))
    return slots.filter(name=name, seen__lt=LATE).exists()
