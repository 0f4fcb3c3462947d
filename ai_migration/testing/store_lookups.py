"""Tests of what a verify reads of a vector store: the vectors of some entities, and all keys."""

from __future__ import annotations

import numpy as np
import pytest

from ai_migration.exceptions import StoreError
from ai_migration.stores.base import VectorStore
from ai_migration.testing.store_suite import DIMENSIONS, ODD_IDS, StoreSuite, batch_of
from ai_migration.types import CollectionRef, JSONValue, VectorKey


class LookingUp(StoreSuite):
    """Vectors are found by their entities, and keys are walked in parts."""

    def test_fetches_all_vectors_of_the_entities(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        ids = [entity_id for entity_id in ODD_IDS for _ in range(2)]
        payloads = [{"n": number} for number in range(len(ids))]
        batch = batch_of(ids, chunks=[0, 1] * len(ODD_IDS), metadata=payloads)
        store.upsert(collection, batch)
        wanted = [*ODD_IDS[::2], "absent"]
        found = {}
        for page in store.fetch(collection, wanted):
            assert page.vectors.shape == (len(page), DIMENSIONS)
            for i, key in enumerate(page.pairs()):
                assert key not in found
                found[key] = page.vectors[i], (page.metadata or [{}] * len(page))[i]
        expected = {key: i for i, key in enumerate(batch.pairs()) if key[0] in wanted}
        assert found.keys() == expected.keys()
        for key, (vector, payload) in found.items():
            assert np.abs(vector - batch.vectors[expected[key]]).max() <= self.tolerance
            assert payload == payloads[expected[key]]

    def test_fetches_nothing_of_no_entities(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        store.upsert(collection, batch_of(["1"]))
        assert sum(map(len, store.fetch(collection, []))) == 0
        assert sum(map(len, store.fetch(collection, ["2"]))) == 0

    def test_fetches_thousands(self, store: VectorStore, collection: CollectionRef) -> None:
        ids = [str(number) for number in range(2_500)]
        store.upsert(collection, batch_of(ids))
        found = [each for page in store.fetch(collection, ids[::-1]) for each in page.entity_ids]
        assert sorted(found) == sorted(ids)

    @pytest.mark.parametrize("limit", [1, 3, 7, 1000])
    def test_walks_all_keys(
        self, store: VectorStore, collection: CollectionRef, limit: int
    ) -> None:
        ids = [entity_id for entity_id in ODD_IDS for _ in range(3)]
        batch = batch_of(ids, chunks=[0, 1, 2] * len(ODD_IDS))
        store.upsert(collection, batch)
        assert sorted(self._walk(store, collection, limit)) == sorted(batch.pairs())

    def test_walks_nothing_of_an_empty_collection(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        assert self._walk(store, collection, 10) == []

    def test_walks_on_although_vectors_go(
        self, store: VectorStore, collection: CollectionRef
    ) -> None:
        """What stays is met."""
        ids = [f"{number:02}" for number in range(20)]
        store.upsert(collection, batch_of(ids))
        first, cursor = store.keys(collection, limit=5)
        gone = [entity_id for entity_id, _ in first]
        store.delete(collection, gone)
        later = self._walk(store, collection, 5, after=cursor)
        assert {entity_id for entity_id, _ in later} == {*ids} - {*gone}

    def test_a_missing_collection_is_an_error(self, store: VectorStore) -> None:
        missing = self.make_collection()
        with pytest.raises(StoreError):
            list(store.fetch(missing, ["1"]))
        with pytest.raises(StoreError):
            store.keys(missing, limit=10)

    @staticmethod
    def _walk(
        store: VectorStore, collection: CollectionRef, limit: int, after: JSONValue = None
    ) -> list[VectorKey]:
        found: list[VectorKey] = []
        while True:
            part, after = store.keys(collection, after=after, limit=limit)
            assert len(part) <= 3 * limit + 10
            found += [(entity_id, int(chunk)) for entity_id, chunk in part]
            if after is None:
                return found
