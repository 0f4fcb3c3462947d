"""Brings the rows an application already has into a vector index, and keeps them there."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ai_migration.engine.insight.diagnosis import diagnose
    from ai_migration.engine.insight.status import engine_status
    from ai_migration.engine.rounds import supervise
    from ai_migration.engine.worker import run_worker
    from ai_migration.entities.config.decorator import ai_capable
    from ai_migration.exceptions import AIMigrationError
    from ai_migration.indexing.permission import may_search
    from ai_migration.indexing.queue import enqueue
    from ai_migration.indexing.search import asearch, search
    from ai_migration.jobs.service import migration_service
    from ai_migration.live.managers import IndexedManager, IndexedQuerySet
    from ai_migration.live.suspension import suspend_sync
    from ai_migration.types import (
        JobChanges,
        MigrationFilters,
        MigrationMode,
        MigrationRequest,
    )

__version__ = "0.1.0"

_HOMES = {
    "AIMigrationError": "ai_migration.exceptions",
    "IndexedManager": "ai_migration.live.managers",
    "IndexedQuerySet": "ai_migration.live.managers",
    "JobChanges": "ai_migration.types",
    "MigrationFilters": "ai_migration.types",
    "MigrationMode": "ai_migration.types",
    "MigrationRequest": "ai_migration.types",
    "ai_capable": "ai_migration.entities.config.decorator",
    "asearch": "ai_migration.indexing.search",
    "diagnose": "ai_migration.engine.insight.diagnosis",
    "engine_status": "ai_migration.engine.insight.status",
    "enqueue": "ai_migration.indexing.queue",
    "may_search": "ai_migration.indexing.permission",
    "migration_service": "ai_migration.jobs.service",
    "run_worker": "ai_migration.engine.worker",
    "search": "ai_migration.indexing.search",
    "supervise": "ai_migration.engine.rounds",
    "suspend_sync": "ai_migration.live.suspension",
}

__all__ = [
    "AIMigrationError",
    "IndexedManager",
    "IndexedQuerySet",
    "JobChanges",
    "MigrationFilters",
    "MigrationMode",
    "MigrationRequest",
    "ai_capable",
    "asearch",
    "diagnose",
    "engine_status",
    "enqueue",
    "may_search",
    "migration_service",
    "run_worker",
    "search",
    "supervise",
    "suspend_sync",
]


def __getattr__(name: str) -> Any:
    # Models cannot be imported before the app registry is ready, and a models.py imports
    # ai_capable from here while it is being filled.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
