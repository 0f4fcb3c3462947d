"""A verify finds what differs between source, ledger and store, and repairs exactly that."""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from django.db import connection

from ai_migration import migration_service
from ai_migration.engine.slices import verifying as slices
from ai_migration.entities import registry
from ai_migration.entities.rows.reader import EntityReader
from ai_migration.exceptions import (
    ConflictingJobError,
    InputRefusedError,
    InvalidRequestError,
    NotIndexedError,
    StoreError,
    UnknownEntityTypeError,
    UnknownJobError,
)
from ai_migration.indexing import comparing
from ai_migration.indexing.differences import Difference
from ai_migration.indexing.motion import in_motion
from ai_migration.indexing.outbox import Change, record, record_range
from ai_migration.indexing.queue import enqueue
from ai_migration.jobs.feed import ranges, removals
from ai_migration.jobs.findings import Findings, merged
from ai_migration.jobs.start import verify as verifying
from ai_migration.models import Collection, MigrationJob, QueueEntry, SearchableEntity
from ai_migration.models.sql import clock
from ai_migration.models.vectors import StoredVector
from ai_migration.stores import VectorStore, stores
from ai_migration.testing.stores import unit_vectors
from ai_migration.types import JobChanges, JobStatus, VectorBatch
from tests.integration.embedders import Script
from tests.integration.support import (
    Killed,
    Project,
    collection,
    die,
    expected,
    make_articles,
    run,
    run_slice,
    start,
    stored,
    work,
)
from tests.testapp.models import Article

STORES: dict[str, tuple[str, Callable[[Path], dict[str, Any]]]] = {
    "database": ("database.DatabaseStore", lambda _: {}),
    "memory": ("memory.MemoryStore", lambda _: {}),
    "sqlite_vec": ("sqlite_vec.SqliteVecStore", lambda path: {"path": path / "vectors.db"}),
    "qdrant": ("qdrant.QdrantStore", lambda path: {"path": path / "qdrant"}),
    "pgvector": ("pgvector.PgVectorStore", lambda _: {}),
    "pgvector16": ("pgvector.PgVectorStore", lambda _: {"precision": "float16"}),
}
ELSEWHERE = ("memory", "sqlite_vec", "qdrant")
LONG = "word " * 300


@dataclass
class World:
    """An index over articles, in one of our stores."""

    kind: str
    script: Script

    @property
    def collection(self) -> Collection:
        return collection()

    @property
    def store(self) -> VectorStore:
        return stores[self.collection.store]

    def vectors_of(self, article: Article) -> VectorBatch:
        """What the store has of one entity; of a single page."""
        [page] = self.store.fetch(self.collection.ref, [str(article.pk)])
        return page

    def replace(self, article: Article, batch: VectorBatch) -> None:
        """Write other vectors of an entity."""
        self.store.delete(self.collection.ref, [str(article.pk)])
        self.store.upsert(self.collection.ref, batch)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """The store: ours beside the ledger, unless a test is for each of them."""
    return str(getattr(request, "param", "database"))


@pytest.fixture
def world(kind: str, project: Project, script: Script, tmp_path: Path) -> World:
    """Ten indexed articles, the last one in several chunks."""
    if kind in ELSEWHERE and connection.vendor != "sqlite":
        pytest.skip("this store does not depend on the database")
    if kind.startswith("pgvector") and connection.vendor != "postgresql":
        pytest.skip("it needs PostgreSQL")
    if kind == "qdrant":
        pytest.importorskip("qdrant_client")
    path, options = STORES[kind]
    project.store(f"ai_migration.stores.{path}", **options(tmp_path))
    project.set(ORPHAN_GRACE_SECONDS=0)
    project.article(
        metadata_fields=[{"name": "status", "type": "TEXT"}], chunking={"size": 100, "overlap": 0}
    )
    make_articles(9)
    Article.objects.create(title="Long", body=LONG)
    run()
    return World(kind, script)


