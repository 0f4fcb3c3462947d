"""Embedded vector engines side by side: which one a store of ours is built on.

Each is used as a store would use it: an upsert by (entity, chunk), a commit per batch, a
scroll in key order, a filter on a payload. `pip install lancedb apsw sqlite-vec`, then
`python benchmarks/embedded_stores.py` (two minutes).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

DIMENSIONS, BATCH = 256, 1000
COLOURS = 100
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS vectors (
    entity TEXT, chunk INTEGER, vector BLOB CHECK (length(vector) = {4 * DIMENSIONS}),
    metadata TEXT, PRIMARY KEY (entity, chunk));
"""
UPSERT = """INSERT INTO vectors VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET vector = excluded.vector, metadata = excluded.metadata"""


class SqliteVec:
    """A plain table, and sqlite-vec's distance function over all of it."""

    def __init__(self, path: Path) -> None:
        import apsw
        import sqlite_vec

        self.db = apsw.Connection(str(path / "vectors.sqlite3"))
        self.db.enable_load_extension(True)
        self.db.load_extension(sqlite_vec.loadable_path())
        self.db.set_busy_timeout(30_000)
        self.db.execute("PRAGMA page_size = 16384; PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL; PRAGMA mmap_size = 1000000000")
        self.create()

    def create(self) -> None:
        self.db.execute(SCHEMA)

    def upsert(self, ids: list[str], vectors: Any, metadata: list[str]) -> None:
        rows = [
            (entity, 0, vector.tobytes(), document)
            for entity, vector, document in zip(ids, vectors, metadata, strict=True)
        ]
        self.db.execute("BEGIN IMMEDIATE")
        self.write(rows)
        self.db.execute("COMMIT")

    def write(self, rows: list[tuple[Any, ...]]) -> None:
        self.db.executemany(UPSERT, rows)

    def optimize(self) -> None:
        self.db.execute("PRAGMA optimize")

    def search(self, query: Any, colour: int | None = None) -> list[str]:
        where = "" if colour is None else "WHERE metadata ->> '$.colour' = ?"
        return [
            row[0]
            for row in self.db.execute(
                f"SELECT entity FROM vectors {where} "
                "ORDER BY vec_distance_cosine(vector, ?) LIMIT 10",
                (() if colour is None else (colour,)) + (query.tobytes(),),
            )
        ]

    def scroll(self) -> Iterator[int]:
        after: tuple[str, int] = ("", -1)
        while rows := self.db.execute(
            "SELECT entity, chunk, vector, metadata FROM vectors WHERE (entity, chunk) > (?, ?) "
            "ORDER BY entity, chunk LIMIT ?",
            (*after, BATCH),
        ).fetchall():
            after = rows[-1][:2]
            yield len(rows)

    def count(self) -> tuple[int, int]:
        return self.db.execute("SELECT count(*), count(DISTINCT entity) FROM vectors").fetchone()


class SqliteVecTable(SqliteVec):
    """The vectors in sqlite-vec's virtual table, keys and payloads in a plain one."""

    def create(self) -> None:
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS vectors (id INTEGER PRIMARY KEY, entity TEXT, "
            "chunk INTEGER, metadata TEXT, UNIQUE (entity, chunk));"
            "CREATE VIRTUAL TABLE IF NOT EXISTS near USING vec0("
            f"vector float[{DIMENSIONS}] distance_metric=cosine)"
        )

    def write(self, rows: list[tuple[Any, ...]]) -> None:
        ids = [
            self.db.execute(
                "INSERT INTO vectors (entity, chunk, metadata) VALUES (?, ?, ?) ON CONFLICT "
                "DO UPDATE SET metadata = excluded.metadata RETURNING id",
                (entity, chunk, metadata),
            ).fetchone()
            for entity, chunk, _, metadata in rows
        ]
        self.db.executemany("DELETE FROM near WHERE rowid = ?", ids)
        self.db.executemany(
            "INSERT INTO near (rowid, vector) VALUES (?, ?)",
            [(*key, row[2]) for key, row in zip(ids, rows, strict=True)],
        )

    def search(self, query: Any, colour: int | None = None) -> list[str]:
        where = (
            ""
            if colour is None
            else "AND rowid IN (SELECT id FROM vectors WHERE metadata ->> '$.colour' = ?)"
        )
        return [
            row[0]
            for row in self.db.execute(
                "SELECT entity FROM (SELECT rowid, distance FROM near WHERE vector MATCH ? "
                f"AND k = 10 {where}) n JOIN vectors v ON v.id = n.rowid ORDER BY distance",
                (query.tobytes(),) + (() if colour is None else (colour,)),
            )
        ]

    def scroll(self) -> Iterator[int]:
        after: tuple[str, int] = ("", -1)
        while rows := self.db.execute(
            "SELECT v.entity, v.chunk, n.vector, v.metadata FROM (SELECT * FROM vectors "
            "WHERE (entity, chunk) > (?, ?) ORDER BY entity, chunk LIMIT ?) v "
            "JOIN near n ON n.rowid = v.id ORDER BY v.entity, v.chunk",
            (*after, BATCH),
        ).fetchall():
            after = rows[-1][:2]
            yield len(rows)


