"""Which index PgVectorStore builds, when another takes its place, and how it is searched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from ai_migration.exceptions import StoreError
from ai_migration.stores.pgvector import PgVectorStore
from ai_migration.stores.pgvector.index import default_lists
from ai_migration.testing.stores import batch_of, unit_vectors
from ai_migration.types import CollectionRef
from tests.databases import FreshDatabase

pytestmark = [
    pytest.mark.gate,
    pytest.mark.vendors("postgresql"),
    pytest.mark.usefixtures("database"),
]

REF = CollectionRef(7, "product", 8)
HNSW, IVFFLAT = "ai_vectors_7_hnsw_cosine", "ai_vectors_7_ivfflat_cosine"
PAYLOADS = "ai_vectors_7_metadata"


def execute(sql: str, *params: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall() if cursor.description else []


def indexes() -> set[str]:
    rows = execute("SELECT indexname FROM pg_indexes WHERE tablename = %s", REF.name)
    return {name for (name,) in rows} - {f"{REF.name}_pkey"}


def optimized(**options: Any) -> PgVectorStore:
    """A store that has just optimized the collection."""
    store = PgVectorStore(**options)
    store.optimize(REF)
    return store


@contextmanager
def only_the_index() -> Iterator[None]:
    """Searches within the block are answered by the index, and by nothing else."""
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        execute("SET LOCAL enable_seqscan = off")
        yield
    searches = [query["sql"] for query in queries if "ORDER BY" in query["sql"]]
    assert searches
    assert not [sql for sql in searches if ") + 0" in sql], "it had to be repeated exactly"


@pytest.fixture
def collection(database: FreshDatabase) -> None:
    """One with 3,000 vectors and no index."""
    store = PgVectorStore()
    store.ensure_collection(REF)
    store.upsert(REF, batch_of([str(number) for number in range(3000)]))


@pytest.mark.parametrize(
    ("rows", "lists"), [(0, 1), (999, 1), (100_000, 100), (1_000_000, 1000), (4_000_000, 2000)]
)
def test_lists_are_as_pgvector_advises(rows: int, lists: int) -> None:
    assert default_lists(rows) == lists


def test_ivfflat_waits_for_the_vectors() -> None:
    """Its centres are those of the vectors there are."""
    PgVectorStore().ensure_collection(REF)
    store = optimized(index="ivfflat")
    assert indexes() == set()
    store.upsert(REF, batch_of(["a"]))
    store.optimize(REF)
    assert indexes() == {f"{IVFFLAT}_1"}


@pytest.mark.usefixtures("collection")
def test_another_kind_takes_the_place_of_the_one_before() -> None:
    steps: list[tuple[dict[str, Any], set[str]]] = [
        ({}, {HNSW}),
        ({"index": "ivfflat"}, {f"{IVFFLAT}_3"}),
        ({"index": "ivfflat", "lists": 5}, {f"{IVFFLAT}_5"}),
        ({"index": "ivfflat", "metric": "l2"}, {"ai_vectors_7_ivfflat_l2_3"}),
        ({"index": "hnsw"}, {HNSW}),
        ({"index": None}, set()),
    ]
    for options, expected in steps:
        for _ in range(2):  # the second time there is nothing to do
            optimized(**options)
            assert indexes() == expected


@pytest.mark.usefixtures("collection")
def test_an_index_of_somebody_else_stays() -> None:
    execute(f"CREATE INDEX theirs ON {REF.name} USING hnsw (embedding vector_l2_ops)")
    optimized(index=None)
    assert indexes() == {"theirs"}


@pytest.mark.usefixtures("collection")
def test_ivfflat_is_built_anew_when_the_collection_has_outgrown_it() -> None:
    store = optimized(index="ivfflat")
    for start, expected in [(3000, 3), (6000, 9)]:
        ids = [str(number) for number in range(start, start + 3000)]
        store.upsert(REF, batch_of(ids, seed=start))
        store.optimize(REF)
        assert indexes() == {f"{IVFFLAT}_{expected}"}, "twice as many may be in as many lists"


@pytest.mark.usefixtures("collection")
@pytest.mark.parametrize(("probes", "expected"), [(None, "3"), (5, "5")], ids=["default", "chosen"])
def test_searches_look_into_so_many_lists(probes: int | None, expected: str) -> None:
    store = optimized(index="ivfflat", lists=9, probes=probes)
    with transaction.atomic():
        store.search(REF, unit_vectors(1)[0], limit=1)
        settings = execute(
            "SELECT current_setting('ivfflat.probes'), current_setting('ivfflat.iterative_scan')"
        )
    assert settings == [(expected, "relaxed_order")]
    assert execute("SELECT current_setting('ivfflat.probes')") == [("1",)]


@pytest.mark.usefixtures("collection")
def test_too_little_memory_for_the_lists_says_so() -> None:
    with pytest.raises(StoreError, match=r"memory required is .* maintenance_work_mem") as caught:
        optimized(index="ivfflat", lists=2000, maintenance_work_mem="1MB")
    assert not caught.value.transient
    optimized(index="ivfflat", lists=2000)
    valid = execute(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = %s::regclass", f"{IVFFLAT}_2000"
    )
    assert valid == [(True,)]


def test_best_first_though_the_scan_goes_on_in_relaxed_order() -> None:
    store = PgVectorStore(index="ivfflat", lists=50, probes=1)
    store.ensure_collection(REF)
    ids = [str(number) for number in range(3000)]
    batch = batch_of(ids)
    store.upsert(REF, batch)
    store.optimize(REF)
    with only_the_index():
        for query in unit_vectors(10, seed=5):
            scores = [hit.score for hit in store.search(REF, query, limit=500)]
            assert len(scores) == 500
            assert scores == sorted(scores, reverse=True)


@pytest.mark.usefixtures("collection")
@pytest.mark.parametrize(
    ("limit", "expected"), [(10, "100"), (50, "100"), (60, "120"), (2000, "1000")]
)
def test_more_is_looked_at_where_more_is_asked_for(limit: int, expected: str) -> None:
    store = optimized()
    with transaction.atomic():
        store.search(REF, unit_vectors(1)[0], limit=limit)
        assert execute("SELECT current_setting('hnsw.ef_search')") == [(expected,)]
    assert execute("SELECT current_setting('hnsw.ef_search')") == [("40",)], "for itself only"


BAD: dict[str, dict[str, Any]] = {
    "hnsw": {"m": 2, "ef_construction": 4, "build_workers": 0},
    "ivfflat": {"lists": 60, "probes": 1},
}
"""Indexes that miss much of what they are asked for."""


@pytest.fixture(params=BAD)
def selective(request: pytest.FixtureRequest, collection: None) -> PgVectorStore:
    """A bad index of vectors of which a hundredth has a payload; the planner takes it where it
    can."""
    store = PgVectorStore(index=request.param, **BAD[request.param])
    ids = [str(number) for number in range(0, 3000, 100)]
    store.update_metadata(REF, ids, [{"rare": True}] * len(ids))
    store.optimize(REF)
    return store


def share_found(store: PgVectorStore, filters: dict[str, Any] | None) -> float:
    """How many of the true ten nearest it finds, when it does not sort if it need not."""
    vectors = unit_vectors(3000)  # those of the collection
    allowed = np.arange(0, 3000, 100 if filters else 1)
    found = 0
    with transaction.atomic():
        for kind in ("seqscan", "bitmapscan", "sort"):
            execute(f"SET LOCAL enable_{kind} = off")
        for query in unit_vectors(30, seed=5):
            true = allowed[np.argsort(-(vectors[allowed] @ query))[:10]]
            hits = store.search(REF, query, limit=10, filters=filters)
            found += len({str(number) for number in true} & {hit.entity_id for hit in hits})
    return found / 300


def test_what_few_vectors_match_is_found_exactly(selective: PgVectorStore) -> None:
    """Ten that are not the nearest are no reason for an index to go on looking."""
    assert share_found(selective, None) < 0.95, "the index errs"
    assert share_found(selective, {"rare": True}) == 1


def test_what_many_match_is_looked_for_among_as_many_as_without_a_filter(
    selective: PgVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ai_migration.stores.pgvector.store.EXACT_MATCHES", 29)
    assert share_found(selective, {"rare": True}) >= 0.9


def test_without_an_index_of_ours_a_search_is_exact(selective: PgVectorStore) -> None:
    """Whoever made the one that is there."""
    assert share_found(PgVectorStore(index=None), None) == 1


@pytest.mark.usefixtures("collection")
@pytest.mark.parametrize("index", ["hnsw", "ivfflat"])
def test_the_scan_goes_on_until_a_rare_filter_has_its_matches(
    index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ai_migration.stores.pgvector.store.EXACT_MATCHES", 1)
    options = {"lists": 30, "probes": 1} if index == "ivfflat" else {}
    store = optimized(index=index, **options)
    store.update_metadata(REF, ["0", "1500"], [{"rare": True}] * 2)
    with only_the_index():
        hits = store.search(REF, unit_vectors(1, seed=5)[0], limit=2, filters={"rare": True})
    assert {hit.entity_id for hit in hits} == {"0", "1500"}


def test_a_rare_filter_is_answered_by_the_index_of_the_payloads() -> None:
    store = PgVectorStore()
    store.ensure_collection(REF)
    store.upsert(REF, batch_of(["without"]))
    store.optimize(REF)
    assert indexes() == {HNSW}, "there is no payload to index"
    ids = [str(number) for number in range(5000)]
    store.upsert(REF, batch_of(ids, metadata=[{"sku": f"S-{number}"} for number in range(5000)]))
    store.optimize(REF)
    assert indexes() == {HNSW, PAYLOADS}
    execute(f"ANALYZE {REF.name}")
    plan = execute(
        f'EXPLAIN SELECT entity_id FROM {REF.name} WHERE metadata @> \'{{"sku": "S-7"}}\' '
        "ORDER BY embedding <=> %s::vector LIMIT 5",
        str(unit_vectors(1)[0].tolist()),
    )
    assert PAYLOADS in str(plan)
    hits = store.search(REF, unit_vectors(1)[0], limit=5, filters={"sku": "S-7"})
    assert [hit.entity_id for hit in hits] == ["7"]


def test_twice_the_dimensions_at_half_the_precision() -> None:
    large = CollectionRef(7, "product", 4000)
    store = PgVectorStore(precision="float16")
    store.ensure_collection(large)
    batch = batch_of([str(number) for number in range(20)], dimensions=4000)
    store.upsert(large, batch)
    store.optimize(large)
    assert indexes() == {HNSW}
    with only_the_index():
        assert store.search(large, batch.vectors[7], limit=1)[0].entity_id == "7"


@pytest.mark.parametrize("kind", ["hnsw", "ivfflat"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_the_extension_in_a_schema_of_its_own(
    database: FreshDatabase, kind: str, precision: str
) -> None:
    execute('CREATE SCHEMA "the extensions"')
    execute('ALTER EXTENSION vector SET SCHEMA "the extensions"')
    batch = batch_of([str(number) for number in range(300)])
    PgVectorStore(precision=precision).ensure_collection(REF)
    PgVectorStore(precision=precision).upsert(REF, batch)  # in a process that has seen nothing
    store = optimized(precision=precision, index=kind)
    assert execute("SHOW search_path") == [('"$user", public',)]
    assert len(indexes()) == 1
    with only_the_index():
        assert store.search(REF, batch.vectors[7], limit=1)[0].entity_id == "7"
    assert sum(len(page) for page in store.scroll(REF)) == 300


def test_the_extension_is_not_created_in_a_schema_that_comes_before(
    database: FreshDatabase,
) -> None:
    execute("DROP EXTENSION vector CASCADE")
    execute("CREATE SCHEMA tenant")
    execute("SET search_path TO tenant, public")
    PgVectorStore().ensure_collection(REF)
    execute("DROP SCHEMA tenant CASCADE")
    assert execute("SELECT to_regtype('public.vector') IS NOT NULL") == [(True,)]
