"""Jobs on real clusters of django-q2, on one host and on several."""

from __future__ import annotations

from subprocess import Popen
from typing import Any

import psutil
import pytest
from django.db import connections

from ai_migration.models import MigrationJob, WorkerSlot
from ai_migration.types import JobStatus
from tests.acceptance.clusters import ORM, Clusters, is_over, redis_broker, wait_for_end
from tests.acceptance.index_state import index_state, unsettled
from tests.acceptance.victims import wait_until
from tests.acceptance.worlds import World, dawdling, write_articles

pytestmark = pytest.mark.vendors("postgresql")
ROWS = 300


def clusters_in(
    world: World, q_cluster: dict[str, Any], seconds: float = 0.02, slots: int = 3
) -> Clusters:
    # A window that one worker cannot claim as a whole.
    made = Clusters(dawdling(world, seconds, WORKERS=slots, QUEUE_WINDOW=32), q_cluster)
    write_articles(ROWS)
    connections.close_all()
    made.manage("migrate", "django_q", "-v0")
    return made


@pytest.fixture
def clusters(world: World) -> Clusters:
    return clusters_in(world, ORM)


def assert_settled(clusters: Clusters, job: str) -> None:
    wait_for_end(job)
    assert MigrationJob.objects.get(pk=job).status == JobStatus.COMPLETED
    assert not unsettled("article")
    control = dawdling(clusters.world, 0).control({"entity_type": "article"}, afresh=True)
    assert index_state("article") == control


@pytest.mark.gate
def test_a_cluster_does_a_detached_job(clusters: Clusters) -> None:
    with clusters.started():
        job = clusters.start_job()
        wait_for_end(job)
    assert_settled(clusters, job)
    names = set(WorkerSlot.objects.values_list("name", flat=True))
    assert {"cluster-1", "cluster-2"} <= names, "a job uses the slots that are free"


def workers_of(cluster: Popen[bytes]) -> set[str]:
    return {str(child.pid) for child in psutil.Process(cluster.pid).children(recursive=True)}


@pytest.mark.gate
@pytest.mark.parametrize("broker", ["orm", "redis"])
def test_two_clusters_share_a_job(
    world: World, broker: str, request: pytest.FixtureRequest
) -> None:
    """As two hosts do: they have nothing in common but the database and the broker."""
    is_redis = broker == "redis"
    q_cluster = redis_broker(request.getfixturevalue("redis").url) if is_redis else ORM
    one_each = {**q_cluster, "workers": 1, "queue_limit": 1}
    # More slots than one cluster can hold: in its worker, in its queue, and in its pusher.
    clusters = clusters_in(world, one_each, seconds=0.3, slots=6)
    seen: set[str] = set()

    def look(job: str) -> bool:
        holders = WorkerSlot.objects.exclude(lease_expires_at=None).values_list("holder", flat=True)
        seen.update(holder.rpartition(":")[2] for holder in holders)
        return is_over(job)

    with clusters.started() as one, clusters.started() as other:
        wait_until(lambda: len(workers_of(one)) > 1 and len(workers_of(other)) > 1, "both are up")
        job = clusters.start_job()
        wait_until(lambda: look(job), "the end of the job")
        assert seen & workers_of(one)
        assert seen & workers_of(other)
    assert_settled(clusters, job)


@pytest.mark.gate
def test_whoever_detaches_is_told_how_to_follow(clusters: Clusters) -> None:
    said = clusters.manage("migrate_ai_entities", "article", "--detach")
    assert "ai_migration watch mig-" in said
    assert "ai_migration worker" not in said, "the cluster works"


@pytest.mark.gate
def test_the_schedule_of_the_supervisor_is_made_once(clusters: Clusters) -> None:
    said = clusters.manage("ai_migration", "install-schedules")
    assert "already" in said, "migrate has made it"
    listed = clusters.manage(
        "shell", "-v0", "-c", "from django_q.models import *; print(Schedule.objects.count())"
    )
    assert listed.strip().splitlines()[-1] == "1"
