"""Pause, resume, cancel, retry, and who runs when: durable, exact, and nothing paid twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from ai_migration import enqueue, migration_service
from ai_migration.engine.upkeep.supervisor import clean_up, tick
from ai_migration.entities import registry
from ai_migration.exceptions import (
    ConflictingJobError,
    InvalidRequestError,
    InvalidTransitionError,
    UnknownEntityTypeError,
    UnknownJobError,
)
from ai_migration.indexing import queue
from ai_migration.jobs.feed.collections import ConfigChange, config_change
from ai_migration.jobs.feed.ranges import feed
from ai_migration.jobs.steer.states import STATES
from ai_migration.jobs.steer.transitions import transition
from ai_migration.models import EntityFailure, JobEvent, MigrationJob, QueueEntry
from ai_migration.types import EntryStatus, JobStatus, MigrationFilters
from tests.integration.embedders import Script
from tests.integration.support import (
    GLOBAL,
    Project,
    assert_in_line,
    collection,
    counts,
    finish,
    lease,
    make_articles,
    progress,
    run,
    run_slice,
    start,
    stored,
    work,
)
from tests.testapp.models import Article, Country

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])

ROWS = 40


def steps(job: MigrationJob) -> list[tuple[str, str]]:
    """The audit log, as edges."""
    events = JobEvent.objects.filter(job=job).exclude(from_status="").order_by("pk")
    return [(event.from_status, event.to_status) for event in events]


def once(act: Callable[[], Any], when: Callable[[], bool]) -> Callable[[], bool]:
    """A `should_stop` that never stops, and does something once."""
    done: list[bool] = []

    def look() -> bool:
        if not done and when():
            done.append(True)
            act()
        return False

    return look


# Pause and resume


@pytest.mark.parametrize(("after", "batch_size"), [(1, 1), (1, 500), (13, 7), (13, 500), (39, 1)])
def test_a_pause_in_the_middle_costs_nothing(project: Project, after: int, batch_size: int) -> None:
    script = project.embedder(max_batch_size=3)
    make_articles(ROWS)
    job = start(batch_size=batch_size)

    texts = []

    def pause() -> None:
        texts.append(len(script.texts))
        migration_service.pause_migration(job.pk, actor="ops", reason="lunch")

    run_slice(should_stop=once(pause, lambda: len(script.texts) >= after))
    paused = progress(job)
    assert paused.status == JobStatus.PAUSED
    assert len(script.texts) <= texts[0] + 9, "what is in flight ends, and no more begins"
    embedded = len(script.texts)
    assert not QueueEntry.objects.filter(status=EntryStatus.CLAIMED).exists()
    assert sum(map(len, stored(collection()).values())) == embedded, "nothing embedded is lost"
    work()
    assert len(script.texts) == embedded
    assert paused.processed <= embedded
    assert migration_service.resume_migration(job.pk).status == JobStatus.RUNNING
    ended = finish(job)
    assert (ended.status, counts(ended)) == (JobStatus.COMPLETED, (ROWS, 0, 0, 0))
    assert (len(script.texts), script.paid_twice) == (ROWS, [])
    assert migration_service.get_job(job.pk).embedded_texts == ROWS
    assert_in_line()
    assert steps(job) == [
        ("PENDING", "RUNNING"),
        ("RUNNING", "PAUSED"),
        ("PAUSED", "RUNNING"),
        ("RUNNING", "COMPLETED"),
    ]
    event = JobEvent.objects.get(to_status="PAUSED")
    assert (event.actor, event.reason) == ("ops", "lunch")


def test_entries_of_a_paused_job_are_not_claimed(project: Project) -> None:
    make_articles(10)
    job = start(batch_size=2)
    one, other = lease("one"), lease("other")
    feed(job.pk, one.using)
    assert len(queue.claim(one, 2)) == 2
    migration_service.pause_migration(job.pk)
    assert queue.claim(other, 10) == []
    assert queue.claim(one, 10) == []
    assert feed(job.pk, one.using) == 0
    one.release()
    assert queue.claim(other, 10) == []
    migration_service.resume_migration(job.pk)
    assert len(queue.claim(other, 10)) == 5
    other.release()


def test_a_row_that_changes_while_its_batch_is_half_done_is_counted_once(
    project: Project,
) -> None:
    script = project.embedder(max_batch_size=3)
    make_articles(ROWS)
    job = start(batch_size=500)
    run_slice(should_stop=lambda: len(script.texts) >= 12)
    assert progress(job).processed == 0, "its one batch is not done"
    Article.objects.update(body="Changed.")
    ended = finish(job)
    assert counts(ended) == (ROWS, 0, 0, 0)
    assert_in_line()


def test_stopping_again_and_again_gets_there(project: Project) -> None:
    script = project.embedder(max_batch_size=2)
    make_articles(ROWS)
    job = start(batch_size=11)
    for _ in range(60):
        if progress(job).status != JobStatus.RUNNING:
            break
        run_slice(seconds=12)
    assert progress(job).status == JobStatus.COMPLETED
    assert counts(progress(job)) == (ROWS, 0, 0, 0)
    assert not script.paid_twice
    assert_in_line()


def test_a_job_that_was_paused_for_a_deploy_goes_on_in_another_process(project: Project) -> None:
    script = project.embedder(max_batch_size=3)
    make_articles(ROWS)
    job = start(batch_size=7)
    stop = [False, True]
    run_slice(should_stop=lambda: stop[len(script.texts) >= 9])
    assert progress(job).status == JobStatus.RUNNING
    assert not QueueEntry.objects.filter(status=EntryStatus.CLAIMED).exists()
    assert counts(finish(job)) == (ROWS, 0, 0, 0)
    assert not script.paid_twice


# Changes while paused or running


def test_a_config_that_changes_while_a_job_is_paused_is_followed(project: Project) -> None:
    script = project.embedder(max_batch_size=3)
    make_articles(ROWS)
    Article.objects.filter(title__in=["Title 3", "Title 30"]).update(status="draft")
    job = start(batch_size=7)
    run_slice(should_stop=lambda: len(script.texts) >= 15)
    migration_service.pause_migration(job.pk)
    done = len(script.texts)
    project.article(
        template="title: {{ title }}\nbody: {{ body }}{% if status == 'draft' %} (draft){% endif %}"
    )
    migration_service.resume_migration(job.pk)
    ended = finish(job)
    assert ended.status == JobStatus.COMPLETED
    assert ended.processed == ended.total == ROWS
    assert len(script.texts) == ROWS + 1, "only the draft that was done is embedded again"
    assert not script.paid_twice
    assert ended.skipped == done - 1
    assert_in_line()
    assert any("config changed" in event.reason for event in JobEvent.objects.filter(job=job))
    script.clear()
    assert counts(run()) == (0, ROWS, 0, 0)


OLD, NEW = "{{ title }}: {{ body }}", "{{ title }}; {{ body }}"


def followed(job: MigrationJob) -> int:
    """How often the job was started over for a config."""
    return JobEvent.objects.filter(job=job, reason__contains="config changed").count()


def test_two_configs_during_a_deploy_do_not_take_turns(project: Project) -> None:
    script = project.embedder(max_batch_size=3)
    make_articles(ROWS)
    project.article(template=OLD)
    job = start(batch_size=7)
    run_slice(should_stop=lambda: len(script.texts) >= 9)
    sent = len(script.texts)
    project.article(template=NEW)
    run_slice(should_stop=lambda: len(script.texts) >= sent + 15)
    done, texts = progress(job).processed, len(script.texts)
    for _ in range(3):  # a worker that was not deployed yet
        project.article(template=OLD)
        run_slice()
        assert (progress(job).processed, len(script.texts)) == (done, texts)
    project.article(template=NEW)
    assert counts(finish(job)) == (ROWS, 0, 0, 0)
    assert followed(job) == 1
    assert not script.paid_twice
    assert_in_line()


@pytest.mark.parametrize("how", ["later", "resumed"])
def test_a_deploy_that_is_taken_back_is_followed(project: Project, how: str) -> None:
    script = project.embedder(max_batch_size=3)
    make_articles(ROWS)
    project.article(template=OLD)
    job = start(batch_size=7)
    run_slice(should_stop=lambda: len(script.texts) >= 9)
    sent = len(script.texts)
    project.article(template=NEW)
    run_slice(should_stop=lambda: len(script.texts) >= sent + 15)
    project.article(template=OLD)
    if how == "later":
        left = MigrationJob.objects.get(pk=job.pk).superseded_configs
        long_ago = {config: at - 601_000_000 for config, at in left.items()}
        MigrationJob.objects.filter(pk=job.pk).update(superseded_configs=long_ago)
    else:
        migration_service.pause_migration(job.pk)
        migration_service.resume_migration(job.pk)
    assert finish(job).status == JobStatus.COMPLETED
    assert followed(job) == 2
    assert_in_line()


def test_a_payload_that_is_configured_while_a_job_is_paused_is_written(project: Project) -> None:
    from tests.integration.support import payloads

    script = project.embedder(max_batch_size=3)
    make_articles(ROWS)
    job = start(batch_size=7)
    run_slice(should_stop=lambda: len(script.texts) >= 15)
    migration_service.pause_migration(job.pk)
    project.article(metadata_fields=["status"])
    migration_service.resume_migration(job.pk)
    assert finish(job).status == JobStatus.COMPLETED
    assert (len(script.texts), script.paid_twice) == (ROWS, [])
    assert set(map(str, payloads(collection()).values())) == {"{'status': 'published'}"}


def test_an_operational_change_does_not_start_over(project: Project) -> None:
    script = project.embedder(max_batch_size=3)
    make_articles(ROWS)
    job = start(batch_size=7)
    run_slice(should_stop=lambda: len(script.texts) >= 15)
    before, sent = progress(job).processed, len(script.texts)
    assert before
    project.article(batch_size=3, features=["search"])
    run_slice(should_stop=lambda: len(script.texts) >= sent + 7)
    assert progress(job).processed > before
    assert counts(finish(job)) == (ROWS, 0, 0, 0)


def test_a_key_without_effect_neither_starts_a_job_over_nor_writes_payloads(
    project: Project,
) -> None:
    """Also where an earlier version has put such keys into what the job and its collection
    keep of the config."""
    script = project.embedder(max_batch_size=3)
    make_articles(ROWS)
    project.article(metadata_fields=["status"])
    job = start(batch_size=7)
    run_slice(should_stop=lambda: len(script.texts) >= 15)
    before, sent = progress(job).processed, len(script.texts)
    for kept in MigrationJob.objects.get(pk=job.pk), collection():
        snapshot = {**kept.config_snapshot, "features": [], "auto_process": True}
        fields = [["status", "TEXT", True]]
        snapshot["metadata"] = {**snapshot["metadata"], "fields": fields}
        type(kept).objects.filter(pk=kept.pk).update(config_snapshot=snapshot)
    project.article(metadata_fields=[{"name": "status", "include-in-search": False}])
    assert config_change(collection(), registry.get("article")) is ConfigChange.NONE
    run_slice(should_stop=lambda: len(script.texts) >= sent + 7)
    assert progress(job).processed > before
    assert counts(finish(job)) == (ROWS, 0, 0, 0)
    assert followed(job) == 0
    assert counts(finish(start())) == (0, ROWS, 0, 0)


def test_an_entity_type_that_is_gone_stops_its_job_with_words(project: Project) -> None:
    make_articles(5)
    job = start(batch_size=1)
    project.article(name="other")
    ended = finish(job)
    assert ended.status == JobStatus.FAILED
    assert "article" in ended.error_message
    with pytest.raises(UnknownEntityTypeError):
        migration_service.resume_migration(job.pk)
    project.article()
    migration_service.resume_migration(job.pk)
    assert counts(finish(job)) == (5, 0, 0, 0)


def test_rows_that_come_change_and_go_during_a_run(project: Project) -> None:
    script = project.embedder(max_batch_size=3)
    make_articles(ROWS)
    job = start(batch_size=5)
    seen = lambda: len(script.texts) >= 12  # noqa: E731

    def disturb() -> None:
        keys = list(Article.objects.order_by("pk").values_list("pk", flat=True))
        Article.objects.filter(pk__in=[keys[0], keys[-1]]).delete()
        Article.objects.filter(pk__in=[keys[1], keys[-2]]).update(body="Changed.")
        make_articles(3, start=900)
        enqueue("article", [keys[0], keys[1], keys[-1], keys[-2]])

    run_slice(should_stop=once(disturb, seen), only_jobs=[job.pk])
    ended = finish(job)
    assert ended.status == JobStatus.COMPLETED
    assert ended.percent_complete == 100
    assert_in_line()


# Cancel


def test_a_cancelled_job_is_over(project: Project) -> None:
    script = project.embedder(max_batch_size=3)
    make_articles(ROWS)
    job = start(batch_size=7)

    def cancel() -> None:
        migration_service.cancel_migration(job.pk, actor="ops", reason="mistake")

    run_slice(should_stop=once(cancel, lambda: len(script.texts) >= 10))
    ended = finish(job)
    assert ended.status == JobStatus.CANCELLED
    assert 10 <= len(script.texts) <= 19
    assert len(stored(collection())) == len(script.texts), "what it indexed stays indexed"
    assert not QueueEntry.objects.exclude(status=EntryStatus.COMPLETED).exists()
    assert migration_service.cancel_migration(job.pk).status == JobStatus.CANCELLED
    for steer in ("resume_migration", "pause_migration", "retry_failed"):
        with pytest.raises(InvalidTransitionError, match="CANCELLED"):
            getattr(migration_service, steer)(job.pk)
    assert steps(job)[-1] == ("RUNNING", "CANCELLED")
    before = len(script.texts)
    assert counts(run()) == (ROWS - before, before, 0, 0)
    assert not script.paid_twice
    assert_in_line()


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "PAUSED", "FAILED"])
def test_every_open_or_failed_job_can_be_cancelled(project: Project, state: str) -> None:
    make_articles(3)
    project.set(MAX_CONCURRENT_JOBS=1)
    if state == "PENDING":
        Country.objects.create(code="AT", name="Austria")
        project.config(
            GLOBAL
            + """