class Lance:
    """A LanceDB table; optimistic commits, an IVF index built afterwards."""

    def __init__(self, path: Path) -> None:
        import lancedb
        import pyarrow as pa
        from lancedb.index import BTree

        self.pa = pa
        self.schema = pa.schema(
            [
                pa.field("id", pa.string(), nullable=False),
                pa.field("entity", pa.string(), nullable=False),
                pa.field("chunk", pa.int32(), nullable=False),
                pa.field("vector", pa.list_(pa.float32(), DIMENSIONS)),
                pa.field("metadata", pa.string()),
                pa.field("colour", pa.int32()),
            ]
        )
        db = lancedb.connect(path)
        try:
            self.table = db.open_table("vectors")
        except ValueError:
            self.table = db.create_table("vectors", schema=self.schema)
            self.table.set_unenforced_primary_key("id")
            self.table.create_index("id", config=BTree())

    def upsert(self, ids: list[str], vectors: Any, metadata: list[str]) -> None:
        pa = self.pa
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSIONS)
        colours = [json.loads(document)["colour"] for document in metadata]
        columns = [
            [f"{entity}/0" for entity in ids],
            ids,
            pa.array([0] * len(ids), pa.int32()),
            column,
            metadata,
        ]
        rows = pa.table([*columns, pa.array(colours, pa.int32())], schema=self.schema)
        merge = self.table.merge_insert("id")
        merge.when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def optimize(self) -> None:
        from lancedb.index import IvfFlat

        self.table.optimize()
        index = IvfFlat(distance_type="cosine", num_partitions=64)
        self.table.create_index("vector", config=index)

    def search(self, query: Any, colour: int | None = None) -> list[str]:
        found = (
            self.table.search(query)
            .distance_type("cosine")
            .limit(10)
            .select(["entity", "_distance"])
        )
        if colour is not None:
            found = found.where(f"colour = {colour}", prefilter=True)
        return found.to_arrow()["entity"].to_pylist()

    def scroll(self) -> Iterator[int]:
        from lancedb.query import ColumnOrdering

        ordering = [ColumnOrdering(column_name=name) for name in ("entity", "chunk")]
        for batch in self.table.search().order_by(ordering).to_batches(BATCH):
            yield batch.num_rows

    def count(self) -> tuple[int, int]:
        entities = self.table.search().select(["entity"]).limit(10**9).to_arrow()["entity"]
        return self.table.count_rows(), len(entities.unique())


ENGINES = {"sqlite-vec": SqliteVec, "sqlite-vec0": SqliteVecTable, "lancedb": Lance}


