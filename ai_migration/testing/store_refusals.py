"""Tests of what a vector store refuses, and of failures around it: nothing is half written."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from functools import partial
from multiprocessing.synchronize import Barrier
from typing import Any

import numpy as np
import pytest

from ai_migration.exceptions import StoreError
from ai_migration.stores.base import VectorStore
from ai_migration.testing.store_suite import (
    DIMENSIONS,
    StoreSuite,
    batch_of,
    unit_vectors,
)
from ai_migration.testing.threads import at_once
from ai_migration.types import CollectionRef, VectorBatch


def write_elsewhere(
    open_store: Callable[[], VectorStore], collection: CollectionRef, name: str, start: Barrier
) -> None:
    """Write in one of two processes, for the test of :meth:`VectorStoreContract.other_process`."""
    store = open_store()
    start.wait(timeout=60)
    write_some(store, collection, name)


def write_some(store: VectorStore, collection: CollectionRef, name: str) -> None:
    """Write entities of its own, and one that others write too, searching in between."""
    for number in range(10):
        ids = [f"{name}-{number}-{index}" for index in range(20)] + ["shared"]
        store.upsert(collection, batch_of(ids))
        store.search(collection, unit_vectors(1)[0], limit=3)


class Refusals(StoreSuite):
    """Data that no store can keep is refused."""

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


class Faults(StoreSuite):
    """The disk is full, the connection is lost."""

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


class Crowds(StoreSuite):
    """Several processes and threads at once."""

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
        errors = at_once([partial(write_some, store, collection, name) for name in "ab"])
        assert errors == []
        assert store.count(collection) == 2 * 10 * 20 + 1

    def test_two_threads_ensure_at_once(self, store: VectorStore) -> None:
        collection = self.make_collection()
        errors = at_once([partial(store.ensure_collection, collection)] * 2)
        assert errors == []
        assert store.exists(collection)
