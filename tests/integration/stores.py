"""A store whose index is a row of its own, to be looked at while it is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ai_migration.exceptions import StoreError
from ai_migration.stores.memory import MemoryStore
from ai_migration.types import CollectionRef, IndexBuild


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