ai-entities:
  article: {model: testapp.Article, embeddable-fields: [title, body]}
  country: {model: testapp.Country, embeddable-fields: [name]}
"""
        )
        start("country")
    job = start()
    if state == "PAUSED":
        migration_service.pause_migration(job.pk)
    if state == "FAILED":
        transition(job.pk, JobStatus.FAILED, using="default")
    assert migration_service.get_job(job.pk).status == state
    assert migration_service.cancel_migration(job.pk).status == JobStatus.CANCELLED


# Retry


@pytest.fixture
def picky(script: Script) -> set[str]:
    """The titles the embedder refuses."""
    refused: set[str] = set()

    def react(texts: Any) -> None:
        for text in texts:
            title = text.partition("\n")[0].removeprefix("title: ")
            if title in refused:
                raise ValueError("I do not like this one")

    script.react = react
    return refused


def test_retrying_a_completed_job_moves_its_counts_exactly(
    project: Project, script: Script, picky: set[str]
) -> None:
    make_articles(ROWS)
    picky.update(["Title 3", "Title 20", "Title 21"])
    job = start(batch_size=8)
    assert counts(finish(job)) == (ROWS - 3, 0, 0, 3)
    script.clear()
    picky.remove("Title 3")
    Article.objects.filter(title="Title 20").delete()
    assert migration_service.retry_failed(job.pk, actor="ops").status == JobStatus.RUNNING
    ended = finish(job)
    assert ended.status == JobStatus.COMPLETED
    assert (ended.total, ended.indexed, ended.failed) == (ROWS, ROWS - 2, 1)
    assert ended.skipped + ended.removed == 1
    assert len(script.texts) == 1
    failure = EntityFailure.objects.get()
    assert failure.attempts == 2
    picky.clear()
    migration_service.retry_failed(job.pk)
    assert counts(finish(job))[0] == ROWS - 1
    with pytest.raises(InvalidRequestError):
        migration_service.retry_failed(job.pk)
    assert_in_line()


def test_a_failed_row_that_matches_the_filters_no_more_is_done_with(
    project: Project, picky: set[str]
) -> None:
    project.article(filterable_fields=["status"])
    make_articles(5)
    picky.add("Title 2")
    job = start(filters=MigrationFilters(lookups={"status": "published"}))
    assert finish(job).failed == 1
    Article.objects.filter(title="Title 2").update(status="draft")
    migration_service.retry_failed(job.pk)
    assert counts(finish(job)) == (4, 1, 0, 0)
    with pytest.raises(InvalidRequestError, match="no failed entities"):
        migration_service.retry_failed(job.pk)


def test_retrying_a_failed_job_resumes_it_and_retries(
    project: Project, script: Script, picky: set[str]
) -> None:
    project.set(MAX_FAILURE_RATIO=0.3, QUEUE_WINDOW=1)  # the second batch is not begun
    make_articles(100)
    picky.update(f"Title {i}" for i in range(0, 100, 2))
    job = start(batch_size=60)
    ended = finish(job)
    assert ended.status == JobStatus.FAILED
    assert "MAX_FAILURE_RATIO" in ended.error_message
    assert (ended.processed, ended.failed) == (60, 30)
    picky.clear()
    assert migration_service.retry_failed(job.pk).status == JobStatus.RUNNING
    ended = finish(job)
    assert (ended.status, counts(ended)) == (JobStatus.COMPLETED, (100, 0, 0, 0))
    assert (len(script.texts), script.paid_twice) == (100, [])
    assert not EntityFailure.objects.exists()
    assert_in_line()


def test_retrying_a_running_job_happens_before_it_finishes(
    project: Project, picky: set[str]
) -> None:
    make_articles(20)
    picky.update(["Title 0", "Title 1"])
    job = start(batch_size=5)

    def retry() -> None:
        picky.clear()
        migration_service.retry_failed(job.pk)

    run_slice(should_stop=once(retry, lambda: EntityFailure.objects.count() == 2))
    assert counts(finish(job)) == (20, 0, 0, 0)
    assert steps(job) == [("PENDING", "RUNNING"), ("RUNNING", "COMPLETED")]


def test_there_is_nothing_to_retry(project: Project) -> None:
    make_articles(2)
    job = start()
    finish(job)
    with pytest.raises(InvalidRequestError, match="no failed entities"):
        migration_service.retry_failed(job.pk)


# Two jobs, and slots


def test_two_jobs_do_not_write_one_collection(project: Project) -> None:
    make_articles(3)
    first = start()
    with pytest.raises(ConflictingJobError, match=first.pk) as caught:
        start()
    assert caught.value.other_job_id == first.pk
    migration_service.pause_migration(first.pk)
    with pytest.raises(ConflictingJobError, match="PAUSED"):
        start()
    assert MigrationJob.objects.count() == 1
    migration_service.cancel_migration(first.pk)
    second = start()
    assert finish(second).status == JobStatus.COMPLETED


def test_a_failed_job_does_not_resume_into_a_collection_another_job_writes(
    project: Project,
) -> None:
    make_articles(3)
    first = start()
    transition(first.pk, JobStatus.FAILED, using="default")
    second = start()
    with pytest.raises(ConflictingJobError, match=second.pk):
        migration_service.resume_migration(first.pk)
    assert migration_service.get_job(first.pk).status == JobStatus.FAILED
    finish(second)
    assert migration_service.resume_migration(first.pk).status == JobStatus.RUNNING
    assert finish(first).status == JobStatus.COMPLETED


@pytest.fixture
def three(project: Project) -> list[str]:
    """Three entity types, and room for one job."""
    project.set(MAX_CONCURRENT_JOBS=1)
    names = ["a", "b", "c"]
    project.config(
        GLOBAL
        + "ai-entities:\n"
        + "".join(
            f"  {name}: {{model: testapp.Article, embeddable-fields: [title]}}\n" for name in names
        )
    )
    make_articles(4)
    return names


def statuses(jobs: list[MigrationJob]) -> list[str]:
    return [migration_service.get_job(job.pk).status for job in jobs]


def test_jobs_wait_for_a_slot_and_start_by_themselves(three: list[str]) -> None:
    jobs = [start(name) for name in three]
    assert statuses(jobs) == ["RUNNING", "PENDING", "PENDING"]
    assert progress(jobs[1]).percent_complete == 0
    work()
    assert statuses(jobs) == ["COMPLETED"] * 3
    started = [migration_service.get_job(job.pk).started_at for job in jobs]
    assert started == sorted(started, key=str)


@pytest.mark.parametrize("how", ["pause", "cancel", "fail"])
def test_a_slot_that_is_given_up_goes_to_who_waits_longest(three: list[str], how: str) -> None:
    jobs = [start(name) for name in three]
    if how == "fail":
        transition(jobs[0].pk, JobStatus.FAILED, using="default")
        assert tick().started == [jobs[1].pk]
    else:
        getattr(migration_service, f"{how}_migration")(jobs[0].pk)
    assert statuses(jobs)[1:] == ["RUNNING", "PENDING"]
    if how != "cancel":
        assert migration_service.resume_migration(jobs[0].pk).status == JobStatus.PENDING
        assert migration_service.resume_migration(jobs[0].pk).status == JobStatus.PENDING
    work()
    assert statuses(jobs)[1:] == ["COMPLETED"] * 2
    assert statuses(jobs)[0] == ("CANCELLED" if how == "cancel" else "COMPLETED")


def test_a_waiting_job_can_be_paused_and_goes_on(three: list[str]) -> None:
    jobs = [start(name) for name in three[:2]]
    assert migration_service.pause_migration(jobs[1].pk).status == JobStatus.PAUSED
    work()
    assert statuses(jobs) == ["COMPLETED", "PAUSED"]
    assert migration_service.resume_migration(jobs[1].pk).status == JobStatus.RUNNING
    work()
    assert statuses(jobs) == ["COMPLETED", "COMPLETED"]


def test_a_tick_starts_what_waits_when_the_limit_is_raised(
    project: Project, three: list[str]
) -> None:
    jobs = [start(name) for name in three]
    assert tick().started == []
    project.set(MAX_CONCURRENT_JOBS=2)
    assert tick().started == [jobs[1].pk]
    project.set(MAX_CONCURRENT_JOBS=3)
    assert tick().started == [jobs[2].pk]


def test_a_worker_for_one_job_leaves_the_others_alone(project: Project, three: list[str]) -> None:
    project.set(MAX_CONCURRENT_JOBS=3)
    jobs = [start(name) for name in three]
    run_slice(only_jobs=[jobs[1].pk])
    assert statuses(jobs) == ["RUNNING", "COMPLETED", "RUNNING"]


# The state machine


def test_a_job_moves_along_the_edges_and_no_other_way(project: Project) -> None:
    job = start()
    for source, target in itertools.product(JobStatus, JobStatus):
        MigrationJob.objects.filter(pk=job.pk).update(status=source)
        before = JobEvent.objects.count()
        if target in STATES[source].edges:
            change = transition(job.pk, target, using="default", actor="me")
            assert (change.happened, change.job.status) == (True, target)
            event = JobEvent.objects.order_by("-pk")[0]
            assert (event.from_status, event.to_status, event.actor) == (source, target, "me")
            assert event.reason == STATES[source].edges[target]
            continue
        if source == target:
            assert not transition(job.pk, target, using="default").happened
        else:
            with pytest.raises(InvalidTransitionError, match=rf"{job.pk} is {source}.*{target}"):
                transition(job.pk, target, using="default")
        assert JobEvent.objects.count() == before
        assert migration_service.get_job(job.pk).status == source


def test_steering_a_job_to_where_it_is_is_no_event(project: Project) -> None:
    job = start()
    migration_service.pause_migration(job.pk)
    before = JobEvent.objects.count()
    assert migration_service.pause_migration(job.pk).status == JobStatus.PAUSED
    migration_service.resume_migration(job.pk)
    assert migration_service.resume_migration(job.pk).status == JobStatus.RUNNING
    assert JobEvent.objects.count() == before + 1


@pytest.mark.parametrize("job_id", ["mig-nothing", "", "\0", "\ud800", "x" * 500])
def test_a_job_that_does_not_exist(project: Project, job_id: str) -> None:
    service = migration_service
    looks = [service.get_job, service.get_progress, service.list_failures, service.list_events]
    steers = [service.pause_migration, service.resume_migration, service.cancel_migration]
    for ask in (*looks, *steers, service.retry_failed):
        with pytest.raises(UnknownJobError, match="No job has the id"):
            ask(job_id)


# Looking at jobs


def test_jobs_are_listed_newest_first_page_by_page(project: Project, three: list[str]) -> None:
    jobs = [start(name) for name in three]
    newest = [job.pk for job in reversed(jobs)]
    assert [job.pk for job in migration_service.list_jobs()] == newest
    assert [job.pk for job in migration_service.list_jobs(limit=2)] == newest[:2]
    assert [job.pk for job in migration_service.list_jobs(before=newest[1])] == newest[2:]
    assert [job.pk for job in migration_service.list_jobs(status="PENDING")] == newest[:2]
    assert [job.pk for job in migration_service.list_jobs(entity_type="a")] == newest[2:]
    with pytest.raises(InvalidRequestError, match="Unknown status 'BUSY'"):
        migration_service.list_jobs(status="BUSY")


def test_progress_never_exceeds_the_whole(project: Project) -> None:
    script = project.embedder(max_batch_size=3)
    make_articles(10)
    job = start(batch_size=2)
    seen: list[float] = []

    def look() -> bool:
        now = progress(job)
        seen.append(now.percent_complete)
        if len(seen) == 3:
            make_articles(20, start=100)
        assert now.processed <= now.total
        return False

    run_slice(should_stop=look)
    assert counts(finish(job)) == (30, 0, 0, 0)
    assert len(script.texts) == 30
    assert max(seen) <= 100


def test_an_empty_table_is_done_at_once(project: Project, script: Script) -> None:
    ended = run()
    assert (ended.total, ended.processed, ended.percent_complete) == (0, 0, 100)
    assert script.asked == 0
    assert stored(collection()) == {}


def test_old_jobs_and_their_history_are_cleaned_up(project: Project) -> None:
    make_articles(3)
    job = start()
    finish(job)
    project.set(CLEANUP_COMPLETED_AFTER_DAYS=None)
    assert clean_up() == 0
    project.set(CLEANUP_COMPLETED_AFTER_DAYS=1)
    assert clean_up() == 0
    project.set(CLEANUP_COMPLETED_AFTER_DAYS=0)
    clean_up()
    with pytest.raises(UnknownJobError):
        migration_service.get_job(job.pk)
    assert not QueueEntry.objects.exists()
    assert_in_line()
    assert counts(run()) == (0, 3, 0, 0)


def test_a_window_of_many_small_batches_fills_no_worker_up(project: Project) -> None:
    """More batches than a worker holds at once, and all of them less than one request."""
    project.set(QUEUE_WINDOW=500)
    make_articles(150)
    script = project.embedder()
    assert counts(run(batch_size=1)) == (150, 0, 0, 0)
    assert len(script.requests) <= 10
