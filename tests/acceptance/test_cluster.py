"""Jobs on real clusters of django-q2: killed, and the index is what it should be."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from django.db import connections

from ai_migration.models import MigrationJob, SearchableEntity, WorkerSlot
from ai_migration.types import JobStatus
from tests.acceptance.clusters import Clusters, children, kill_group
from tests.acceptance.index_state import index_state, unsettled
from tests.acceptance.victims import wait_until
from tests.acceptance.worlds import World, dawdling, write_articles

ROWS = 300


@pytest.fixture
def clusters(world: World) -> Clusters:
    made = Clusters(dawdling(world, 0.02, WORKERS=3))
    write_articles(ROWS)
    connections.close_all()
    made.manage("migrate", "django_q", "-v0")
    return made


def start(clusters: Clusters, entity_type: str = "article") -> str:
    out = clusters.manage(
        "migrate_ai_entities", entity_type, "--batch-size", "10", "--detach", "--json"
    )
    document = json.loads(out)
    return str(document["jobId"])


def is_over(job: str) -> bool:
    return MigrationJob.objects.get(pk=job).status in {JobStatus.COMPLETED, JobStatus.FAILED}


def assert_settled(clusters: Clusters, job: str) -> None:
    wait_until(lambda: is_over(job), "the end of the job")
    assert MigrationJob.objects.get(pk=job).status == JobStatus.COMPLETED
    assert not unsettled("article")
    assert index_state("article") == clusters.world.control({"entity_type": "article"}, afresh=True)


def half_done() -> bool:
    return SearchableEntity.objects.count() >= ROWS // 3


@pytest.mark.vendors("postgresql")
def test_a_cluster_does_a_detached_job(clusters: Clusters) -> None:
    with clusters.started():
        job = start(clusters)
        assert_done(job)
    assert_settled(clusters, job)
    names = set(WorkerSlot.objects.values_list("name", flat=True))
    assert {"cluster-1", "cluster-2"} <= names, "a job uses the slots that are free"


def assert_done(job: str) -> None:
    wait_until(lambda: is_over(job), "the end of the job")


@pytest.mark.vendors("postgresql")
@pytest.mark.parametrize("victim", ["worker", "group"])
def test_a_killed_cluster_loses_nothing(clusters: Clusters, victim: str, tmp_path: Path) -> None:
    with clusters.started() as cluster:
        job = start(clusters)
        wait_until(half_done, "half of the rows")
        if victim == "group":
            kill_group(cluster)
        else:
            held = WorkerSlot.objects.exclude(lease_expires_at=None)
            holder = held.values_list("holder", flat=True)[0]
            pid = int(holder.rpartition(":")[2])
            next(child for child in children(cluster) if child.pid == pid).send_signal(
                signal.SIGKILL
            )
    with clusters.started():
        clusters.manage("ai_migration", "supervise")
        assert_done(job)
    assert_settled(clusters, job)


@pytest.mark.vendors("postgresql")
def test_two_clusters_share_a_job(clusters: Clusters) -> None:
    with clusters.started(), clusters.started():
        job = start(clusters)
        assert_done(job)
    assert_settled(clusters, job)


@pytest.mark.vendors("postgresql")
def test_whoever_detaches_is_told_how_to_follow(clusters: Clusters) -> None:
    said = clusters.manage("migrate_ai_entities", "article", "--detach")
    assert "ai_migration watch mig-" in said
    assert "ai_migration worker" not in said, "the cluster works"


@pytest.mark.vendors("postgresql")
def test_the_schedule_of_the_supervisor_is_made_once(clusters: Clusters) -> None:
    said = clusters.manage("ai_migration", "install-schedules")
    assert "already" in said, "migrate has made it"
    listed = clusters.manage(
        "shell", "-v0", "-c", "from django_q.models import *; print(Schedule.objects.count())"
    )
    assert listed.strip().splitlines()[-1] == "1"
