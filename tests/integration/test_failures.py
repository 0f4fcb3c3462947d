"""What goes wrong with a provider, a row or a store: each kind costs what it must and no more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ai_migration import enqueue, migration_service
from ai_migration.exceptions import (
    FatalEmbedderError,
    InputRefusedError,
    StoreError,
    ThrottledError,
    TransientEmbedderError,
)
from ai_migration.models import EntityFailure, MigrationJob, QueueEntry, RateLimitState
from ai_migration.types import EntryStatus, JobStatus, Vectors
from tests.integration.embedders import Disk, Script
from tests.integration.support import (
    Project,
    assert_in_line,
    collection,
    counts,
    finish,
    make_articles,
    progress,
    run,
    run_slice,
    start,
    stored,
    work,
)
from tests.testapp.models import Article

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])


def pk_of(title: str) -> int:
    return Article.objects.get(title=title).pk


def poison(number: int, error: Exception) -> Any:
    """Refuse the requests that have that article's text."""
    mark = f"title: Title {number}\n"

    def react(texts: Sequence[str]) -> None:
        if any(text.startswith(mark) for text in texts):
            raise error

    return react


# Input: it costs its own row


@pytest.mark.parametrize(
    ("rows", "batch_size"),
    [
        (200, 1),
        pytest.param(2000, 7, marks=pytest.mark.gate),
        (2000, 500),
        pytest.param(2000, 5000, marks=pytest.mark.gate),
    ],
)
def test_one_poisoned_row_costs_itself(
    project: Project, script: Script, rows: int, batch_size: int
) -> None:
    make_articles(rows)
    script.react = poison(123, ValueError("I choke on this"))
    job = start(batch_size=batch_size)
    ended = finish(job)
    assert (ended.status, counts(ended)) == (JobStatus.COMPLETED, (rows - 1, 0, 0, 1))
    failure = EntityFailure.objects.get()
    assert failure.entity_id == str(pk_of("Title 123"))
    assert (failure.job_id, failure.attempts) == (job.pk, 1)
    assert "I choke on this" in failure.error
    assert (len(script.texts), script.paid_twice) == (rows - 1, [])
    assert_in_line(without=[failure.entity_id])
    [listed] = migration_service.list_failures(job.pk)
    assert listed == failure


def nan(texts: Sequence[str]) -> Vectors:
    return np.full((len(texts), 32), math.nan, dtype=np.float32)


def infinite(texts: Sequence[str]) -> Vectors:
    return np.full((len(texts), 32), math.inf, dtype=np.float32)


def too_large(texts: Sequence[str]) -> Any:
    return [[1e300] * 32] * len(texts)


def fewer(texts: Sequence[str]) -> Vectors:
    return np.ones((len(texts) - 1, 32), dtype=np.float32)


def more(texts: Sequence[str]) -> Vectors:
    return np.ones((len(texts) + 1, 32), dtype=np.float32)


def ragged(texts: Sequence[str]) -> Any:
    return [[1.0] * 32] * (len(texts) - 1) + [[1.0] * 31]


@pytest.mark.parametrize("answer", [nan, infinite, too_large, fewer, more])
def test_an_answer_that_is_no_good_costs_the_rows_it_is_for(
    project: Project, script: Script, answer: Any
) -> None:
    make_articles(40)

    def react(texts: Sequence[str]) -> Any:
        return answer(texts) if any("Title 13\n" in text for text in texts) else None

    script.react = react
    ended = finish(start())
    assert (ended.status, counts(ended)) == (JobStatus.COMPLETED, (39, 0, 0, 1))
    assert EntityFailure.objects.get().error_code == "embedder_input"
    assert_in_line(without=[pk_of("Title 13")])


def test_an_embedder_that_always_answers_too_few_vectors(project: Project, script: Script) -> None:
    make_articles(5)
    script.react = fewer
    ended = finish(start())
    assert (ended.status, counts(ended)) == (JobStatus.COMPLETED, (0, 0, 0, 5))
    assert "0 vectors for 1 text" in EntityFailure.objects.all()[0].error


