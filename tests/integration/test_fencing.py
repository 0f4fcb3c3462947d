"""A slice whose lease was lost meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from django.db import connections

from ai_migration import migration_service
from ai_migration.embedders.hash import HashEmbedder
from ai_migration.engine.slice import Slice
from ai_migration.exceptions import FatalEmbedderError, OwnershipLostError
from ai_migration.models import WorkerSlot
from ai_migration.models.leases import acquire, expire, our_database
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
