"""Live changes are taken up soon, many at a time, and before the rows of a migration."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Sequence

import pytest
from django.db import OperationalError, connections, transaction

from ai_migration import enqueue
from ai_migration.engine import worker
from ai_migration.engine.slices import slice as slices
from ai_migration.engine.slices.slice import LIVE_ROWS, Slice, SliceReport
from ai_migration.engine.worker import run_worker
from ai_migration.indexing.outbox import Change, record
from ai_migration.indexing.queue import claim, live_is_due
from ai_migration.jobs.feed.ranges import feed
from ai_migration.models import MigrationJob, QueueEntry
from ai_migration.models.leases import expire, our_database
from ai_migration.types import EntryStatus, Operation
from tests.integration.embedders import Script
from tests.integration.support import (
    Project,
    assert_in_line,
    die,
    lease,
    make_articles,
    run,
    start,
    work,
)
from tests.testapp.models import Article

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])


def keys() -> list[str]:
    return [str(pk) for pk in Article.objects.order_by("pk").values_list("pk", flat=True)]


def one_by_one(ids: Sequence[str]) -> None:
    """An entry for each."""
    QueueEntry.objects.bulk_create(
        QueueEntry(entity_type="article", operation=Operation.INDEX, priority=1, entity_ids=[key])
        for key in ids
    )


def fed_job() -> MigrationJob:
    job = start(batch_size=1)
    feed(job.pk, our_database())
    return job


# Claims


def test_changes_of_single_rows_are_claimed_many_at_a_time(project: Project) -> None:
    make_articles(5)
    fed_job()
    one_by_one([str(number) for number in range(20)])
    held = lease()
    assert len(claim(held, 3, live_rows=15)) == 15, "and no entry of a job, while more wait"
    rest = claim(held, 8, live_rows=15)
    assert [bool(entry.job_id) for entry in rest] == [False] * 5 + [True] * 3


def test_changes_of_many_rows_are_claimed_few_at_a_time(project: Project) -> None:
    for _ in range(5):
        enqueue("article", range(40))
    one_by_one(["1", "2"])
    held = lease()
    for live_rows, sizes in ((50, [40]), (10, [40]), (99, [40, 40]), (99, [40, 1, 1])):
        claimed = claim(held, 8, live_rows=live_rows)
        assert [len(entry.entity_ids or ()) for entry in claimed] == sizes


def test_what_is_claimed_has_no_key(project: Project) -> None:
    """MySQL would lock it for whoever writes the same change again, and the worker would wait."""
    QueueEntry.objects.create(
        entity_type="article", operation="INDEX", priority=1, entity_ids=["1"], coalescing_key="1"
    )
    claim(lease(), 8)
    assert QueueEntry.objects.get().coalescing_key is None


def test_only_live_changes_are_claimed_if_asked(project: Project) -> None:
    make_articles(3)
    job = fed_job()
    one_by_one(["1"])
    held = lease()
    assert live_is_due(held.using)
    assert live_is_due(held.using, ["article"])
    assert not live_is_due(held.using, ["another"])
    assert [entry.job_id for entry in claim(held, 8, only_live=True)] == [None]
    assert not live_is_due(held.using)
    assert claim(held, 8, only_live=True) == []
    assert {entry.job_id for entry in claim(held, 8)} == {job.pk}


def test_those_of_a_dead_worker_are_suspected_in_ever_smaller_groups(project: Project) -> None:
    """A worker that is killed with hundreds of them in hand does not make the next one take them
    one by one; the one that kills is alone before it is given up."""
    project.set(MAX_CRASHES=5)
    one_by_one([str(number) for number in range(100)])
    sizes = []
    for _ in range(5):
        held = lease("worker")
        sizes.append(len(claim(held, 8, live_rows=200)))
        die()
        expire(held.using)
    assert sizes == [100, 25, 3, 1, 1]
    assert QueueEntry.objects.filter(claims=5).count() == 1
    assert claim(lease("worker"), 8, live_rows=200)[0].claims == 3


def test_the_last_chance_is_given_alone(project: Project) -> None:
    project.set(MAX_CRASHES=2)
    one_by_one([str(number) for number in range(100)])
    QueueEntry.objects.update(claims=1)
    held = lease()
    assert len(claim(held, 8, live_rows=200)) == 1
    assert claim(held, 8, live_rows=200, in_hand=True) == []


def test_a_suspect_of_a_job_is_alone_still(project: Project) -> None:
    make_articles(5)
    fed_job()
    QueueEntry.objects.update(claims=1)
    assert len(claim(lease(), 8, live_rows=200)) == 1


# Slices


def test_many_changes_are_few_batches(project: Project, script: Script) -> None:
    make_articles(LIVE_ROWS + 20)
    run()
    Article.objects.update(body="New.")
    script.clear()
    one_by_one(keys())
    report = Slice(lease()).run()
    assert report.batches == 2
    assert len(script.texts) == LIVE_ROWS + 20
    assert not QueueEntry.objects.filter(job=None).exists()
    assert_in_line()


def requests_until_found(
    script: Script, change: Callable[[], None], *, after: int, text: str
) -> int:
    """How many requests of a migration are sent between a change and the request with its text."""
    changed: list[int] = []

    def react(texts: Sequence[str]) -> None:
        if script.asked == after:
            change()
            connections.close_all()
            changed.append(script.asked)

    script.react = react
    Slice(lease(), seconds=60).run()
    [asked] = changed
    found = next(i for i, texts in enumerate(script.requests, 1) if any(text in t for t in texts))
    return found - asked


@pytest.mark.parametrize("batch_size", [10, 400])
def test_a_change_does_not_wait_for_a_backfill_that_keeps_its_provider_busy(
    project: Project, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    """Neither for the texts that were read ahead, nor until its request is full."""
    monkeypatch.setattr(slices, "_LOOK_EVERY", 0.0)
    script = project.embedder(max_batch_size=10)
    make_articles(1, body="Old.")
    run()
    make_articles(2000, start=1)
    start(batch_size=batch_size)

    def change() -> None:
        Article.objects.filter(title="Title 0").update(body="Changed.")
        enqueue("article", [keys()[0]])

    assert requests_until_found(script, change, after=20, text="Changed.") <= 10
    work()
    assert_in_line()


def test_a_change_does_not_wait_for_the_last_batch_in_hand(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left to claim, and much of what was claimed is not embedded yet."""
    monkeypatch.setattr(slices, "_LOOK_EVERY", 0.0)
    script = project.embedder(max_batch_size=10)
    make_articles(1, body="Old.")
    run()
    make_articles(400, start=1)
    start(batch_size=500)

    def change() -> None:
        Article.objects.filter(title="Title 0").update(body="Changed.")
        enqueue("article", [keys()[0]])

    assert requests_until_found(script, change, after=5, text="Changed.") <= 10
    assert EntryStatus.CLAIMED not in QueueEntry.objects.values_list("status", flat=True)


