"""Tests of what a vector store returns: all in pages, and the nearest first."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from ai_migration.stores.base import VectorStore
from ai_migration.testing.store_suite import (
    DIMENSIONS,
    ODD_IDS,
    ODD_VALUES,
    StoreSuite,
    batch_of,
    unit_vectors,
)
from ai_migration.types import AnyOf, CollectionRef, StoreHit, VectorBatch


class Scrolling(StoreSuite):
    """All vectors are read in pages."""

    @pytest.mark.parametrize("page_size", [1, 3, 7, 1000])
    def test_scrolls_in_pages_and_in_order(
        self, store: VectorStore, collection: CollectionRef, page_size: int
    ) -> None:
        ids = [f"{number:02}" for number in range(10) for _ in range(2)]
        store.upsert(collection, batch_of(ids[::-1], chunks=[1, 0] * 10))
        pages = list(store.scroll(collection, page_size=page_size))
        assert all(0 < len(page) <= page_size for page in pages)
        assert all(page.vectors.shape == (len(page), DIMENSIONS) for page in pages)
        assert all(page.vectors.dtype == np.float32 for page in pages)
        keys = [key for page in pages for key in zip(page.entity_ids, page.chunks, strict=True)]
        assert keys == list(zip(ids, [0, 1] * 10, strict=True))

    def test_scrolling_keeps_an_entity_together(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        """The order in which the store sorts the ids does not matter."""
        ids = [entity_id for entity_id in ODD_IDS for _ in range(3)]
        store.upsert(collection, batch_of(ids, chunks=[0, 1, 2] * len(ODD_IDS)))
        seen = [
            key
            for page in store.scroll(collection, page_size=4)
            for key in zip(page.entity_ids, page.chunks, strict=True)
        ]
        assert sorted(seen) == sorted(zip(ids, [0, 1, 2] * len(ODD_IDS), strict=True))
        assert [chunk for _, chunk in seen] == [0, 1, 2] * len(ODD_IDS)

    @pytest.mark.parametrize("slow", [False, pytest.param(True, marks=pytest.mark.slow)])
    def test_scrolling_takes_bounded_memory(
        self, store: VectorStore, collection: CollectionRef, slow: bool
    ) -> None:
        """Four times as many vectors take no more memory."""
        total = 100_000 if slow else 12_000
        peaks = []
        for start, end in ((0, total // 4), (total // 4, total)):
            for first in range(start, end, 1000):
                ids = [f"{number:06}" for number in range(first, min(first + 1000, end))]
                store.upsert(collection, batch_of(ids, metadata=[{"n": 1}] * len(ids)))
            tracemalloc.start()
            seen = sum(len(page) for page in store.scroll(collection, page_size=500))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert seen == end
        assert peaks[1] < 1.5 * peaks[0] + 200_000

    def test_scrolling_nothing(self, store: VectorStore, collection: CollectionRef) -> None:
        assert list(store.scroll(collection)) == []

    def test_writes_while_scrolling(self, store: VectorStore, collection: CollectionRef) -> None:
        ids = [f"{number:02}" for number in range(20)]
        store.upsert(collection, batch_of(ids))
        seen: list[str] = []
        for page in store.scroll(collection, page_size=5):
            seen += page.entity_ids
            store.delete(collection, [page.entity_ids[0]])
            store.upsert(collection, batch_of([page.entity_ids[-1]], seed=3))
        assert seen == ids


class Searching(StoreSuite):
    """Searches find the nearest, also with filters."""

    def test_finds_the_nearest_first(self, store: VectorStore, collection: CollectionRef) -> None:
        batch = batch_of([str(number) for number in range(100)])
        store.upsert(collection, batch)
        for number in (0, 42, 99):
            hits = store.search(collection, batch.vectors[number], limit=5)
            assert len(hits) == 5
            assert hits[0].entity_id == str(number)
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)

    def test_recall_against_exact_search(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        """On vectors of length 1 all metrics have the same order."""
        batch = batch_of([str(number) for number in range(2000)])
        store.upsert(collection, batch)
        store.optimize(collection)
        found = 0
        for query in unit_vectors(20, seed=1):
            exact = np.argsort(-(batch.vectors @ query))[:10]
            hits = store.search(collection, query, limit=10)
            assert len(hits) == 10
            found += len({str(number) for number in exact} & {hit.entity_id for hit in hits})
        assert found >= self.min_recall * 200

    def test_optimizing_twice_and_writing_afterwards(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        store.optimize(collection)
        store.upsert(collection, batch_of(["a", "b"]))
        store.optimize(collection)
        store.upsert(collection, batch_of(["c"], seed=1))
        [hit] = store.search(collection, unit_vectors(1, seed=1)[0], limit=1)
        assert hit.entity_id == "c"
        assert store.count(collection) == 3

    def test_what_was_optimized_needs_no_index(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        assert not store.needs_index(collection, above=0), "it is empty"
        store.upsert(collection, batch_of(["a", "b", "c"]))
        assert not store.needs_index(collection, above=3), "it is small"
        store.optimize(collection)
        assert not store.needs_index(collection, above=2)
        assert store.index_build(collection) is None

    def test_a_hit_says_what_it_is(self, store: VectorStore, collection: CollectionRef) -> None:
        store.upsert(collection, batch_of(["a", "a"], chunks=[0, 3], metadata=[{"n": 1}, {"n": 2}]))
        [hit] = store.search(collection, unit_vectors(2)[1], limit=1)
        assert isinstance(hit, StoreHit)
        assert (hit.entity_id, hit.chunk, hit.metadata) == ("a", 3, {"n": 2})
        assert type(hit.score) is float

    def test_search_follows_changes(self, store: VectorStore, collection: CollectionRef) -> None:
        store.upsert(collection, batch_of(["a", "b"]))
        store.upsert(collection, batch_of(["a"], seed=9))
        assert store.search(collection, unit_vectors(1, seed=9)[0], limit=1)[0].entity_id == "a"
        store.delete(collection, ["a"])
        assert [hit.entity_id for hit in store.search(collection, unit_vectors(1)[0], limit=9)] == [
            "b"
        ]

    def test_limits(self, store: VectorStore, collection: CollectionRef) -> None:
        query = unit_vectors(1)[0]
        assert store.search(collection, query, limit=5) == []
        store.upsert(collection, batch_of([str(number) for number in range(1500)]))
        assert len(store.search(collection, query, limit=1)) == 1
        assert len(store.search(collection, query, limit=1200)) == 1200
        assert len(store.search(collection, query, limit=10_000)) == 1500

    def test_a_vector_without_direction(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        zero = np.zeros((1, DIMENSIONS), dtype=np.float32)
        store.upsert(collection, VectorBatch(["zero"], [0], zero))
        store.upsert(collection, batch_of(["a"]))
        for query in (zero[0], unit_vectors(1)[0]):
            hits = store.search(collection, query, limit=2)
            assert all(np.isfinite(hit.score) for hit in hits)
        assert hits[0].entity_id == "a"

    def test_filters(self, store: VectorStore, collection: CollectionRef) -> None:
        if not store.supports_filters:
            pytest.skip("the store does not filter by itself")
        batch = batch_of(
            [str(number) for number in range(200)],
            metadata=[
                {
                    "colour": "red" if number % 50 == 0 else "blue",
                    "n": number % 4,
                    "sale": number == 7,
                }
                for number in range(200)
            ],
        )
        store.upsert(collection, batch)
        store.upsert(collection, batch_of(["none"], seed=4))
        store.optimize(collection)

        def ids(limit: int = 300, **filters: Any) -> list[int]:
            hits = store.search(collection, batch.vectors[3], limit=limit, filters=filters)
            return sorted(int(hit.entity_id) for hit in hits)

        assert ids(colour="red") == [0, 50, 100, 150]
        assert len(ids(limit=3, colour="red")) == 3
        assert ids(colour="red", n=2) == [50, 150]
        assert ids(sale=True) == [7]
        assert ids(n=2.0) == list(range(2, 200, 4))
        assert ids(n="2") == ids(n=True) == ids(absent=1) == ids(absent=None) == []
        assert len(store.search(collection, batch.vectors[3], limit=300, filters={})) == 201

    def test_a_rare_filter_finds_the_nearest_of_those_that_match(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        """All of the true ten, among thirty that are scattered over the others."""
        if not store.supports_filters:
            pytest.skip("the store does not filter by itself")
        ids = [str(number) for number in range(1500)]
        batch = batch_of(ids, metadata=[{"rare": number % 50 == 0} for number in range(1500)])
        store.upsert(collection, batch)
        store.optimize(collection)
        rare = batch.vectors[::50]
        for query in unit_vectors(10, seed=1):
            products = rare @ query
            hits = store.search(collection, query, limit=10, filters={"rare": True})
            numbers = {int(hit.entity_id) for hit in hits}
            assert len(numbers) == 10
            assert all(number % 50 == 0 for number in numbers)
            found = [products[number // 50] for number in numbers]
            assert min(found) >= np.sort(products)[-10] - 2 * self.tolerance

    def test_filters_on_odd_values(self, store: VectorStore, collection: CollectionRef) -> None:
        if not store.supports_filters:
            pytest.skip("the store does not filter by itself")
        ids = [str(number) for number in range(len(ODD_VALUES))]
        payloads = [{"it's": value} for value in ODD_VALUES]
        store.upsert(collection, batch_of(ids, metadata=payloads))
        query = unit_vectors(1)[0]
        for number, payload in enumerate(payloads):
            hits = store.search(collection, query, limit=50, filters=payload)
            assert [hit.entity_id for hit in hits] == [str(number)], payload
        parts: list[Any] = [[1], {"nested": {}}, []]
        for part in parts:
            assert store.search(collection, query, limit=50, filters={"it's": part}) == []

    def test_filters_by_any_of_several_values(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        if not store.supports_any_of:
            pytest.skip("the store compares with one value only")
        ids = [str(number) for number in range(len(ODD_VALUES))]
        payloads = [{"it's": value, "n": number % 3} for number, value in enumerate(ODD_VALUES)]
        store.upsert(collection, batch_of(ids, metadata=payloads))
        store.upsert(collection, batch_of(["none"], seed=4))
        store.optimize(collection)
        query = unit_vectors(1)[0]

        def found(limit: int = 50, **filters: Any) -> list[int]:
            filters = {name.replace("its", "it's"): value for name, value in filters.items()}
            hits = store.search(collection, query, limit=limit, filters=filters)
            return sorted(int(hit.entity_id) for hit in hits)

        numbers = range(len(ODD_VALUES))
        for first in numbers:
            for second in numbers:
                both = AnyOf((ODD_VALUES[first], ODD_VALUES[second]))
                assert found(its=both) == sorted({first, second}), both
        assert found(its=AnyOf(ODD_VALUES)) == [*numbers]
        assert found(its=AnyOf((ODD_VALUES[-1],))) == [len(ODD_VALUES) - 1]
        assert found(its=AnyOf((1, "0", False, [1], {"nested": {}}, []))) == []
        assert found(its=AnyOf(())) == found(n=AnyOf(()), its=None) == []
        assert found(n=AnyOf((0.0, 2, "1", True))) == [i for i in numbers if i % 3 != 1]
        assert found(n=AnyOf((1, 2)), its=AnyOf((None, True, 0))) == [1, 2]
        assert found(n=AnyOf((1, 2)), its=0) == [2]
        assert len(found(limit=2, n=AnyOf((1, 2)))) == 2
        many = AnyOf(tuple(range(2, 3_000)))
        assert found(n=many) == [i for i in numbers if i % 3 == 2]
        assert found(absent=AnyOf((None, 1))) == []

    def test_a_tenant_finds_nothing_of_another_one(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        """However near the others' vectors are, and however few its own."""
        if not store.supports_filters:
            pytest.skip("the store does not filter by itself")
        tenants: list[Any] = [1, "1", True, 11, "acme", "acme corp", "Acme", "%", None]
        owners = [*tenants, *tenants, *["big"] * 1000]
        ids = [str(number) for number in range(len(owners))]
        batch = batch_of(ids, metadata=[{"tenant": owner} for owner in owners])
        store.upsert(collection, batch)
        store.upsert(collection, batch_of(["nobody's"], seed=1))
        store.optimize(collection)
        for number, tenant in enumerate(tenants):
            own = {str(number), str(number + len(tenants))}
            for query in (batch.vectors[-1], batch.vectors[number]):
                for limit in (1, 2, 50):
                    hits = store.search(collection, query, limit=limit, filters={"tenant": tenant})
                    assert len(hits) == min(limit, 2), (tenant, limit)
                    assert {hit.entity_id for hit in hits} <= own, (tenant, limit)
        for absent in ("", "ACME", 0, False, 2, "nobody", [1], {"tenant": 1}):
            filters = {"tenant": absent}
            assert store.search(collection, batch.vectors[0], limit=50, filters=filters) == []
