"""Guards of the cost of a row that need no clock: statements, commits, write-ahead log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from ai_migration import MigrationRequest, migration_service
from ai_migration.engine.worker import run_worker
from ai_migration.models.sql.arrays import ByteaArray, TextArray, VectorArray
from ai_migration.models.sql.raw import execute_raw
from ai_migration.stores.pgvector import PgVectorStore
from ai_migration.types import CollectionRef, JobStatus
from tests.databases import FreshDatabase
from tests.testapp.models import Article

TABLES = (
    "ai_searchable_entities",
    "ai_vectors",
    "ai_indexing_queue",
    "ai_migration_jobs",
    "ai_worker_slots",
    "testapp_article",
)


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Statements by verb and table, and commits, on the connections of all threads."""
    counts: Counter[str] = Counter()

    def wrapper(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        table = next((name for name in TABLES if name in sql), "")
        counts[f"{sql.split(maxsplit=1)[0]} {table}".strip()] += 1
        return execute(sql, *rest)

    def install(connection: BaseDatabaseWrapper, **_: Any) -> None:
        connection.execute_wrappers.append(wrapper)

    commit = BaseDatabaseWrapper.commit

    def committed(self: BaseDatabaseWrapper) -> None:
        counts["COMMIT"] += 1
        commit(self)

    monkeypatch.setattr(BaseDatabaseWrapper, "commit", committed)
    connection_created.connect(install)
    connection.execute_wrappers.append(wrapper)
    try:
        yield counts
    finally:
        connection_created.disconnect(install)
        connection.execute_wrappers.remove(wrapper)
        monkeypatch.undo()


def backfill(batch_size: int) -> None:
    job = migration_service.start_migration(
        MigrationRequest("article", batch_size=batch_size, reindex_existing=True)
    )
    run_worker(should_stop=lambda: False, only_jobs=[job.pk], until_idle=True)
    assert migration_service.get_job(job.pk).status == JobStatus.COMPLETED


def seed(count: int) -> None:
    Article.objects.all().delete()
    Article.objects.bulk_create(Article(title=f"T{i}", body="x" * 200) for i in range(count))


def per_batch(counts: Counter[str], batches: int) -> dict[str, float]:
    return {name: round(count / batches, 1) for name, count in sorted(counts.items())}


class NoIndexStore(PgVectorStore):
    """The index is built once at the end, whatever wrote the rows."""

    def optimize(self, collection: CollectionRef) -> None:
        return None


BATCHES = 24


@pytest.mark.parametrize("rows_per_batch", [5, 50])
def test_statements_and_commits_per_batch_are_few_and_do_not_grow_with_its_rows(
    database: FreshDatabase, monkeypatch: pytest.MonkeyPatch, rows_per_batch: int
) -> None:
    seed(BATCHES * rows_per_batch)
    with counted(monkeypatch) as counts:
        backfill(rows_per_batch)
    # One statement a batch and table; BATCHES more rows would not be one more of them.
    assert counts["INSERT ai_vectors"] <= BATCHES + 2, per_batch(counts, BATCHES)
    assert counts["INSERT ai_searchable_entities"] == BATCHES
    assert counts["INSERT ai_indexing_queue"] == 3  # a window of ranges, a sweep, the finish
    assert counts["SELECT testapp_article"] <= 2 * BATCHES + 8  # the bound and the rows
    assert counts["SELECT ai_searchable_entities"] <= BATCHES + 8
    assert counts["UPDATE ai_indexing_queue"] <= 1.5 * BATCHES + 8  # completed; claimed by eights
    assert counts["UPDATE ai_migration_jobs"] <= 2 * BATCHES + 12
    assert counts["COMMIT"] <= 1.5 * BATCHES + 12, per_batch(counts, BATCHES)
    assert sum(counts.values()) <= 16 * BATCHES + 100, per_batch(counts, BATCHES)


@pytest.mark.vendors("postgresql")
def test_write_ahead_log_of_a_row_is_at_most_twice_a_hand_written_loops(
    database: FreshDatabase, settings: Any
) -> None:
    settings.AI_MIGRATION = {
        **settings.AI_MIGRATION,
        "EMBEDDERS": {"default": {"BACKEND": "ai_migration.embedders.hash.HashEmbedder"}},
        "STORES": {"default": {"BACKEND": "tests.integration.test_guards.NoIndexStore"}},
    }
    rows, batch = 4000, 1000
    seed(rows)
    ours = log_written(lambda: backfill(batch))
    loop = log_written(lambda: hand_written(batch))
    assert rows * 256 * 4 < loop  # the vectors themselves are in there
    assert ours <= 2 * loop, f"{ours / rows:.0f} against {loop / rows:.0f} bytes a row"


def log_written(work: Callable[[], None]) -> int:
    with connection.cursor() as cursor:
        cursor.execute("CHECKPOINT")
        cursor.execute("SELECT pg_current_wal_insert_lsn() - '0/0'")
        before = cursor.fetchone()[0]
        work()
        cursor.execute("SELECT pg_current_wal_insert_lsn() - '0/0'")
        return int(cursor.fetchone()[0] - before)


def hand_written(batch: int) -> None:
    """The least that keeps a vector and a hash of each row, in two tables."""
    execute_raw(
        connection,
        "CREATE TABLE loop_vectors (entity_id text, chunk int, embedding vector(256), "
        "PRIMARY KEY (entity_id, chunk))",
    )
    execute_raw(connection, "CREATE TABLE loop_ledger (entity_id text PRIMARY KEY, hash bytea)")
    keys = list(Article.objects.order_by("pk").values_list("pk", flat=True))
    rng = np.random.default_rng(0)
    for start in range(0, len(keys), batch):
        ids = TextArray([str(key) for key in keys[start : start + batch]])
        vectors = rng.standard_normal((len(keys[start : start + batch]), 256), dtype=np.float32)
        execute_raw(
            connection,
            "INSERT INTO loop_vectors SELECT unnest($1::text[]), 0, unnest($2::vector[])",
            (ids, VectorArray(vectors)),
        )
        hashes = ByteaArray([b"0123456789abcdef"] * len(vectors))
        execute_raw(
            connection,
            "INSERT INTO loop_ledger SELECT unnest($1::text[]), unnest($2::bytea[])",
            (ids, hashes),
        )


@pytest.mark.vendors("postgresql")
def test_the_sweep_never_sorts_the_ledger_even_before_it_has_statistics(
    database: FreshDatabase,
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ai_searchable_entities SET (autovacuum_enabled = off)")
    seed(6000)
    plans: list[str] = []

    def explain(execute: Callable[..., Any], sql: str, params: Any, *rest: Any) -> Any:
        if sql.startswith("SELECT") and "ai_searchable_entities" in sql and "ORDER BY" in sql:
            execute(f"EXPLAIN {sql}", params, *rest)
            plans.append("\n".join(line for (line,) in rest[-1]["cursor"].fetchall()))
        return execute(sql, params, *rest)

    with connection.execute_wrapper(explain):
        backfill(3000)
    assert len(plans) >= 2
    assert not [plan for plan in plans if "Sort" in plan]
