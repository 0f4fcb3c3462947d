"""The time a migration takes, as a dry run estimates it, and what the estimate stands on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ai_migration import migration_service
from ai_migration.jobs.start import durations
from ai_migration.jobs.start.durations import Measured, estimate, slowest
from ai_migration.models import JobEvent, MigrationJob, QueueEntry
from ai_migration.types import Duration, DurationBasis, MigrationRequest
from tests.integration.embedders import Script
from tests.integration.support import Project, finish, make_articles, start

pytestmark = pytest.mark.vendors("sqlite")

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)


def measured(texts: int = 1000, reading: float = 1, limit: float | None = None) -> Measured:
    return Measured(2000, reading, texts, None if limit is None else timedelta(seconds=limit))


def seconds(duration: Duration | None) -> tuple[float, DurationBasis] | None:
    return None if duration is None else (duration.time.total_seconds(), duration.basis)


def ran(job: MigrationJob, *, texts: int, for_seconds: float) -> None:
    """Say that a job embedded these texts in this time."""
    job.events.all().delete()
    QueueEntry.objects.filter(job=job).update(claimed_at=NOON)
    end = NOON + timedelta(seconds=for_seconds)
    for at, before, after in ((NOON, "PENDING", "RUNNING"), (end, "RUNNING", "COMPLETED")):
        event = JobEvent.objects.create(job=job, from_status=before, to_status=after)
        JobEvent.objects.filter(pk=event.pk).update(at=at)
    MigrationJob.objects.filter(pk=job.pk).update(
        started_at=NOON, completed_at=end, embedded_texts=texts
    )


def test_the_slowest_part_decides() -> None:
    pace, sample = 100.0, DurationBasis.SAMPLE
    assert seconds(slowest(measured(), pace, sample)) == (10, sample)
    assert seconds(slowest(measured(reading=20), pace, sample)) == (20, sample)
    assert seconds(slowest(measured(limit=5), pace, sample)) == (10, sample)
    assert seconds(slowest(measured(limit=600), pace, sample)) == (600, DurationBasis.LIMIT)


def test_the_pace_of_the_last_job_says_most(project: Project, script: Script) -> None:
    make_articles(3)
    job = start()
    finish(job)
    ran(job, texts=5000, for_seconds=100)
    asked = script.asked
    plan = migration_service.plan(MigrationRequest("article", mode="all"), sample=True)
    assert plan.duration is not None
    assert plan.duration.basis == DurationBasis.EARLIER_JOB
    assert script.asked == asked, "nothing was embedded for it"
    embedder = _embedder()
    found = estimate(measured(), "article", embedder, ["text"], "default")
    assert seconds(found) == (20, DurationBasis.EARLIER_JOB)
    ran(job, texts=50, for_seconds=100)
    found = estimate(measured(), "article", embedder, [], "default")
    assert found is None, "a job that embedded next to nothing says nothing"


def test_an_embedder_of_this_machine_is_timed_if_that_is_asked_for(
    project: Project, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_articles(3)
    ticks = iter([0.0, 0.5])
    monkeypatch.setattr(durations, "perf_counter", lambda: next(ticks))
    request = MigrationRequest("article")
    assert migration_service.plan(request).duration is None
    assert script.asked == 0
    found = migration_service.plan(request, sample=True).duration
    assert found is not None
    assert found.basis == DurationBasis.SAMPLE
    assert found.time >= timedelta(seconds=0.5), "three texts at six a second"


def test_a_provider_is_not_asked(project: Project, script: Script, monkeypatch: Any) -> None:
    make_articles(3)
    monkeypatch.setattr(type(_embedder()), "is_remote", True)
    found = migration_service.plan(MigrationRequest("article", rate_limit=6), sample=True)
    assert seconds(found.duration) == (20, DurationBasis.LIMIT), "one to try, one for the rest"
    assert script.asked == 0


def test_an_embedder_that_refuses_the_sample_is_no_error(project: Project, script: Script) -> None:
    make_articles(3)

    def react(texts: Any) -> None:
        raise ValueError("no")

    script.react = react
    assert migration_service.plan(MigrationRequest("article"), sample=True).duration is None


def test_if_nothing_is_embedded_only_reading_takes_time(project: Project, script: Script) -> None:
    make_articles(3)
    finish(start())
    found = migration_service.plan(MigrationRequest("article"), sample=True).duration
    assert found is not None
    assert found.basis == DurationBasis.NOTHING


def _embedder() -> Any:
    from ai_migration.embedders import embedders

    return embedders["default"]
