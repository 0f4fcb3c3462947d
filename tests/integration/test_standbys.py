"""Jobs that read their rows from a streaming standby, which lags: nothing is lost, and what is
older never replaces what is newer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
from django.db import connections, router, transaction

from ai_migration import enqueue, migration_service
from ai_migration.checks.databases import check_indexes
from ai_migration.engine.slices import jobs
from ai_migration.entities import registry
from ai_migration.entities.rows.reader import EntityReader
from ai_migration.jobs.feed.ranges import feed
from ai_migration.models import MigrationJob, QueueEntry, SearchableEntity
from ai_migration.models.sql.dialects import PostgreSQL, dialect
from ai_migration.types import JobStatus
from tests.databases import Databases, FreshDatabase
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
from tests.postgres import PostgresServer, Standby
from tests.settings import database_settings
from tests.testapp.models import Article, Category

pytestmark = pytest.mark.vendors("postgresql")  # unless a test says otherwise


@pytest.fixture(scope="module")
def following(databases: Databases) -> Iterator[Standby]:
    """A standby of this session's server."""
    with cast(PostgresServer, databases.postgres).standby() as standby:
        yield standby


@pytest.fixture
def standby(
    following: Standby, database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Standby]:
    """The alias `standby`: this test's database, as the standby shows it."""
    following.catch_up(dialect("default").position())
    name = str(connections["default"].settings_dict["NAME"])
    settings = {"standby": database_settings(following.url(name))}
    connections.databases.update(connections.configure_settings(connections.databases | settings))
    monkeypatch.setattr(jobs, "STANDBY_SECONDS", 0.001)
    yield following
    following.resume()
    connections["standby"].close()
    del connections["standby"], connections.databases["standby"]


def test_a_job_waits_until_the_standby_shows_what_it_began_with(
    project: Project, standby: Standby
) -> None:
    project.article(using="standby")
    make_articles(3)
    standby.catch_up(dialect("default").position())
    standby.pause()
    make_articles(47, start=3)
    job = start(batch_size=10)
    run_slice()
    assert progress(job).status == JobStatus.RUNNING
    assert progress(job).processed == 0
    assert "'standby' does not show yet" in MigrationJob.objects.get().throttle_reason

    standby.resume()
    standby.catch_up(job.source_position)
    assert counts(finish(job)) == (50, 0, 0, 0)
    assert_in_line()


def test_entries_that_were_fed_wait_as_well(project: Project, standby: Standby) -> None:
    """Another standby may answer under the same name, one that is behind."""
    project.article(using="standby")
    make_articles(5)
    job = start()
    standby.catch_up(job.source_position)
    assert feed(job.pk, "default") == 1
    MigrationJob.objects.update(source_position="FFFFFFFF/0", throttled_until=None)
    run_slice()
    assert progress(job).processed == 0
    assert job.entries.get().attempts == 0
    MigrationJob.objects.update(source_position=job.source_position, throttled_until=None)
    standby.catch_up(job.source_position)
    assert counts(finish(job)) == (5, 0, 0, 0)


def test_what_is_older_never_replaces_what_is_newer(project: Project, standby: Standby) -> None:
    project.article(using="standby")
    make_articles(20)
    run()
    job = start(mode="all")
    standby.catch_up(job.source_position)
    standby.pause()
    changed, deleted, *_ = Article.objects.order_by("pk")
    Article.objects.filter(pk=changed.pk).update(body="Newer than what the standby shows.")
    Article.objects.filter(pk=deleted.pk).delete()
    make_articles(1, start=20)
    new = Article.objects.latest("pk")
    enqueue("article", [changed.pk, deleted.pk, new.pk])
    migration_service.pause_migration(job.pk)
    work()
    migration_service.resume_migration(job.pk)
    finish(job)
    standby.resume()
    standby.catch_up(dialect("default").position())
    assert_in_line()
    known = SearchableEntity.objects.filter(chunk_count__gt=0)
    assert known.filter(entity_id=str(new.pk)).exists(), "a sweep takes it for gone"


def test_changes_are_queued_when_they_are_committed(project: Project, standby: Standby) -> None:
    """Where the rows are written, elsewhere than our tables; not where they are read."""
    project.article("title", model="testapp.Archive", using="standby")
    with transaction.atomic(using="other"):
        enqueue("article", [1])
        transaction.set_rollback(True, using="other")
    assert not QueueEntry.objects.exists()
    with transaction.atomic(using="other"):
        enqueue("article", [1])
        assert not QueueEntry.objects.exists()
    assert QueueEntry.objects.exists()


def test_a_standby_of_another_database_is_no_standby_of_this_one(
    project: Project, standby: Standby
) -> None:
    here, there = (
        dialect(alias).table_identity("testapp_article") for alias in ("standby", "default")
    )
    assert here is not None
    assert here == there != dialect("default").table_identity("testapp_category")
    assert dialect("standby").table_identity("no such table") is None
    assert dialect("other").table_identity("testapp_article") is None


def test_a_relation_that_a_property_follows_is_as_new_as_its_row(
    project: Project, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where a router sends every read to the standby."""
    project.article("title", "category_name")
    monkeypatch.setattr(
        Article, "category_name", property(lambda row: row.category.name), raising=False
    )
    category = Category.objects.create(name="old", slug="old")
    make_articles(3)
    Article.objects.update(category=category)
    standby.catch_up(dialect("default").position())
    standby.pause()
    Category.objects.update(name="new")

    class ReadsFromStandby:
        def db_for_read(self, model: object, **hints: object) -> str:
            return "standby"

    monkeypatch.setattr(router, "routers", [*router.routers[:1], ReadsFromStandby()])
    entity = registry.get("article")
    texts = [row.text for row in EntityReader(entity).read(entity.rows())]
    assert all("new" in text for text in texts), texts


def test_a_standby_without_its_primary_is_warned_of(
    project: Project, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.article(using="standby")
    assert not check_indexes(databases=["default"])
    monkeypatch.setattr(router, "db_for_write", lambda model, **hints: "default")
    monkeypatch.setattr(PostgreSQL, "table_identity", lambda *names: None)
    [message] = check_indexes(databases=["default"])
    assert message.id == "ai_migration.W041"
    assert "'standby'" in message.msg


@pytest.mark.vendors("mysql")
def test_a_server_that_is_read_only_follows_another_one(database: FreshDatabase) -> None:
    assert not dialect("default").is_standby()
    with connections["default"].cursor() as cursor:
        cursor.execute("SET GLOBAL read_only = 1")
        try:
            assert dialect("default").is_standby()
        finally:
            cursor.execute("SET GLOBAL read_only = 0")
