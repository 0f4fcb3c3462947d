"""Moments of our tables are instants, in every host's time zone and without any."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, connections
from django.db.models import DateTimeField

from ai_migration import migration_service
from ai_migration.engine.insight.heartbeats import ago
from ai_migration.models import MigrationJob, QueueEntry, WorkerSlot
from ai_migration.models.sql import clock
from tests.databases import FreshDatabase
from tests.integration.support import Project, finish, make_articles, progress, run_slice, start

FALL = datetime(2025, 11, 2, 5, 30, tzinfo=UTC)
"""In New York 01:30, for the first time that night; an hour later it is so again."""


@pytest.fixture(params=["host with zones", "host without zones"])
def host(request: pytest.FixtureRequest, database: FreshDatabase, settings: Any) -> Iterator[None]:
    """A host far from UTC, and one which keeps no time zones at all."""
    if request.param == "host without zones":
        settings.USE_TZ = False
    settings.TIME_ZONE = "America/New_York"
    connections.close_all()  # they know which
    yield
    connections.close_all()


@pytest.mark.usefixtures("host")
def test_a_job_says_when_it_ran_and_how_fast(project: Project) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    make_articles(40)
    job = start(batch_size=5)
    run_slice(seconds=0.001)
    migration_service.get_progress(job.pk)
    assert finish(job).entities_per_second > 0
    after = datetime.now(UTC) + timedelta(seconds=1)
    job.refresh_from_db()
    events = [event.at for event in migration_service.list_events(job.pk)]
    for at in (job.created_at, job.started_at, job.completed_at, job.last_updated_at, *events):
        assert at is not None
        assert before <= at <= after
        assert at.utcoffset() == timedelta()
    assert migration_service.list_jobs(started_after=before, started_before=after)
    assert not migration_service.list_jobs(started_after=after)


@pytest.mark.usefixtures("host")
def test_what_this_process_wrote_and_what_the_database_wrote_agree(project: Project) -> None:
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+09:00'")
    job = start()
    slots = WorkerSlot.objects.annotate(since=ago("last_seen_at"))
    WorkerSlot.objects.create(name="worker-7", last_seen_at=clock.now("default"))
    jobs = MigrationJob.objects.annotate(since=ago("created_at"), later=clock.after(90))
    now = clock.now("default")
    for since in (slots.get(name="worker-7").since, jobs.get().since, now - job.created_at):
        assert timedelta() <= since + timedelta(milliseconds=1) < timedelta(minutes=1)
    assert timedelta() < jobs.get().later - now < timedelta(minutes=2)
    MigrationJob.objects.update(throttled_until=clock.after(90))
    assert progress(job).throttled_until is not None
    assert MigrationJob.objects.filter(throttled_until__gt=now).exists()
    assert not MigrationJob.objects.filter(throttled_until__gt=now + timedelta(hours=1)).exists()


@pytest.mark.usefixtures("host")
def test_an_hour_that_comes_twice_is_two(project: Project) -> None:
    """Each is written and read as what it is, in a query too, and one without a zone is meant in
    the settings' one."""
    local = FALL.astimezone().replace(tzinfo=None)
    assert (local.hour, local.fold) == (1, 0)
    for name, at in (
        ("first", FALL),
        ("second", FALL + timedelta(hours=1)),
        ("as local", local),
        ("as local again", local.replace(fold=1)),
    ):
        WorkerSlot.objects.create(name=name, last_seen_at=at)
    seen = WorkerSlot.objects.values_list("name", "last_seen_at")
    assert dict(seen) == {
        "first": FALL,
        "second": FALL + timedelta(hours=1),
        "as local": FALL,
        "as local again": FALL + timedelta(hours=1),
    }
    assert seen.filter(last_seen_at__lte=FALL).count() == 2


@pytest.mark.usefixtures("host")
def test_an_instance_has_what_its_row_has(project: Project) -> None:
    entry = QueueEntry.objects.create(entity_type="a", operation="INDEX", priority=5, entity_ids=[])
    assert entry.created_at == QueueEntry.objects.get().created_at
    assert entry.created_at.tzinfo is not None


def test_every_moment_of_our_tables_is_one() -> None:
    moments = [
        field
        for model in apps.get_app_config("ai_migration").get_models()
        for field in model._meta.get_fields()
        if isinstance(field, DateTimeField)
    ]
    assert len(moments) >= 20
    assert {type(field) for field in moments} == {clock.MomentField}
