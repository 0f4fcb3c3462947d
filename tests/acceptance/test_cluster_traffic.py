"""What shares a cluster with a backfill: live traffic, and the jobs that wait for their turn."""

from __future__ import annotations

import json

import pytest
from django.db import connections

from ai_migration.indexing.queue import enqueue
from ai_migration.models import MigrationJob, SearchableEntity
from ai_migration.types import JobStatus, Priority
from tests.acceptance.clusters import Clusters, wait_for_end
from tests.acceptance.victims import wait_until
from tests.acceptance.worlds import World, dawdling, write_articles
from tests.testapp.models import Article, Country

pytestmark = [pytest.mark.gate, pytest.mark.vendors("postgresql")]

ROWS = 1000


def test_a_live_change_overtakes_a_backfill(world: World) -> None:
    clusters = Clusters(dawdling(world, 0.1))
    write_articles(ROWS)
    connections.close_all()
    clusters.manage("migrate", "django_q", "-v0")
    with clusters.started():
        job = clusters.start_job()
        wait_until(lambda: SearchableEntity.objects.count() > 50, "some rows")
        new = Article.objects.create(title="Just now", body="The last row of the table.")
        enqueue("article", [new.pk], priority=Priority.HIGH)
        mine = SearchableEntity.objects.filter(entity_id=str(new.pk), chunk_count__gt=0)
        wait_until(mine.exists, "the live change")
        assert MigrationJob.objects.get(pk=job).processed_entities < ROWS // 2
        clusters.manage("ai_migration", "cancel", job)


def test_a_job_waits_for_a_free_place_and_starts_by_itself(world: World) -> None:
    clusters = Clusters(dawdling(world, 0.05, MAX_CONCURRENT_JOBS=3))
    write_articles(200)
    Country.objects.create(code="se", name="Sweden")
    connections.close_all()
    clusters.manage("migrate", "django_q", "-v0")
    first = [clusters.start_job(name) for name in ("article", "rich-article", "proxy-article")]
    fourth = clusters.start_job("country")
    statuses = dict(MigrationJob.objects.values_list("pk", "status"))
    assert statuses == {**dict.fromkeys(first, JobStatus.RUNNING), fourth: JobStatus.PENDING}
    with clusters.started():
        clusters.manage("ai_migration", "supervise")
        for job in (*first, fourth):
            wait_for_end(job)
    assert set(MigrationJob.objects.values_list("status", flat=True)) == {JobStatus.COMPLETED}
    shown = json.loads(clusters.manage("ai_migration", "show", fourth, "--json"))
    assert [event["to"] for event in shown["events"]] == ["PENDING", "RUNNING", "COMPLETED"]
