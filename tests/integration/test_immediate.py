"""`SYNC = "immediate"`: the process that saves indexes, on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest
from django.db import transaction

from ai_migration.exceptions import TransientEmbedderError
from ai_migration.indexing.triggers.service import install, remove
from ai_migration.live import immediate
from ai_migration.models import QueueEntry, WorkerSlot
from tests.integration.embedders import Script
from tests.integration.support import Project, assert_in_line, make_articles, run, start, work
from tests.testapp.models import Article

pytestmark = pytest.mark.vendors("sqlite", "postgresql", gate=["mysql"])


@pytest.fixture
def script(project: Project) -> Iterator[Script]:
    made = project.embedder()
    make_articles(3)
    run()
    project.set(SYNC="immediate")
    yield made
    assert immediate.wait(30)
    project.set(SYNC="off")


def test_what_is_saved_is_indexed_by_itself(script: Script) -> None:
    with transaction.atomic():
        for article in Article.objects.all():
            article.title += ", changed"
            article.save()
        Article.objects.latest("pk").delete()
        assert immediate.wait(30)
        waiting = QueueEntry.objects.filter(job=None)
        assert len({str(entry.entity_ids) for entry in waiting}) == 3
    assert immediate.wait(30)
    assert_in_line()
    Article.objects.create(title="and again", body="b")
    assert immediate.wait(30)
    assert_in_line()
    assert not WorkerSlot.objects.filter(lease_expires_at__isnull=False).exists()


def test_a_provider_that_fails_is_nothing_to_the_save(project: Project, script: Script) -> None:
    project.set(RETRY_DELAY_SECONDS=600.0)

    def fails(texts: Sequence[str]) -> None:
        raise TransientEmbedderError("not now")

    script.react = fails
    article = Article.objects.latest("pk")
    article.title = "Saved all the same"
    article.save()
    assert immediate.wait(30)
    [entry] = QueueEntry.objects.filter(job=None)
    assert entry.error == "not now"
    script.react = lambda texts: None
    QueueEntry.objects.update(available_at=None)
    work()
    assert_in_line()


@pytest.mark.vendors("sqlite")
def test_jobs_are_left_to_workers(script: Script) -> None:
    job = start(mode="all")
    script.clear()
    article = Article.objects.latest("pk")
    article.title = "Only this"
    article.save()
    assert immediate.wait(30)
    assert [text.splitlines()[0] for text in script.texts] == ["title: Only this"]
    job.refresh_from_db()
    assert job.processed_entities == 0


@pytest.mark.vendors("sqlite")
def test_an_error_ends_the_thread_and_not_the_process(
    script: Script, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(**_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(immediate, "run_worker", breaks)
        Article.objects.latest("pk").save()
        assert immediate.wait(30)
    assert "stay in the queue" in caplog.text
    Article.objects.latest("pk").save()
    assert immediate.wait(30)
    assert not QueueEntry.objects.filter(job=None).exists()


@pytest.mark.vendors("sqlite", "postgresql")
def test_what_triggers_record_is_indexed_too(script: Script) -> None:
    install(["article"])
    try:
        article = Article.objects.latest("pk")
        article.title = "Recorded by a trigger"
        article.save()
        assert immediate.wait(30)
        assert_in_line()
    finally:
        remove(["article"])


def test_the_end_of_the_process_waits_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    should_stop = immediate._EndOfProcess()
    assert not should_stop()
    ended = threading.Thread()
    monkeypatch.setattr(threading, "main_thread", lambda: ended)
    assert not should_stop()
    monkeypatch.setattr(immediate, "PATIENCE", -1.0)
    assert should_stop()
