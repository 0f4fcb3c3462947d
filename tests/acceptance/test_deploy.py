"""A cluster that is told to stop, as a deploy does, stops within the batch in flight."""

from __future__ import annotations

import signal

import pytest
from django.db import connections

from ai_migration.models import MigrationJob, QueueEntry, SearchableEntity, WorkerSlot
from ai_migration.types import EntryStatus, JobStatus
from tests.acceptance.clusters import Clusters, wait_for_end
from tests.acceptance.index_state import index_state, unsettled
from tests.acceptance.victims import TIMEOUT, wait_until
from tests.acceptance.worlds import World, dawdling, write_articles

ROWS = 400


@pytest.mark.gate
@pytest.mark.vendors("postgresql")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_cluster_stops_within_the_batch_in_flight(world: World, number: signal.Signals) -> None:
    clusters = Clusters(dawdling(world, 0.2, WORKERS=2, SLICE_SECONDS=600))
    write_articles(ROWS)
    connections.close_all()
    clusters.manage("migrate", "django_q", "-v0")
    with clusters.started() as cluster:
        job = clusters.start_job()
        wait_until(lambda: SearchableEntity.objects.count() > 40, "some rows")
        cluster.send_signal(number)
        cluster.wait(TIMEOUT)
    stopped = MigrationJob.objects.get(pk=job)
    assert stopped.status == JobStatus.RUNNING
    assert stopped.processed_entities < ROWS, "a slice lasts longer than all of the rows"
    assert not QueueEntry.objects.filter(status=EntryStatus.CLAIMED).exists()
    assert not WorkerSlot.objects.filter(lease_expires_at__isnull=False).exists()
    with clusters.started():  # the next one finds the messages of the one before
        wait_for_end(job)
    assert not unsettled("article")
    assert index_state("article") == world.control({"entity_type": "article"}, afresh=True)
