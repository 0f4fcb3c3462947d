"""Rows that kill their workers cost themselves, and nothing else."""

from __future__ import annotations

import pytest
from django.db.models import F

from ai_migration import enqueue, migration_service
from ai_migration.engine.slices.slice import Slice
from ai_migration.engine.upkeep.quarantine import WORKER_DIED
from ai_migration.engine.upkeep.supervisor import TickReport, tick
from ai_migration.indexing import queue
from ai_migration.jobs.feed.ranges import feed
from ai_migration.models import EntityFailure, MigrationJob, QueueEntry, WorkerSlot
from ai_migration.models.leases import our_database
from ai_migration.types import EntryStatus, JobStatus, MigrationFilters, Operation
from tests.integration.support import (
    Killed,
    Poison,
    Project,
    assert_in_line,
    counts,
    die,
    lease,
    make_articles,
    progress,
    run,
    start,
    work,
)
from tests.testapp.models import Article

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])

CRASHES = 3


@pytest.fixture
def poison(project: Project, monkeypatch: pytest.MonkeyPatch) -> Poison:
    """An embedder that articles can be poison to."""
    project.set(MAX_CRASHES=CRASHES)
    monkeypatch.setattr("ai_migration.engine.slices.slice._LONGEST_WAIT", 0.01)
    return Poison(project.embedder())


def spoil(poison: Poison, *numbers: int) -> None:
    """Whoever embeds one of these articles dies; others are good from now on."""
    poison.titles = {f"title: Title {number}" for number in numbers}


def crash_until_settled(poison: Poison) -> int:
    """Start another worker whenever one died; how many died."""
    for deaths in range(60):
        poison.again()
        held = lease("worker")
        try:
            Slice(held, clock=poison.clock).run()
        except Killed:
            die()
        else:
            held.release()
            return deaths
    raise AssertionError("Workers die without end")


def key(number: int) -> str:
    return str(Article.objects.get(title=f"Title {number}").pk)


def failed() -> dict[str, str]:
    return dict(EntityFailure.objects.values_list("entity_id", "error_code"))


@pytest.mark.parametrize("batch_size", [1, 7, 40, 100])
def test_a_row_that_kills_its_worker_costs_itself(poison: Poison, batch_size: int) -> None:
    make_articles(40)
    spoil(poison, 17)
    job = start(batch_size=batch_size)
    crash_until_settled(poison)
    assert progress(job).status == JobStatus.COMPLETED
    assert counts(progress(job)) == (39, 0, 0, 1)
    assert failed() == {key(17): WORKER_DIED}
    assert_in_line(without=failed())
    assert "died" in EntityFailure.objects.get().error


def test_several_rows_are_found_in_one_batch(poison: Poison) -> None:
    make_articles(40)
    spoil(poison, 0, 1, 39)
    job = start(batch_size=40)
    crash_until_settled(poison)
    assert counts(progress(job)) == (37, 0, 0, 3)
    assert failed().keys() == {key(0), key(1), key(39)}
    assert_in_line(without=failed())


def test_filters_ids_and_retries_are_halved_too(poison: Poison) -> None:
    make_articles(10)
    spoil(poison, 4)
    ids = list(Article.objects.values_list("pk", flat=True)[:8])
    job = start(filters=MigrationFilters(entity_ids=ids))
    crash_until_settled(poison)
    assert counts(progress(job)) == (7, 0, 0, 1)
    migration_service.retry_failed(job.pk)
    crash_until_settled(poison)
    assert counts(progress(job)) == (7, 0, 0, 1), "it is still the same one"
    spoil(poison)
    migration_service.retry_failed(job.pk)
    crash_until_settled(poison)
    assert counts(progress(job)) == (8, 0, 0, 0)
    assert not failed()


def test_a_live_change_that_kills_is_kept_and_listed(poison: Poison) -> None:
    make_articles(12)
    run()
    Article.objects.update(body="New.")
    spoil(poison, 5)
    enqueue("article", Article.objects.values_list("pk", flat=True))
    crash_until_settled(poison)
    (entry,) = QueueEntry.objects.filter(job=None)
    assert (entry.status, entry.entity_ids) == (EntryStatus.FAILED, [key(5)])
    assert "died" in entry.error
    assert failed() == {key(5): WORKER_DIED}
    spoil(poison)
    enqueue("article", [key(5)])
    work(rounds=1)
    assert not failed(), "it is indexed by now"
    assert_in_line()