def test_every_chunk_must_pass_for_an_entity_to_be_indexed(
    project: Project, script: Script
) -> None:
    project.article(template="{{ body }}", chunking={"size": 20})
    long = Article.objects.create(title="Long", body=" ".join(f"word{i}" for i in range(100)))
    make_articles(3)

    def react(texts: Sequence[str]) -> None:
        if any("word50 " in text for text in texts):
            raise ValueError("no")

    script.react = react
    ended = finish(start())
    assert (ended.indexed, ended.failed) == (3, 1)
    assert str(long.pk) not in stored(collection())
    script.react = lambda texts: None
    migration_service.retry_failed(ended.job_id)
    assert finish(MigrationJob.objects.get()).indexed == 4
    assert_in_line()


def test_a_row_whose_own_code_raises_costs_itself(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.article("summary")
    make_articles(40)

    def summary(self: Article) -> str:
        if self.title == "Title 7":
            raise ZeroDivisionError(f"secret {self.body}")
        return self.title

    monkeypatch.setattr(Article, "summary", summary)
    ended = finish(start(batch_size=9))
    assert (ended.status, counts(ended)) == (JobStatus.COMPLETED, (39, 0, 0, 1))
    failure = EntityFailure.objects.get()
    assert failure.entity_id == str(pk_of("Title 7"))
    assert "ZeroDivisionError" in failure.error
    assert "secret" not in failure.error
    assert_in_line(without=[failure.entity_id])


def test_a_row_that_fails_now_keeps_what_it_had(project: Project, script: Script) -> None:
    make_articles(5)
    run()
    before = stored(collection())
    Article.objects.filter(title="Title 3").update(body="Changed.")
    script.react = poison(3, ValueError("no"))
    assert counts(finish(start())) == (0, 4, 0, 1)
    assert stored(collection()) == before, "search finds it by its old text"


def test_too_many_failures_stop_the_job(project: Project, script: Script) -> None:
    make_articles(300)
    project.set(MAX_FAILURE_RATIO=0.5)

    def react(texts: Sequence[str]) -> None:
        raise ValueError("all of them")

    script.react = react
    job = start(batch_size=20)
    ended = finish(job)
    assert ended.status == JobStatus.FAILED
    assert 50 <= ended.failed <= 220, "not the whole table, and not before 50"
    assert "MAX_FAILURE_RATIO" in ended.error_message
    assert "all of them" in ended.error_message
    script.react = lambda texts: None
    migration_service.retry_failed(job.pk)
    ended = finish(job)
    assert (ended.status, counts(ended)) == (JobStatus.COMPLETED, (300, 0, 0, 0))
    assert_in_line()


def test_only_failures_since_the_last_start_count(project: Project, script: Script) -> None:
    make_articles(300)
    project.set(MAX_FAILURE_RATIO=0.3)
    bad = {f"title: Title {number}" for number in (*range(60), 100, 200)}

    def react(texts: Sequence[str]) -> None:
        if any(text.splitlines()[0] in bad for text in texts):
            raise ValueError("this one")

    script.react = react
    job = start(batch_size=50)
    assert finish(job).status == JobStatus.FAILED
    migration_service.resume_migration(job.pk)
    ended = finish(job)  # 10 of the next 50 fail: 60 of 100 in all
    assert (ended.status, counts(ended)) == (JobStatus.COMPLETED, (238, 0, 0, 62))


def test_few_failures_stop_no_job(project: Project, script: Script) -> None:
    make_articles(49)

    def react(texts: Sequence[str]) -> None:
        raise ValueError("all of them")

    script.react = react
    assert counts(finish(start())) == (0, 0, 0, 49)


def test_after_a_resume_the_failures_before_it_do_not_count(
    project: Project, script: Script
) -> None:
    make_articles(200)
    bad = 150

    def react(texts: Sequence[str]) -> None:
        if any(int(text.split()[2]) < bad for text in texts):
            raise ValueError("no")

    script.react = react
    job = start(batch_size=20)
    ended = finish(job)
    assert ended.status == JobStatus.FAILED
    bad = ended.processed
    migration_service.resume_migration(job.pk)
    ended = finish(job)
    assert (ended.status, ended.processed) == (JobStatus.COMPLETED, 200)


# Transient: it passes, or it is recorded


@pytest.mark.parametrize(
    "error", [TransientEmbedderError("503"), ConnectionError("reset"), TimeoutError("slow")]
)
def test_what_passes_is_tried_again(project: Project, script: Script, error: Exception) -> None:
    make_articles(30)
    times = 0

    def react(texts: Sequence[str]) -> None:
        nonlocal times
        times += 1
        if times in (1, 2, 4):
            raise error

    script.react = react
    ended = finish(start(batch_size=10))
    assert (ended.status, counts(ended)) == (JobStatus.COMPLETED, (30, 0, 0, 0))
    assert not script.paid_twice
    assert_in_line()


def test_requests_are_repeated_before_the_batch_is(project: Project, script: Script) -> None:
    project.config(
        """
        ai-config: {retry-attempts: 3, retry-delay-ms: 1}
        ai-entities:
          article: {model: testapp.Article, embeddable-fields: [title, body]}
        """
    )
    make_articles(10)

    def react(texts: Sequence[str]) -> None:
        if script.asked < 4:
            raise TransientEmbedderError("503")

    script.react = react
    ended = finish(start())
    assert counts(ended) == (10, 0, 0, 0)
    assert script.asked == 4
    assert QueueEntry.objects.filter(operation="INDEX").get().attempts == 0


def test_what_does_not_pass_is_recorded_in_the_end(project: Project, script: Script) -> None:
    project.embedder(script=script, max_batch_size=5)
    project.set(MAX_ATTEMPTS=3)
    make_articles(30)
    script.react = poison(12, TransientEmbedderError("503 for ever"))
    job = start(batch_size=10)
    ended = finish(job)
    assert ended.status == JobStatus.COMPLETED
    assert ended.indexed + ended.failed == 30
    assert 1 <= ended.failed <= 5, "the request it is in, and nothing else"
    failed = set(EntityFailure.objects.values_list("entity_id", "error_code"))
    assert (str(pk_of("Title 12")), "embedder_transient") in failed
    assert not script.paid_twice
    assert QueueEntry.objects.filter(job=job, attempts=2).count() == 1
    assert_in_line(without=[entity_id for entity_id, _ in failed])


def test_a_half_done_batch_keeps_what_it_has(project: Project, script: Script) -> None:
    project.embedder(script=script, max_batch_size=5)
    project.set(RETRY_DELAY_SECONDS=60.0)  # longer than the slice
    make_articles(30)
    script.react = poison(12, TransientEmbedderError("503"))
    job = start(batch_size=30)
    run_slice()
    assert progress(job).processed == 0
    assert sum(map(len, stored(collection()).values())) == 25
    QueueEntry.objects.update(available_at=None)
    script.react = lambda texts: None
    assert counts(finish(job)) == (30, 0, 0, 0)
    assert not script.paid_twice


def test_a_refusal_that_passes_the_second_time_leaves_no_trace(
    project: Project, script: Script
) -> None:
    """Beside a row that has to wait, so that the batch is claimed twice."""
    make_articles(4)

    def react(texts: Sequence[str]) -> None:
        if len(texts) > 1:
            raise InputRefusedError("one at a time, please")
        if "Title 1\n" in texts[0] and first:
            raise InputRefusedError("not now")
        if "Title 2\n" in texts[0] and first:
            first.clear()
            raise TransientEmbedderError("503")

    first = [True]
    script.react = react
    job = start()
    ended = finish(job)
    assert counts(ended) == (4, 0, 0, 0)
    assert not EntityFailure.objects.exists()
    assert_in_line()


# Throttled: patience is no failure


def test_being_throttled_is_no_attempt(project: Project, script: Script) -> None:
    project.set(MAX_ATTEMPTS=1)
    make_articles(30)

    def react(texts: Sequence[str]) -> None:
        if script.asked % 2:
            raise ThrottledError("429", retry_after=0.01)

    project.embedder(script=script, max_batch_size=5)
    script.react = react
    job = start(batch_size=10)
    ended = finish(job)
    assert (ended.status, counts(ended)) == (JobStatus.COMPLETED, (30, 0, 0, 0))
    assert set(QueueEntry.objects.values_list("attempts", flat=True)) == {0}
    assert not script.paid_twice
    assert_in_line()


def test_a_throttled_job_says_until_when_and_is_left_alone(project: Project) -> None:
    from ai_migration.indexing.queue import claim
    from tests.integration.support import lease, run_slice

    script = project.embedder(max_batch_size=5)
    make_articles(30)

    def react(texts: Sequence[str]) -> None:
        raise ThrottledError("429: come back in an hour", retry_after=3600)

    script.react = react
    job = start(batch_size=10)
    run_slice(seconds=60)
    now = progress(job)
    assert now.status == JobStatus.RUNNING, "throttled is not a state"
    assert "come back in an hour" in now.throttle_reason
    assert now.throttled_until is not None
    assert script.asked == 1, "the whole provider is left alone"
    assert claim(lease(), 10) == []
    [state] = RateLimitState.objects.all()
    assert state.key == "embedder:default", "whoever uses the embedder leaves it alone"
    assert state.state["reason"] == "429: come back in an hour"
    state.delete()
    MigrationJob.objects.update(throttled_until=None)
    QueueEntry.objects.update(available_at=None)
    script.react = lambda texts: None
    assert counts(finish(job)) == (30, 0, 0, 0)
    assert set(QueueEntry.objects.values_list("attempts", flat=True)) == {0}
    assert progress(job).throttle_reason == ""


# Fatal: stop at once, keep everything


def test_a_fatal_error_stops_the_job_with_the_providers_words(project: Project) -> None:
    script = project.embedder(max_batch_size=5)
    make_articles(60)

    def react(texts: Sequence[str]) -> None:
        if len(script.texts) >= 20:
            raise FatalEmbedderError("The model hash-9 does not exist")

    script.react = react
    job = start(batch_size=7)
    ended = finish(job)
    assert ended.status == JobStatus.FAILED
    assert ended.error_message == "The model hash-9 does not exist"
    assert ended.failed == 0, "it is no fault of any row"
    assert len(script.texts) == 20
    assert sum(map(len, stored(collection()).values())) == 20, "what was paid for is kept"
    asked = script.asked
    work()
    assert script.asked == asked, "nobody asks again"
    script.react = lambda texts: None
    assert migration_service.resume_migration(job.pk).error_message == ""
    ended = finish(job)
    assert (ended.status, counts(ended)) == (JobStatus.COMPLETED, (60, 0, 0, 0))
    assert not script.paid_twice
    assert_in_line()


@pytest.mark.parametrize("width", [1, 16, 64])
def test_vectors_of_other_dimensions_are_fatal(
    project: Project, script: Script, width: int
) -> None:
    make_articles(20)
    script.react = lambda texts: np.ones((len(texts), width), dtype=np.float32)
    job = start()
    ended = finish(job)
    assert ended.status == JobStatus.FAILED
    assert f"(20, {width})" in ended.error_message
    assert "32 dimensions were expected" in ended.error_message
    assert stored(collection()) == {}
    script.react = lambda texts: None
    migration_service.resume_migration(job.pk)
    assert counts(finish(job)) == (20, 0, 0, 0)
    assert_in_line()


def test_a_fatal_error_keeps_live_work_for_later(project: Project, script: Script) -> None:
    make_articles(3)
    run()
    Article.objects.update(body="new")

    def react(texts: Sequence[str]) -> None:
        raise FatalEmbedderError("bad key")

    script.react = react
    enqueue("article", Article.objects.values_list("pk", flat=True))
    run_slice()
    waiting = QueueEntry.objects.get(job=None)
    assert (waiting.status, waiting.error) == (EntryStatus.PENDING, "bad key")
    assert not EntityFailure.objects.exists()
    script.react = lambda texts: None
    QueueEntry.objects.update(available_at=None)
    work()
    assert_in_line()


def test_the_fatal_error_of_a_job_leaves_live_traffic_alone(project: Project) -> None:
    """The embedder dislikes what the job sends; what somebody just saved goes through."""
    script = project.embedder(max_batch_size=5)
    make_articles(30)
    run()
    live = Article.objects.create(title="live", body="live")
    Article.objects.exclude(pk=live.pk).update(body="new")

    def react(texts: Sequence[str]) -> None:
        if not any("live" in text for text in texts):
            raise FatalEmbedderError("quota gone")

    script.react = react
    job = start()
    enqueue("article", [live.pk])
    assert finish(job).status == JobStatus.FAILED
    work()
    assert str(live.pk) in stored(collection())


# The store


@pytest.mark.parametrize("is_transient", [True, False])
def test_a_store_whose_disk_is_full(project: Project, is_transient: bool) -> None:
    script = project.embedder(max_batch_size=5)
    disk = Disk()
    project.store("tests.integration.embedders.FullStore", disk=disk)
    project.set(MAX_ATTEMPTS=2)
    make_articles(30)
    disk.error = StoreError("No space left on device", transient=is_transient)
    job = start(batch_size=10)
    ended = finish(job)
    assert ended.status == JobStatus.FAILED
    assert ended.error_message == "No space left on device"
    assert (ended.processed, ended.failed, stored(collection())) == (0, 0, {})
    disk.error = None
    migration_service.resume_migration(job.pk)
    QueueEntry.objects.update(available_at=None)
    ended = finish(job)
    assert (ended.status, counts(ended)) == (JobStatus.COMPLETED, (30, 0, 0, 0))
    assert script.asked
    assert_in_line()


def test_a_store_that_stumbles_is_tried_again(project: Project) -> None:
    disk = Disk()
    script = project.embedder()
    project.store("tests.integration.embedders.FullStore", disk=disk)
    project.set(RETRY_DELAY_SECONDS=60.0)  # longer than the slice
    make_articles(10)
    disk.error = StoreError("connection lost", transient=True)
    job = start()
    run_slice()
    assert progress(job).status == JobStatus.RUNNING
    QueueEntry.objects.update(available_at=None)
    disk.error = None
    assert counts(finish(job)) == (10, 0, 0, 0)
    assert len(script.texts) <= 20


# Nothing that is secret or long in an error

KEY = "sk-live-1234567890abcdef"


@pytest.mark.parametrize("kind", [ValueError, InputRefusedError, TransientEmbedderError])
@pytest.mark.parametrize("form", ["{}", "{!r}", "json"])
@pytest.mark.vendors("sqlite")
def test_no_text_and_no_key_reaches_a_failure(
    project: Project, kind: type[Exception], form: str, caplog: pytest.LogCaptureFixture
) -> None:
    import json

    script = Script()
    backend = "tests.integration.embedders.SecretiveEmbedder"
    options = {"script": script, "dimensions": 32, "api_key": KEY}
    project.set(EMBEDDERS={"default": {"BACKEND": backend, "OPTIONS": options}}, MAX_ATTEMPTS=1)
    secret = "My blood pressure is 180 over 120"
    Article.objects.create(title="Diary", body=f'{secret}, "she" said\tand é')

    def react(texts: Sequence[str]) -> None:
        said = json.dumps(texts[0]) if form == "json" else form.format(texts[0])
        raise kind(f"cannot embed {said} with the key {KEY}")

    script.react = react
    job = start()
    ended = finish(job)
    assert ended.failed == 1
    failure = EntityFailure.objects.get()
    for written in (
        failure.error,
        *QueueEntry.objects.values_list("error", flat=True),
        caplog.text,
    ):
        assert secret not in written
        assert KEY not in written
    assert "cannot embed" in failure.error


def test_no_key_reaches_the_error_of_a_job(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    script = Script()
    backend = "tests.integration.embedders.SecretiveEmbedder"
    options = {"script": script, "dimensions": 32, "api_key": KEY}
    project.set(EMBEDDERS={"default": {"BACKEND": backend, "OPTIONS": options}})
    make_articles(3)

    def react(texts: Sequence[str]) -> None:
        raise FatalEmbedderError(f"401: the key {KEY} is not valid")

    script.react = react
    job = start()
    ended = finish(job)
    assert ended.status == JobStatus.FAILED
    assert ended.error_message.startswith("401: the key ")
    events = " ".join(event.reason for event in migration_service.list_events(job.pk))
    for written in (ended.error_message, events, caplog.text):
        assert KEY not in written


def test_a_long_error_is_cut(project: Project, script: Script) -> None:
    make_articles(1)
    script.react = poison(0, ValueError("x" * 100_000))
    finish(start())
    assert len(EntityFailure.objects.get().error) <= 1000
