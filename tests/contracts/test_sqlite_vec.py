"""What SqliteVecStore promises beyond the contract."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_migration.exceptions import MissingDependencyError, SettingsError, StoreError
from ai_migration.stores._support import INHERITED
from ai_migration.stores.memory import MemoryStore
from ai_migration.stores.sqlite_vec import SqliteVecStore
from ai_migration.testing.stores import batch_of, unit_vectors
from ai_migration.types import CollectionRef, VectorBatch

apsw = pytest.importorskip("apsw")
pytest.importorskip("sqlite_vec")

REF = CollectionRef(7, "product", 8)
WRITER = """
import sys
from ai_migration.stores.sqlite_vec import SqliteVecStore
from ai_migration.testing.stores import batch_of
from ai_migration.types import CollectionRef
store, ref = SqliteVecStore(sys.argv[1]), CollectionRef(7, "product", 8)
for number in range(1000):
    store.upsert(ref, batch_of([f"{number}-{index}" for index in range(100)]))
    print("written", flush=True)
"""


@pytest.fixture
def store(tmp_path: Path) -> SqliteVecStore:
    store = SqliteVecStore(tmp_path / "vectors.sqlite3")
    store.ensure_collection(REF)
    return store


def test_killed_while_it_writes(store: SqliteVecStore) -> None:
    """What was acknowledged is there, a batch is there or not, and others go on."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(store.path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    acknowledged = sum(1 for _, _ in zip(range(20), process.stdout, strict=False))
    process.send_signal(signal.SIGKILL)
    acknowledged += process.communicate()[0].count("written")
    assert acknowledged * 100 <= store.count(REF) <= (acknowledged + 1) * 100
    assert store.count(REF) % 100 == 0
    before = store.count(REF)
    store.upsert(REF, batch_of(["a"]))
    assert store.count(REF) == before + 1
    assert store._connection().execute("PRAGMA integrity_check").get == "ok"


def test_a_commit_is_on_the_disk(store: SqliteVecStore) -> None:
    """The ledger says so next, in another database."""
    db = store._connection()
    assert db.execute("PRAGMA journal_mode").get == "wal"
    assert db.execute("PRAGMA synchronous").get == 2  # FULL


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_scores_are_those_of_the_other_stores(tmp_path: Path, metric: str) -> None:
    vectors = np.random.default_rng(1).standard_normal((200, 8)).astype(np.float32)
    batch = VectorBatch([f"{number:03}" for number in range(200)], [0] * 200, vectors)
    answers = []
    for store in (SqliteVecStore(tmp_path / "v", metric=metric), MemoryStore(metric=metric)):
        store.ensure_collection(REF)
        store.upsert(REF, batch)
        answers.append(store.search(REF, unit_vectors(1, seed=2)[0], limit=20))
    ours, exact = answers
    assert [hit.entity_id for hit in ours] == [hit.entity_id for hit in exact]
    np.testing.assert_allclose([hit.score for hit in ours], [hit.score for hit in exact], atol=1e-5)


@pytest.mark.parametrize(
    ("value", "others"),
    [
        (1, [True, "1", 1.5, [1], {"1": 1}]),
        (True, [1, "true", [True]]),
        (None, ["", 0, [], [None], {}]),
        (2**70, [2**70 + 2**60, str(2**70)]),
        ("a", ["A", "a ", ["a"], {"a": "a"}]),
        ([1, 2], [[2, 1], [1], "[1,2]"]),
        ({"a": 1, "b": [2]}, [{"a": 1}, {"b": [2], "a": 2}]),
    ],
)
@pytest.mark.parametrize("key", ["k", 'say "hi"', "a.b", "$", "日本\n"])
def test_filters_are_exact(store: SqliteVecStore, key: str, value: Any, others: list[Any]) -> None:
    metadata = [{key: value}, *({key: other} for other in others), {"z": {key: value}}]
    store.upsert(REF, batch_of([str(n) for n in range(len(metadata))], metadata=metadata))
    store.upsert(REF, batch_of(["none"], seed=1))
    hits = store.search(REF, unit_vectors(1)[0], limit=50, filters={key: value})
    assert [hit.entity_id for hit in hits] == ["0"]


def test_another_writer_takes_too_long(
    store: SqliteVecStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with apsw.Connection(str(store.path)) as other:
        other.execute("CREATE TABLE x (y)")  # holds the write lock
        store._connection().set_busy_timeout(1)
        with pytest.raises(StoreError) as caught:
            store.upsert(REF, batch_of(["a"]))
        assert caught.value.transient
        assert store.count(REF) == 0  # readers do not wait
    store.upsert(REF, batch_of(["a"]))
    assert store.count(REF) == 1


def test_what_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no database\n" * 1000)
    with pytest.raises(StoreError, match=r"notes\.txt") as caught:
        SqliteVecStore(path).ensure_collection(REF)
    assert not caught.value.transient
    assert path.read_text() == "no database\n" * 1000


def test_a_file_that_is_gone_is_a_store_that_is_empty(tmp_path: Path) -> None:
    store = SqliteVecStore(tmp_path / "gone" / "vectors.sqlite3")
    assert not store.exists(REF)
    assert store.count(REF) == 0
    store.drop_collection(REF)
    with pytest.raises(StoreError, match="does not exist"):
        store.ensure_collection(REF)
    assert [message.id for message in store.check()] == ["ai_migration.E161"]


def test_a_forked_process_has_a_connection_of_its_own(
    store: SqliteVecStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    inherited = store._connection()
    assert store._connection() is inherited
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert store._connection() is not inherited
    assert inherited in INHERITED  # else it would be closed here


def test_two_open_a_new_file_at_once(tmp_path: Path) -> None:
    """Thirty times: one time in five, one of them was not given the lock."""

    def ensure(number: int) -> None:
        barrier.wait(timeout=30)
        stores[number // 2].ensure_collection(REF)

    stores = [SqliteVecStore(tmp_path / f"{number}.sqlite3") for number in range(30)]
    barrier = threading.Barrier(2)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(ensure, range(60)))
    assert all(store.exists(REF) for store in stores)


@pytest.mark.parametrize("metric", ["inner_product", "manhattan"])
def test_metrics_it_does_not_have(metric: str) -> None:
    with pytest.raises(SettingsError, match="cosine"):
        SqliteVecStore("vectors.sqlite3", metric=metric)


@pytest.mark.parametrize(("module", "library"), [("apsw", "apsw"), ("sqlite_vec", "sqlite-vec")])
def test_without_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf"'{library}'.*\[sqlite-vec\]"):
        SqliteVecStore(tmp_path / "vectors.sqlite3")
