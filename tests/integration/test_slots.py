"""Slots and messages: a message is a wake-up, and the row of the slot is the truth."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.db.models import F

from ai_migration import enqueue, migration_service
from ai_migration.conf import get_settings
from ai_migration.dispatch import WakeUp
from ai_migration.engine.slices.slice import SliceReport
from ai_migration.engine.slots import _hand_over, has_work, wake_all, wake_one, work
from ai_migration.indexing import queue
from ai_migration.jobs.feed.ranges import feed
from ai_migration.models import MigrationJob, QueueEntry, WorkerSlot
from ai_migration.models.leases import acquire, our_database, take
from ai_migration.models.sql import clock
from ai_migration.types import JobStatus
from tests.integration.support import (
    Project,
    assert_in_line,
    die,
    make_articles,
    progress,
    start,
)

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])


class Bus:
    """Messages, delivered when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[WakeUp] = []

    def send(self, wake_up: WakeUp) -> None:
        self.waiting.append(wake_up)

    def deliver(self) -> None:
        """Deliver messages until there are none."""
        for _ in range(200):
            if not self.waiting:
                return
            work(self.waiting.pop(0), self.send)
        raise AssertionError("Messages never end")


@pytest.fixture
def bus(project: Project) -> Bus:
    project.set(SLICE_SECONDS=0.3, WORKERS=2, QUEUE_WINDOW=4)
    return Bus()


def slots() -> list[WorkerSlot]:
    return list(WorkerSlot.objects.filter(name__startswith="cluster").order_by("name"))


def test_one_message_starts_a_chain_that_does_all_the_work(bus: Bus) -> None:
    make_articles(40)
    job = start(batch_size=5)
    assert wake_one(bus.send)
    bus.deliver()
    assert progress(job).status == JobStatus.COMPLETED
    assert_in_line()
    assert not has_work(our_database())
    assert all(slot.lease_expires_at is None for slot in slots())


def test_a_job_uses_the_slots_that_are_free(bus: Bus) -> None:
    make_articles(4)
    start(batch_size=1)
    wake_one(bus.send)
    work(bus.waiting.pop(0), bus.send)
    assert {message.slot_id for message in bus.waiting} >= {slots()[1].pk}


def test_a_slot_is_not_asked_for_twice(bus: Bus) -> None:
    make_articles(1)
    start()
    assert wake_all(bus.send) == 2
    assert wake_all(bus.send) == 0
    assert not wake_one(bus.send)
    assert len({message.slot_id for message in bus.waiting}) == 2


def test_a_message_that_comes_twice_late_or_forked_does_nothing(bus: Bus) -> None:
    make_articles(3)
    job = start()
    wake_one(bus.send)
    (message,) = bus.waiting
    bus.deliver()
    assert progress(job).status == JobStatus.COMPLETED
    before = [slot.token for slot in slots()]
    assert work(message, bus.send) is None
    assert work(WakeUp(message.slot_id, message.token + 50), bus.send) is None
    assert work(WakeUp(10_000, 0), bus.send) is None
    assert [slot.token for slot in slots()] == before
    assert not bus.waiting


def test_a_message_for_a_slot_that_is_held_does_nothing(bus: Bus) -> None:
    make_articles(1)
    start()
    wake_one(bus.send)
    (message,) = bus.waiting
    held = take(message.slot_id, message.token, "other:1")
    assert held is not None
    assert work(message, bus.send) is None
    assert work(WakeUp(message.slot_id, held.token), bus.send) is None


def test_a_message_that_was_lost_is_sent_again(bus: Bus) -> None:
    make_articles(3)
    job = start()
    wake_all(bus.send)
    bus.waiting.clear()  # the broker lost them
    assert wake_all(bus.send) == 0, "they may be on their way"
    WorkerSlot.objects.update(woken_at=F("woken_at") - timedelta(minutes=2))
    assert wake_all(bus.send) == 2
    bus.deliver()
    assert progress(job).status == JobStatus.COMPLETED


def test_nobody_is_woken_when_there_is_nothing_to_do(bus: Bus) -> None:
    assert wake_all(bus.send) == 0
    wake_one(bus.send)
    bus.deliver()
    assert not bus.waiting
    make_articles(1)
    start()
    wake_all(bus.send)
    bus.deliver()
    enqueue("article", [1])
    assert has_work(our_database())
    assert wake_all(bus.send) >= 1
    bus.deliver()
    assert not has_work(our_database())


