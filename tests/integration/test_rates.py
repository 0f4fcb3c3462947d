"""Rates are of the time in which somebody worked: pauses and idle time do not count."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ai_migration import migration_service
from ai_migration.jobs.report.documents import JobStanding
from ai_migration.management.views import Bar
from ai_migration.models import JobEvent, MigrationJob, QueueEntry
from ai_migration.models.sql import clock
from ai_migration.types import MigrationProgress
from tests.integration.support import Project, start

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)
Batch = tuple[float, float, int]


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def written(
    moves: Sequence[tuple[float, str, str]], batches: Sequence[Batch], **values: Any
) -> MigrationJob:
    """A job with this audit log and these batches, all at set times.

    Args:
        moves: When it went from which state to which.
        batches: When each was claimed and completed, and how many entities it had.
        values: Columns of the job; its state is the last one.
    """
    job = start()
    job.entries.all().delete()
    job.events.all().delete()
    for seconds, before, after in moves:
        event = JobEvent.objects.create(job=job, from_status=before, to_status=after)
        JobEvent.objects.filter(pk=event.pk).update(at=at(seconds))
    QueueEntry.objects.bulk_create(
        QueueEntry(
            job=job,
            entity_type="article",
            operation="INDEX",
            priority=10,
            status="COMPLETED",
            claimed_at=at(began),
            completed_at=at(ended),
            indexed=entities,
        )
        for began, ended, entities in batches
    )
    done = sum(entities for *_, entities in batches)
    columns = {
        "status": moves[-1][2],
        "started_at": at(moves[0][0]),
        "total_entities": done,
        "processed_entities": done,
        "indexed_entities": done,
        **values,
    }
    MigrationJob.objects.filter(pk=job.pk).update(**columns)
    return migration_service.get_job(job.pk)


def progress_at(seconds: float, job: MigrationJob, monkeypatch: Any) -> MigrationProgress:
    """Where the job stands at this time."""
    monkeypatch.setattr(clock, "now", lambda using: at(seconds))
    return migration_service.get_progress(job.pk)


HOUR = 3600
PAUSED = [
    (0, "PENDING", "RUNNING"),
    (10, "RUNNING", "PAUSED"),
    (HOUR, "PAUSED", "RUNNING"),
    (HOUR + 10, "RUNNING", "COMPLETED"),
]


def test_a_pause_is_not_in_the_rate_of_a_job_that_ended(project: Project, monkeypatch: Any) -> None:
    batches = [(0, 10, 43_000), (HOUR, HOUR + 10, 43_000)]
    job = written(PAUSED, batches, completed_at=at(HOUR + 10))
    ended = progress_at(2 * HOUR, job, monkeypatch)
    assert ended.entities_per_second == 4300
    assert ended.active_time == timedelta(seconds=20)
    assert JobStanding.of(ended)["progress"]["entitiesPerSecond"] == 4300


def test_the_wait_for_a_worker_is_not_in_the_rate(project: Project, monkeypatch: Any) -> None:
    moves = [(0, "PENDING", "RUNNING"), (HOUR + 10, "RUNNING", "COMPLETED")]
    job = written(moves, [(HOUR, HOUR + 10, 1000)], completed_at=at(HOUR + 10))
    assert progress_at(2 * HOUR, job, monkeypatch).entities_per_second == 100


def test_a_pause_is_not_in_the_rate_nor_in_the_time_left(
    project: Project, monkeypatch: Any
) -> None:
    """Nor is a pause that is shorter than a worker may wait for a limit."""
    for resumed in (HOUR, 25):
        moves = [
            (0, "PENDING", "RUNNING"),
            (10, "RUNNING", "PAUSED"),
            (resumed, "PAUSED", "RUNNING"),
        ]
        batches = [(0, 5, 500), (5, 10, 500), (resumed, resumed + 10, 1000)]
        job = written(moves, batches, total_entities=5000)
        now = progress_at(resumed + 10, job, monkeypatch)
        assert now.entities_per_second == 100
        assert now.estimated_time_remaining == timedelta(seconds=30)
        assert now.active_time == timedelta(seconds=20)
        MigrationJob.objects.all().delete()


def test_a_night_without_a_worker_is_not_in_the_rate(project: Project, monkeypatch: Any) -> None:
    batches = [(0, 10, 1000), (9 * HOUR, 9 * HOUR + 10, 1000)]
    job = written([(0, "PENDING", "RUNNING")], batches, total_entities=4000)
    now = progress_at(9 * HOUR + 10, job, monkeypatch)
    assert now.entities_per_second == 100
    assert now.estimated_time_remaining == timedelta(seconds=20)


def test_to_wait_for_a_limit_is_in_the_rate(project: Project, monkeypatch: Any) -> None:
    """So is the time since the last batch. A job that nobody works for has no pace at all."""
    batches = [(0, 5, 500), (50, 55, 500)]
    job = written([(0, "PENDING", "RUNNING")], batches, total_entities=4000)
    assert progress_at(100, job, monkeypatch).entities_per_second == 10
    stalled = progress_at(1000, job, monkeypatch)
    assert (stalled.entities_per_second, stalled.estimated_time_remaining) == (0, None)


def test_a_long_batch_in_hand_is_in_the_rate(project: Project, monkeypatch: Any) -> None:
    job = written([(0, "PENDING", "RUNNING")], [(0, 10, 1000)], total_entities=4000)
    QueueEntry.objects.create(
        job=job,
        entity_type="article",
        operation="INDEX",
        priority=10,
        status="CLAIMED",
        claimed_at=at(10),
    )
    assert progress_at(200, job, monkeypatch).entities_per_second == 5


def test_batches_at_the_same_time_count_once(project: Project, monkeypatch: Any) -> None:
    batches = [(0, 10, 500), (0, 10, 500), (5, 20, 1000)]
    job = written([(0, "PENDING", "RUNNING")], batches, total_entities=4000)
    assert progress_at(20, job, monkeypatch).entities_per_second == 100


def test_retries_of_a_completed_job_do_not_add_the_time_between(
    project: Project, monkeypatch: Any
) -> None:
    moves = [
        (0, "PENDING", "RUNNING"),
        (10, "RUNNING", "COMPLETED"),
        (HOUR, "COMPLETED", "RUNNING"),
        (HOUR + 10, "RUNNING", "COMPLETED"),
    ]
    batches = [(0, 10, 990), (HOUR, HOUR + 10, 10)]
    job = written(moves, batches, completed_at=at(HOUR + 10))
    assert progress_at(2 * HOUR, job, monkeypatch).entities_per_second == 50


def test_many_jobs_need_as_many_queries_as_one(project: Project, monkeypatch: Any) -> None:
    job = written(PAUSED, [(0, 10, 100)], completed_at=at(HOUR + 10))
    other = MigrationJob.objects.get(pk=job.pk)
    other.pk = f"{job.pk}0"
    other.save(force_insert=True)
    jobs = list(MigrationJob.objects.select_related("collection"))
    with CaptureQueriesContext(connection) as asked:
        assert len(migration_service.get_progress_of(jobs)) == 2
    assert len(asked) <= 3


def test_the_bar_of_a_terminal_says_the_same(project: Project, monkeypatch: Any) -> None:
    import io

    from django.core.management.base import OutputWrapper

    batches = [(0, 10, 43_000), (HOUR, HOUR + 10, 43_000)]
    job = written(PAUSED, batches, completed_at=at(HOUR + 10))
    monkeypatch.setenv("COLUMNS", "120")
    out = io.StringIO()
    with Bar(OutputWrapper(out)) as bar:
        bar.update(progress_at(2 * HOUR, job, monkeypatch))
    assert "4,300/s" in out.getvalue()
