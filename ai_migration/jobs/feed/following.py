"""A job follows the config of the workers, and does not switch back and forth.

While a deploy is under way some processes have the old config and some the new one. Each would
start the job over and embed again what the other has just embedded. So a job does not return to a
superseded config for some minutes, and processes that still have it leave the job alone.
"""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta

from ai_migration.entities.config.definitions import comparable
from ai_migration.entities.entity import Entity
from ai_migration.jobs.feed.collections import ConfigChange, snapshot_change
from ai_migration.jobs.steer.transitions import note
from ai_migration.models import MigrationJob
from ai_migration.models.jobs import JobPhase
from ai_migration.models.queue import OPEN_ENTRIES
from ai_migration.models.sql import clock
from ai_migration.types import JSONValue

SUPERSEDED_FOR = timedelta(minutes=10)
"""The time a deploy may take; afterwards an old config counts as a deliberate return to it."""

_COUNTERS = (
    "processed_entities",
    "indexed_entities",
    "skipped_entities",
    "removed_entities",
    "failed_entities",
    "breaker_processed",
    "breaker_failed",
)


def is_superseded(job: MigrationJob, entity: Entity) -> bool:
    """Return whether a job left this process's config of the entity a short while ago: this process
    is not deployed yet.

    Args:
        job: The job, freshly read.
        entity: Its entity type, as this process has it configured.
    """
    left: int | None = job.superseded_configs.get(_digest(entity.snapshot))
    if left is None:
        return False
    return timedelta(microseconds=clock.now_microseconds(_using(job)) - left) < SUPERSEDED_FOR


def follow_config(job: MigrationJob, entity: Entity) -> None:
    """Start a job over if the config changed in a way that affects its texts. Unchanged texts are
    not paid for again, thanks to the ledger. Call it under the job's row lock."""
    change = snapshot_change(job.config_snapshot, entity.snapshot)
    if change is ConfigChange.NONE:
        return
    using = _using(job)
    left, job.config_snapshot = _digest(job.config_snapshot), entity.snapshot
    fields = ["config_snapshot"]
    if change in (ConfigChange.TEXT, ConfigChange.METADATA):
        job.superseded_configs = {**job.superseded_configs, left: clock.now_microseconds(using)}
        job.entries.using(using).filter(status__in=OPEN_ENTRIES).delete()
        fields += ["superseded_configs", *_start_over(job, using)]
        words = f"the config changed ({change.value}): the rows are compared from the start"
        note(job.pk, words, using=using, actor="engine")
    job.save(update_fields=fields)


def start_over_if_refused(job: MigrationJob) -> None:
    """Compare all rows again after the job's removals were refused: its source may have shown too
    few rows, in any part of it. Call it under the job's row lock."""
    if job.phase == JobPhase.SOURCE and job.cursor is None and job.processed_entities:
        job.save(update_fields=_start_over(job, _using(job)))


def _start_over(job: MigrationJob, using: str) -> list[str]:
    """Let a job begin again, and return the columns that changed."""
    job.failures.using(using).all().delete()
    job.phase, job.cursor = JobPhase.SOURCE, None
    job.findings = None
    for name in _COUNTERS:
        setattr(job, name, 0)
    return ["phase", "cursor", "findings", *_COUNTERS]


def _using(job: MigrationJob) -> str:
    assert job._state.db is not None
    return job._state.db


def _digest(snapshot: dict[str, JSONValue]) -> str:
    canonical = json.dumps(comparable(snapshot), sort_keys=True)
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()
