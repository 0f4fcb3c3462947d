"""The memory and the workers that PgVectorStore builds an index with."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import closing
from typing import Any

import pytest
from django.db import connection, connections

from ai_migration.exceptions import SettingsError, StoreError
from ai_migration.stores.pgvector import PgVectorStore
from ai_migration.stores.pgvector.building import BuildOptions, BuildSettings, Server
from ai_migration.stores.pgvector.index import HnswIndex, IvfflatIndex, _percent
from ai_migration.stores.pgvector.table import PgVectorTable
from ai_migration.testing.stores import batch_of
from ai_migration.types import CollectionRef, IndexBuild, Metric
from tests.databases import FreshDatabase

MB = 1 << 20
REF = CollectionRef(7, "product", 8)
HNSW = "ai_vectors_7_hnsw_cosine"


# The memory it needs


@pytest.mark.parametrize(
    ("m", "size", "vectors"),
    [(16, 72, 21_554), (4, 72, 41_373), (48, 72, 9_307), (16, 1032, 9_641), (48, 520, 7_453)],
)
def test_a_graph_of_so_many_vectors_fits_into_16_mb(m: int, size: int, vectors: int) -> None:
    """As pgvector 0.8.5 said: "hnsw graph no longer fits into maintenance_work_mem after"."""
    memory = HnswIndex(m, 2 * m, 40).memory(vectors, size, {}) - 4 * MB
    assert 16 * MB <= memory <= 1.15 * 16 * MB


@pytest.mark.parametrize("lists", [100, 2000])
def test_centres_need_a_sample_and_its_distances(lists: int) -> None:
    sample = max(10_000, 50 * lists)
    memory = IvfflatIndex(lists, None).memory(10**6, 1032, {"lists": lists})
    assert memory > sample * 1032 + 4 * sample * lists


SERVER = Server(memory=64 * MB, build_workers=2, workers=8, is_here=False)


def settings_of(
    needed: int, server: Server = SERVER, *, is_serial: bool = False, **options: Any
) -> list[BuildSettings]:
    given = {"maintenance_work_mem": None, "memory_limit": 1024 * MB, "workers": None, **options}
    return BuildOptions(Metric.COSINE, **given).attempts(server, needed, is_serial=is_serial)


def test_it_takes_what_it_needs_between_what_the_server_and_the_options_say() -> None:
    assert settings_of(180 * MB)[0].memory == "184320kB"
    assert settings_of(10 * MB)[0].memory is None, "the server gives more"
    assert settings_of(5000 * MB)[0].memory == "1048576kB"
    assert settings_of(5000 * MB, memory_limit=0)[0].memory is None
    assert settings_of(5000 * MB, SERVER._replace(memory=2048 * MB))[0].memory is None
    assert settings_of(10 * MB, maintenance_work_mem="32MB")[0].memory == "32MB"


def test_workers_are_as_many_as_there_are_cores_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_of(1)[0].workers == 4, "half of them, as its cores are not known"
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    here = SERVER._replace(is_here=True)
    assert settings_of(1, here)[0].workers == 5
    assert settings_of(1, here._replace(workers=3))[0].workers == 3
    assert settings_of(1, here._replace(build_workers=7))[0].workers is None, "the server's own"
    assert settings_of(1, workers=1)[0].workers == 1


def test_with_too_little_memory_it_is_built_alone_and_then_with_less() -> None:
    assert settings_of(180 * MB) == [
        BuildSettings("184320kB", 4),
        BuildSettings("184320kB", 0),
        BuildSettings(None, 0),
    ]
    assert settings_of(180 * MB, is_serial=True, workers=4)[0] == BuildSettings("184320kB", 0)
    explicit = settings_of(180 * MB, maintenance_work_mem="2GB", workers=0)
    assert explicit == [BuildSettings("2GB", 0)]


@pytest.mark.parametrize("size", ["plenty", "1 gb", "-1GB", "", 64])
def test_a_limit_that_is_no_amount_of_memory_is_refused(size: Any) -> None:
    with pytest.raises(SettingsError, match="PgVectorStore: max_maintenance_work_mem is"):
        PgVectorStore(max_maintenance_work_mem=size)


# On a server


def execute(sql: str, *params: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def builds(database: FreshDatabase, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The memory and the workers of each build of 3,000 vectors, on a server that gives 1 MB."""
    store = PgVectorStore()
    store.ensure_collection(REF)
    store.upsert(REF, batch_of([str(number) for number in range(3000)]))
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    execute(f"ALTER DATABASE {name} SET maintenance_work_mem = '1MB'")
    connection.close()
    seen: list[Any] = []
    run = PgVectorTable.execute

    def watch(self: PgVectorTable, sql: str, *params: Any, binary: bool = False) -> list[Any]:
        if sql.startswith("CREATE INDEX"):
            shown = "maintenance_work_mem", "max_parallel_maintenance_workers"
            columns = ", ".join(f"current_setting('{name}')" for name in shown)
            [row] = run(self, f"SELECT {columns}")
            seen.append(row)
        return run(self, sql, *params, binary=binary)

    monkeypatch.setattr(PgVectorTable, "execute", watch)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)  # the server's, which is on this machine
    return seen


def notices() -> list[str]:
    """What the server says from now on."""
    said: list[str] = []
    connection.ensure_connection()
    connection.connection.add_notice_handler(lambda notice: said.append(notice.message_primary))
    return said


def is_valid(index: str) -> bool:
    return execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", index) == [
        (True,)
    ]


server_only = pytest.mark.vendors("postgresql")


