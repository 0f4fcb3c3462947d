"""Stores for tests of what uses them: with an index to look at, or without some ability."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ai_migration.exceptions import StoreError
from ai_migration.stores.database import DatabaseStore
from ai_migration.stores.memory import MemoryStore
from ai_migration.types import AnyOf, CollectionRef, IndexBuild, StoreHit


@dataclass
class Builds:
    """What a test does with the builds of a :class:`BuildingStore`, and what it saw of them."""

    during: Callable[[CollectionRef], None] = lambda collection: None
    done: list[int] = field(default_factory=list)
    tell: Callable[[], IndexBuild | None] = lambda: None
    fails: bool = False


class BuildingStore(MemoryStore):
    """It needs an index until it was optimized."""

    def __init__(self, builds: Builds) -> None:
        super().__init__()
        self.builds = builds

    def needs_index(self, collection: CollectionRef, *, above: int) -> bool:
        return collection.id not in self.builds.done and self.count(collection) > above

    def index_build(self, collection: CollectionRef) -> IndexBuild | None:
        return self.builds.tell()

    def optimize(self, collection: CollectionRef) -> None:
        self.builds.during(collection)
        if self.builds.fails:
            raise StoreError("The disk is full")
        self.builds.done.append(collection.id)


class NoListStore(DatabaseStore):
    """A store of somebody else, which compares with one value only."""

    supports_any_of = False

    def search(self, *args: Any, filters: Any = None, **options: Any) -> list[StoreHit]:
        assert not any(isinstance(value, AnyOf) for value in (filters or {}).values())
        return super().search(*args, filters=filters, **options)


class NoFilterStore(NoListStore):
    """A store that cannot filter, and does not."""

    supports_filters = False

    def search(self, *args: Any, filters: Any = None, **options: Any) -> list[StoreHit]:
        return super().search(*args, **options)


def options_of(store: str, directory: Path) -> dict[str, Any]:
    """The options of a store that keeps files; skip the test where its library is missing."""
    if "sqlite_vec" in store:
        pytest.importorskip("apsw")
        return {"path": directory / "vectors.sqlite3"}
    if "qdrant" in store:
        pytest.importorskip("qdrant_client")
        return {"path": directory / "qdrant"}
    return {}
