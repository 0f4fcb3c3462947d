"""What DatabaseStore promises beyond the contract."""

from __future__ import annotations

import numpy as np
import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from ai_migration.exceptions import SettingsError, StoreError
from ai_migration.models.sql import vectors as sql
from ai_migration.models.vectors import StoredVector
from ai_migration.stores import database as database_module
from ai_migration.stores.database import DatabaseStore
from ai_migration.stores.memory import MemoryStore
from ai_migration.testing.stores import batch_of, unit_vectors
from ai_migration.types import CollectionRef, Metric, VectorBatch
from tests.databases import FreshDatabase

pytestmark = pytest.mark.usefixtures("database")

REF = CollectionRef(7, "product", 8)


@pytest.fixture
def store(database: FreshDatabase) -> DatabaseStore:
    store = DatabaseStore()
    store.ensure_collection(REF)
    return store


@pytest.mark.parametrize("metric", Metric.values)
def test_scores_are_those_of_the_other_stores(
    database: FreshDatabase, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_BLOCK_BYTES", 8 * 4 * 30)  # several blocks
    vectors = np.random.default_rng(1).standard_normal((200, 8)).astype(np.float32)
    batch = VectorBatch([f"{number:03}" for number in range(200)], [0] * 200, vectors)
    answers = []
    for store in (DatabaseStore(metric=metric), MemoryStore(metric=metric)):
        store.ensure_collection(REF)
        store.upsert(REF, batch)
        answers.append(store.search(REF, unit_vectors(1, seed=2)[0], limit=20))
    ours, exact = answers
    assert [hit.entity_id for hit in ours] == [hit.entity_id for hit in exact]
    np.testing.assert_allclose([hit.score for hit in ours], [hit.score for hit in exact], atol=1e-5)


def test_vectors_are_little_endian_float32(store: DatabaseStore) -> None:
    store.upsert(REF, VectorBatch(["a"], [0], np.arange(8, dtype=np.float32)[None]))
    row = StoredVector.objects.get(entity_id="a")
    assert bytes(row.vector) == np.arange(8, dtype="<f4").tobytes()
    assert row.metadata is None


def test_writes_join_the_open_transaction(store: DatabaseStore) -> None:
    assert store.shares_transaction("default")
    assert not store.shares_transaction("other")
    with transaction.atomic():
        store.upsert(REF, batch_of(["a"]))
        transaction.set_rollback(True)
    assert store.count(REF) == 0


def test_an_error_rolls_back_even_when_it_is_caught(store: DatabaseStore) -> None:
    with transaction.atomic():
        store.upsert(REF, batch_of(["a"]))
        with pytest.raises(StoreError):
            store.upsert(CollectionRef(99, "product", 8), batch_of(["b"]))
        assert connection.needs_rollback
    assert store.count(REF) == 0


def test_outside_a_transaction_a_batch_is_written_whole_or_not_at_all(
    store: DatabaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "STATEMENT_BYTES", 8 * 4 * 10)

    def fail_later(execute, statement, params, many, context):  # type: ignore[no-untyped-def]
        execute(statement, params, many, context)
        if "INSERT" in statement:
            raise DatabaseError("cut off")

    with connection.execute_wrapper(fail_later), pytest.raises(StoreError, match="cut off"):
        store.upsert(REF, batch_of([str(number) for number in range(30)]))
    assert store.count(REF) == 0


def test_a_batch_is_one_statement(store: DatabaseStore) -> None:
    ids = [str(number) for number in range(3000)]
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        store.upsert(REF, batch_of(ids))
    assert ["INSERT" in query["sql"] for query in queries] == [False, True]


def test_a_very_large_batch_is_several(
    store: DatabaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "STATEMENT_BYTES", 1000)
    batch = batch_of([str(number) for number in range(100)], metadata=[{"n": 1}] * 100)
    store.upsert(REF, batch)
    assert store.count(REF) == 100
    assert store.search(REF, batch.vectors[99], limit=1)[0].entity_id == "99"


def test_a_store_that_was_emptied_is_lost(store: DatabaseStore) -> None:
    """`exists` tells a new collection from one whose table was lost."""
    assert store.exists(REF)
    StoredVector.objects.all().delete()
    assert not store.exists(REF)
    with pytest.raises(StoreError, match="--rebuild"):
        store.search(REF, unit_vectors(1)[0], limit=1)


def test_the_mark_of_a_collection_is_no_entity(store: DatabaseStore) -> None:
    """Even where an entity has an empty id."""
    store.upsert(REF, batch_of([""], metadata=[{"n": 1}]))
    store.update_metadata(REF, [""], [{"n": 2}])
    assert store.count(REF) == 1
    [page] = store.scroll(REF)
    assert (page.entity_ids, page.metadata) == ([""], [{"n": 2}])
    store.delete(REF, [""])
    assert store.count(REF) == 0
    assert store.exists(REF)


@pytest.mark.vendors("sqlite")
def test_a_full_disk_says_so(store: DatabaseStore) -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA page_count")
        [pages] = cursor.fetchone()
        cursor.execute(f"PRAGMA max_page_count = {pages}")
    with transaction.atomic(), pytest.raises(StoreError, match="disk .* is full") as caught:
        store.upsert(REF, batch_of([str(number) for number in range(5000)]))
    assert not caught.value.transient
    connection.close()
    assert store.count(REF) == 0


@pytest.mark.vendors("sqlite")
def test_a_locked_database_is_transient(store: DatabaseStore) -> None:
    connection.ensure_connection()
    connection.connection.execute("PRAGMA busy_timeout = 1")
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked") as caught:
            store.upsert(REF, batch_of(["a"]))
        cursor.execute("ROLLBACK")
    other.close()
    assert caught.value.transient
    store.upsert(REF, batch_of(["a"]))


def test_without_tables_it_says_to_migrate(store: DatabaseStore) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE ai_vectors")
    with pytest.raises(StoreError, match=r"manage\.py migrate"):
        store.upsert(REF, batch_of(["a"]))


def test_wrong_metric_is_refused(database: FreshDatabase) -> None:
    with pytest.raises(SettingsError, match="DatabaseStore: metric is 'angle'"):
        DatabaseStore(metric="angle")
