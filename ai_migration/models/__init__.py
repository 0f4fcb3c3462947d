"""The tables, with the constraints that keep the promises."""

from ai_migration.models.collections import Collection
from ai_migration.models.events import JobEvent
from ai_migration.models.failures import EntityFailure
from ai_migration.models.jobs import MigrationJob
from ai_migration.models.ledger import SearchableEntity
from ai_migration.models.metrics import EngineMetrics
from ai_migration.models.queue import QueueEntry
from ai_migration.models.rate_limits import RateLimitState
from ai_migration.models.vectors import StoredVector
from ai_migration.models.workers import WorkerSlot

__all__ = [
    "Collection",
    "EngineMetrics",
    "EntityFailure",
    "JobEvent",
    "MigrationJob",
    "QueueEntry",
    "RateLimitState",
    "SearchableEntity",
    "StoredVector",
    "WorkerSlot",
]
