"""Vector stores by alias: ``stores["default"]``."""

from __future__ import annotations

from contextlib import suppress

from ai_migration.backends import BackendRegistry
from ai_migration.exceptions import SettingsError
from ai_migration.stores._support import matches
from ai_migration.stores.base import VectorStore, vector_id

stores: BackendRegistry[VectorStore] = BackendRegistry("STORES", lambda: VectorStore)

__all__ = ["VectorStore", "matches", "store_databases", "stores", "vector_id"]


def store_databases() -> set[str]:
    """Return the aliases of the Django databases in which configured stores keep their vectors."""
    found = set()
    for alias in stores:
        with suppress(SettingsError, AttributeError):  # reported by the checks; in no database
            found.add(str(stores[alias].using))  # type: ignore[attr-defined]
    return found
