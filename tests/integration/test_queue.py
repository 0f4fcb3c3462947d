"""The queue: in the caller's transaction, by priority, and the index follows the rows."""

from __future__ import annotations

import contextlib
import uuid
from typing import Any

import pytest
from django.db import transaction

from ai_migration import enqueue, migration_service
from ai_migration.exceptions import InvalidRequestError, UnknownEntityTypeError
from ai_migration.indexing.queue import claim
from ai_migration.models import EntityFailure, QueueEntry, SearchableEntity
from ai_migration.types import EntryStatus, Operation, Priority
from tests.integration.embedders import Script
from tests.integration.support import (
    Project,
    assert_in_line,
    collection,
    lease,
    make_articles,
    progress,
    run,
    start,
    stored,
    work,
)
from tests.testapp.models import Archive, Article


def pks() -> list[int]:
    return list(Article.objects.order_by("pk").values_list("pk", flat=True))


def waiting() -> list[list[str]]:
    """The ids of the live entries."""
    live = QueueEntry.objects.filter(job=None)
    return [entry.entity_ids or [] for entry in live.order_by("pk")]


def test_entries_exist_exactly_if_the_callers_changes_do(project: Project) -> None:
    make_articles(1)
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        article = Article.objects.create(title="never")
        assert enqueue("article", [article.pk]) == 1
        assert QueueEntry.objects.count() == 1
        raise ZeroDivisionError
    assert waiting() == []
    with transaction.atomic():
        assert enqueue("article", pks()) == 1
    assert waiting() == [[str(pk) for pk in pks()]]


def test_rows_of_another_database_are_enqueued_when_they_are_committed(database: object) -> None:
    with contextlib.suppress(ZeroDivisionError), transaction.atomic(using="other"):
        made = Archive.objects.create(title="never")
        enqueue("archive", [made.pk])
        raise ZeroDivisionError
    assert waiting() == []
    with transaction.atomic(using="other"):
        made = Archive.objects.create(title="old", text="older")
        enqueue("archive", [made.pk])
        assert waiting() == [], "nobody may look for a row that is not there yet"
    assert waiting() == [[str(made.pk)]]
    enqueue("archive", [made.pk])
    assert len(waiting()) == 2


def test_an_id_that_stands_twice_is_once(project: Project) -> None:
    make_articles(2)
    first, second = pks()
    assert enqueue("article", [first, str(first), second, first]) == 2
    assert waiting() == [[str(first), str(second)]]
    assert enqueue("article", []) == 0
    assert len(waiting()) == 1


def test_many_ids_become_several_entries(project: Project) -> None:
    assert enqueue("article", range(1, 2502)) == 2501
    assert [len(ids) for ids in waiting()] == [1000, 1000, 501]


def test_an_entity_that_stands_in_two_entries_is_embedded_once(
    project: Project, script: Script
) -> None:
    make_articles(3)
    run()
    Article.objects.update(body="new")
    script.clear()
    for _ in range(3):
        enqueue("article", pks())
    work()
    assert len(script.texts) == 3
    assert not script.paid_twice
    assert_in_line()


@pytest.mark.parametrize(
    ("kind", "ids", "message"),
    [
        ("article", ["x"], "not a primary key of testapp.Article"),
        ("article", [None], "not a primary key"),
        ("article", [10**30], "not a primary key"),
        ("article", "12", "not one string"),
        ("article", [object()], "not a primary key"),
        ("document", ["nope"], "not a primary key"),
        ("country", ["A\0"], "not a primary key"),
        ("tenant-note", [5], "not a primary key"),
        ("tenant-note", ["[1]"], "not a primary key"),
        ("tenant-note", ["[1,2"], "not a primary key"),
        ("tenant-note", [(1, None)], "not a primary key"),
        ("tenant-note", ['{"a":1}'], "not a primary key"),
    ],
)
@pytest.mark.vendors("sqlite")
def test_ids_that_are_none_are_refused(database: object, kind: str, ids: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message) as caught:
        enqueue(kind, ids)
    assert caught.value.field == "entity_ids"
    assert not QueueEntry.objects.exists()


