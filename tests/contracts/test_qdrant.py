"""What QdrantStore promises beyond the contract; the server is tests/qdrant_server.py."""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ai_migration.exceptions import MissingDependencyError, SettingsError, StoreError
from ai_migration.stores import vector_id
from ai_migration.stores.memory import MemoryStore
from ai_migration.stores.qdrant import QdrantStore
from ai_migration.stores.qdrant import client as _qdrant
from ai_migration.stores.qdrant import store as qdrant_module
from ai_migration.testing.stores import batch_of, unit_vectors
from ai_migration.types import CollectionRef, Metric, VectorBatch

if TYPE_CHECKING:
    from tests.qdrant_server import QdrantServer

pytest.importorskip("qdrant_client")

REF = CollectionRef(7, "product", 8)
KEY = "the-api-key"


@pytest.fixture
def server() -> Iterator[QdrantServer]:
    from tests.qdrant_server import QdrantServer

    with QdrantServer().running() as server:
        yield server


@pytest.fixture
def store(server: QdrantServer) -> QdrantStore:
    store = QdrantStore(server.url)
    store.ensure_collection(REF)
    server.requests.clear()
    return store


def ids(store: QdrantStore, **filters: Any) -> list[str]:
    hits = store.search(REF, unit_vectors(1)[0], limit=50, filters=filters)
    return sorted(hit.entity_id for hit in hits)


# Errors


@pytest.mark.parametrize(
    ("status", "headers", "transient", "says"),
    [
        (500, {}, True, "told so"),
        (503, {}, True, "told so"),
        (408, {}, True, "told so"),
        (429, {}, True, "told so"),
        (429, {"retry_after": "3"}, True, "told so"),
        (400, {}, False, "told so"),
        (413, {}, False, "told so"),
        (401, {}, False, "api_key"),
        (403, {}, False, "api_key"),
        (507, {}, False, "disk of Qdrant is full"),
    ],
)
def test_what_the_server_refuses(
    store: QdrantStore,
    server: QdrantServer,
    status: int,
    headers: dict[str, str],
    transient: bool,
    says: str,
) -> None:
    server.refuse(status, "told so", **headers)
    with pytest.raises(StoreError, match=says) as caught:
        store.upsert(REF, batch_of(["a"]))
    assert caught.value.transient is transient
    store.upsert(REF, batch_of(["a"]))
    assert store.count(REF) == 1


def test_a_full_disk_in_older_words(store: QdrantStore, server: QdrantServer) -> None:
    server.refuse(500, "Service internal error: No space left on device: WAL buffer size exceeds")
    with pytest.raises(StoreError, match="Free space") as caught:
        store.upsert(REF, batch_of(["a"]))
    assert not caught.value.transient


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    store = QdrantStore(f"http://127.0.0.1:{port}")
    with pytest.raises(StoreError, match="no answer from Qdrant") as caught:
        store.count(REF)
    assert caught.value.transient


def test_what_is_no_qdrant(store: QdrantStore, server: QdrantServer) -> None:
    server.refuse(200, "ok")
    with pytest.raises(StoreError, match="url") as caught:
        store.upsert(REF, batch_of(["a"]))
    assert not caught.value.transient


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_no_error_repeats_the_key(server: QdrantServer) -> None:
    store = QdrantStore(server.url, api_key=KEY)
    for fail in (server.reset, lambda: server.refuse(401), lambda: server.refuse(500)):
        fail()
        with pytest.raises(StoreError) as caught:
            store.count(REF)
        assert KEY not in f"{caught.value!r} {caught.value} {store!r}"


# Requests


@pytest.mark.gate
def test_requests_are_bounded(
    store: QdrantStore, server: QdrantServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_qdrant, "REQUEST_BYTES", 50_000)
    names = [f"{number:04}" for number in range(400)]
    metadata = [{"text": "日本語" * (number % 40)} for number in range(400)]
    store.upsert(REF, batch_of(names, metadata=metadata))
    store.update_metadata(REF, names, metadata)
    assert len(server.requests) > 4
    assert server.largest <= 50_000
    assert store.count(REF) == 400


def test_a_scroll_asks_for_bounded_pages(
    store: QdrantStore, server: QdrantServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qdrant_module, "_KEYS", 30)
    store.upsert(REF, batch_of([f"{number:03}" for number in range(100)]))
    server.requests.clear()
    pages = [list(page.entity_ids) for page in store.scroll(REF, page_size=40)]
    assert [len(page) for page in pages] == [40, 40, 20]
    assert [name for page in pages for name in page] == [f"{number:03}" for number in range(100)]
    assert len([request for request in server.requests if "scroll" in request]) == 4
    assert len([request for request in server.requests if request.endswith("/points")]) == 3


def test_points_have_our_ids_and_names(server: QdrantServer) -> None:
    from qdrant_client import QdrantClient

    store = QdrantStore(server.url, prefix="shop-")
    store.ensure_collection(REF)
    store.upsert(REF, batch_of(["a"], chunks=[3], metadata=[{"n": 1}]))
    client = QdrantClient(server.url, check_compatibility=False)
    [point] = client.retrieve("shop-ai_vectors_7", [str(vector_id(REF, "a", 3))])
    assert point.payload == {
        "entity": "a",
        "chunk": 3,
        "norm": pytest.approx(1),
        "metadata": {"n": 1},
    }


