"""What the integration tests share: rows, runs, and what the index must look like."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
from django.conf import settings
from django.db import connections
from django.db.models import F, Sum
from django.utils import timezone

from ai_migration import migration_service
from ai_migration.embedders import embedders
from ai_migration.engine.slices.slice import Slice
from ai_migration.engine.upkeep.supervisor import tick
from ai_migration.engine.worker import run_worker
from ai_migration.entities import registry
from ai_migration.entities.rows.reader import EntityReader
from ai_migration.indexing.batches import Target, chunks_of
from ai_migration.models import Collection, EntityFailure, MigrationJob, QueueEntry, WorkerSlot
from ai_migration.models.leases import Lease, acquire
from ai_migration.models.ledger import SearchableEntity
from ai_migration.stores import stores
from ai_migration.types import (
    CollectionStatus,
    EntryStatus,
    JobStatus,
    MigrationProgress,
    MigrationRequest,
)
from tests.integration.embedders import Script
from tests.testapp.models import Article

ROUNDS = 60
"""How often a test looks whether a job is over, before it says that it never will be."""

GLOBAL = """
ai-config:
  retry-attempts: 0
  retry-delay-ms: 1
"""
"""Requests that fail go back to the queue at once."""


class Project:
    """The settings and the entity config of one test; see the fixture `project`."""

    def __init__(self, settings: Any, directory: Path) -> None:
        self._settings = settings
        self._directory = directory
        self._numbers = itertools.count(1)

    def set(self, **keys: Any) -> None:
        """Set keys of AI_MIGRATION."""
        self._settings.AI_MIGRATION = {**self._settings.AI_MIGRATION, **keys}

    def get(self, key: str) -> Any:
        """Return a key of AI_MIGRATION, as it is set."""
        return self._settings.AI_MIGRATION[key]

    def config(self, text: str) -> None:
        """Write another ai-entity-config.yml and use it."""
        path = self._directory / f"config-{next(self._numbers)}.yml"
        path.write_text(dedent(text))
        self.set(ENTITY_CONFIG=path)

    def article(
        self, *fields: Any, name: str = "article", model: str = "testapp.Article", **more: Any
    ) -> None:
        """An entity config with one entity type.

        Args:
            fields: Its embeddable fields, each a name or a mapping; default: title and body.
            name: Its name.
            model: Its model.
            more: Further keys, in snake_case; JSON is YAML too.
        """
        import json

        entity = {
            "model": model,
            "embeddable-fields": list(fields or ("title", "body")),
            **{key.replace("_", "-"): value for key, value in more.items()},
        }
        self.config(GLOBAL + "ai-entities: " + json.dumps({name: entity}))

    def embedder(self, *, alias: str = "default", **options: Any) -> Script:
        """Use a scripted embedder under that alias."""
        script = options.setdefault("script", Script())
        backend = "tests.integration.embedders.ScriptedEmbedder"
        configured = self._settings.AI_MIGRATION["EMBEDDERS"]
        self.set(EMBEDDERS={**configured, alias: {"BACKEND": backend, "OPTIONS": options}})
        assert isinstance(script, Script)
        return script

    def store(self, backend: str, **options: Any) -> None:
        """Use another store."""
        self.set(STORES={"default": {"BACKEND": backend, "OPTIONS": options}})


# Rows


def make_articles(count: int, *, start: int = 0, body: str = "Body of number {}.") -> None:
    """Articles whose texts all differ."""
    Article.objects.bulk_create(
        Article(title=f"Title {i}", body=body.format(i)) for i in range(start, start + count)
    )


def as_the_host_has_it(moment: datetime) -> datetime:
    """A moment as a column of the host takes it."""
    return moment if settings.USE_TZ else timezone.make_naive(moment)


# Runs


def start(entity_type: str = "article", **request: Any) -> MigrationJob:
    """Start a migration."""
    return migration_service.start_migration(MigrationRequest(entity_type, **request))


def work(*, rounds: int = ROUNDS) -> None:
    """Work until the queue is empty and no job waits or runs, as a process of its own does."""
    for opened in connections.all(initialized_only=True):
        if not opened.in_atomic_block:
            opened.close()
    for _ in range(rounds):
        run_worker(should_stop=lambda: False, until_idle=True)
        waits = QueueEntry.objects.filter(status=EntryStatus.PENDING).exclude(
            job__status__in=[JobStatus.PAUSED, JobStatus.FAILED, JobStatus.CANCELLED]
        )
        is_open = MigrationJob.objects.filter(status__in=[JobStatus.RUNNING, JobStatus.PENDING])
        if not (waits.exists() or is_open.exists()):
            return
        time.sleep(0.002)
    jobs = MigrationJob.objects.values_list("status", "phase", "error_message")
    entries = QueueEntry.objects.exclude(status=EntryStatus.COMPLETED)
    left = entries.values_list("operation", "status", "attempts", "error", "available_at")
    raise AssertionError(f"Work never ends: {list(jobs)}, {list(left)}")


def finish(job: MigrationJob) -> MigrationProgress:
    """Work until the job is over, and say how it ended; its counters must add up."""
    work()
    return progress(job)


class Killed(BaseException):
    """A worker's process is killed here: nothing catches it, and nothing is released."""