def verified(*, repair: bool = False) -> Findings:
    """Verify to the end."""
    job = migration_service.verify("article", repair=repair)
    work()
    found = migration_service.get_findings(job.pk)
    assert found.status == JobStatus.COMPLETED, MigrationJob.objects.get(pk=job.pk).error_message
    return found


def differences(found: Findings) -> dict[str, int]:
    return {str(kind): count for kind, count in found.by_kind.items() if count}


def article(number: int) -> Article:
    return Article.objects.order_by("pk")[number]


def mended(world: World) -> None:
    """A repair leaves nothing to find: another verify is clean, and the index is as a new one."""
    verified(repair=True)
    assert differences(verified()) == {}
    found, wanted = stored(world.collection), expected(world.collection)
    assert {key: set(chunks) for key, chunks in found.items()} == {
        key: set(chunks) for key, chunks in wanted.items()
    }
    for key, chunks in wanted.items():
        for chunk, vector in chunks.items():
            near = np.frombuffer(found[key][chunk], np.float32)
            assert np.abs(near - np.frombuffer(vector, np.float32)).max() < 1e-3


def test_all_agree(world: World) -> None:
    found = verified()
    assert found.agrees
    assert found.source_rows == found.ledger_rows == 10
    assert found.vectors == world.store.count(world.collection.ref) > 11
    assert found.samples == {}


# Damage that somebody does


def delete_vectors(world: World) -> None:
    world.store.delete(world.collection.ref, [str(article(0).pk), str(article(1).pk)])


def add_vectors(world: World) -> None:
    batch = VectorBatch(["900001", "900001"], [0, 1], unit_vectors(2, world.collection.dimensions))
    world.store.upsert(world.collection.ref, batch)


def cut_chunks(world: World) -> None:
    page = world.vectors_of(article(9))
    assert len(page) > 2
    world.replace(article(9), page.part([i for i in range(len(page)) if page.chunks[i] != 1]))


def add_chunks(world: World) -> None:
    page = world.vectors_of(article(2))
    more = VectorBatch([*page.entity_ids], [7], page.vectors, page.metadata)
    world.store.upsert(world.collection.ref, more)


def change_payload(world: World) -> None:
    world.store.update_metadata(world.collection.ref, [str(article(3).pk)], [{"status": "stolen"}])


def drop_payload(world: World) -> None:
    page = world.vectors_of(article(3))
    world.replace(article(3), VectorBatch(page.entity_ids, page.chunks, page.vectors))


def swap_vectors(world: World) -> None:
    left, right = world.vectors_of(article(4)), world.vectors_of(article(5))
    world.replace(
        article(4), VectorBatch(left.entity_ids, left.chunks, right.vectors, left.metadata)
    )
    world.replace(
        article(5), VectorBatch(right.entity_ids, right.chunks, left.vectors, right.metadata)
    )


def swap_chunks(world: World) -> None:
    page = world.vectors_of(article(9))
    chunks = [{0: 1, 1: 0}.get(chunk, chunk) for chunk in page.chunks]
    world.replace(article(9), VectorBatch(page.entity_ids, chunks, page.vectors, page.metadata))


def lose_ledger(world: World) -> None:
    SearchableEntity.objects.filter(entity_id=str(article(6).pk)).delete()


def change_rows(world: World) -> None:
    Article.objects.filter(pk=article(7).pk).update(title="Another title")


def change_metadata(world: World) -> None:
    Article.objects.filter(pk=article(7).pk).update(status="draft")


def delete_row(world: World) -> None:
    Article.objects.filter(pk=article(8).pk).delete()


def add_row(world: World) -> None:
    make_articles(2, start=50)


DAMAGE: list[tuple[Callable[[World], None], dict[str, int], int]] = [
    (delete_vectors, {"ledger_without_vector": 2}, 2),
    (add_vectors, {"vector_without_ledger": 2}, 0),
    (cut_chunks, {"wrong_chunks": 1}, 4),
    (add_chunks, {"wrong_chunks": 1}, 1),
    (change_payload, {"stale": 1}, 0),
    (drop_payload, {"stale": 1}, 0),
    (swap_vectors, {"wrong_vectors": 2}, 2),
    (swap_chunks, {"wrong_vectors": 1}, 4),
    (lose_ledger, {"missing": 1, "vector_without_ledger": 1}, 1),
    (change_rows, {"stale": 1}, 1),
    (change_metadata, {"stale": 1}, 0),
    (delete_row, {"orphaned": 1}, 0),
    (add_row, {"missing": 2}, 2),
]


