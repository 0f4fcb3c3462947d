"""The store's index: how far it is, and who builds it where no run does."""

from __future__ import annotations

import pytest

from ai_migration import migration_service
from ai_migration.jobs.report.documents import JobStanding
from ai_migration.management.documents import describe_progress
from ai_migration.models import MigrationJob
from ai_migration.types import CollectionRef, IndexBuild, MigrationProgress
from tests.integration.admin import operator, tiles, url
from tests.integration.stores import Builds
from tests.integration.support import Project, make_articles, run

pytestmark = pytest.mark.vendors("sqlite")


@pytest.fixture
def builds(project: Project) -> Builds:
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
