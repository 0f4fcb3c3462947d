"""Tests of what a vector store keeps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ai_migration.exceptions import StoreError
from ai_migration.stores.base import VectorStore
from ai_migration.testing.store_suite import (
    DIMENSIONS,
    ODD_IDS,
    ODD_VALUES,
    StoreSuite,
    batch_of,
    unit_vectors,
)
from ai_migration.types import CollectionRef, VectorBatch


class Collections(StoreSuite):
    """Collections are created, dropped, and independent of each other."""

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


class Writes(StoreSuite):
    """What was written is read back, whatever it is."""

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


class Removals(StoreSuite):
    """Metadata is replaced, and entities go, with all their chunks."""

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
