"""Two at once: what somebody else does between two steps of this one is neither lost nor an
error."""

from __future__ import annotations

from typing import Any

import pytest

from ai_migration import enqueue, migration_service
from ai_migration.engine.worker import run_worker
from ai_migration.exceptions import FatalEmbedderError
from ai_migration.indexing.writing import write_batch
from ai_migration.jobs.steer.scheduling import admit
from ai_migration.jobs.steer.transitions import find_job
from ai_migration.models import Collection, QueueEntry
from ai_migration.models.leases import our_database
from ai_migration.stores.database import DatabaseStore
from ai_migration.types import CollectionRef, CollectionStatus, EntryStatus, JobStatus
from tests.integration.support import (
    Project,
    assert_in_line,
    counts,
    finish,
    make_articles,
    progress,
    run,
    run_slice,
    start,
    work,
)
from tests.testapp.models import Article

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])

WRITE = "ai_migration.engine.slices.slice.write_batch"


@pytest.mark.parametrize("slots", [1, 2])
def test_two_resume_a_job_at_once(project: Project, slots: int) -> None:
    """The second has read it as PAUSED; the slot that the first has left is gone, or back."""
    project.set(MAX_CONCURRENT_JOBS=1)
    make_articles(3)
    job = start()
    stale = migration_service.pause_migration(job.pk)
    other = None
    if slots == 2:
        project.config(
            "ai-entities: {article: {model: testapp.Article, embeddable-fields: [title]},"
            " note: {model: testapp.Article, embeddable-fields: [body]}}"
        )
        other = start("note")
    now = migration_service.resume_migration(job.pk)
    project.set(MAX_CONCURRENT_JOBS=slots)
    change = admit(stale, using=our_database(), actor="second")
    assert not change.happened
    assert change.job.status == now.status
    assert (now.status == JobStatus.PENDING) == (other is not None)


def test_a_retry_that_is_asked_for_while_the_job_completes(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = project.embedder()
    make_articles(3)

    def refuse(texts: Any) -> None:
        if any("number 1" in text for text in texts):
            raise ValueError("not this one")

    script.react = refuse
    job = start()
    before = [migration_service.get_job(job.pk)]
    assert counts(finish(job)) == (2, 0, 0, 1)
    script.react = lambda texts: None
    monkeypatch.setattr(
        "ai_migration.jobs.steer.steering.find_job",
        lambda job_id, using: before.pop() if before else find_job(job_id, using),
    )
    assert migration_service.retry_failed(job.pk).status == JobStatus.RUNNING
    assert counts(finish(job)) == (3, 0, 0, 0)


def test_a_pause_while_the_index_is_built_is_no_failed_attempt(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_articles(3)
    job = start()

    def pause(store: DatabaseStore, of: CollectionRef) -> None:
        migration_service.pause_migration(job.pk)

    with monkeypatch.context() as patch:
        patch.setattr(DatabaseStore, "optimize", pause)
        run_slice()
    assert progress(job).status == JobStatus.PAUSED
    [entry] = QueueEntry.objects.filter(status=EntryStatus.PENDING)
    assert (entry.attempts, entry.available_at, entry.error) == (0, None, "")
    migration_service.resume_migration(job.pk)
    run_slice()
    assert progress(job).status == JobStatus.COMPLETED


def test_live_changes_while_a_rebuild_is_verified(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_articles(3)
    run()
    count = DatabaseStore.count
    changes = [1]

    def busy(store: DatabaseStore, of: CollectionRef) -> int:
        if changes:
            changes.pop()
            enqueue("article", [Article.objects.create(title="New", body="Now.").pk])
            run_worker(should_stop=lambda: False, until_idle=True, name="other")
        return count(store, of)

    job = start(rebuild=True)
    monkeypatch.setattr(DatabaseStore, "count", busy)
    assert finish(job).status == JobStatus.COMPLETED
    assert not changes
    monkeypatch.undo()
    assert_in_line()


def test_a_job_whose_collection_was_replaced_while_it_was_started(project: Project) -> None:
    make_articles(3)
    job = start()
    Collection.objects.update(status=CollectionStatus.RETIRED)
    work()
    ended = progress(job)
    assert (ended.status, ended.processed) == (JobStatus.FAILED, 0)
    assert "replaced by a newer one" in ended.error_message


def test_a_live_change_outlives_a_worker_with_wrong_settings(
    project: Project, settings: Any
) -> None:
    project.embedder()
    make_articles(3)
    run()
    right = settings.AI_MIGRATION["EMBEDDERS"]
    article = Article.objects.latest("pk")
    article.body = "changed"
    article.save()
    enqueue("article", [article.pk])
    project.set(EMBEDDERS={"default": {"BACKEND": "nowhere.Embedder"}})
    run_slice()
    assert "nowhere.Embedder" in QueueEntry.objects.get(job=None).error
    project.set(EMBEDDERS=right)
    QueueEntry.objects.update(available_at=None)
    work()
    assert_in_line()


def test_who_works_until_idle_also_does_what_its_last_write_left(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else writes the same row between its read and its write: it is read again."""
    make_articles(3)
    run()
    article = Article.objects.latest("pk")

    def say(body: str) -> None:
        Article.objects.filter(pk=article.pk).update(body=body)
        enqueue("article", [article.pk])

    others = ["second", "third"]

    def late(*arguments: Any, **options: Any) -> Any:
        if others:
            say(others.pop(0))
            with monkeypatch.context() as patch:
                patch.setattr(WRITE, write_batch)
                run_worker(should_stop=lambda: False, until_idle=True, name="other")
        return write_batch(*arguments, **options)

    say("first")
    monkeypatch.setattr(WRITE, late)
    run_worker(should_stop=lambda: False, until_idle=True)
    assert not others
    assert not QueueEntry.objects.filter(job=None).exists()
    assert_in_line()


def test_who_works_until_idle_also_does_the_job_that_a_failed_one_made_room_for(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.set(MAX_CONCURRENT_JOBS=1)
    make_articles(3)
    note = "{model: testapp.Article, embeddable-fields: [body]}"
    project.config(
        "ai-entities: {article: {model: testapp.Article, embeddable-fields: [title]}, "
        f"note: {note}}}"
    )
    first, second = start(), start("note")

    def last(*arguments: Any, **options: Any) -> Any:
        """All rows are read by now; feeding the job's next phase says what is wrong."""
        project.config(f"ai-entities: {{note: {note}}}")
        return write_batch(*arguments, **options)

    monkeypatch.setattr(WRITE, last)
    run_worker(should_stop=lambda: False, until_idle=True)
    assert progress(first).status == JobStatus.FAILED
    assert progress(second).status == JobStatus.COMPLETED


def test_the_embedder_of_a_rebuild_that_is_out_of_order_leaves_no_live_change_open(
    project: Project,
) -> None:
    """Both generations get it; which of the two fails makes no difference."""
    project.embedder()
    make_articles(3)
    run()
    newer = project.embedder(alias="newer", dimensions=16)
    project.article(embedder="newer")
    job = start(rebuild=True)
    migration_service.pause_migration(job.pk)

    def refuse(texts: Any) -> None:
        raise FatalEmbedderError("the key is wrong")

    newer.react = refuse
    enqueue("article", [Article.objects.create(title="New", body="Now.").pk])
    run_slice()
    [entry] = QueueEntry.objects.filter(job=None)
    assert (entry.status, entry.error) == (EntryStatus.PENDING, "the key is wrong")
    assert entry.available_at is not None