class Poison:
    """Texts that kill the process that embeds them.

    Args:
        script: Of the embedder.
    """

    def __init__(self, script: Script) -> None:
        self.titles: set[str] = set()
        self._dying = threading.Event()
        self._buried = threading.Event()
        script.react = self._embed

    def clock(self) -> float:
        """The clock of a worker that can be killed."""
        if self._dying.is_set():
            self._buried.set()
            raise Killed
        return time.monotonic()

    def again(self) -> None:
        """Another worker, that lives."""
        self._dying.clear()
        self._buried.clear()

    def _embed(self, texts: Sequence[str]) -> None:
        if any(text.splitlines()[0] in self.titles for text in texts):
            self._dying.set()
            self._buried.wait()
            raise Killed


def die() -> None:
    """After :class:`Killed`: the leases of whoever was killed run out."""
    WorkerSlot.objects.filter(lease_expires_at__isnull=False).update(
        lease_expires_at=F("lease_expires_at") - timedelta(days=1)
    )


def run(entity_type: str = "article", **request: Any) -> MigrationProgress:
    """A migration from start to end, which must be COMPLETED."""
    ended = finish(start(entity_type, **request))
    assert ended.status == JobStatus.COMPLETED, ended
    return ended


def progress(job: MigrationJob) -> MigrationProgress:
    """Where a job stands. A job that is over has done exactly what it set out to do."""
    now = migration_service.get_progress(job.pk)
    assert now.processed == now.indexed + now.skipped + now.removed + now.failed
    assert 0 <= now.percent_complete <= 100
    if now.status == JobStatus.COMPLETED:
        assert now.total == now.processed
        assert now.percent_complete == 100
        listed = EntityFailure.objects.filter(job=job.pk).count()
        assert now.failed == listed, "each failed entity is listed, and nothing else is"
        assert not QueueEntry.objects.filter(job=job.pk).exclude(status="COMPLETED").exists()
    return now


def counts(of: MigrationProgress) -> tuple[int, int, int, int]:
    """Indexed, skipped, removed, failed."""
    return of.indexed, of.skipped, of.removed, of.failed


def lease(name: str = "test") -> Lease:
    """A slot of its own for a worker of the test."""
    tick()
    taken = acquire(name, "test:1")
    assert taken is not None
    return taken


def ticking(step: float = 1.0) -> Callable[[], float]:
    """A clock that moves each time somebody looks: what waits for time never waits."""
    moments = itertools.count(0.0, step)
    return lambda: next(moments)


def run_slice(
    *,
    should_stop: Callable[[], bool] = lambda: False,
    only_jobs: Iterable[str] | None = None,
    seconds: float = 1e9,
    step: float = 1.0,
) -> None:
    """One slice of one worker, which looks at its jobs at every step."""
    held = lease()
    try:
        Slice(
            held,
            should_stop=should_stop,
            only_jobs=None if only_jobs is None else list(only_jobs),
            seconds=seconds,
            clock=ticking(step),
        ).run()
    finally:
        held.release()


# What the index must look like


def collection(entity_type: str = "article") -> Collection:
    """The one that serves searches."""
    return Collection.objects.get(entity_type=entity_type, status=CollectionStatus.ACTIVE)


def stored(of: Collection) -> dict[str, dict[int, bytes]]:
    """What the store has: by entity and chunk."""
    found: dict[str, dict[int, bytes]] = {}
    for batch in stores[of.store].scroll(of.ref):
        for entity_id, chunk, vector in zip(
            batch.entity_ids, batch.chunks, batch.vectors, strict=True
        ):
            found.setdefault(entity_id, {})[chunk] = vector.tobytes()
    return found


def payloads(of: Collection) -> dict[str, Any]:
    """The payloads in the store, by entity."""
    return {
        entity_id: dict(payload)
        for batch in stores[of.store].scroll(of.ref)
        for entity_id, payload in zip(
            batch.entity_ids, batch.metadata or [{}] * len(batch), strict=True
        )
    }


def expected(of: Collection) -> dict[str, dict[int, bytes]]:
    """What the store would have if every source row were embedded now, on its own."""
    entity = registry.get(of.entity_type)
    target = Target(of, embedders[of.embedder], stores[of.store])
    reference: dict[str, dict[int, bytes]] = {}
    from ai_migration.embedders.hash import HashEmbedder

    embedder = HashEmbedder(of.dimensions)
    for row in EntityReader(entity).read(entity.rows()):
        if row.text and not row.error:
            vectors = embedder.embed(chunks_of(row.text, target, entity, head=row.head))
            reference[row.entity_id] = {
                chunk: np.asarray(vector, np.float32).tobytes()
                for chunk, vector in enumerate(vectors)
            }
    return reference


def assert_in_line(entity_type: str = "article", *, without: Iterable[object] = ()) -> None:
    """The index is exactly what the source rows say, vector by vector, and the ledger
    agrees; ``without``: entities that failed."""
    of = collection(entity_type)
    wanted = expected(of)
    for entity_id in without:
        wanted.pop(str(entity_id), None)
    found = stored(of)
    assert found.keys() == wanted.keys()
    assert found == wanted
    known = SearchableEntity.objects.filter(collection=of, chunk_count__gt=0)
    assert set(known.values_list("entity_id", flat=True)) == wanted.keys()
    chunks = known.aggregate(total=Sum("chunk_count"))["total"] or 0
    assert chunks == stores[of.store].count(of.ref)