ALONE = (drop_payload, swap_chunks, change_metadata)
"""Damage to what another damage is done to, too."""


@pytest.mark.vendors("sqlite")
@pytest.mark.parametrize(
    ("damage", "finds", "embeds"),
    [
        pytest.param(
            *each,
            id=each[0].__name__,
            marks=() if each[0] in ALONE else pytest.mark.gate,  # seen below, in every store
        )
        for each in DAMAGE
    ],
)
def test_damage_is_found_and_repaired(
    world: World, damage: Callable[[World], None], finds: dict[str, int], embeds: int
) -> None:
    damage(world)
    before = stored(world.collection)
    assert differences(verified()) == finds
    assert stored(world.collection) == before, "a verify writes nothing"
    world.script.clear()
    mended(world)
    assert len(world.script.texts) == embeds, "only what has to be is embedded"


@pytest.mark.parametrize(
    "kind",
    [
        "database",
        *(pytest.param(name, marks=pytest.mark.gate) for name in STORES if name != "database"),
    ],
    indirect=True,
)
def test_all_damage_at_once_in_every_store(world: World) -> None:
    apart = [each for each in DAMAGE if each[0] not in ALONE]
    finds, embeds = Counter[str](), 0
    for damage, kinds, texts in apart:
        damage(world)
        finds.update(kinds)
        embeds += texts
    found = verified()
    assert differences(found) == finds
    assert found.samples["ledger_without_vector"] == [str(article(n).pk) for n in (0, 1)]
    assert sorted(found.samples["vector_without_ledger"]) == ["7", "900001"]
    world.script.clear()
    mended(world)
    assert len(world.script.texts) == embeds


def wrong_dimensions(world: World) -> None:
    key = str(article(1).pk)
    if world.kind == "database":
        StoredVector.objects.filter(entity_id=key).update(vector=b"\0" * 12)
    elif world.kind == "memory":
        held: Any = world.store
        held._collections[world.collection.ref.name].vectors[key, 0] = np.zeros(3, np.float32)
    else:
        with closing(sqlite3.connect(world.store.path)) as file, file:  # type: ignore[attr-defined]
            table = world.collection.ref.name
            file.execute(f"UPDATE {table} SET vector = x'000000' WHERE entity = ?", [key])


@pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])
@pytest.mark.parametrize("kind", ["database", "memory", "sqlite_vec"], indirect=True)
def test_vectors_of_other_dimensions(world: World) -> None:
    """pgvector and Qdrant take none."""
    wrong_dimensions(world)
    assert differences(verified()) == {"wrong_dimensions": 1}
    mended(world)


@pytest.mark.vendors("sqlite")
@pytest.mark.parametrize("kind", ["qdrant"], indirect=True)
def test_doubles_where_a_store_can_have_them(world: World) -> None:
    from qdrant_client import models

    held: Any = world.store
    name = world.collection.ref.name
    points, _ = held._client().scroll(name, limit=100, with_vectors=True)
    [point] = [each for each in points if each.payload["entity"] == str(article(1).pk)]
    again = models.PointStruct(id=str(uuid4()), vector=point.vector, payload=point.payload)
    held._client().upsert(name, [again])
    found = verified()
    assert differences(found) == {"wrong_chunks": 1}
    assert found.vectors == len(points) + 1
    mended(world)


# What is in motion