@server_only
def test_the_graph_fits_into_the_memory_though_the_server_gives_little(builds: list[Any]) -> None:
    said = notices()
    PgVectorStore(max_maintenance_work_mem=None).optimize(REF)
    assert any("no longer fits" in each for each in said), "too small for it"
    execute(f"DROP INDEX {HNSW}")
    del said[:]
    PgVectorStore().optimize(REF)
    assert said == []
    assert [row[1] for row in builds] == ["3", "3"]
    assert execute("SHOW maintenance_work_mem") == [("1MB",)]
    assert execute("SHOW max_parallel_maintenance_workers") == [("2",)]


@server_only
def test_ivfflat_gets_the_memory_it_demands(builds: list[Any]) -> None:
    with pytest.raises(StoreError, match="memory required is"):
        PgVectorStore(index="ivfflat", lists=500, max_maintenance_work_mem=None).optimize(REF)
    PgVectorStore(index="ivfflat", lists=500).optimize(REF)
    assert is_valid("ai_vectors_7_ivfflat_cosine_500")


@server_only
def test_without_the_shared_memory_for_it_one_process_builds_it(
    builds: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """As in a container, whose ``/dev/shm`` has 64 MB."""
    execute(f"ALTER TABLE {REF.name} SET (parallel_workers = 1)")  # though it is small
    with caplog.at_level(logging.WARNING, "ai_migration"):
        PgVectorStore(maintenance_work_mem="2000GB", build_workers=1).optimize(REF)
    assert builds == [("2000GB", "1"), ("2000GB", "0")]
    assert is_valid(HNSW)
    assert "too little memory" in caplog.text
    assert "could not resize shared memory segment" in caplog.text


@server_only
def test_an_unsafe_version_builds_the_graph_in_one_process(
    builds: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    execute("UPDATE pg_extension SET extversion = '0.8.1' WHERE extname = 'vector'")
    with caplog.at_level(logging.WARNING, "ai_migration"):
        PgVectorStore(build_workers=3).optimize(REF)
    assert [row[1] for row in builds] == ["0"]
    assert "CVE-2026-3172" in caplog.text
    PgVectorStore(index="ivfflat", build_workers=3).optimize(REF)
    assert [row[1] for row in builds] == ["0", "3"], "lists are safe"


@server_only
def test_through_a_pooler_the_table_says_that_one_process_builds_it(
    builds: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PgVectorTable, "is_own_session", lambda self: False)
    during = []
    run = PgVectorTable.execute

    def watch(self: PgVectorTable, sql: str, *params: Any, binary: bool = False) -> list[Any]:
        if sql.startswith("CREATE INDEX"):
            during.extend(execute("SELECT reloptions FROM pg_class WHERE relname = %s", REF.name))
        return run(self, sql, *params, binary=binary)

    monkeypatch.setattr(PgVectorTable, "execute", watch)
    execute("UPDATE pg_extension SET extversion = '0.8.1' WHERE extname = 'vector'")
    PgVectorStore().optimize(REF)
    assert during == [(["parallel_workers=0"],)]
    assert execute("SELECT reloptions FROM pg_class WHERE relname = %s", REF.name) == [(None,)]


# What it says of it


@pytest.mark.parametrize(
    ("phase", "done", "percent"),
    [
        ("initializing", 0, 0),
        ("waiting for writers before build", 50, 0),
        ("building index: initializing", 0, 0),
        ("building index: loading tuples", 50, 62.5),
        ("building index: loading tuples", 80, 100),
        ("index validation: scanning table", 20, 100),
        ("waiting for old snapshots", 0, 100),
    ],
)
def test_percent_are_those_of_the_building(phase: str, done: int, percent: float) -> None:
    assert _percent(phase, done, 80) == percent
    assert _percent(phase, 0, 0) == (0 if phase.startswith("building") else percent)


@pytest.fixture
def unindexed(database: FreshDatabase) -> PgVectorStore:
    store = PgVectorStore()
    store.ensure_collection(REF)
    store.upsert(REF, batch_of(["a", "b", "c"]))
    return store


@server_only
def test_while_a_build_waits_for_a_writer_it_is_seen(unindexed: PgVectorStore) -> None:
    assert unindexed.index_build(REF) is None

    def build() -> None:
        try:
            unindexed.optimize(REF)
        finally:
            connections.close_all()

    builder, writer = threading.Thread(target=build), connection.copy()
    with closing(writer), writer.cursor() as cursor:
        writer.set_autocommit(False)
        cursor.execute(f"DELETE FROM {REF.name} WHERE entity_id = 'c'")
        builder.start()
        seen = None
        while seen is None or seen.phase == "initializing":
            seen = unindexed.index_build(REF)
        assert seen == IndexBuild(0.0, "waiting for writers before build")
        assert not unindexed.needs_index(REF, above=1), "it is being built"
        writer.rollback()
    builder.join(timeout=30)
    assert unindexed.index_build(REF) is None
    assert is_valid(HNSW)


@server_only
def test_an_index_is_needed_unless_a_valid_one_is_there(unindexed: PgVectorStore) -> None:
    assert unindexed.needs_index(REF, above=2)
    assert not PgVectorStore(index=None).needs_index(REF, above=2)
    unindexed.optimize(REF)
    assert not unindexed.needs_index(REF, above=2)
    assert not PgVectorStore(index="ivfflat").needs_index(REF, above=2), "one is enough"
    assert PgVectorStore(metric="l2").needs_index(REF, above=2), "it cannot answer this"
    execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", HNSW)
    assert unindexed.needs_index(REF, above=2), "its builder died"
    unindexed.optimize(REF)
    assert is_valid(HNSW)


@server_only
def test_more_dimensions_than_an_index_takes_need_none(database: FreshDatabase) -> None:
    large, store = CollectionRef(7, "product", 2001), PgVectorStore()
    store.ensure_collection(large)
    store.upsert(large, batch_of(["a"], dimensions=2001))
    assert not store.needs_index(large, above=0)
