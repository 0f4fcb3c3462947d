"""Vector stores by alias: ``stores["default"]``."""

from __future__ import annotations

from ai_migration.backends import BackendRegistry
from ai_migration.stores._support import matches
from ai_migration.stores.base import VectorStore, vector_id

stores: BackendRegistry[VectorStore] = BackendRegistry("STORES", lambda: VectorStore)

__all__ = ["VectorStore", "matches", "stores", "vector_id"]
