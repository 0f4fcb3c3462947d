"""Two workers at once: who lost the lease, and who read first, changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from django.db import connections

from ai_migration import migration_service, search
from ai_migration.embedders.hash import HashEmbedder
from ai_migration.engine.slices.slice import Slice
from ai_migration.engine.worker import run_worker
from ai_migration.entities import registry
from ai_migration.entities.rows.reader import EntityReader
from ai_migration.exceptions import FatalEmbedderError, OwnershipLostError
from ai_migration.indexing.batches import Batch, read_batch
from ai_migration.indexing.queue import claim, enqueue
from ai_migration.indexing.targets import target_of
from ai_migration.indexing.writing import write_batch
from ai_migration.models import Collection, WorkerSlot
from ai_migration.models.leases import Lease, acquire, expire, our_database
from ai_migration.types import EntryStatus, JobStatus, Vectors
from tests.databases import FreshDatabase
from tests.testapp.models import Article


class LateRefusal(HashEmbedder):
    """Refuses for good, long after the worker's lease ran out."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        WorkerSlot.objects.update(lease_expires_at="2000-01-01T00:00Z")
        expire(our_database())
        connections.close_all()  # this thread's
        raise FatalEmbedderError("The key is wrong")


def test_who_lost_the_lease_fails_no_job(database: FreshDatabase, settings: Any) -> None:
    """Whoever owns the work now may have the right key."""
    settings.AI_MIGRATION = {
        **settings.AI_MIGRATION,
        "EMBEDDERS": {"default": {"BACKEND": f"{__name__}.LateRefusal"}},
    }
    Article.objects.create(title="One")
    job = migration_service.index_all_entities("article")
    lease = acquire("worker-1", "somewhere:1")
    assert lease is not None
    with pytest.raises(OwnershipLostError):
        Slice(lease, seconds=30).run()
    job.refresh_from_db()
    assert job.status == JobStatus.RUNNING
    assert [entry.status for entry in job.entries.all()] == [EntryStatus.PENDING]


@pytest.mark.parametrize("field", ["body", "status"])
def test_a_change_that_is_taken_back_wins_over_the_change(
    database: FreshDatabase, field: str
) -> None:
    """One worker has read the change and dawdles; another reads the row as it was and is
    again, and finds nothing to do. What the first then writes is older."""
    article = Article.objects.create(title="One", body="as it was", status="as it was")
    migration_service.index_all_entities("article")
    run_worker(should_stop=lambda: False, until_idle=True)
    [collection] = Collection.objects.all()

    def read(lease: Lease, value: str) -> Batch:
        Article.objects.filter(pk=article.pk).update(**{field: value})
        enqueue("article", [article.pk])
        entity = registry.get("article")
        entries = claim(lease, 8)
        targets = [target_of(collection)]
        return read_batch(entries, entity, EntityReader(entity), targets, None, lease.using)

    slow, quick = acquire("slow-1", "somewhere:1"), acquire("quick-1", "elsewhere:1")
    assert slow is not None
    assert quick is not None
    late = read(slow, "changed")
    for plan in late.plans:
        plan.embed.vectors[:] = 1.0
        plan.embed.done[:] = True
        plan.embed.open = 0
    write_batch(read(quick, "as it was"), quick)
    write_batch(late, slow)
    slow.release()
    quick.release()
    run_worker(should_stop=lambda: False, until_idle=True)
    text = "title: One\nbody: as it was"
    [hit] = search("article", text)
    assert hit.score == pytest.approx(1.0, abs=1e-5)
    assert hit.metadata["status"] == "as it was"