def batches(rows: int, seed: int = 0, prefix: str = "") -> Iterator[tuple[list[str], Any, Any]]:
    """Vectors around 1,000 centres, as embeddings are; a colour for each."""
    centres = np.random.default_rng(1).standard_normal((1000, DIMENSIONS))
    random = np.random.default_rng(seed)
    for start in range(0, rows, BATCH):
        near = centres[random.integers(0, 1000, BATCH)]
        vectors = (near + random.standard_normal(near.shape)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        numbers = range(start, start + BATCH)
        yield (
            [f"{prefix}{number:07}" for number in numbers],
            vectors,
            [json.dumps({"colour": number % COLOURS}) for number in numbers],
        )


def measure_writing(engine: Any, rows: int, prefix: str) -> dict[str, Any]:
    seconds, errors = [], []
    for batch in batches(rows, prefix=prefix):
        started = time.perf_counter()
        try:
            engine.upsert(*batch)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}"[:200])
        seconds.append(time.perf_counter() - started)
        print("written", flush=True)
    return {
        "rows_per_second": round(rows / sum(seconds)),
        "first_tenth": round(rows / 10 / sum(seconds[: len(seconds) // 10] or [1])),
        "last_tenth": round(rows / 10 / sum(seconds[-len(seconds) // 10 :] or [1])),
        "failed_batches": len(errors),
        "error": errors[:1],
    }


def measure_reading(engine: Any, rows: int) -> dict[str, Any]:
    everything = list(batches(rows))
    vectors = np.concatenate([batch[1] for batch in everything])
    queries = next(batches(BATCH, seed=7))[1][:50]
    result: dict[str, Any] = {}
    for name, colour in (("", None), ("_filtered", 42)):
        seconds, found = [], 0
        allowed = np.arange(rows) if colour is None else np.arange(colour, rows, COLOURS)
        for query in queries:
            exact = allowed[np.argsort(-(vectors[allowed] @ query))[:10]]
            started = time.perf_counter()
            hits = engine.search(query, colour)
            seconds.append(time.perf_counter() - started)
            found += len({f"{number:07}" for number in exact} & set(hits))
        result[f"search{name}_ms"] = round(statistics.median(seconds) * 1000, 1)
        result[f"recall{name}"] = found / (10 * len(queries))
    return result


def measure_live(engine: Any) -> dict[str, Any]:
    """One row at a time, as a model's save() does it."""
    ids, vectors, metadata = next(batches(BATCH, seed=3, prefix="live"))
    milliseconds = []
    for row in range(400):
        started = time.perf_counter()
        engine.upsert(ids[row : row + 1], vectors[row : row + 1], metadata[row : row + 1])
        milliseconds.append((time.perf_counter() - started) * 1000)
    started = time.perf_counter()
    for query in vectors[:10]:
        engine.search(query)
    return {
        "live_ms_first": round(statistics.median(milliseconds[:50]), 2),
        "live_ms_last": round(statistics.median(milliseconds[-50:]), 2),
        "search_ms_after_live": round((time.perf_counter() - started) * 100, 1),
    }


def measure_scroll(engine: Any) -> dict[str, Any]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    rows = sum(engine.scroll())
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"scroll_rows": rows, "scroll_s": round(seconds, 2), "scroll_peak_mb": peak >> 10}


def child(name: str, path: Path, what: str, rows: int, prefix: str = "") -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-W",
        "ignore",
        __file__,
        "--child",
        what,
        "--engine",
        name,
        "--path",
        str(path),
    ]
    command += ["--rows", str(rows), "--prefix", prefix]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def result_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=300)
    lines = out.splitlines()
    result: dict[str, Any] = json.loads(lines[-1]) if lines and lines[-1][0] == "{" else {}
    return result


def size(path: Path) -> str:
    kilobytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) >> 10
    return f"{kilobytes / 1024:.0f} MB in {sum(file.is_file() for file in path.rglob('*'))} files"


def compare(name: str, rows: int) -> dict[str, Any]:
    """Everything about one engine."""
    path = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    try:
        result = result_of(child(name, path, "write", rows))
        result["size_after_load"] = size(path)
        result |= result_of(child(name, path, "optimize", rows))
        result["size"] = size(path)
        result |= result_of(child(name, path, "read", rows))
        result |= result_of(child(name, path, "scroll", rows))
        result |= result_of(child(name, path, "live", rows))
        result["size_after_live"] = size(path)
        shutil.rmtree(path)
        path.mkdir()
        result_of(child(name, path, "count", 0))
        writers = [child(name, path, "write", rows // 5, prefix) for prefix in "ab"]
        result["two_writers"] = [result_of(writer) for writer in writers]
        same = [child(name, path, "write", rows // 20, "same") for _ in "ab"]
        result["two_writers_of_the_same"] = [result_of(writer)["failed_batches"] for writer in same]
        result["count_and_entities"] = result_of(child(name, path, "count", 0))["count"]
        victim = child(name, path, "write", rows // 2, "killed")
        assert victim.stdout
        acknowledged = sum(1 for _, line in zip(range(9), victim.stdout, strict=False))
        time.sleep(0.01)
        os.kill(victim.pid, signal.SIGKILL)
        acknowledged += victim.communicate()[0].count("written")
        before = result["count_and_entities"][0]
        after = result_of(child(name, path, "count", 0))["count"][0] - before
        result["killed"] = f"{acknowledged} batches acknowledged, {after} rows there"
    finally:
        shutil.rmtree(path)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=ENGINES)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--prefix", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.child:
        for name in [options.engine] if options.engine else ENGINES:
            print(json.dumps({name: compare(name, options.rows)}, indent=2), flush=True)
        return
    engine: Any = ENGINES[options.engine](options.path)
    result: dict[str, Any] = {}
    if options.child == "write":
        result = measure_writing(engine, options.rows, options.prefix)
    elif options.child == "read":
        result = measure_reading(engine, options.rows)
    elif options.child == "scroll":
        result = measure_scroll(engine)
    elif options.child == "live":
        result = measure_live(engine)
    elif options.child == "count":
        result = {"count": engine.count()}
    elif options.child == "optimize":
        started = time.perf_counter()
        engine.optimize()
        result = {"optimize_s": round(time.perf_counter() - started, 1)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
