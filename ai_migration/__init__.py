"""Brings the rows an application already has into a vector index, and keeps them there."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ai_migration.entities.config.decorator import ai_capable
    from ai_migration.exceptions import AIMigrationError
    from ai_migration.indexing.queue import enqueue
    from ai_migration.indexing.search import search
    from ai_migration.jobs.service import migration_service
    from ai_migration.types import (
        JobChanges,
        MigrationFilters,
        MigrationMode,
        MigrationRequest,
    )

__version__ = "0.1.0"

_HOMES = {
    "AIMigrationError": "ai_migration.exceptions",
    "JobChanges": "ai_migration.types",
    "MigrationFilters": "ai_migration.types",
    "MigrationMode": "ai_migration.types",
    "MigrationRequest": "ai_migration.types",
    "ai_capable": "ai_migration.entities.config.decorator",
    "enqueue": "ai_migration.indexing.queue",
    "migration_service": "ai_migration.jobs.service",
    "search": "ai_migration.indexing.search",
}

__all__ = [
    "AIMigrationError",
    "JobChanges",
    "MigrationFilters",
    "MigrationMode",
    "MigrationRequest",
    "ai_capable",
    "enqueue",
    "migration_service",
    "search",
]


def __getattr__(name: str) -> Any:
    # Models cannot be imported before the app registry is ready, and a models.py imports
    # ai_capable from here while it is being filled.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
