"""Lets a job that reads from a standby wait until the standby shows what the job began with.

Ranges of rows are read from it, and count as read when the job began: what was indexed from a
newer read since stays. Single rows (live changes, rows that seem to be gone) are read from the
primary.
"""

from __future__ import annotations

from ai_migration.entities.entity import Entity
from ai_migration.exceptions import ReplicaBehindError
from ai_migration.models import MigrationJob
from ai_migration.models.sql.dialects import dialect


def source_position(entity: Entity) -> str:
    """Return the position that a standby of the entity's rows has to replay to show all that is
    committed now; empty if they are read from where they are written, or from a database that
    cannot tell."""
    primary = entity.primary
    return dialect(primary).position() if primary else ""


def require_shown(job: MigrationJob, entity: Entity) -> int | None:
    """Refuse to read a job's rows from a standby that is behind the job's start.

    Returns:
        The job's start, microseconds by our database's clock; None if there is no standby.

    Raises:
        ReplicaBehindError: It does not show yet what was committed then.
    """
    if not job.source_position:
        return None
    using = entity.rows().db
    if not dialect(using).shows(job.source_position):
        raise ReplicaBehindError(
            f"The database {using!r} does not show yet what was committed when the job began: "
            f"the job waits for it"
        )
    return int(job.epoch)