def test_every_spelling_of_a_key_is_the_same_key(database: object) -> None:
    value = uuid.uuid4()
    assert enqueue("document", [value, str(value), str(value).upper(), value.hex]) == 1
    assert enqueue("tenant-note", [(1, 2), [1, 2], "[1, 2]", '["1", "2"]']) == 1
    assert enqueue("article", [7, "7", " 7 ", "07"]) == 1


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"operation": "SWEEP"}, "operation"),
        ({"operation": "FINISH"}, "operation"),
        ({"operation": "nonsense"}, "operation"),
        ({"priority": 3}, "operation"),
    ],
)
@pytest.mark.vendors("sqlite")
def test_what_is_not_for_callers_is_refused(
    project: Project, arguments: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        enqueue("article", [1], **arguments)
    assert caught.value.field == field


@pytest.mark.vendors("sqlite")
def test_an_unknown_entity_type_is_refused(project: Project) -> None:
    with pytest.raises(UnknownEntityTypeError, match="article"):
        enqueue("nothing", [1])


def test_live_traffic_goes_first_by_priority(project: Project) -> None:
    make_articles(5)
    run()
    job = start(reindex_existing=True, batch_size=2)
    run_order = [Priority.STANDARD, Priority.HIGH, Priority.CRITICAL, Priority.HIGH]
    held = lease()
    claimed = claim(held, 1)
    assert claimed == [], "nothing was fed yet"
    from ai_migration.jobs.feed.ranges import feed

    feed(job.pk, held.using)
    for number, priority in enumerate(run_order):
        enqueue("article", [pks()[number]], priority=priority)
    got = []
    while entries := claim(held, 1):
        got += [(entry.priority, entry.pk) for entry in entries]
    assert [priority for priority, _ in got] == [0, 1, 1, 5, 10, 10, 10]
    assert got == sorted(got), "within a priority in the order they came"
    held.release()


def test_a_deleted_row_is_removed(project: Project) -> None:
    make_articles(4)
    run()
    gone = pks()[1]
    Article.objects.filter(pk=gone).delete()
    enqueue("article", [gone])
    work()
    assert_in_line()
    known = SearchableEntity.objects.get(entity_id=str(gone))
    assert (known.chunk_count, bytes(known.content_hash)) == (0, b"")


@pytest.mark.parametrize("is_known", [True, False])
def test_delete_removes_without_looking_and_leaves_a_tombstone(
    project: Project, script: Script, is_known: bool
) -> None:
    make_articles(2)
    run()
    make_articles(1, start=9)
    entity_id = str(pks()[0] if is_known else pks()[-1])
    script.clear()
    enqueue("article", [entity_id], Operation.DELETE)
    work()
    assert entity_id not in stored(collection())
    assert SearchableEntity.objects.get(entity_id=entity_id).chunk_count == 0
    assert script.asked == 0
    enqueue("article", [entity_id])
    work()
    assert entity_id in stored(collection()), "it can come back by a newer read"


def test_live_entries_are_deleted_when_done_and_a_jobs_stay(project: Project) -> None:
    make_articles(3)
    job = start(batch_size=1)
    work()
    enqueue("article", pks())
    work()
    left = QueueEntry.objects.values_list("job", "status")
    assert set(left) == {(job.pk, EntryStatus.COMPLETED)}


def test_what_was_never_indexed_waits_for_the_backfill(project: Project, script: Script) -> None:
    make_articles(3)
    enqueue("article", pks())
    work()
    assert (waiting(), script.asked) == ([], 0)
    assert run().indexed == 3


def test_a_live_entity_that_fails_is_listed_until_it_passes(
    project: Project, script: Script
) -> None:
    make_articles(5)
    run()
    Article.objects.update(body="new")

    def refuse(texts: Any) -> None:
        if any("Title 2" in text for text in texts):
            raise ValueError("refused")

    script.react = refuse
    enqueue("article", pks())
    work()
    failure = EntityFailure.objects.get()
    assert (failure.job, failure.entity_id, failure.attempts) == (None, str(pks()[2]), 1)
    assert waiting() == []
    enqueue("article", pks())
    work()
    assert EntityFailure.objects.get().attempts == 2
    script.react = lambda texts: None
    enqueue("article", pks())
    work()
    assert not EntityFailure.objects.exists()
    assert_in_line()


def test_a_batch_of_live_entries_is_one_batch(project: Project, script: Script) -> None:
    make_articles(6)
    run()
    Article.objects.update(body="new")
    script.clear()
    for pk in pks():
        enqueue("article", [pk])
    work()
    assert (len(script.requests), len(script.texts)) == (1, 6)


def test_live_work_waits_for_no_job_and_jobs_for_no_live_work(project: Project) -> None:
    make_articles(6)
    run()
    job = start(reindex_existing=True, batch_size=2)
    migration_service.pause_migration(job.pk)
    Article.objects.filter(pk=pks()[0]).update(body="new")
    enqueue("article", pks()[:1])
    work()
    assert waiting() == []
    assert_in_line()
    assert progress(job).processed == 0