@pytest.mark.vendors("sqlite", "postgresql", gate=["mysql"])
def test_changes_in_the_queue_are_pending(world: World) -> None:
    change_rows(world)
    new = Article.objects.create(title="New")
    gone = article(3).pk
    Article.objects.filter(pk=gone).delete()
    changed = [article(6).pk, new.pk]  # one of them is article(7) of before
    enqueue("article", changed)
    record([Change("article", str(gone))], Article)
    job = migration_service.verify("article")
    _verify_alone(job)
    found = migration_service.get_findings(job.pk)
    assert found.agrees
    assert found.pending == 3
    work()
    assert verified().pending == 0


def _verify_alone(job: MigrationJob) -> None:
    """Work for a verify, and leave live changes where they are."""
    live = QueueEntry.objects.filter(job=None)
    live.update(available_at=clock.after(3600))
    for _ in range(20):
        run_slice()
        job.refresh_from_db()
        if job.status != JobStatus.RUNNING:
            break
    live.update(available_at=None)


def test_a_row_that_is_written_between_two_looks_is_pending(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its change is no longer in the queue when that is looked at, and was when it was read."""
    change_rows(world)

    def settle_first(*args: Any, **options: Any) -> set[str]:
        enqueue("article", [article(7).pk])
        work_on_live_changes()
        return in_motion(*args, **options)

    monkeypatch.setattr(comparing, "in_motion", settle_first)
    compared = _comparison().of_rows(None, article(9).pk)
    assert (compared.pending, compared.found) == (1, {})


def work_on_live_changes() -> None:
    """As another worker does, while a verify looks."""
    run_slice(only_jobs=None)


def test_a_running_migration_is_in_motion(world: World) -> None:
    add_row(world)
    delete_vectors(world)
    migration = start(mode="changed")
    migration_service.pause_migration(migration.pk)
    found = verified()
    assert found.pending == 2
    assert differences(found) == {"ledger_without_vector": 2}, "which no migration would mend"


def test_a_part_of_a_large_change_is_in_motion(world: World) -> None:
    """One entry of the queue stands for a range of rows, or for all that read a related one."""
    Article.objects.filter(pk__in=[article(7).pk, article(8).pk]).update(title="Other")
    record_range("article", article(6).pk, article(7).pk, Article)
    compared = _comparison().of_rows(None, article(9).pk)
    assert (compared.pending, compared.found) == (1, {Difference.STALE: [str(article(8).pk)]})
    record([Change("article", "1", path="category")], Article)
    assert _comparison().of_rows(None, article(9).pk).pending == 2


def _comparison() -> comparing.Comparison:
    entity, of = registry.get("article"), collection()
    return comparing.Comparison(entity, EntityReader(entity), of, stores[of.store], "default")


@pytest.mark.vendors("sqlite")
def test_rows_that_are_listed_as_failed_are_no_difference(world: World) -> None:
    world.script.react = refuse_poison
    Article.objects.create(title="poison")
    run(mode="changed")
    found = verified()
    assert found.agrees
    assert (found.failed, found.samples) == (1, {"failed": [str(article(10).pk)]})


def refuse_poison(texts: Sequence[str]) -> None:
    if any("poison" in text for text in texts):
        raise InputRefusedError("refused")


# A job like any other


def test_it_is_paused_killed_and_resumed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part counts once."""
    monkeypatch.setattr(verifying, "BATCH_SIZE", 3)
    monkeypatch.setattr(ranges, "_COMPARED_SIZE", 3)
    monkeypatch.setattr(slices, "WALK_SIZE", 4)
    delete_vectors(world)
    add_vectors(world)
    change_rows(world)
    job = migration_service.verify("article")
    migration_service.pause_migration(job.pk)
    run_slice()
    assert migration_service.get_findings(job.pk).source_rows == 0
    migration_service.resume_migration(job.pk)
    deaths = [1, 3, 5, 8]
    counted = itertools.count(1)

    def die_now_and_then(*args: Any) -> Any:
        if next(counted) in deaths:
            raise Killed
        return merged(*args)

    monkeypatch.setattr(slices, "merged", die_now_and_then)
    for _ in deaths:
        with pytest.raises(Killed):
            work()
        die()
    work()
    found = migration_service.get_findings(job.pk)
    assert found.status == JobStatus.COMPLETED
    assert (found.source_rows, found.ledger_rows) == (10, 10)
    assert found.vectors == world.store.count(world.collection.ref)
    wanted = {"ledger_without_vector": 2, "vector_without_ledger": 2, "stale": 1}
    assert differences(found) == wanted
    [*_, last] = migration_service.list_events(job.pk)
    assert "5 differences: 1 stale, 2 ledger without vector" in last.reason


@pytest.mark.vendors("sqlite")
def test_it_runs_beside_a_migration_and_alone_of_its_kind(world: World) -> None:
    migration = start()
    job = migration_service.verify("article")
    with pytest.raises(ConflictingJobError, match=f"{job.pk}.*verifies"):
        migration_service.verify("article")
    work()
    for each in (migration, job):
        each.refresh_from_db()
        assert each.status == JobStatus.COMPLETED


@pytest.mark.vendors("sqlite")
def test_orphans_are_removed_only_if_they_are_still_gone(world: World, project: Project) -> None:
    project.set(ORPHAN_GRACE_SECONDS=3600)
    lost, back = article(2), article(3)
    Article.objects.filter(pk__in=[lost.pk, back.pk]).delete()
    job = migration_service.verify("article", repair=True)
    for _ in range(5):
        run_slice()
    assert len(stored(world.collection)) == 10
    Article.objects.bulk_create([back])
    QueueEntry.objects.filter(job=job, status="PENDING").update(available_at=None)
    work()
    assert stored(world.collection).keys() == {str(each.pk) for each in Article.objects.all()}
    assert verified().agrees


@pytest.mark.vendors("sqlite")
def test_a_repair_does_not_empty_an_index(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removals, "LARGE", 5)
    Article.objects.filter(pk__gt=article(2).pk).delete()
    job = migration_service.verify("article", repair=True)
    work()
    job.refresh_from_db()
    assert job.status == JobStatus.FAILED
    assert "Nothing was removed" in job.error_message
    assert len(stored(world.collection)) == 10
    migration_service.resume_migration(job.pk, changes=JobChanges(allow_removals=True))
    work()
    assert verified().agrees


@pytest.mark.vendors("sqlite")
def test_what_was_indexed_before_there_were_checksums_is_not_compared(world: World) -> None:
    SearchableEntity.objects.update(checksum=None)
    swap_vectors(world)
    assert verified().agrees


# Bad input


@pytest.mark.vendors("sqlite")
def test_what_cannot_be_verified(world: World, project: Project) -> None:
    with pytest.raises(UnknownEntityTypeError, match="artcle"):
        migration_service.verify("artcle")
    with pytest.raises(UnknownJobError):
        migration_service.get_findings("mig-1")
    with pytest.raises(InvalidRequestError, match="not a verify"):
        migration_service.get_findings(run().job_id)
    world.store.drop_collection(world.collection.ref)
    with pytest.raises(StoreError, match="gone from store 'default'.*--rebuild"):
        migration_service.verify("article")
    Collection.objects.update(status="RETIRED")
    with pytest.raises(NotIndexedError, match="no index to verify"):
        migration_service.verify("article")


@pytest.mark.vendors("sqlite")
def test_a_store_that_is_lost_meanwhile(world: World) -> None:
    job = migration_service.verify("article")
    world.store.drop_collection(world.collection.ref)
    work()
    job.refresh_from_db()
    assert job.status == JobStatus.FAILED
    assert "no collection" in job.error_message


@pytest.mark.vendors("sqlite")
def test_a_changed_config_starts_it_over(world: World, project: Project) -> None:
    job = migration_service.verify("article")
    run_slice(should_stop=once(3))
    project.article("title", metadata_fields=[{"name": "status", "type": "TEXT"}])
    work()
    found = migration_service.get_findings(job.pk)
    assert (found.source_rows, found.ledger_rows, found.stale) == (10, 10, 10)


def once(calls: int) -> Callable[[], bool]:
    counted = itertools.count()
    return lambda: next(counted) > calls