# Workers without work


class Stops:
    """Tells a worker to stop once something has happened, or after many questions.

    Args:
        is_over: Whether it has happened.
    """

    def __init__(self, is_over: Callable[[], bool]) -> None:
        self.asked = 0
        self._is_over = is_over

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked > 100 or self._is_over()


def test_an_idle_worker_is_called_by_a_live_change(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_articles(3)
    run()
    monkeypatch.setattr(worker, "_IDLE_SECONDS", 3600.0)
    reports: list[SliceReport] = []

    def change(report: SliceReport) -> None:
        reports.append(report)
        if len(reports) == 1:
            Article.objects.update(body="New.")
            enqueue("article", keys())

    stops = Stops(lambda: bool(reports) and not QueueEntry.objects.filter(job=None).exists())
    run_worker(should_stop=stops, on_slice=change)
    assert stops.asked <= 100
    assert [report.is_idle for report in reports[:1]] == [True]
    assert_in_line()


@pytest.mark.vendors("sqlite")
def test_a_change_that_cannot_be_taken_does_not_keep_a_worker_awake(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is locked while the transaction that saved its row again is open."""
    rests: list[bool] = []

    def rest(seconds: float, should_stop: object, using: str | None) -> bool:
        rests.append(using is not None)
        return using is not None

    monkeypatch.setattr(worker, "_rest", rest)
    run_worker(should_stop=lambda: len(rests) == 4)
    assert rests == [True, False, True, False]


@pytest.mark.vendors("sqlite")
def test_a_worker_for_one_job_looks_for_no_others(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[str | None] = []
    monkeypatch.setattr(worker, "_rest", lambda seconds, stop, using: rests.append(using))
    run_worker(should_stop=lambda: len(rests) == 2, only_jobs=["mig-none"])
    assert rests == [None, None]


@pytest.mark.vendors("sqlite")
def test_a_rest_ends_quietly_without_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(using: str) -> bool:
        raise OperationalError("gone")

    monkeypatch.setattr(worker, "live_is_due", refuse)
    monkeypatch.setattr(worker, "_LOOK_EVERY", 0.0)
    assert worker._rest(60, lambda: False, "default") is False


def test_a_look_is_one_query_of_an_index(
    project: Project,
    django_assert_num_queries: Callable[[int], contextlib.AbstractContextManager[object]],
) -> None:
    with django_assert_num_queries(1):
        assert not live_is_due(our_database())


# Writers


@pytest.mark.gate
@pytest.mark.vendors("postgresql", "mysql")
def test_writers_of_the_same_rows_never_deadlock_because_of_the_queue(project: Project) -> None:
    """Four of them, as fast as they can, beside a worker: the same row, rows in opposite order in
    one transaction, and many in one statement. (Each transaction changes one row only: two rows
    that are changed in opposite order are a deadlock without any queue.)"""
    make_articles(40)
    run()
    ids = keys()
    errors: list[Exception] = []

    def write(number: int) -> None:
        rng = random.Random(number)
        try:
            for turn in range(200):
                some = rng.sample(ids[:6], 3)
                with transaction.atomic():
                    Article.objects.filter(pk=some[0]).update(body=f"Turn {turn} of {number}.")
                    for key in some:
                        record([Change("article", key)], Article)
                    if turn % 10 == 0:
                        shuffled = rng.sample(ids, len(ids))
                        record([Change("article", key) for key in shuffled], Article)
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    run_worker(should_stop=lambda: not any(writer.is_alive() for writer in writers))
    for writer in writers:
        writer.join()
    assert errors == []
    work()
    assert not QueueEntry.objects.filter(job=None).exists()
    assert_in_line()