def test_neighbours_of_a_row_that_kills_are_not_suspected_for_long(poison: Poison) -> None:
    make_articles(8)
    spoil(poison, 0)
    job = start(batch_size=1)
    deaths = crash_until_settled(poison)
    assert deaths == CRASHES, "the first with all eight in hand, the others with this one alone"
    assert counts(progress(job)) == (7, 0, 0, 1)


def test_a_suspect_waits_for_empty_hands_and_keeps_its_place(poison: Poison) -> None:
    make_articles(3)
    start(batch_size=1)
    feed(MigrationJob.objects.get().pk, our_database())
    first, second, third = QueueEntry.objects.order_by("pk")
    QueueEntry.objects.filter(pk=second.pk).update(claims=1)
    worker = lease("worker")
    assert queue.claim(worker, 8) == [first]
    assert queue.claim(worker, 8, in_hand=True) == []
    assert queue.claim(worker, 8) == [second]
    assert queue.claim(worker, 8, in_hand=True) == [third]


def test_what_is_given_back_is_no_crash(poison: Poison) -> None:
    make_articles(3)
    start(batch_size=3)
    feed(MigrationJob.objects.get().pk, our_database())
    for _ in range(CRASHES + 1):
        worker = lease("worker")
        (entry,) = queue.claim(worker, 8)
        queue.requeue(worker, [entry.pk])
        (entry,) = queue.claim(worker, 8)
        worker.release()  # as after a restart of the database
    tick()
    (entry,) = QueueEntry.objects.all()
    assert (entry.claims, entry.status) == (0, EntryStatus.PENDING)


def test_a_stolen_lease_keeps_the_count(poison: Poison) -> None:
    make_articles(3)
    start()
    feed(MigrationJob.objects.get().pk, our_database())
    worker = lease("worker")
    queue.claim(worker, 8)
    WorkerSlot.objects.update(token=F("token") + 1)
    worker.release()
    (entry,) = QueueEntry.objects.all()
    assert (entry.claims, entry.status) == (1, EntryStatus.PENDING)


def deadly(**where: object) -> QueueEntry:
    QueueEntry.objects.filter(**where).update(claims=CRASHES)
    return QueueEntry.objects.get(**where)


def test_rows_that_are_gone_by_then_complete_the_entry(poison: Poison) -> None:
    make_articles(3)
    job = start()
    feed(job.pk, our_database())
    deadly()
    Article.objects.all().delete()
    assert tick() == TickReport(recovered=0, quarantined=1, started=[])
    crash_until_settled(poison)
    assert counts(progress(job)) == (0, 0, 0, 0)
    assert progress(job).status == JobStatus.COMPLETED


@pytest.mark.parametrize("operation", [Operation.SWEEP, Operation.FINISH])
def test_work_that_is_about_no_row_stops_the_job(poison: Poison, operation: Operation) -> None:
    make_articles(3)
    job = start()
    QueueEntry.objects.create(
        job=job, entity_type="article", operation=operation, priority=10, claims=CRASHES
    )
    tick()
    ended = progress(job)
    assert ended.status == JobStatus.FAILED
    assert f"{CRASHES} workers in turn died" in ended.error_message
    QueueEntry.objects.all().delete()
    migration_service.resume_migration(job.pk)
    work()
    assert progress(job).status == JobStatus.COMPLETED


def test_a_config_that_is_wrong_by_then_stops_the_job(poison: Poison, project: Project) -> None:
    make_articles(3)
    job = start()
    feed(job.pk, our_database())
    deadly()
    project.article(name="other")
    tick()
    assert progress(job).status == JobStatus.FAILED
    assert QueueEntry.objects.get().claims == 0


def test_too_many_of_them_stop_the_job(poison: Poison, project: Project) -> None:
    project.set(MAX_FAILURE_RATIO=0.01)
    make_articles(60)
    spoil(poison, 59)
    job = start(batch_size=1)
    crash_until_settled(poison)
    ended = progress(job)
    assert ended.status == JobStatus.FAILED
    assert "MAX_FAILURE_RATIO" in ended.error_message


def test_halves_know_what_was_indexed_before(poison: Poison) -> None:
    make_articles(9)
    feed(start().pk, our_database())
    QueueEntry.objects.update(indexed=9, claims=CRASHES)
    tick()
    assert list(QueueEntry.objects.order_by("pk").values_list("indexed", flat=True)) == [4, 5]
