"""Databases, settings and source rows of one test, and copies of them for its control runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from django.db import connections

from ai_migration.models import Collection, MigrationJob, QueueEntry, SearchableEntity
from tests.acceptance import victims
from tests.acceptance.index_state import IndexState, index_state, unsettled
from tests.acceptance.victims import Orders
from tests.databases import Databases, FreshDatabase, _connected
from tests.testapp.models import Article

STORES = {
    "sqlite": "ai_migration.stores.database.DatabaseStore",
    "postgresql": "ai_migration.stores.pgvector.PgVectorStore",
    "mysql": "ai_migration.stores.database.DatabaseStore",
}
ENTITY_CONFIG = Path(__file__).resolve().parent.parent / "testapp" / "ai-entity-config.yml"
_numbers = count(1)


@dataclass(frozen=True)
class World:
    """Everything a run depends on.

    Attributes:
        database: Where the rows and our tables are.
        databases: Makes more of them.
        settings: AI_MIGRATION.
        log: Where the embedder keeps its books.
    """

    database: FreshDatabase
    databases: Databases
    settings: dict[str, Any]
    log: Path

    def orders(self, **orders: Any) -> Orders:
        """Orders for a process in this world."""
        return Orders(self.database.url, self.database.other_url, self.settings, **orders)

    @contextmanager
    def copy(self) -> Iterator[World]:
        """The same world once more; Django is connected to it meanwhile."""
        connections.close_all()  # a copy is only made of what nobody uses
        name = f"copy_{next(_numbers)}"
        other_url = _copy_file(self.database.other_url, name + "_other")
        vendor = self.database.vendor
        if vendor == "sqlite":
            url = _copy_file(self.database.url, name)
        else:
            template = str(self.database.settings["NAME"])
            url = self.databases.server(vendor).create(name, template=template)
        try:
            with _connected(url, other_url):
                yield replace(self, database=FreshDatabase(vendor, url, other_url))
        finally:
            if vendor != "sqlite":
                self.databases.server(vendor).drop(name)
            for file in _path(other_url).parent.glob(f"{name}[._]*"):
                file.unlink()

    def finish(self, start: dict[str, Any] | None = None, **orders: Any) -> IndexState:
        """Run to the end in another process, and say what came of it."""
        assert victims.run(self.orders(start=start, **orders)) == 0
        problems = unsettled("article")
        assert not problems, problems
        return index_state("article")

    def control(self, start: dict[str, Any] | None, *, afresh: bool = False) -> IndexState:
        """What an uninterrupted run makes of a copy of this world.

        Args:
            start: The request.
            afresh: Forget the index first: only the source rows count.
        """
        with self.copy() as copied:
            if afresh:
                forget_index()
            return copied.finish(start)


def settings_for(vendor: str, log: Path) -> dict[str, Any]:
    """AI_MIGRATION with short leases and slices, and an embedder that keeps books."""
    embedder = {
        "BACKEND": "tests.acceptance.embedders.BookkeepingEmbedder",
        "OPTIONS": {"log": str(log)},
    }
    return {
        "ENTITY_CONFIG": str(ENTITY_CONFIG),
        "SYNC": "off",
        "EMBEDDERS": {"default": embedder},
        "STORES": {"default": {"BACKEND": STORES[vendor]}},
        "LEASE_SECONDS": 2,
        "SLICE_SECONDS": 1,
        "QUEUE_WINDOW": 6,
        "RETRY_DELAY_SECONDS": 0.05,
    }


def dawdling(world: World, seconds: float, **keys: Any) -> World:
    """The same world, whose embedder takes its time."""
    embedder = world.settings["EMBEDDERS"]["default"]
    slow = {**embedder, "OPTIONS": {**embedder["OPTIONS"], "seconds": seconds}}
    return replace(world, settings={**world.settings, "EMBEDDERS": {"default": slow}, **keys})


def forget_index() -> None:
    """Leave nothing of ours but the vectors, which belong to no collection then."""
    for model in (QueueEntry, MigrationJob, SearchableEntity, Collection):
        model._default_manager.all().delete()


def write_articles(rows: int) -> None:
    """Source rows: every fifth is long, some are empty, one is refused by the embedder."""
    Article.objects.bulk_create(Article(**fields_of(number)) for number in range(rows))


def fields_of(number: int, version: int = 0) -> dict[str, str]:
    """What a row is made of."""
    if number % 11 == 7:
        return {"title": "", "body": ""}
    body = f"Body {number} of version {version}."
    if number % 5 == 4:
        body = " ".join([body] * (8 - 3 * (version % 2)))
    if number % 101 == 9:
        body += " poison"
    return {"title": f"Article {number}", "body": body}


def _copy_file(url: str, name: str) -> str:
    source = _path(url)
    target = source.with_name(f"{name}.sqlite3")
    shutil.copyfile(source, target)
    return f"sqlite:///{target}"


def _path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))
