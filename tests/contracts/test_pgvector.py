"""What PgVectorStore promises beyond the contract."""

from __future__ import annotations

import logging
import threading
from typing import Any

import numpy as np
import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from ai_migration.exceptions import SettingsError, StoreError
from ai_migration.stores.memory import MemoryStore
from ai_migration.stores.pgvector import PgVectorStore
from ai_migration.stores.pgvector import store as pgvector
from ai_migration.stores.pgvector import table as _pgvector_table
from ai_migration.testing.stores import batch_of, unit_vectors
from ai_migration.types import CollectionRef, Metric, VectorBatch, Vectors
from tests.databases import FreshDatabase

pytestmark = [pytest.mark.vendors("postgresql"), pytest.mark.usefixtures("database")]

REF = CollectionRef(7, "product", 8)


@pytest.fixture
def store() -> PgVectorStore:
    store = PgVectorStore()
    store.ensure_collection(REF)
    return store


def execute(sql: str, *params: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall() if cursor.description else []


def indexes() -> dict[str, str]:
    rows = execute("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s", REF.name)
    return dict(rows)


@pytest.mark.parametrize("metric", Metric.values)
@pytest.mark.parametrize("optimized", [False, True])
def test_scores_are_those_of_the_other_stores(metric: str, optimized: bool) -> None:
    vectors = np.random.default_rng(1).standard_normal((200, 8)).astype(np.float32)
    batch = VectorBatch([f"{number:03}" for number in range(200)], [0] * 200, vectors)
    answers = []
    for store in (PgVectorStore(metric=metric, ef_search=200), MemoryStore(metric=metric)):
        store.ensure_collection(REF)
        store.upsert(REF, batch)
        if optimized:
            store.optimize(REF)
        answers.append(store.search(REF, unit_vectors(1, seed=2)[0], limit=20))
    ours, exact = answers
    assert [hit.entity_id for hit in ours] == [hit.entity_id for hit in exact]
    np.testing.assert_allclose([hit.score for hit in ours], [hit.score for hit in exact], atol=1e-5)


def test_the_index_comes_after_the_load_and_is_used(store: PgVectorStore) -> None:
    # So many that the planner has no doubt: at 2,000 reading them all costs as much.
    store.upsert(REF, batch_of([str(number) for number in range(5000)]))
    assert list(indexes()) == ["ai_vectors_7_pkey"]

    store.optimize(REF)

    [definition] = [sql for name, sql in indexes().items() if name == "ai_vectors_7_hnsw_cosine"]
    assert "vector_cosine_ops" in definition
    assert "m='16'" in definition
    execute(f"ANALYZE {REF.name}")
    plan = execute(
        f"EXPLAIN SELECT entity_id FROM {REF.name} ORDER BY embedding <=> %s::vector LIMIT 5",
        str(unit_vectors(1)[0].tolist()),
    )
    assert "ai_vectors_7_hnsw_cosine" in str(plan)


def test_the_options_of_the_index() -> None:
    store = PgVectorStore(
        metric="l2", m=8, ef_construction=32, maintenance_work_mem="32MB", build_workers=0
    )
    store.ensure_collection(REF)
    before = execute("SHOW maintenance_work_mem")
    store.optimize(REF)
    definition = indexes()["ai_vectors_7_hnsw_l2"]
    assert "vector_l2_ops" in definition
    assert "m='8', ef_construction='32'" in definition
    assert execute("SHOW maintenance_work_mem") == before


def test_a_wrong_setting_is_a_store_error_and_leaves_nothing_behind() -> None:
    store = PgVectorStore(build_workers=1, maintenance_work_mem="plenty")
    store.ensure_collection(REF)
    with pytest.raises(StoreError, match="maintenance_work_mem"):
        store.optimize(REF)
    assert "ai_vectors_7_hnsw_cosine" not in indexes()


def test_what_a_killed_build_left_is_replaced(store: PgVectorStore) -> None:
    store.optimize(REF)
    # What CREATE INDEX CONCURRENTLY leaves when it is interrupted.
    execute(
        "UPDATE pg_index SET indisvalid = false "
        "WHERE indexrelid = 'ai_vectors_7_hnsw_cosine'::regclass"
    )
    store.optimize(REF)
    assert execute(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ai_vectors_7_hnsw_cosine'::regclass"
    ) == [(True,)]


def test_optimizing_inside_a_transaction(store: PgVectorStore) -> None:
    with transaction.atomic():
        store.upsert(REF, batch_of(["a"]))
        store.optimize(REF)
    assert "ai_vectors_7_hnsw_cosine" in indexes()


def element_type() -> str:
    [[kind]] = execute(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attname = 'embedding'",
        REF.name,
    )
    return str(kind)


def vectors_of(store: PgVectorStore) -> Vectors:
    [page] = store.scroll(REF)
    return page.vectors


@pytest.mark.parametrize(
    ("precision", "kind", "tolerance"),
    [("float32", "vector(8)", 0), ("float16", "halfvec(8)", 1e-3)],
)
def test_a_table_keeps_its_precision_whatever_the_store_says_now(
    precision: str, kind: str, tolerance: float
) -> None:
    PgVectorStore(precision=precision).ensure_collection(REF)
    batch = batch_of(["a", "b"])
    for now in ("float32", "float16"):
        store = PgVectorStore(precision=now)
        store.ensure_collection(REF)
        store.upsert(REF, batch)
        assert element_type() == kind
        np.testing.assert_allclose(vectors_of(store), batch.vectors, rtol=0, atol=tolerance)
        store.optimize(REF)
        [hit] = store.search(REF, batch.vectors[1], limit=1)
        assert hit.entity_id == "b"


def test_what_float16_cannot_hold_is_refused() -> None:
    store = PgVectorStore(precision="float16")
    store.ensure_collection(REF)
    batch = batch_of(["a", "b"])
    batch.vectors[1, 3] = 70_000
    for each in (store, PgVectorStore()):
        with pytest.raises(StoreError) as caught:
            each.upsert(REF, batch)
        assert not caught.value.transient
        assert store.count(REF) == 0


def test_too_many_dimensions_for_an_index(caplog: pytest.LogCaptureFixture) -> None:
    store, large = PgVectorStore(), CollectionRef(8, "product", 2001)
    store.ensure_collection(large)
    batch = batch_of(["a", "b"], dimensions=2001)
    store.upsert(large, batch)
    with caplog.at_level(logging.WARNING):
        store.optimize(large)
    assert "stay exact" in caplog.text
    assert store.search(large, batch.vectors[1], limit=1)[0].entity_id == "b"


def test_rare_matches_are_found_behind_the_index(
    store: PgVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index gives up after its candidates; the search goes on without it."""
    monkeypatch.setattr(pgvector, "EXACT_MATCHES", 1)
    ids = [str(number) for number in range(3000)]
    store.upsert(
        REF, batch_of(ids, metadata=[{"rare": number % 1500 == 0} for number in range(3000)])
    )
    store.optimize(REF)
    # A planner that takes the index, and an index that gives up at once.
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    for setting in ("enable_seqscan = off", "hnsw.max_scan_tuples = 1", "hnsw.ef_search = 1"):
        execute(f"ALTER DATABASE {name} SET {setting}")
    connection.close()
    hits = store.search(REF, unit_vectors(1, seed=5)[0], limit=10, filters={"rare": True})
    assert {hit.entity_id for hit in hits} == {"0", "1500"}


def test_a_batch_is_one_statement(store: PgVectorStore) -> None:
    ids = [str(number) for number in range(3000)]
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        store.upsert(REF, batch_of(ids))
    assert [query["sql"][:26] for query in queries] == ["INSERT INTO ai_vectors_7 ("]


def test_a_very_large_batch_is_several(
    store: PgVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pgvector_table, "STATEMENT_BYTES", 1000)
    ids = [str(number) for number in range(100)]
    batch = batch_of(ids, metadata=[{"n": number} for number in range(100)])
    store.upsert(REF, batch)
    assert store.count(REF) == 100
    assert store.search(REF, batch.vectors[99], limit=1)[0].metadata == {"n": 99}


def test_writes_join_the_open_transaction(store: PgVectorStore) -> None:
    assert store.shares_transaction("default")
    assert not store.shares_transaction("other")
    with transaction.atomic():
        store.upsert(REF, batch_of(["a"]))
        store.ensure_collection(CollectionRef(8, "product", 8))
        transaction.set_rollback(True)
    assert store.count(REF) == 0
    assert not store.exists(CollectionRef(8, "product", 8))


def test_an_error_rolls_back_even_when_it_is_caught(store: PgVectorStore) -> None:
    with transaction.atomic():
        store.upsert(REF, batch_of(["a"]))
        with pytest.raises(StoreError):
            store.upsert(CollectionRef(99, "product", 8), batch_of(["b"]))
        assert connection.needs_rollback
    assert store.count(REF) == 0


def test_the_extension_is_created(database: FreshDatabase) -> None:
    execute("DROP EXTENSION vector CASCADE")
    store = PgVectorStore()
    store.ensure_collection(REF)
    store.upsert(REF, batch_of(["a"]))
    assert store.count(REF) == 1


def test_an_extension_that_was_created_anew(store: PgVectorStore) -> None:
    """Its type has another oid then."""
    with transaction.atomic():  # one connection, whatever CONN_MAX_AGE is
        store.upsert(REF, batch_of(["a"]))
        execute("DROP EXTENSION vector CASCADE")
        execute("CREATE EXTENSION vector")
        store.drop_collection(REF)
        store.ensure_collection(REF)
        store.upsert(REF, batch_of(["a"]))
    assert store.count(REF) == 1


def test_without_the_right_to_create_the_extension_it_says_what_to_do() -> None:
    execute("DROP EXTENSION vector CASCADE")
    execute("CREATE ROLE nobody_special")
    try:
        execute("GRANT CREATE, USAGE ON SCHEMA public TO nobody_special")
        execute("SET ROLE nobody_special")
        with pytest.raises(StoreError, match="as a superuser: CREATE EXTENSION vector") as caught:
            PgVectorStore().ensure_collection(REF)
        assert not caught.value.transient
    finally:
        connection.close()
        execute("DROP OWNED BY nobody_special")
        execute("DROP ROLE nobody_special")


def test_a_lost_connection_is_transient_and_the_next_call_has_a_new_one(
    store: PgVectorStore,
) -> None:
    store.upsert(REF, batch_of(["a"]))
    with transaction.atomic():
        [[pid]] = execute("SELECT pg_backend_pid()")
    killer = connection.copy()
    with killer.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    killer.close()
    with pytest.raises(StoreError) as caught:
        store.upsert(REF, batch_of(["b"]))
    assert caught.value.transient
    store.upsert(REF, batch_of(["b"]))
    assert store.count(REF) == 2


def waiting() -> int | None:
    """The server process that waits for a lock, if one does."""
    rows = execute(
        "SELECT pid FROM pg_locks WHERE NOT granted AND relation = %s::regclass", REF.name
    )
    return int(rows[0][0]) if rows else None


def test_a_connection_lost_in_the_middle_of_a_write(store: PgVectorStore) -> None:
    errors: list[StoreError] = []

    def write() -> None:
        try:
            store.upsert(REF, batch_of(["a"]))
        except StoreError as error:
            errors.append(error)
            store.upsert(REF, batch_of(["a"]))  # in the same thread, with the same connection
        finally:
            connections.close_all()

    with transaction.atomic():
        execute(f"LOCK TABLE {REF.name}")
        writer = threading.Thread(target=write)
        writer.start()
        while (pid := waiting()) is None:
            pass
        execute("SELECT pg_terminate_backend(%s)", pid)
    writer.join(timeout=30)
    assert [error.transient for error in errors] == [True]
    assert store.count(REF) == 1


def test_a_database_that_takes_no_writes_for_a_while(
    store: PgVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a primary that became a standby: who stays connected to it, never writes again."""
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    connection.close()
    with pytest.raises(StoreError, match="read-only") as caught:
        store.upsert(REF, batch_of(["a"]))
    assert caught.value.transient

    operator = connection.copy()
    with operator.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = off")
        cursor.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    operator.close()
    store.upsert(REF, batch_of(["a"]))
    assert store.count(REF) == 1


def test_a_write_that_the_server_refuses(store: PgVectorStore) -> None:
    execute(f"ALTER TABLE {REF.name} ADD CONSTRAINT no_b CHECK (entity_id <> 'b')")
    with pytest.raises(StoreError, match="no_b") as caught:
        store.upsert(REF, batch_of(["a", "b"]))
    assert not caught.value.transient
    assert store.count(REF) == 0
    store.upsert(REF, batch_of(["a"]))
    assert store.count(REF) == 1


def test_a_transaction_that_stood_still_is_transient(store: PgVectorStore) -> None:
    """Its process was frozen, or the whole server was."""
    other = connection.copy()

    def is_alive(pid: int) -> bool:
        with other.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid])
            return cursor.fetchone() is not None

    def stand_still() -> None:
        with transaction.atomic():
            [[pid]] = execute("SELECT pg_backend_pid()")
            execute("SET LOCAL idle_in_transaction_session_timeout = 1")
            while is_alive(pid):
                pass
            store.upsert(REF, batch_of(["a"]))

    with pytest.raises(StoreError) as caught:
        stand_still()
    other.close()
    assert caught.value.transient
    store.upsert(REF, batch_of(["a"]))
    assert store.count(REF) == 1


def test_an_alias_that_is_no_postgresql() -> None:
    for alias in ("other", "absent"):
        store = PgVectorStore(using=alias)
        [error] = store.check()
        assert error.id == "ai_migration.E112"
        with pytest.raises(StoreError, match=f"the alias '{alias}' is not"):
            store.ensure_collection(REF)


@pytest.mark.parametrize(
    "options",
    [
        {"metric": "manhattan"},
        {"m": 1},
        {"m": 16, "ef_construction": 20},
        {"ef_construction": 10_000},
        {"ef_search": 0},
        {"precision": "float8"},
        {"index": "btree"},
        {"lists": 0},
        {"probes": 40_000},
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=f"PgVectorStore: {list(options)[-1]} is"):
        PgVectorStore(**options)
