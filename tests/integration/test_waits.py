"""How long a job waits, and who does not wait with it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F

from ai_migration import enqueue
from ai_migration.engine.slices.jobs import JobWatch
from ai_migration.indexing.queue import claim
from ai_migration.jobs.feed.ranges import feed
from ai_migration.models import MigrationJob
from ai_migration.models.sql import clock
from ai_migration.pace import throttling
from tests.integration.support import (
    Project,
    lease,
    make_articles,
    progress,
    run_slice,
    start,
    ticking,
)


def surrogate() -> str:
    return "busy \ud800"


def test_a_shorter_wait_of_one_worker_ends_no_longer_one_of_another(project: Project) -> None:
    job = start()
    for name, seconds, reason in (("a", 3600.0, "429"), ("b", 2.0, "rate limit")):
        JobWatch(lease(name), None, ticking()).throttle(job.pk, seconds, reason)
    now = progress(job)
    assert now.throttle_reason == "429"
    assert now.throttled_until is not None
    assert now.throttled_until > clock.now("default") + timedelta(minutes=30)
    JobWatch(lease("c"), None, ticking()).throttle(job.pk, 7200.0, "a longer one")
    assert progress(job).throttle_reason == "a longer one"


@pytest.mark.parametrize("is_throttled", [True, False])
def test_live_changes_do_not_wait_with_the_job_of_a_foreground_command(
    project: Project, is_throttled: bool
) -> None:
    make_articles(3)
    job = start()
    held = lease()
    feed(job.pk, held.using)
    enqueue("article", [1])
    if is_throttled:
        JobWatch(held, [job.pk], ticking()).throttle(job.pk, 3600.0, "busy")
    claimed = [entry.job_id for entry in claim(held, 8, only_jobs=[job.pk])]
    assert claimed == ([None] if is_throttled else [None, job.pk])


def test_a_wait_that_is_over_is_over_for_foreground_commands_too(project: Project) -> None:
    make_articles(3)
    job = start()
    held = lease()
    feed(job.pk, held.using)
    JobWatch(held, None, ticking()).throttle(job.pk, 3600.0, "busy")
    MigrationJob.objects.update(throttled_until=F("throttled_until") - timedelta(hours=2))
    assert claim(held, 8, only_jobs=[job.pk])


def test_a_reason_that_no_database_takes(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "_throttles", None)
    project.set(THROTTLE=[f"{__name__}.surrogate"])
    make_articles(3)
    job = start()
    run_slice()
    assert progress(job).throttle_reason == "busy ?"
