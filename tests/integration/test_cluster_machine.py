"""The state machine of the service, on a cluster: messages come twice, late, in any order or
never, processes are killed between any two statements, and hosts disagree about the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule, run_state_machine_as_test

from ai_migration.dispatch import WakeUp
from ai_migration.engine.slices.slice import Slice
from ai_migration.engine.slots import has_work, wake_all, wake_one, work
from ai_migration.engine.upkeep.supervisor import tick
from ai_migration.exceptions import OwnershipLostError
from ai_migration.models import MigrationJob, QueueEntry, WorkerSlot
from ai_migration.models.leases import our_database, take
from ai_migration.types import JobStatus
from tests.integration.support import Killed, Project, make_articles, start
from tests.integration.test_machine import CHAOS, SLOTS, STORES, WHICH, Service

WORKERS = 2
TICKS = 5
"""After so many ticks everything is done, whatever happened before."""
MESSAGES = 200
"""So many slices are enough for what a machine can pile up."""

_now = timezone.now


class Killer:
    """Kills the process before the n-th statement it sends to the database."""

    def __init__(self, statements: int) -> None:
        self._left = statements

    def __call__(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        self._left -= 1
        if self._left == 0:
            raise Killed
        return execute(*arguments)


class Cluster(Service):
    """A service whose work is done by the slices of a cluster, beside other workers."""

    hours = 0
    """By how much the clock of the host at work is wrong."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.waiting: list[WakeUp] = []
        self.seen: list[WakeUp] = []

    def send(self, wake_up: WakeUp) -> None:
        self.waiting.append(wake_up)
        self.seen.append(wake_up)

    @initialize()
    def rows(self) -> None:
        make_articles(12)
        start(batch_size=4)
        wake_all(self.send)

    def take_message(self, which: int) -> WakeUp | None:
        if not self.waiting:
            wake_one(self.send)
        return self.waiting.pop(which % len(self.waiting)) if self.waiting else None

    # Messages

    @rule()
    def wake(self) -> None:
        wake_one(self.send)

    @rule(which=WHICH)
    def deliver(self, which: int) -> None:
        message = self.take_message(which)
        if message is not None:
            work(message, self.send)

    @rule(which=WHICH)
    def deliver_a_copy(self, which: int) -> None:
        if self.seen:
            self.waiting.append(self.seen[which % len(self.seen)])

    @rule(which=WHICH)
    def lose(self, which: int) -> None:
        if self.waiting:
            self.take_message(which)

    @rule()
    def supervise(self) -> None:
        tick()
        wake_all(self.send)

    @rule()
    def a_minute_passes(self) -> None:
        WorkerSlot.objects.update(woken_at=F("woken_at") - timedelta(minutes=2))

    # Machines

    @rule(which=WHICH, statements=st.integers(1, 80))
    def kill(self, which: int, statements: int) -> None:
        message = self.take_message(which)
        if message is None:
            return
        with connection.execute_wrapper(Killer(statements)):
            try:
                lease = take(message.slot_id, message.token, "dead:1")
                if lease is not None:
                    Slice(lease).run()
            except (Killed, OwnershipLostError):
                pass

    @rule(statements=st.integers(8, 40), times=st.integers(2, 6))
    def die_again_and_again(self, statements: int, times: int) -> None:
        for _ in range(times):
            self.kill(0, statements)
            self.leases_run_out()
            tick()

    @rule(hours=st.integers(-30, 30))
    def another_host(self, hours: int) -> None:
        type(self).hours = hours

    # What is true at any time

    @invariant()
    def slots_are_bounded(self) -> None:
        assert WorkerSlot.objects.filter(name__startswith="cluster-").count() <= WORKERS

    @invariant()
    def what_is_claimed_is_fenced(self) -> None:
        for entry in QueueEntry.objects.filter(status="CLAIMED").select_related("claimed_by"):
            assert entry.claimed_by is not None
            assert entry.fence <= entry.claimed_by.token

    # What must come of it

    def settle(self) -> None:
        for _ in range(TICKS):
            self.a_minute_passes()
            QueueEntry.objects.update(available_at=None)
            self.supervise()
            for _ in range(MESSAGES):
                if not self.waiting:
                    break
                work(self.waiting.pop(0), self.send)
            assert not self.waiting, "messages never end"
            waiting = MigrationJob.objects.filter(status=JobStatus.PENDING)
            if not has_work(our_database()) and not waiting.exists():
                break
        else:
            raise AssertionError(f"not done after {TICKS} ticks")
        running = MigrationJob.objects.filter(status=JobStatus.RUNNING)
        assert not running.exists()
        assert all(slot.lease_expires_at is None for slot in WorkerSlot.objects.all())


@pytest.mark.gate
@pytest.mark.parametrize("store", STORES)
def test_a_cluster_keeps_the_promises(
    project: Project, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.set(
        MAX_CONCURRENT_JOBS=SLOTS,
        MAX_ATTEMPTS=3,
        MAX_CRASHES=2,
        WORKERS=WORKERS,
        SLICE_SECONDS=0.05,
        QUEUE_WINDOW=4,
    )
    script = project.embedder(max_batch_size=3)
    project.store(store)

    class Scripted(Cluster):
        def __init__(self) -> None:
            super().__init__(script)

    def wrong_now() -> datetime:
        return _now() + timedelta(hours=Scripted.hours)

    monkeypatch.setattr(timezone, "now", wrong_now)
    if connection.vendor == "postgresql":  # SQLite lives on one host and uses its clock
        nanoseconds = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: nanoseconds() + Scripted.hours * 3600 * 10**9)
    run_state_machine_as_test(Scripted, settings=CHAOS)