def test_payload_indexes(server: QdrantServer) -> None:
    QdrantStore(server.url, indexed={"tenant": "keyword"}).ensure_collection(REF)
    assert server.requests.count("PUT /collections/ai_vectors_7/index") == 2


# Vectors


def test_vectors_keep_their_length(store: QdrantStore) -> None:
    vectors = unit_vectors(3) * np.array([[1000], [0.001], [0]], dtype=np.float32)
    store.upsert(REF, VectorBatch(["a", "b", "c"], [0, 0, 0], vectors))
    [page] = store.scroll(REF)
    np.testing.assert_allclose(page.vectors, vectors, rtol=1e-5)


@pytest.mark.parametrize("metric", Metric.values)
def test_scores_are_those_of_the_other_stores(server: QdrantServer, metric: str) -> None:
    vectors = np.random.default_rng(1).standard_normal((200, 8)).astype(np.float32)
    batch = VectorBatch([f"{number:03}" for number in range(200)], [0] * 200, vectors)
    answers = []
    for store in (QdrantStore(server.url, metric=metric), MemoryStore(metric=metric)):
        store.ensure_collection(REF)
        store.upsert(REF, batch)
        answers.append(store.search(REF, unit_vectors(1, seed=2)[0], limit=20))
    ours, exact = answers
    assert [hit.entity_id for hit in ours] == [hit.entity_id for hit in exact]
    np.testing.assert_allclose([hit.score for hit in ours], [hit.score for hit in exact], atol=1e-5)


def test_filters_that_qdrant_cannot_say(store: QdrantStore) -> None:
    names = [str(number) for number in range(300)]
    rare: dict[int, dict[str, Any]] = {
        5: {"it's": 1, "tags": ["a", None], "n": 2**60},
        299: {"it's": 1, "tags": None, "a.b": 2, "n": 2**60 + 1},
    }
    metadata = [rare.get(number, {"a": {"b": 2}, "tags": "a"}) for number in range(300)]
    store.upsert(REF, batch_of(names, metadata=metadata))
    found = store.search(REF, unit_vectors(300)[200], limit=1, filters={"it's": 1})
    assert len(found) == 1
    assert ids(store, **{"it's": 1}) == ["299", "5"]
    assert ids(store, **{"a.b": 2}) == ["299"]
    assert ids(store, tags=None) == ["299"]
    assert ids(store, tags=["a", None]) == ["5"]
    assert ids(store, n=2**60) == ["5"]
    assert "5" not in ids(store, tags="a")


# Generations


def test_the_index_is_built_after_the_load(
    store: QdrantStore, server: QdrantServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qdrant_module, "_POLL_SECONDS", 0)
    assert server.graph["ai_vectors_7"] == 0
    store.upsert(REF, batch_of(["a", "b"]))
    assert store.needs_index(REF, above=1)
    assert not store.needs_index(REF, above=2)
    server.yellow = 3
    server.requests.clear()
    store.optimize(REF)
    assert server.graph["ai_vectors_7"] == 16
    assert not store.needs_index(REF, above=1)
    assert server.requests.count("GET /collections/ai_vectors_7") == 4 + 1


def test_the_alias_follows_the_active_collection(server: QdrantServer) -> None:
    from qdrant_client import QdrantClient

    store = QdrantStore(server.url, prefix="shop-")
    client = QdrantClient(server.url, check_compatibility=False)
    for number in (7, 7, 8):
        ref = CollectionRef(number, "product", 8)
        store.ensure_collection(ref)
        store.activated(ref)
        assert [
            (alias.alias_name, alias.collection_name) for alias in client.get_aliases().aliases
        ] == [("shop-product", f"shop-ai_vectors_{number}")]


# The local mode, processes, options


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_local_mode_is_for_one_process(tmp_path: Path) -> None:
    first = QdrantStore(path=tmp_path)
    first.ensure_collection(REF)
    assert first.one_process
    with pytest.raises(StoreError, match="already accessed") as caught:
        QdrantStore(path=tmp_path).exists(REF)
    assert not caught.value.transient
    assert [message.id for message in first.check()] == ["ai_migration.W161"]
    del caught
    gc.collect()  # the client leaves the lock's file open, and Python says so


def test_the_local_mode_keeps_what_it_has(tmp_path: Path) -> None:
    store = QdrantStore(path=tmp_path)
    store.ensure_collection(REF)
    store.upsert(REF, batch_of(["a"], metadata=[{"n": 1}]))
    del store
    assert ids(QdrantStore(path=tmp_path), n=1) == ["a"]


def test_a_forked_process_has_a_client_of_its_own(
    store: QdrantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    inherited = store._client()
    assert store._client() is inherited
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert store._client() is not inherited
    assert store._client() is store._client()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "url"),
        ({"url": "http://localhost:6333", "path": "/tmp/x"}, "url"),
        ({"path": "/tmp/x", "metric": "manhattan"}, "manhattan"),
        ({"path": "/tmp/x", "indexed": {"tenant": "tenant"}}, "keyword"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        QdrantStore(**options)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(MissingDependencyError, match=r"django-ai-migration\[qdrant\]"):
        QdrantStore("http://localhost:6333")
