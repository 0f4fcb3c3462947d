"""The store's index: how far it is, and who builds it where no run does."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, connections

from ai_migration import enqueue, migration_service, supervise
from ai_migration.admin.coverage import Covered
from ai_migration.engine.insight.diagnosis import diagnose
from ai_migration.engine.upkeep.indexes import BUILDER, build_missing, start_missing
from ai_migration.findings import Level
from ai_migration.jobs.feed.indexes import missing_indexes
from ai_migration.jobs.report.documents import JobStanding
from ai_migration.management.documents import describe_progress
from ai_migration.models import MigrationJob, WorkerSlot
from ai_migration.models.leases import acquire
from ai_migration.models.sql import clock
from ai_migration.models.sql.apart import own_sessions
from ai_migration.types import (
    CollectionRef,
    IndexBuild,
    JobStatus,
    MigrationFilters,
    MigrationProgress,
)
from tests.integration.admin import operator, tiles, url
from tests.integration.embedders import Script
from tests.integration.stores import Builds
from tests.integration.support import Project, collection, make_articles, run, work
from tests.testapp.models import Article

pytestmark = pytest.mark.vendors("sqlite")


@pytest.fixture
def builds(project: Project, script: Script) -> Builds:
    builds = Builds()
    project.store("tests.integration.stores.BuildingStore", builds=builds)
    return builds


def test_a_job_that_waits_for_its_index_says_how_far_that_is(builds: Builds) -> None:
    seen: list[MigrationProgress] = []
    shown: list[dict[str, str]] = []

    def look(collection: CollectionRef) -> None:
        builds.tell = lambda: IndexBuild(62.5, "building index: loading tuples")
        job = MigrationJob.objects.select_related("collection").get()
        seen.append(migration_service.get_progress(job.pk))
        shown.append(tiles(operator("view").get(url("migrationjob_change", job.pk))))
        builds.tell = lambda: None

    builds.during = look
    make_articles(4)
    assert run().index_build is None
    [during] = seen
    assert during.index_build == IndexBuild(62.5, "building index: loading tuples")
    assert during.estimated_time_remaining is None
    assert shown[0]["building the index"].startswith("62 %")
    assert "index      is being built: 62 %" in describe_progress(during)
    assert JobStanding.of(during)["progress"]["indexBuild"] == {
        "percent": 62.5,
        "phase": "building index: loading tuples",
    }


def test_a_store_that_does_not_answer_leaves_it_unknown(builds: Builds) -> None:
    seen: list[MigrationProgress] = []

    def fail() -> IndexBuild:
        raise OSError("no route to host")

    builds.tell = fail
    builds.during = lambda ref: seen.append(
        migration_service.get_progress(MigrationJob.objects.get().pk)
    )
    make_articles(4)
    run()
    assert [each.index_build for each in seen] == [None]


# Collections that no full run has filled


@pytest.fixture
def grown(builds: Builds, project: Project) -> Builds:
    """A collection of four vectors, which is large here, filled by a filtered run."""
    project.set(BUILD_INDEX_ABOVE=3)
    make_articles(4)
    run(filters=MigrationFilters(entity_ids=[each.pk for each in Article.objects.all()]))
    assert builds.done == [], "it may be followed by a bulk load"
    WorkerSlot.objects.update(last_seen_at=None)  # its worker is long gone
    return builds


@contextmanager
def own_sessions_only() -> Iterator[None]:
    """As in a process of its own, which has not asked the database yet."""
    connections.close_all()
    with own_sessions():
        yield


def due() -> None:
    """Let the next attempt be due."""
    WorkerSlot.objects.filter(name=BUILDER).update(last_seen_at=None)


def test_a_worker_builds_the_index_of_a_large_collection(grown: Builds) -> None:
    work()
    assert grown.done == [collection().pk]
    due()
    work()
    assert grown.done == [collection().pk], "it is there"


def test_it_does_not_wait_until_there_is_nothing_else_to_do(grown: Builds, script: Script) -> None:
    """Under steady writes the queue is never empty."""
    is_built = threading.Event()
    grown.during = lambda collection: is_built.set()
    waited: list[bool] = []

    def hold(texts: Sequence[str]) -> None:
        waited.append(is_built.wait(timeout=60))

    script.react = hold
    Article.objects.update(body="Another.")
    enqueue("article", [each.pk for each in Article.objects.all()])
    work()
    assert waited
    assert all(waited)
    assert grown.done == [collection().pk]


@pytest.mark.parametrize("above", [None, 4])
def test_a_small_one_needs_none_and_the_setting_can_say_never(
    grown: Builds, project: Project, above: int | None
) -> None:
    project.set(BUILD_INDEX_ABOVE=above)
    work()
    supervise(wait=True)
    assert grown.done == []


@pytest.mark.vendors("sqlite", "postgresql", "mysql")
@pytest.mark.parametrize(
    ("status", "filters", "is_left"),
    [
        (JobStatus.RUNNING, {"entity_ids": ["1"]}, True),
        (JobStatus.PAUSED, {}, True),
        (JobStatus.FAILED, {}, True),
        (JobStatus.PAUSED, {"entity_ids": ["1"]}, False),
        (JobStatus.CANCELLED, {}, False),
    ],
)
def test_what_a_job_may_go_on_to_fill_is_left_to_it(
    grown: Builds, status: JobStatus, filters: dict[str, Any], is_left: bool
) -> None:
    old = MigrationJob.objects.get()
    MigrationJob(
        entity_type="article",
        collection=old.collection,
        status=status,
        filter_config=filters,
        config_snapshot=old.config_snapshot,
        batch_size=10,
    ).save()
    assert missing_indexes("default") == ([] if is_left else [old.collection])


def test_only_one_process_builds_it(grown: Builds) -> None:
    is_looked, may_end = threading.Event(), threading.Event()

    def hold(collection: CollectionRef) -> None:
        is_looked.set()
        may_end.wait(timeout=60)

    grown.during = hold
    with own_sessions_only():
        thread = start_missing()
        assert thread is not None
        assert is_looked.wait(timeout=60)
        assert start_missing() is None
    may_end.set()
    thread.join(timeout=60)
    assert grown.done == [collection().pk]


def test_one_that_fails_is_tried_again_later(
    grown: Builds, caplog: pytest.LogCaptureFixture
) -> None:
    grown.fails = True
    supervise(wait=True)
    assert "was not built, trying again in ten minutes: The disk is full" in caplog.text
    grown.fails = False
    supervise(wait=True)
    assert grown.done == [], "not at once"
    due()
    supervise(wait=True)
    assert grown.done == [collection().pk]


def test_the_supervisor_leaves_it_to_a_worker_that_can(grown: Builds) -> None:
    lease = acquire("worker-1", "here:1")
    assert lease
    with own_sessions_only():
        build_missing()
    assert grown.done == []
    lease.release()
    WorkerSlot.objects.filter(name="worker-1").update(last_seen_at=clock.after(-61))
    build_missing()
    assert grown.done == [collection().pk]


def test_doctor_and_dashboard_say_that_there_is_none(grown: Builds, project: Project) -> None:
    said = "no index yet: each search compares all vectors"
    [overview] = migration_service.list_entities()
    assert said in overview.summary
    assert "; ".join(Covered(overview, 0).notes) == said
    [finding] = [each for each in diagnose(0) if each.name == "index"]
    assert said in finding.fact
    assert finding.level is Level.WARNING
    assert "A worker builds it within minutes" in finding.advice
    project.set(BUILD_INDEX_ABOVE=None)
    assert [each.fact for each in diagnose(0) if said in each.fact] == [], "it is small by default"
    project.set(BUILD_INDEX_ABOVE=3)
    work()
    assert said not in str(diagnose(0))
    assert Covered(migration_service.list_entities()[0], 0).notes == []


@pytest.mark.vendors("postgresql")
def test_the_index_of_postgresql_is_built_and_its_remains_replaced(project: Project) -> None:
    project.set(BUILD_INDEX_ABOVE=3)
    project.store("ai_migration.stores.pgvector.PgVectorStore")
    make_articles(4)
    run(filters=MigrationFilters(entity_ids=[each.pk for each in Article.objects.all()]))
    name = f"{collection().ref.name}_hnsw_cosine"
    for is_left in (False, True):
        with connection.cursor() as cursor:
            if is_left:  # by a server that was restarted meanwhile
                change = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass"
                cursor.execute(change, [name])
        due()
        work()
        with connection.cursor() as cursor:
            valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"
            cursor.execute(valid, [name])
            assert cursor.fetchall() == [(True,)]
