"""What every vector store must do."""

from __future__ import annotations

import multiprocessing
import threading
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import count
from multiprocessing.synchronize import Barrier
from typing import Any

import numpy as np
import pytest
from django.core.checks import CheckMessage
from django.db import connections

from ai_migration.exceptions import StoreError
from ai_migration.stores.base import VectorStore
from ai_migration.types import CollectionRef, StoreHit, VectorBatch, Vectors

DIMENSIONS = 8
ODD_IDS = [
    "it's",
    'say "hi"',
    "back\\slash",
    "percent %s %(x)s",
    "a,b;{c}",
    "$1",
    " spaces ",
    "line\nbreak",
    "日本語",
    "e\u0301",
    "é",
    "👩‍👩‍👧‍👦",
    "‮rtl",
    "0",
    "-1",
    "NULL",
    '["a", 1]',
    "x" * 255,
]
ODD_VALUES: list[Any] = [
    None,
    True,
    0,
    -1.5,
    2**40,
    "",
    'it\'s "quoted" \\ %s $1',
    "backslash-u: \\u0000",
    "日本語 👩‍👩‍👧‍👦\n\t",
    [1, "two", None],
    {"nested": {"deep": []}},
]

_ids = count(1_000_001)


def unit_vectors(n: int, dimensions: int = DIMENSIONS, seed: int = 0) -> Vectors:
    """Random vectors of length 1, shape ``(n, dimensions)``."""
    vectors = np.random.default_rng(seed).standard_normal((n, dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def batch_of(
    entity_ids: Sequence[str],
    *,
    seed: int = 0,
    chunks: Sequence[int] | None = None,
    metadata: Sequence[Mapping[str, Any]] | None = None,
    dimensions: int = DIMENSIONS,
) -> VectorBatch:
    """A batch with a random vector for each id, chunk 0 unless said otherwise."""
    vectors = unit_vectors(len(entity_ids), dimensions, seed)
    return VectorBatch(entity_ids, chunks or [0] * len(entity_ids), vectors, metadata)


def write_elsewhere(
    open_store: Callable[[], VectorStore], collection: CollectionRef, name: str, start: Barrier
) -> None:
    """What each of two processes does in :meth:`VectorStoreContract.other_process`'s test."""
    store = open_store()
    start.wait(timeout=60)
    for number in range(10):
        ids = [f"{name}-{number}-{index}" for index in range(20)] + ["shared"]
        store.upsert(collection, batch_of(ids))
        store.search(collection, unit_vectors(1)[0], limit=3)


class VectorStoreContract:
    """Subclass it and define a fixture ``store`` that returns your store; then say, in three
    methods, what cannot be known of it. Without them their tests are skipped.

    Attributes:
        tolerance: How far a stored element and a score may be from the exact one.
        min_recall: Share of the exact nearest vectors a search finds at least.
    """

    tolerance = 1e-5
    min_recall = 0.9

    def other_process(self, store: VectorStore) -> Callable[[], VectorStore]:
        """What opens the same store in a process of its own: something :mod:`pickle` takes,
        such as ``functools.partial(MyStore, "/the/path")``."""
        pytest.skip("the suite does not say how another process opens the store")

    def break_connection(self, store: VectorStore) -> None:
        """Break the connection the store has, so that its next call fails."""
        pytest.skip("the suite does not say how the store loses its connection")

    def full_disk(self, store: VectorStore) -> AbstractContextManager[object]:
        """No vector can be written meanwhile; whatever is there can be read."""
        pytest.skip("the suite does not say how the disk of the store is full")

    @pytest.fixture
    def store(self) -> VectorStore:
        raise NotImplementedError("Define a fixture 'store' that returns your vector store.")

    def make_collection(self, dimensions: int = DIMENSIONS) -> CollectionRef:
        """A reference that no other test uses."""
        return CollectionRef(next(_ids), "contract", dimensions)

    @pytest.fixture
    def collection(self, store: VectorStore) -> CollectionRef:
        """An empty collection."""
        collection = self.make_collection()
        store.ensure_collection(collection)
        return collection

    # Collections

    def test_a_collection_is_there_until_it_is_dropped(self, store: VectorStore) -> None:
        collection = self.make_collection()
        assert not store.exists(collection)
        assert store.count(collection) == 0
        store.ensure_collection(collection)
        assert store.exists(collection)
        assert store.count(collection) == 0
        store.upsert(collection, batch_of(["a"]))
        store.drop_collection(collection)
        assert not store.exists(collection)
        assert store.count(collection) == 0

    def test_ensuring_again_keeps_what_is_there(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        store.upsert(collection, batch_of(["a"]))
        store.ensure_collection(collection)
        assert store.count(collection) == 1

    def test_ensuring_with_other_dimensions_is_refused(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        other = CollectionRef(collection.id, collection.entity_type, DIMENSIONS + 1)
        with pytest.raises(StoreError, match=str(DIMENSIONS)) as caught:
            store.ensure_collection(other)
        assert not caught.value.transient

    def test_dropping_twice_is_fine(self, store: VectorStore, collection: CollectionRef) -> None:
        store.drop_collection(collection)
        store.drop_collection(collection)

    def test_a_dropped_collection_comes_back_empty(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        store.upsert(collection, batch_of(["a"]))
        store.drop_collection(collection)
        store.ensure_collection(collection)
        assert store.count(collection) == 0

    def test_collections_are_apart(self, store: VectorStore, collection: CollectionRef) -> None:
        other = self.make_collection(3)
        store.ensure_collection(other)
        store.upsert(collection, batch_of(["a", "b"]))
        store.upsert(other, batch_of(["a"], dimensions=3))
        store.delete(collection, ["a"])
        assert (store.count(collection), store.count(other)) == (1, 1)
        store.drop_collection(collection)
        assert store.count(other) == 1

    @pytest.mark.parametrize(
        "use",
        [
            lambda store, ref: store.search(ref, unit_vectors(1)[0], limit=1),
            lambda store, ref: store.upsert(ref, batch_of(["a"])),
            lambda store, ref: list(store.scroll(ref)),
        ],
        ids=["search", "upsert", "scroll"],
    )
    def test_a_collection_that_is_missing_is_a_store_error(
        self, store: VectorStore, use: Callable[[VectorStore, CollectionRef], object]
    ) -> None:
        with pytest.raises(StoreError) as caught:
            use(store, self.make_collection())
        assert not caught.value.transient

    # Writing and reading back

    def test_what_was_written_is_read_back(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        batch = batch_of(["a", "b", "c"], metadata=[{"n": 1}, {"n": 2}, {}])
        store.upsert(collection, batch)
        found = self.contents(store, collection)
        assert sorted(found) == [("a", 0), ("b", 0), ("c", 0)]
        for index, entity_id in enumerate(batch.entity_ids):
            np.testing.assert_allclose(
                found[entity_id, 0][0], batch.vectors[index], atol=self.tolerance
            )
        assert [found[entity_id, 0][1] for entity_id in "abc"] == [{"n": 1}, {"n": 2}, {}]

    def test_without_metadata(self, store: VectorStore, collection: CollectionRef) -> None:
        store.upsert(collection, batch_of(["a"]))
        assert self.contents(store, collection)["a", 0][1] == {}
        [hit] = store.search(collection, unit_vectors(1)[0], limit=1)
        assert hit.metadata == {}

    def test_writing_twice_replaces(self, store: VectorStore, collection: CollectionRef) -> None:
        store.upsert(collection, batch_of(["a", "b"], metadata=[{"n": 1}, {"n": 1}]))
        again = batch_of(["b", "c"], seed=1, metadata=[{"n": 2}, {"n": 2}])
        store.upsert(collection, again)
        store.upsert(collection, again)
        found = self.contents(store, collection)
        assert len(found) == store.count(collection) == 3
        np.testing.assert_allclose(found["b", 0][0], again.vectors[0], atol=self.tolerance)
        assert [found[entity_id, 0][1]["n"] for entity_id in "abc"] == [1, 2, 2]

    def test_a_replaced_vector_loses_its_metadata(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        store.upsert(collection, batch_of(["a"], metadata=[{"n": 1}]))
        store.upsert(collection, batch_of(["a"]))
        assert self.contents(store, collection)["a", 0][1] == {}

    def test_several_chunks_of_an_entity(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        batch = batch_of(["a", "a", "b", "a"], chunks=[0, 1, 0, 2])
        store.upsert(collection, batch)
        assert store.count(collection) == 4
        store.upsert(collection, batch_of(["a"], chunks=[1], seed=5))
        found = self.contents(store, collection)
        assert sorted(found) == [("a", 0), ("a", 1), ("a", 2), ("b", 0)]
        np.testing.assert_allclose(found["a", 2][0], batch.vectors[3], atol=self.tolerance)
        again = unit_vectors(1, seed=5)[0]
        np.testing.assert_allclose(found["a", 1][0], again, atol=self.tolerance)

    def test_an_empty_batch(self, store: VectorStore, collection: CollectionRef) -> None:
        store.upsert(collection, batch_of([]))
        store.upsert(collection, batch_of([], metadata=[]))
        store.update_metadata(collection, [], [])
        store.delete(collection, [])
        assert store.count(collection) == 0

    def test_the_caller_keeps_its_arrays(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        vectors = unit_vectors(1)
        store.upsert(collection, VectorBatch(["a"], [0], vectors))
        vectors *= 0
        assert self.contents(store, collection)["a", 0][0].any()

    def test_any_array_of_the_right_shape(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        """A view, another byte order, chunks in an array."""
        wide = unit_vectors(4, 2 * DIMENSIONS)
        views = [wide[:2, ::2], wide[::2, :DIMENSIONS], np.asfortranarray(wide[:2, :DIMENSIONS])]
        for number, view in enumerate([*views, views[0].astype(">f4")]):
            ids = [f"{number}-0", f"{number}-1"]
            store.upsert(collection, VectorBatch(ids, np.array([0, 0]), view))  # type: ignore[arg-type]
            found = self.contents(store, collection)
            np.testing.assert_allclose(found[ids[1], 0][0], view[1], atol=self.tolerance)

    def test_odd_ids(self, store: VectorStore, collection: CollectionRef) -> None:
        store.upsert(collection, batch_of(ODD_IDS))
        store.upsert(collection, batch_of(ODD_IDS))
        assert {entity_id for entity_id, _ in self.contents(store, collection)} == set(ODD_IDS)
        store.update_metadata(collection, ODD_IDS, [{"id": entity_id} for entity_id in ODD_IDS])
        for (entity_id, _), (_, payload) in self.contents(store, collection).items():
            assert payload == {"id": entity_id}
        hits = store.search(collection, unit_vectors(1)[0], limit=100)
        assert {hit.entity_id for hit in hits} == set(ODD_IDS)
        store.delete(collection, ODD_IDS[1:])
        assert [entity_id for entity_id, _ in self.contents(store, collection)] == ODD_IDS[:1]

    def test_odd_payloads(self, store: VectorStore, collection: CollectionRef) -> None:
        payloads = [{"value": value, "it's %s 日本": value} for value in ODD_VALUES]
        ids = [str(number) for number in range(len(payloads))]
        store.upsert(collection, batch_of(ids, metadata=payloads))
        found = self.contents(store, collection)
        assert [found[entity_id, 0][1] for entity_id in ids] == payloads

    def test_a_big_payload(self, store: VectorStore, collection: CollectionRef) -> None:
        payload = {"text": "long " * 100_000}
        store.upsert(collection, batch_of(["a"], metadata=[payload]))
        assert self.contents(store, collection)["a", 0][1] == payload

    def test_many_at_once(self, store: VectorStore, collection: CollectionRef) -> None:
        ids = [str(number) for number in range(5000)]
        store.upsert(collection, batch_of(ids))
        assert store.count(collection) == 5000
        store.delete(collection, ids[:4000])
        assert store.count(collection) == 1000

    # Refusals: nothing is written

    @pytest.mark.parametrize("dimensions", [DIMENSIONS - 1, DIMENSIONS + 1, 1])
    def test_wrong_dimensions_are_refused(
        self, store: VectorStore, collection: CollectionRef, dimensions: int
    ) -> None:
        with pytest.raises(StoreError, match="dimensions") as caught:
            store.upsert(collection, batch_of(["a"], dimensions=dimensions))
        assert not caught.value.transient
        with pytest.raises(StoreError, match="dimensions"):
            store.search(collection, unit_vectors(1, dimensions)[0], limit=1)
        assert store.count(collection) == 0

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_nan_and_infinity_are_refused(
        self, store: VectorStore, collection: CollectionRef, value: float
    ) -> None:
        batch = batch_of(["a", "b"])
        batch.vectors[1, 3] = value
        with pytest.raises(StoreError) as caught:
            store.upsert(collection, batch)
        assert not caught.value.transient
        assert store.count(collection) == 0

    @pytest.mark.parametrize(
        "payload",
        [{"a": "nul \0"}, {"nul \0": 1}, {"a": "\ud800"}, {"a": ["\\\0"]}, {"a": np.nan}],
        ids=["NUL", "NUL in a key", "lone surrogate", "NUL after backslash", "NaN"],
    )
    def test_payloads_no_database_takes_are_refused(
        self, store: VectorStore, collection: CollectionRef, payload: dict[str, Any]
    ) -> None:
        store.upsert(collection, batch_of(["kept"], metadata=[{"n": 1}]))
        with pytest.raises(StoreError):
            store.upsert(collection, batch_of(["a", "b"], metadata=[{}, payload]))
        with pytest.raises(StoreError):
            store.update_metadata(collection, ["kept"], [payload])
        assert [found[1] for found in self.contents(store, collection).values()] == [{"n": 1}]

    @pytest.mark.parametrize("entity_id", ["nul \0", "\ud800"], ids=["NUL", "lone surrogate"])
    def test_ids_no_database_takes_are_refused(
        self, store: VectorStore, collection: CollectionRef, entity_id: str
    ) -> None:
        with pytest.raises(StoreError):
            store.upsert(collection, batch_of(["a", entity_id]))
        assert store.count(collection) == 0

    def test_columns_of_different_lengths_are_refused(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        with pytest.raises(StoreError):
            store.upsert(collection, VectorBatch(["a", "b"], [0, 0], unit_vectors(1)))
        assert store.count(collection) == 0

    def test_a_refused_batch_changes_nothing(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        """Not even what comes before the fault, and was there in another form."""
        ids = [str(number) for number in range(2500)]
        store.upsert(collection, batch_of(ids, metadata=[{"n": 1}] * 2500))
        before = self.contents(store, collection)
        nan = batch_of([*ids, "new"], seed=1, metadata=[{"n": 2}] * 2501)
        nan.vectors[1250, 3] = np.nan
        payload = batch_of(ids, seed=1, metadata=[{"n": 2}] * 1250 + [{"a": "\0"}] * 1250)
        wrong = batch_of(ids, seed=1, metadata=[{"n": 2}] * 2500, dimensions=DIMENSIONS - 1)
        for refused in (nan, payload, wrong):
            with pytest.raises(StoreError) as caught:
                store.upsert(collection, refused)
            assert not caught.value.transient
        after = self.contents(store, collection)
        assert after.keys() == before.keys()
        for key, (vector, metadata) in after.items():
            assert metadata == {"n": 1}
            np.testing.assert_array_equal(vector, before[key][0])

    def test_a_full_disk(self, store: VectorStore, collection: CollectionRef) -> None:
        store.upsert(collection, batch_of(["a"], metadata=[{"n": 1}]))
        text = "long " * 200
        more = batch_of(
            ["a", *(str(number) for number in range(2000))], metadata=[{"text": text}] * 2001
        )
        with self.full_disk(store):
            with pytest.raises(StoreError) as caught:
                store.upsert(collection, more)
            assert not caught.value.transient
            assert self.contents(store, collection)["a", 0][1] == {"n": 1}
        store.upsert(collection, more)
        assert store.count(collection) == 2001

    @pytest.mark.parametrize(
        "use",
        [
            lambda store, ref: store.ensure_collection(ref),
            lambda store, ref: store.exists(ref),
            lambda store, ref: store.count(ref),
            lambda store, ref: store.upsert(ref, batch_of(["a", "b"])),
            lambda store, ref: store.update_metadata(ref, ["a"], [{"n": 1}]),
            lambda store, ref: store.delete(ref, ["b"]),
            lambda store, ref: store.search(ref, unit_vectors(1)[0], limit=1),
            lambda store, ref: list(store.scroll(ref)),
        ],
        ids=["ensure", "exists", "count", "upsert", "update", "delete", "search", "scroll"],
    )
    def test_a_lost_connection(
        self,
        store: VectorStore,
        collection: CollectionRef,
        use: Callable[[VectorStore, CollectionRef], object],
    ) -> None:
        """It is transient, and the same call works afterwards."""
        store.upsert(collection, batch_of(["a"]))
        self.break_connection(store)
        with pytest.raises(StoreError) as caught:
            use(store, collection)
        assert caught.value.transient
        use(store, collection)
        assert ("a", 0) in self.contents(store, collection)

    def test_a_connection_lost_in_the_middle_of_a_scroll(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        store.upsert(collection, batch_of([str(number) for number in range(10)]))
        pages = store.scroll(collection, page_size=2)
        next(pages)
        self.break_connection(store)
        with pytest.raises(StoreError) as caught:
            list(pages)
        assert caught.value.transient
        assert len(self.contents(store, collection)) == 10

    # Metadata and deletion

    def test_metadata_is_replaced_in_all_chunks(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        batch = batch_of(
            ["a", "a", "b"], chunks=[0, 1, 0], metadata=[{"n": 1, "old": 1}, {"n": 1}, {"n": 1}]
        )
        store.upsert(collection, batch)
        store.update_metadata(collection, ["a", "absent"], [{"n": 2}, {"n": 3}])
        found = self.contents(store, collection)
        payloads = {key: payload for key, (_, payload) in found.items()}
        assert payloads == {("a", 0): {"n": 2}, ("a", 1): {"n": 2}, ("b", 0): {"n": 1}}
        np.testing.assert_allclose(found["a", 1][0], batch.vectors[1], atol=self.tolerance)

    def test_metadata_where_there_was_none(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        store.upsert(collection, batch_of(["a"]))
        store.update_metadata(collection, ["a"], [{"n": 2}])
        assert self.contents(store, collection)["a", 0][1] == {"n": 2}

    def test_deleting_takes_all_chunks_and_ignores_absent_ones(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        store.upsert(collection, batch_of(["a", "a", "b"], chunks=[0, 1, 0]))
        store.delete(collection, ["a", "absent"])
        store.delete(collection, ["a"])
        assert list(self.contents(store, collection)) == [("b", 0)]

    def test_deleted_and_written_again(self, store: VectorStore, collection: CollectionRef) -> None:
        store.upsert(collection, batch_of(["a"], metadata=[{"n": 1}]))
        store.delete(collection, ["a"])
        store.upsert(collection, batch_of(["a"]))
        assert self.contents(store, collection)["a", 0][1] == {}

    # Scrolling

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
        """In whatever order the store sorts the ids."""
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
        """Four times the vectors take no more of it."""
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

    # Searching

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

    # Processes and threads

    def test_two_processes_write_at_once(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        if store.one_process:
            pytest.skip("the store is for one process")
        context = multiprocessing.get_context("spawn")
        start = context.Barrier(2)
        open_store = self.other_process(store)
        processes = [
            context.Process(target=write_elsewhere, args=(open_store, collection, name, start))
            for name in "ab"
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(timeout=120)
        assert [process.exitcode for process in processes] == [0, 0]
        assert store.count(collection) == 2 * 10 * 20 + 1

    def test_two_threads_write_at_once(self, store: VectorStore, collection: CollectionRef) -> None:
        errors: list[BaseException] = []
        start = threading.Barrier(2)

        def write(name: str) -> None:
            try:
                start.wait(timeout=30)
                for number in range(10):
                    ids = [f"{name}-{number}-{index}" for index in range(20)] + ["shared"]
                    store.upsert(collection, batch_of(ids))
                    store.search(collection, unit_vectors(1)[0], limit=3)
            except BaseException as error:
                errors.append(error)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert errors == []
        assert store.count(collection) == 2 * 10 * 20 + 1

    def test_two_threads_ensure_at_once(self, store: VectorStore) -> None:
        collection = self.make_collection()
        errors: list[BaseException] = []
        start = threading.Barrier(2)

        def ensure() -> None:
            try:
                start.wait(timeout=30)
                store.ensure_collection(collection)
            except BaseException as error:
                errors.append(error)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=ensure) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert errors == []
        assert store.exists(collection)

    def test_check_lists_messages(self, store: VectorStore) -> None:
        messages = store.check()
        assert all(isinstance(message, CheckMessage) and message.id for message in messages)
        assert not any(message.is_serious() for message in messages)

    @staticmethod
    def contents(
        store: VectorStore, collection: CollectionRef
    ) -> dict[tuple[str, int], tuple[Vectors, dict[str, Any]]]:
        """Everything in the collection: ``(entity, chunk) → (vector, payload)``."""
        found: dict[tuple[str, int], tuple[Vectors, dict[str, Any]]] = {}
        for page in store.scroll(collection):
            payloads = page.metadata or [{}] * len(page)
            for index, key in enumerate(zip(page.entity_ids, page.chunks, strict=True)):
                assert key not in found, "scroll gave a vector twice"
                found[key] = (page.vectors[index], dict(payloads[index]))
        return found
