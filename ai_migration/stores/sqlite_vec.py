"""Vectors in an SQLite file of their own, with sqlite-vec's distance functions."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from django.core.checks import CheckMessage, Error

from ai_migration.exceptions import SettingsError, StoreError
from ai_migration.stores._support import (
    INHERITED,
    dump_metadata,
    load_metadata,
    matches,
    missing,
    other_dimensions,
    parse_metric,
    require_batch,
    require_ids,
    require_library,
    require_vectors,
    unpacked,
    values_of,
)
from ai_migration.stores.base import VectorStore
from ai_migration.types import (
    AnyOf,
    CollectionRef,
    JSONValue,
    Metric,
    StoreHit,
    VectorBatch,
    VectorKey,
    Vectors,
)

Connection: TypeAlias = Any
"""``apsw.Connection``, whose rows are typed as any values of SQLite."""

_BUSY_MILLISECONDS = 30_000
_SCORES = {
    # NULL: the cosine of a vector without a direction.
    Metric.COSINE: "1.0 - coalesce(vec_distance_cosine(vector, ?), 1.0)",
    Metric.L2: "1.0 / (1.0 + vec_distance_L2(vector, ?))",
}


class SqliteVecStore(VectorStore):
    """sqlite-vec in a file of its own, on apsw (extra ``sqlite-vec``).

    Any number of processes of one host can write; each write is one transaction, which is on the
    disk when it returns. apsw brings an SQLite that loads extensions, which Python's own often does
    not. A search compares with every vector, exactly: right for some hundred thousand. No network
    file systems: https://www.sqlite.org/wal.html

    Args:
        path: The file; it is created in an existing folder.
        metric: ``cosine`` or ``l2``.

    System checks:
        ``ai_migration.E161``: the folder of the file does not exist.
    """

    supports_filters = True
    supports_any_of = True

    def __init__(self, path: str | os.PathLike[str], metric: str = "cosine") -> None:
        require_library("apsw", "apsw", "sqlite-vec", SqliteVecStore)
        require_library("sqlite_vec", "sqlite-vec", "sqlite-vec", SqliteVecStore)
        require_library("tenacity", "tenacity", "sqlite-vec", SqliteVecStore)
        self.path = Path(path)
        self.metric = parse_metric(metric, SqliteVecStore)
        if self.metric not in _SCORES:
            known = ", ".join(_SCORES)
            raise SettingsError(f"SqliteVecStore: metric is {metric!r}; use one of {known}")
        self._local = threading.local()

    def ensure_collection(self, collection: CollectionRef) -> None:
        with self._writing(collection) as db:
            db.execute(
                "CREATE TABLE IF NOT EXISTS collections ("
                "name TEXT PRIMARY KEY, dimensions INTEGER NOT NULL) STRICT"
            )
            db.execute(
                "INSERT INTO collections VALUES (?, ?) ON CONFLICT DO NOTHING",
                (collection.name, collection.dimensions),
            )
            self._require(db, collection)
            db.execute(
                f"CREATE TABLE IF NOT EXISTS {collection.name} (entity TEXT, chunk INTEGER, "
                "vector BLOB NOT NULL, metadata TEXT, PRIMARY KEY (entity, chunk)) STRICT"
            )

    def exists(self, collection: CollectionRef) -> bool:
        if not self.path.exists():
            return False
        with self._translating(collection):
            return self._dimensions(self._connection(), collection) is not None

    def upsert(self, collection: CollectionRef, batch: VectorBatch) -> None:
        vectors = require_batch(self, collection, batch)
        documents: Sequence[str | None] = [None] * len(batch)
        if batch.metadata is not None:
            documents = dump_metadata(collection, batch.metadata)
        rows = zip(
            batch.entity_ids,
            map(int, batch.chunks),
            (vector.tobytes() for vector in vectors),
            documents,
            strict=True,
        )
        with self._writing(collection) as db:
            self._require(db, collection)
            db.executemany(
                f"INSERT INTO {collection.name} VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
                "SET vector = excluded.vector, metadata = excluded.metadata",
                rows,
            )

    def update_metadata(
        self,
        collection: CollectionRef,
        entity_ids: Sequence[str],
        metadata: Sequence[Mapping[str, JSONValue]],
    ) -> None:
        require_ids(collection, entity_ids)
        documents = dump_metadata(collection, metadata)
        with self._writing(collection) as db:
            self._require(db, collection)
            db.executemany(
                f"UPDATE {collection.name} SET metadata = ? WHERE entity = ?",
                zip(documents, entity_ids, strict=True),
            )

    def delete(self, collection: CollectionRef, entity_ids: Sequence[str]) -> None:
        require_ids(collection, entity_ids)
        with self._writing(collection) as db:
            self._require(db, collection)
            db.executemany(
                f"DELETE FROM {collection.name} WHERE entity = ?", zip(entity_ids, strict=True)
            )

    def scroll(self, collection: CollectionRef, *, page_size: int = 1000) -> Iterator[VectorBatch]:
        after = ("", -1)
        while True:
            with self._translating(collection):
                db = self._connection()
                self._require(db, collection)
                rows = db.execute(
                    f"SELECT entity, chunk, vector, metadata FROM {collection.name} "
                    "WHERE (entity, chunk) > (?, ?) ORDER BY entity, chunk LIMIT ?",
                    (*after, page_size),
                ).fetchall()
            if rows:
                vectors = np.frombuffer(b"".join(row[2] for row in rows), dtype=np.float32)
                yield VectorBatch(
                    [row[0] for row in rows],
                    [row[1] for row in rows],
                    vectors.reshape(len(rows), collection.dimensions),
                    load_metadata([row[3] for row in rows]),
                )
            if len(rows) < page_size:
                return
            after = rows[-1][:2]

    def fetch(self, collection: CollectionRef, entity_ids: Sequence[str]) -> Iterator[VectorBatch]:
        with self._translating(collection):
            db = self._connection()
            self._require(db, collection)
            rows = db.execute(
                f"SELECT entity, chunk, vector, metadata FROM {collection.name} "
                "WHERE entity IN (SELECT value FROM json_each(?))",
                (json.dumps(list(entity_ids)),),
            ).fetchall()
        yield VectorBatch(
            [row[0] for row in rows],
            [row[1] for row in rows],
            unpacked([row[2] for row in rows], collection.dimensions),
            load_metadata([row[3] for row in rows]),
        )

    def keys(
        self, collection: CollectionRef, *, after: JSONValue = None, limit: int
    ) -> tuple[list[VectorKey], JSONValue]:
        with self._translating(collection):
            db = self._connection()
            self._require(db, collection)
            found = db.execute(
                f"SELECT entity, chunk FROM {collection.name} "
                "WHERE (entity, chunk) > (?, ?) ORDER BY entity, chunk LIMIT ?",
                (*(after or ("", -1)), limit),
            ).fetchall()
        return found, list(found[-1]) if len(found) == limit else None

    def count(self, collection: CollectionRef) -> int:
        if not self.exists(collection):
            return 0
        with self._translating(collection):
            query = self._connection().execute(f"SELECT count(*) FROM {collection.name}")
            return int(query.get)

    def search(
        self,
        collection: CollectionRef,
        vector: Vectors,
        *,
        limit: int,
        filters: Mapping[str, JSONValue] | None = None,
    ) -> list[StoreHit]:
        query = require_vectors(self, collection, vector).tobytes()
        where, values = _where(dump_metadata(collection, [values_of(filters or {})])[0])
        with self._translating(collection):
            db = self._connection()
            self._require(db, collection)
            rows = db.execute(
                f"SELECT entity, chunk, {_SCORES[self.metric]} AS score, metadata "
                f"FROM {collection.name} {where} ORDER BY score DESC LIMIT ?",
                [query, *values, max(0, limit)],
            ).fetchall()
        return [
            StoreHit(entity_id, chunk, score, json.loads(document or "{}"))
            for entity_id, chunk, score, document in rows
        ]

    def drop_collection(self, collection: CollectionRef) -> None:
        if not self.exists(collection):
            return
        with self._writing(collection) as db:
            db.execute(f"DROP TABLE IF EXISTS {collection.name}")
            db.execute("DELETE FROM collections WHERE name = ?", (collection.name,))

    def optimize(self, collection: CollectionRef) -> None:
        """Move what was loaded from the write-ahead log into the file, as far as readers allow
        it."""
        with self._translating(collection):
            self._connection().execute("PRAGMA wal_checkpoint(PASSIVE)")

    def check(self) -> list[CheckMessage]:
        if not self.path.parent.is_dir():
            return [Error(self._no_folder(), id="ai_migration.E161")]
        return []

    @contextmanager
    def _writing(self, collection: CollectionRef) -> Iterator[Connection]:
        """Open a transaction in which no other process writes."""
        with self._translating(collection):
            db = self._connection()
            db.execute("BEGIN IMMEDIATE")  # apsw's own `with` would wait holding the GIL
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _connection(self) -> Connection:
        """Return the connection of this thread, in this process."""
        process, db = getattr(self._local, "connection", (None, None))
        if process == os.getpid():
            return db
        INHERITED.append(db)  # https://www.sqlite.org/howtocorrupt.html (2.6)
        db = self._connect()
        self._local.connection = (os.getpid(), db)
        return db

    def _connect(self) -> Connection:
        import apsw
        import sqlite_vec
        from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random

        if not self.path.parent.is_dir():
            raise StoreError(self._no_folder())
        db: Connection = apsw.Connection(os.fspath(self.path))
        db.set_busy_timeout(_BUSY_MILLISECONDS)
        db.enable_load_extension(True)
        db.load_extension(sqlite_vec.loadable_path())
        db.enable_load_extension(False)
        db.create_scalar_function("json_matches", _json_matches, 2, deterministic=True)
        # Of two processes that open a new file at once, one does not get the lock that WAL needs,
        # and SQLite does not let it wait.
        for attempt in Retrying(
            retry=retry_if_exception_type(apsw.BusyError),
            wait=wait_random(0, 0.02),
            stop=stop_after_delay(_BUSY_MILLISECONDS / 1000),
            reraise=True,
        ):
            with attempt:
                db.execute("PRAGMA page_size = 16384; PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA mmap_size = 1073741824")  # no vector is copied to be compared
        return db

    @contextmanager
    def _translating(self, collection: CollectionRef) -> Iterator[None]:
        """Translate SQLite's errors.

        Raises:
            StoreError: Transient if trying again can help.
        """
        import apsw

        try:
            yield
        except apsw.FullError as error:
            raise StoreError(
                f"{collection.name}: the disk of {self.path} is full. Free space, then resume."
            ) from error
        except apsw.Error as error:
            transient = isinstance(error, apsw.BusyError | apsw.LockedError)
            raise StoreError(
                f"{collection.name}: {self.path}: {str(error)[:200]}", transient=transient
            ) from error

    def _require(self, db: Connection, collection: CollectionRef) -> None:
        """Refuse a collection that does not exist, or has other dimensions."""
        dimensions = self._dimensions(db, collection)
        if dimensions is None:
            raise missing(collection)
        if dimensions != collection.dimensions:
            raise other_dimensions(collection, dimensions)

    @staticmethod
    def _dimensions(db: Connection, collection: CollectionRef) -> int | None:
        if not db.table_exists("main", "collections"):
            return None
        found: int | None = db.execute(
            "SELECT dimensions FROM collections WHERE name = ?", (collection.name,)
        ).get
        return found

    def _no_folder(self) -> str:
        return (
            f"The folder {self.path.parent} of SqliteVecStore does not exist. Create it, or "
            f"correct the option 'path'."
        )


def _where(filters: str) -> tuple[str, list[JSONValue]]:
    """Return filters, each with the values that match, as a clause. SQL finds what can match and
    Python decides: SQLite takes true for 1, and lists and objects have no value there."""
    parameters: list[JSONValue] = []
    conditions: list[str] = []
    for name, values in json.loads(filters).items():
        atoms = [_atom(value) for value in values]
        among = "atom IN (SELECT atom FROM json_each(?))"
        if None in atoms:  # IN finds no null
            among = f"({among} OR atom IS NULL)"
        conditions.append(f"EXISTS (SELECT 1 FROM json_each(metadata) WHERE key = ? AND {among})")
        parameters += [name, json.dumps(atoms)]
    if not conditions:
        return "", []
    where = f"WHERE CASE WHEN {' AND '.join(conditions)} THEN json_matches(metadata, ?) END"
    return where, [*parameters, filters]


def _atom(value: JSONValue) -> JSONValue:
    if isinstance(value, int) and abs(value) >= 2**63:
        return float(str(value))
    return None if isinstance(value, list | dict) else value


def _json_matches(document: str, filters: str) -> bool:
    return matches(
        json.loads(document),
        {name: AnyOf(values) for name, values in json.loads(filters).items()},
    )
