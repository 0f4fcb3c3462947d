"""Lets the first job of an index wait for transactions that do not know of it.

A change is recorded if its entity type has an index. A transaction that began before the index was
created may record nothing, and commit its rows after the job has walked past them: nobody would
read them. So the job's first look waits until those transactions have ended, as PostgreSQL's
CREATE INDEX CONCURRENTLY does.
"""

from __future__ import annotations

from django.db import router

from ai_migration.entities.entity import Entity
from ai_migration.exceptions import UnsettledError
from ai_migration.models import MigrationJob
from ai_migration.models.jobs import JobPhase
from ai_migration.models.sql.dialects import dialect


def require_settled(job: MigrationJob, entity: Entity) -> None:
    """Refuse to read rows for a new index while older transactions are open.

    Raises:
        UnsettledError: Names the horizon, which the job keeps.
    """
    using = job._state.db
    if job.phase != JobPhase.SOURCE or job.cursor is not None or job.processed_entities:
        return
    if router.db_for_write(entity.model) != using:  # changes there are recorded when they commit
        return
    if job.collection.jobs.exclude(pk=job.pk).exists():
        return
    database = dialect(using)
    horizon = job.horizon or database.horizon()
    if horizon is not None and not database.is_past(horizon):
        raise UnsettledError(
            "waits for transactions that began before the index was created: they may change rows "
            "that it would miss",
            horizon,
        )
