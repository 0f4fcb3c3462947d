"""Newest wins, and one owner: late, frozen and overtaken workers change nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F

from ai_migration import enqueue, migration_service
from ai_migration.embedders import embedders
from ai_migration.engine.slices.slice import Slice
from ai_migration.engine.upkeep.supervisor import tick
from ai_migration.entities import registry
from ai_migration.entities.rows.reader import EntityReader
from ai_migration.exceptions import OwnershipLostError
from ai_migration.indexing import queue
from ai_migration.indexing.batches import Batch, Target, read_batch
from ai_migration.indexing.writing import write_batch
from ai_migration.jobs.feed.ranges import feed
from ai_migration.models import MigrationJob, QueueEntry, SearchableEntity, WorkerSlot
from ai_migration.models.jobs import JobPhase
from ai_migration.models.leases import Lease, acquire
from ai_migration.stores import stores
from ai_migration.stores.database import DatabaseStore
from ai_migration.types import CollectionRef, EntryStatus, JobStatus, Operation
from tests.integration.support import (
    Project,
    assert_in_line,
    collection,
    finish,
    lease,
    make_articles,
    progress,
    run,
    run_slice,
    start,
    stored,
    ticking,
    work,
)
from tests.testapp.models import Article

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])

STORES = ("ai_migration.stores.database.DatabaseStore", "ai_migration.stores.memory.MemoryStore")


class Worker:
    """A worker of which a test takes every step itself.

    Args:
        name: Its slot.
    """

    def __init__(self, name: str) -> None:
        self.lease = lease(name)

    def read(self, limit: int = 8) -> Batch:
        """Claim, read and embed, and write nothing yet."""
        entries = queue.claim(self.lease, limit)
        assert entries
        job = MigrationJob.objects.filter(pk=entries[0].job_id).first()
        entity = registry.get("article")
        of = collection()
        target = Target(of, embedders[of.embedder], stores[of.store])
        batch = read_batch(entries, entity, EntityReader(entity), [target], job, self.lease.using)
        for plan in batch.plans:
            if plan.embed.texts:
                plan.embed.vectors[:] = target.embedder.embed(plan.embed.texts)
                plan.embed.done[:] = True
                plan.embed.open = 0
        return batch

    def write(self, batch: Batch) -> None:
        """Write what was read."""
        write_batch(batch, self.lease)


@pytest.fixture(params=STORES)
def article(request: pytest.FixtureRequest, project: Project) -> Article:
    """One article that is indexed among others, in a store that shares our transaction and
    in one that does not."""
    project.store(request.param)
    make_articles(3)
    run()
    return Article.objects.order_by("pk")[1]


def say(article: Article, body: str) -> None:
    Article.objects.filter(pk=article.pk).update(body=body)


def end_lease(of: Lease) -> None:
    """As if the worker had been frozen for longer than its lease."""
    WorkerSlot.objects.filter(pk=of.slot_id).update(
        lease_expires_at=F("lease_expires_at") - timedelta(days=1)
    )


# Newest wins


def test_a_write_from_an_older_read_does_not_replace_a_newer_one(article: Article) -> None:
    early, late = Worker("early"), Worker("late")
    say(article, "first")
    enqueue("article", [article.pk])
    first = early.read()
    say(article, "second")
    enqueue("article", [article.pk])
    second = late.read()
    late.write(second)
    early.write(first)
    again = QueueEntry.objects.get(job=None)
    assert (again.entity_ids, again.operation) == ([str(article.pk)], Operation.INDEX)
    work()
    assert_in_line()


def test_overlapping_reads_are_settled_by_reading_again(article: Article) -> None:
    """Each began before the other ended: nobody can say which is newer."""
    one, other = Worker("one"), Worker("other")
    say(article, "first")
    SearchableEntity.objects.update(version=1)
    enqueue("article", [article.pk])
    enqueue("article", [article.pk])
    first, second = one.read(limit=1), other.read(limit=1)
    say(article, "second")
    first.read_started, first.read_ended = 1_000, 4_000
    second.read_started, second.read_ended = 2_000, 3_000
    one.write(first)
    other.write(second)
    assert QueueEntry.objects.filter(job=None).count() == 1, "the second looks again"
    assert SearchableEntity.objects.get(entity_id=str(article.pk)).version == 4_000
    work()
    assert_in_line()


@pytest.mark.parametrize("operation", [Operation.INDEX, Operation.DELETE])
def test_a_deleted_row_is_not_resurrected_by_a_late_write(
    article: Article, operation: Operation
) -> None:
    early, late = Worker("early"), Worker("late")
    say(article, "first")
    enqueue("article", [article.pk])
    first = early.read()
    pk = article.pk
    Article.objects.filter(pk=pk).delete()
    enqueue("article", [pk], operation)
    late.write(late.read())
    early.write(first)
    work()
    assert str(pk) not in stored(collection())
    assert_in_line()


def test_a_text_that_became_empty_stays_out_of_the_index(article: Article) -> None:
    early, late = Worker("early"), Worker("late")
    say(article, "first")
    enqueue("article", [article.pk])
    first = early.read()
    Article.objects.filter(pk=article.pk).update(title="", body="")
    enqueue("article", [article.pk])
    late.write(late.read())
    early.write(first)
    work()
    assert str(article.pk) not in stored(collection())
    assert_in_line()


def test_a_payload_from_an_older_read_does_not_replace_a_newer_one(
    project: Project, article: Article
) -> None:
    from tests.integration.support import payloads

    early, late = Worker("early"), Worker("late")
    say(article, "first")
    enqueue("article", [article.pk])
    first = early.read()
    say(article, "second")
    enqueue("article", [article.pk])
    late.write(late.read())
    before = payloads(collection())
    early.write(first)
    work()
    assert payloads(collection()) == before


def test_a_migration_does_not_replace_what_live_traffic_wrote_meanwhile(article: Article) -> None:
    migration, live = Worker("migration"), Worker("live")
    job = start(reindex_existing=True)
    feed(job.pk, migration.lease.using)
    ranges = migration.read()
    say(article, "live")
    enqueue("article", [article.pk])
    live.write(live.read())
    migration.write(ranges)
    assert finish(job).indexed == 3
    assert_in_line()


# One owner


def test_a_slot_has_one_holder(project: Project) -> None:
    held = acquire("slot", "one:1")
    assert held is not None
    assert acquire("slot", "two:2") is None
    assert acquire("other", "two:2") is not None
    end_lease(held)
    taken = acquire("slot", "two:2")
    assert taken is not None
    assert taken.token > held.token
    with pytest.raises(OwnershipLostError):
        held.renew()
    taken.renew()
    held.release()
    taken.renew()


def test_two_workers_never_claim_the_same_entry(project: Project) -> None:
    make_articles(20)
    job = start(batch_size=2)
    one, other = lease("one"), lease("other")
    feed(job.pk, one.using)
    first, second = queue.claim(one, 4), queue.claim(other, 100)
    assert (len(first), len(second)) == (4, 6)
    assert not {entry.pk for entry in first} & {entry.pk for entry in second}
    assert queue.claim(one, 100) == []


def test_what_a_dead_worker_had_goes_back_to_the_queue(project: Project) -> None:
    make_articles(20)
    job = start(batch_size=2)
    dead = lease("dead")
    feed(job.pk, dead.using)
    assert len(queue.claim(dead, 4)) == 4
    assert tick().recovered == 0, "while its lease runs nobody touches it"
    end_lease(dead)
    assert tick().recovered == 4
    assert tick().recovered == 0
    assert not QueueEntry.objects.filter(status=EntryStatus.CLAIMED).exists()
    assert finish(job).indexed == 20
    assert_in_line()


@pytest.mark.parametrize("is_recovered", [True, False])
def test_a_frozen_worker_that_wakes_up_changes_nothing(
    article: Article, is_recovered: bool
) -> None:
    """Whether its entries were recovered only, or done by somebody else already."""
    frozen = Worker("frozen")
    say(article, "first")
    job = start()
    feed(job.pk, frozen.lease.using)
    batch = frozen.read()
    end_lease(frozen.lease)
    tick()
    say(article, "second")
    if not is_recovered:
        finish(job)
    before = list(SearchableEntity.objects.order_by("entity_id").values())
    jobs = list(MigrationJob.objects.values())
    shares = stores["default"].shares_transaction(frozen.lease.using)
    vectors = stored(collection())
    with pytest.raises(OwnershipLostError):
        frozen.write(batch)
    assert list(MigrationJob.objects.values()) == jobs
    if shares:
        assert list(SearchableEntity.objects.order_by("entity_id").values()) == before
        assert stored(collection()) == vectors
    ended = finish(job)
    assert (ended.indexed + ended.skipped, ended.failed) == (3, 0)
    assert_in_line()


def test_a_frozen_worker_does_not_write_under_its_successor_in_the_same_slot(
    project: Project,
) -> None:
    make_articles(4)
    job = start()
    frozen = Worker("slot")
    feed(job.pk, frozen.lease.using)
    batch = frozen.read()
    end_lease(frozen.lease)
    successor = Worker("slot")
    assert successor.lease.slot_id == frozen.lease.slot_id
    second = successor.read()
    with pytest.raises(OwnershipLostError):
        frozen.write(batch)
    assert stored(collection()) == {}
    successor.write(second)
    assert finish(job).indexed == 4
    assert_in_line()


def test_giving_up_a_slot_gives_back_its_entries(project: Project) -> None:
    make_articles(4)
    job = start(batch_size=1)
    held = lease()
    feed(job.pk, held.using)
    queue.claim(held, 3)
    held.release()
    assert not QueueEntry.objects.filter(status=EntryStatus.CLAIMED).exists()
    assert WorkerSlot.objects.get(pk=held.slot_id).holder == ""
    assert finish(job).indexed == 4


@pytest.mark.parametrize("sent", [4, 10], ids=["in the middle", "with nothing left to claim"])
def test_a_slice_whose_lease_is_lost_ends_and_another_goes_on(project: Project, sent: int) -> None:
    script = project.embedder(max_batch_size=2)
    make_articles(10)
    job = start(batch_size=2)
    held = lease()

    def lose() -> bool:
        if len(script.texts) >= sent:
            end_lease(held)
            tick()
        return False

    with pytest.raises(OwnershipLostError):
        Slice(held, should_stop=lose, seconds=1e9, clock=ticking()).run()
    assert progress(job).processed < 10
    assert finish(job).indexed == 10
    assert_in_line()


def test_entries_that_were_taken_away_are_not_written(project: Project) -> None:
    """The lease holds and the entry does not: somebody put it back by hand."""
    make_articles(4)
    job = start()
    worker = Worker("worker")
    feed(job.pk, worker.lease.using)
    batch = worker.read()
    QueueEntry.objects.update(status=EntryStatus.PENDING, claimed_by=None)
    with pytest.raises(OwnershipLostError):
        worker.write(batch)
    assert stored(collection()) == {}
    assert not SearchableEntity.objects.exists()
    assert progress(job).processed == 0


def test_the_result_of_a_batch_is_written_once(project: Project) -> None:
    make_articles(4)
    job = start()
    worker = Worker("worker")
    feed(job.pk, worker.lease.using)
    batch = worker.read()
    worker.write(batch)
    with pytest.raises(OwnershipLostError):
        worker.write(batch)
    assert progress(job).processed == 4


def test_a_job_that_is_cancelled_and_deleted_leaves_no_one_stuck(project: Project) -> None:
    make_articles(4)
    job = start()
    worker = Worker("worker")
    feed(job.pk, worker.lease.using)
    batch = worker.read()
    migration_service.cancel_migration(job.pk)
    worker.write(batch)
    assert progress(job).processed == 4, "what was in flight ends, and counts"
    work()
    assert not QueueEntry.objects.exclude(status=EntryStatus.COMPLETED).exists()


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_end_of_a_slice_costs_no_text_of_a_long_row(project: Project, batch_size: int) -> None:
    """A row in several pieces is written whole: the pieces it has would be paid for again."""
    script = project.embedder(max_batch_size=2, max_input_tokens=8)
    for number in range(6):
        body = " ".join(f"word{number}x{position}" for position in range(24))
        Article.objects.create(title=f"Title {number}", body=body)
    job = start(batch_size=batch_size)
    for _ in range(60):
        before = len(script.texts)
        run_slice(should_stop=lambda: len(script.texts) > before)  # noqa: B023
        if progress(job).status == JobStatus.COMPLETED:
            break
    assert finish(job).indexed == 6
    assert script.paid_twice == []
    assert_in_line()


def test_a_worker_whose_last_entry_is_taken_away_keeps_its_slot(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a new config does while an index is built: nobody has to wait for the lease."""
    make_articles(3)
    job = start()

    def taken_away(store: DatabaseStore, of: CollectionRef) -> None:
        QueueEntry.objects.filter(operation=Operation.FINISH).delete()
        MigrationJob.objects.update(phase=JobPhase.SOURCE, cursor=None)
        monkeypatch.undo()

    monkeypatch.setattr(DatabaseStore, "optimize", taken_away)
    run_slice()
    assert finish(job).status == JobStatus.COMPLETED
    assert_in_line()
