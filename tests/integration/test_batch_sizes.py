"""Batches follow TARGET_BATCH_SECONDS where nobody asked for a size."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from ai_migration.models import MigrationJob, QueueEntry
from ai_migration.pace import batch_sizes
from ai_migration.pace.batch_sizes import adapt_batch_size
from ai_migration.types import EntryStatus, JobStatus
from tests.integration.support import Project, assert_in_line, finish, make_articles, start

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql"])


@pytest.fixture
def adaptive(project: Project) -> Project:
    project.set(TARGET_BATCH_SECONDS=5.0, DEFAULT_BATCH_SIZE=200)
    project.embedder(max_batch_size=10)
    return project


def completed(job: MigrationJob, *seconds: float, rows: int | None = None) -> None:
    """Batches of the job that took so long, of its present size."""
    now = timezone.now()
    QueueEntry.objects.bulk_create(
        QueueEntry(
            job=job,
            entity_type=job.entity_type,
            operation="INDEX",
            priority=10,
            status=EntryStatus.COMPLETED,
            claimed_at=now - timedelta(seconds=each),
            completed_at=now,
            indexed=job.batch_size if rows is None else rows,
        )
        for each in seconds
    )


def adapted(job: MigrationJob) -> int:
    adapt_batch_size(job)
    return job.batch_size


@pytest.mark.parametrize(
    ("seconds", "size"),
    [
        ((0.1,), 300),
        ((0.0,), 300),
        ((4.0,), 200),
        ((6.0,), 200),
        ((3.5, 3.5), 286),
        ((10.0,), 100),
        ((5.0, 5.0, 26.0), 20),
        ((), 200),
    ],
)
def test_the_size_follows_how_long_they_took(
    adaptive: Project, seconds: tuple[float, ...], size: int
) -> None:
    make_articles(1)
    job = start()
    assert job.batch_size == 200
    completed(job, *seconds)
    assert adapted(job) == size
    assert adapted(job) == size, "what was acted on is not acted on again"


def test_it_stays_within_its_bounds(adaptive: Project) -> None:
    make_articles(1)
    job = start()
    for _ in range(20):
        completed(job, 0.1)
        adapted(job)
    assert job.batch_size == batch_sizes.LARGEST
    for _ in range(5):
        completed(job, 60)
        adapted(job)
    assert job.batch_size == batch_sizes.SMALLEST


def test_half_a_window_keeps_large_requests_full(adaptive: Project) -> None:
    adaptive.embedder(max_batch_size=2_048, concurrency=7)
    make_articles(1)
    assert start().batch_size == 2 * 2_048 * 8 // 32


def test_other_batches_say_nothing(adaptive: Project) -> None:
    make_articles(1)
    job = start()
    completed(job, 0.1, rows=100)
    completed(job, 0.1, rows=260)
    QueueEntry.objects.update(operation="INDEX")
    assert adapted(job) == 200
    completed(job, 0.1)
    QueueEntry.objects.update(operation="SWEEP")
    assert adapted(job) == 200


def test_a_size_that_somebody_asked_for_stays(adaptive: Project) -> None:
    make_articles(1)
    job = start(batch_size=30)
    completed(job, 0.1)
    assert adapted(job) == 30
    assert not job.adapts_batch_size


def test_it_can_be_switched_off(adaptive: Project) -> None:
    make_articles(1)
    job = start()
    completed(job, 0.1)
    adaptive.set(TARGET_BATCH_SECONDS=None)
    assert adapted(job) == 200


def test_an_embedder_that_is_gone_is_said_elsewhere(adaptive: Project) -> None:
    make_articles(1)
    job = start()
    completed(job, 0.1)
    adaptive.set(EMBEDDERS={"default": {"BACKEND": "gone.Embedder"}})
    assert adapted(job) == 200


def test_a_job_grows_its_batches_as_it_goes(adaptive: Project) -> None:
    adaptive.set(QUEUE_WINDOW=2, DEFAULT_BATCH_SIZE=30)
    adaptive.embedder(max_batch_size=10)
    make_articles(400)
    job = start()
    assert finish(job).status == JobStatus.COMPLETED
    entries = QueueEntry.objects.filter(operation="INDEX").order_by("pk")
    sizes = [entry.rows for entry in entries]
    assert sizes[0] == 30
    assert max(sizes) >= 45
    assert sum(sizes) == 400
    assert_in_line()