def test_a_worker_whose_lease_was_lost_hands_nothing_over(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_articles(3)
    start()
    wake_one(bus.send)
    message = bus.waiting.pop(0)

    def lose(*_: object) -> None:
        from ai_migration.exceptions import OwnershipLostError

        WorkerSlot.objects.update(token=F("token") + 3, lease_expires_at=None)
        raise OwnershipLostError("taken")

    monkeypatch.setattr("ai_migration.engine.slots._slice", lose)
    assert work(message, bus.send) is None
    assert message.slot_id not in {waiting.slot_id for waiting in bus.waiting}


def throttle(seconds: float) -> None:
    until = clock.now(our_database()) + timedelta(seconds=seconds)
    MigrationJob.objects.update(throttled_until=until, throttle_reason="429")


def ready(job: MigrationJob) -> None:
    """What a job waits for is over."""
    MigrationJob.objects.filter(pk=job.pk).update(throttled_until=None)


def test_what_cannot_be_claimed_for_long_leaves_all_slots_idle(bus: Bus) -> None:
    make_articles(3)
    job = start()
    wake_all(bus.send)
    throttle(3600)
    bus.deliver()
    assert not bus.waiting
    assert all(slot.lease_expires_at is None for slot in slots())
    assert wake_all(bus.send) == 0, "the supervisor lets them sleep, too"
    ready(job)
    assert wake_all(bus.send) == 2
    bus.deliver()
    assert progress(job).status == JobStatus.COMPLETED


def batches(report: SliceReport | None) -> int:
    assert report is not None
    return report.batches


@pytest.mark.gate
def test_one_slot_keeps_watch_for_what_comes_soon(bus: Bus, project: Project) -> None:
    project.set(SLICE_SECONDS=20)
    make_articles(3)
    job = start(batch_size=1)
    wake_all(bus.send)
    first, second = bus.waiting
    bus.waiting.clear()
    throttle(2)
    assert batches(work(first, bus.send)) == 0, "the other one was asked to work, too"
    assert not bus.waiting
    assert batches(work(second, bus.send)) > 0
    assert progress(job).status == JobStatus.COMPLETED


def test_of_two_that_leave_one_is_called_back(bus: Bus, project: Project) -> None:
    project.set(SLICE_SECONDS=20)
    make_articles(3)
    start()
    wake_all(bus.send)
    leases = [take(message.slot_id, message.token, "me:1") for message in bus.waiting]
    bus.waiting.clear()
    throttle(10)
    for lease in leases:
        assert lease is not None
        _hand_over(lease, bus.send, is_idle=True)
    (message,) = bus.waiting
    assert message.slot_id == slots()[1].pk


def test_fewer_workers_are_fewer_slots(bus: Bus, project: Project) -> None:
    make_articles(8)
    job = start(batch_size=1)
    wake_all(bus.send)
    project.set(WORKERS=1, SLICE_SECONDS=0.001)
    first, second = bus.waiting
    work(second, bus.send)
    assert bus.waiting == [first, second], "the second slot is not asked for again"
    bus.deliver()
    assert progress(job).status == JobStatus.COMPLETED


def test_a_slice_recovers_who_died_before_it(bus: Bus) -> None:
    make_articles(3)
    job = start()
    feed(job.pk, our_database())
    dead = acquire("dead", "dead:1")
    assert dead is not None
    assert queue.claim(dead, 8)
    die()
    wake_one(bus.send)
    bus.deliver()
    assert progress(job).status == JobStatus.COMPLETED


@pytest.mark.parametrize("state", ["available_at", "open", "paused", "deadly"])
def test_work_is_what_can_be_claimed(bus: Bus, state: str) -> None:
    make_articles(3)
    job = start()
    using = our_database()
    assert has_work(using), "it has to be fed"
    feed(job.pk, using)
    assert has_work(using)
    match state:
        case "available_at":
            until = clock.now(using) + timedelta(seconds=60)
            QueueEntry.objects.update(available_at=until)
            assert has_work(using, within=120)
        case "open":
            QueueEntry.objects.update(status="CLAIMED")
        case "deadly":
            QueueEntry.objects.update(claims=get_settings().MAX_CRASHES)
        case "paused":
            migration_service.pause_migration(job.pk)
    assert not has_work(using)


@pytest.mark.vendors("postgresql")
def test_a_slot_outlives_the_database_and_is_given_back(bus: Bus, project: Project) -> None:
    script = project.embedder()
    make_articles(3)
    job = start()
    wake_one(bus.send)

    def crash(texts: object) -> None:
        script.react = lambda texts: None
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        connection.close()

    script.react = crash
    with pytest.raises(OperationalError):
        work(bus.waiting.pop(), bus.send)
    assert not WorkerSlot.objects.filter(lease_expires_at__isnull=False).exists()
    assert set(QueueEntry.objects.values_list("status", "claims")) == {("PENDING", 0)}
    bus.deliver()
    assert progress(job).status == JobStatus.COMPLETED
