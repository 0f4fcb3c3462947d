"""Vectors in PostgreSQL with pgvector: a table per collection, its index built after the
load."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import isnan
from typing import TYPE_CHECKING, Any, TypeVar

from django.core.checks import CheckMessage, Error
from django.db import connections, router

from ai_migration.exceptions import MissingDependencyError, SettingsError, StoreError
from ai_migration.models.sql.dialects import PostgreSQL, dialect
from ai_migration.models.sql.savepoints import sparing
from ai_migration.models.vectors import StoredVector
from ai_migration.stores._support import (
    dump_metadata,
    missing,
    other_dimensions,
    parse_metric,
    require_batch,
    require_ids,
    require_vectors,
)
from ai_migration.stores._transactions import atomically, translating
from ai_migration.stores.base import VectorStore
from ai_migration.stores.pgvector.building import BuildOptions, parse_size
from ai_migration.stores.pgvector.faults import check_version
from ai_migration.stores.pgvector.index import (
    CANDIDATES,
    HnswIndex,
    Index,
    IvfflatIndex,
    build_indexes,
    build_progress,
    lacks_index,
)
from ai_migration.stores.pgvector.precision import FLOAT32, PRECISIONS, Precision
from ai_migration.types import (
    CollectionRef,
    IndexBuild,
    JSONValue,
    Metric,
    StoreHit,
    VectorBatch,
    VectorKey,
    Vectors,
)

if TYPE_CHECKING:
    from ai_migration.stores.pgvector.table import PgVectorTable

logger = logging.getLogger(__name__)

EXACT_MATCHES = 20_000
"""Matches of a filter that are all compared, at most, which takes milliseconds. An index, which
does not know the filter, would find near vectors of which few match, and miss those that do."""

_Value = TypeVar("_Value")


class PgVectorStore(VectorStore):
    """pgvector 0.8 or later, on psycopg 3 (extra ``pgvector``).

    Writes are one binary statement per batch, in the transaction that is open on the
    database alias. A search is exact until :meth:`~VectorStore.optimize` has built the
    index, and approximate afterwards, except for filters with at most ``EXACT_MATCHES`` matches,
    which are all compared. Where the index finds fewer vectors than were asked for, the search is
    repeated exactly.

    Args:
        using: Database alias; None: that of this package's own tables.
        metric: ``cosine``, ``inner_product`` or ``l2``.
        precision: ``float32``, or ``float16`` for half the space. It applies to new collections: an
            existing table keeps its own.
        index: ``hnsw``, ``ivfflat``, or None: every search is exact.
        m: Links of a node of the HNSW graph, 2 to 100.
        ef_construction: Candidates while building, 4 to 1000, at least twice ``m``.
        ef_search: Candidates while searching, 1 to 1000; a search for more than half as many
            has twice as many as it asks for.
        lists: Lists of IVFFlat, 1 to 32768; None: a thousandth of the vectors, above a
            million of them the root of their number.
        probes: Lists to look into while searching; None: the root of the number of lists.
        maintenance_work_mem: Memory for building the index, such as ``"1GB"``. None: as much as it
            needs, up to ``max_maintenance_work_mem``; no less than the server is set to.
        max_maintenance_work_mem: The most it takes by itself; None: as the server is set.
        build_workers: Parallel workers for building it; None: all cores but one, or half of
            ``max_parallel_workers`` of a server on another machine.

    System checks:
        ``ai_migration.E111``: psycopg 3 is not installed.
        ``ai_migration.E112``: the database alias does not exist or is not PostgreSQL.
        ``ai_migration.W113``, ``I114``: pgvector has a fault that a later version has not.
    """

    supports_filters = True
    supports_any_of = True

    def __init__(
        self,
        using: str | None = None,
        metric: str = "cosine",
        precision: str = "float32",
        index: str | None = "hnsw",
        m: int = 16,
        ef_construction: int = 64,
        ef_search: int = CANDIDATES,
        lists: int | None = None,
        probes: int | None = None,
        maintenance_work_mem: str | None = None,
        max_maintenance_work_mem: str | None = "1GB",
        build_workers: int | None = None,
    ) -> None:
        self.metric = parse_metric(metric, PgVectorStore)
        for name, value, low, high in (
            ("m", m, 2, 100),
            ("ef_construction", ef_construction, max(4, 2 * m), 1000),
            ("ef_search", ef_search, 1, 1000),
            ("lists", lists, 1, 32768),
            ("probes", probes, 1, 32768),
        ):
            if value is not None and not low <= value <= high:
                raise SettingsError(f"PgVectorStore: {name} is {value}; use {low} to {high}")
        kinds = {
            "hnsw": HnswIndex(m, ef_construction, ef_search),
            "ivfflat": IvfflatIndex(lists, probes),
            None: None,
        }
        self._using = using
        self._extension = ""
        self._precision: Precision = _one_of("precision", precision, PRECISIONS)
        self._index: Index | None = _one_of("index", index, kinds)
        self._build_options = BuildOptions(
            self.metric,
            maintenance_work_mem,
            parse_size("max_maintenance_work_mem", max_maintenance_work_mem),
            build_workers,
        )

    @property
    def using(self) -> str:
        """The database alias where the vectors are; read from there too: a replica lags."""
        return self._using or router.db_for_write(StoredVector)

    def shares_transaction(self, using: str) -> bool:
        return using == self.using

    def ensure_collection(self, collection: CollectionRef) -> None:
        table = self._table(collection)
        with atomically(self.using, collection):
            if table.column() is None:
                table.lock_creation()
                if not table.find_extension():
                    self._create_extension(table)
                table.create(self._precision)
            self._require(table)

    def exists(self, collection: CollectionRef) -> bool:
        with translating(self.using, collection):
            return self._table(collection).column() is not None

    def upsert(self, collection: CollectionRef, batch: VectorBatch) -> None:
        vectors = require_batch(self, collection, batch)
        documents = None if batch.metadata is None else dump_metadata(collection, batch.metadata)
        with atomically(self.using, collection):
            table = self._table(collection)
            # The server converts float32 to the table's precision, but not float16 to float32.
            is_known = self._precision is FLOAT32 and table.extension
            precision = FLOAT32 if is_known else self._require(table)
            table.upsert(batch.entity_ids, batch.chunks, vectors, documents, precision)

    def update_metadata(
        self,
        collection: CollectionRef,
        entity_ids: Sequence[str],
        metadata: Sequence[Mapping[str, JSONValue]],
    ) -> None:
        require_ids(collection, entity_ids)
        documents = dump_metadata(collection, metadata)
        with atomically(self.using, collection):
            self._table(collection).update_metadata(entity_ids, documents)

    def delete(self, collection: CollectionRef, entity_ids: Sequence[str]) -> None:
        require_ids(collection, entity_ids)
        with atomically(self.using, collection):
            self._table(collection).delete(entity_ids)

    def scroll(self, collection: CollectionRef, *, page_size: int = 1000) -> Iterator[VectorBatch]:
        table = self._table(collection)
        with translating(self.using, collection):
            precision = self._require(table)
        after = ("", -1)
        while True:
            with translating(self.using, collection):
                rows = table.page(after, page_size)
            if rows:
                yield table.as_batch(rows, precision)
            if len(rows) < page_size:
                return
            after = (rows[-1][0], rows[-1][1])

    def fetch(self, collection: CollectionRef, entity_ids: Sequence[str]) -> Iterator[VectorBatch]:
        table = self._table(collection)
        with translating(self.using, collection):
            precision = self._require(table)
            rows = table.vectors_of(entity_ids)
        yield table.as_batch(rows, precision)

    def keys(
        self, collection: CollectionRef, *, after: JSONValue = None, limit: int
    ) -> tuple[list[VectorKey], JSONValue]:
        table = self._table(collection)
        with translating(self.using, collection):
            self._require(table)
            found = table.keys(tuple(after or ("", -1)), limit)
        return found, list(found[-1]) if len(found) == limit else None

    def count(self, collection: CollectionRef) -> int:
        table = self._table(collection)
        with translating(self.using, collection):
            return 0 if table.column() is None else table.count()

    def search(
        self,
        collection: CollectionRef,
        vector: Vectors,
        *,
        limit: int,
        filters: Mapping[str, JSONValue] | None = None,
    ) -> list[StoreHit]:
        query = require_vectors(self, collection, vector)
        if limit < 1:
            return []
        table, index, filters = self._table(collection), self._index, filters or {}
        with atomically(self.using, collection):
            precision = self._require(table)
            nearest = partial(table.nearest, self.metric, query, limit, filters, precision)
            rows = []
            if index is not None and not (filters and self._are_few(table, filters)):
                index.prepare_search(table, limit)
                rows = nearest(candidates=index.candidates(limit) if filters else limit)
            if len(rows) < limit:
                rows = nearest(candidates=None)
        hits = [
            StoreHit(entity_id, chunk, self._score(distance), json.loads(document or "{}"))
            for entity_id, chunk, distance, document in rows
        ]
        return sorted(hits, key=lambda hit: -hit.score)

    def drop_collection(self, collection: CollectionRef) -> None:
        with atomically(self.using, collection):
            self._table(collection).drop()

    def optimize(self, collection: CollectionRef) -> None:
        """Build the index of the vectors, and one of the payloads for filters, unless they exist or
        are being built; drop one of another kind.

        Outside a transaction writers continue meanwhile. It waits for older transactions of the
        database to end.
        """
        table, index = self._table(collection), self._index
        with translating(self.using, collection):
            precision = self._require(table)
            if index is not None and collection.dimensions > precision.indexable:
                logger.warning(
                    "%s has %d dimensions and an index takes at most %d: searches stay exact, "
                    "and slow down as the collection grows",
                    collection.name,
                    collection.dimensions,
                    precision.indexable,
                )
                index = None
            build_indexes(table, precision, index, self._build_options)

    def needs_index(self, collection: CollectionRef, *, above: int) -> bool:
        if self._index is None:
            return False
        with translating(self.using, collection), sparing(self.using):
            return lacks_index(self._table(collection), self.metric, above)

    def index_build(self, collection: CollectionRef) -> IndexBuild | None:
        with translating(self.using, collection), sparing(self.using):
            return build_progress(self._table(collection))

    def check(self) -> list[CheckMessage]:
        if importlib.util.find_spec("psycopg") is None:
            missing_library = MissingDependencyError("psycopg", "pgvector", "PgVectorStore")
            return [Error(missing_library.message, id="ai_migration.E111")]
        if not self._is_postgresql():
            return [Error(self._no_postgresql(), id="ai_migration.E112")]
        return []

    def check_server(self) -> list[CheckMessage]:
        if self.check():
            return []
        with sparing(self.using):
            return check_version(self._table(CollectionRef(0, "", 0)).extension_version())

    def _table(self, collection: CollectionRef) -> PgVectorTable:
        if not self._is_postgresql():
            raise StoreError(self._no_postgresql())
        from ai_migration.stores.pgvector.table import PgVectorTable

        return PgVectorTable(connections[self.using], collection, self._extension)

    @staticmethod
    def _are_few(table: PgVectorTable, filters: Mapping[str, JSONValue]) -> bool:
        return table.matching(filters, EXACT_MATCHES + 1) <= EXACT_MATCHES

    def _require(self, table: PgVectorTable) -> Precision:
        """Return the column of a collection's vectors; refuse one that does not exist, or has other
        dimensions."""
        column = table.column()
        if column is None:
            raise missing(table.collection)
        if column.dimensions != table.collection.dimensions:
            raise other_dimensions(table.collection, column.dimensions)
        self._extension = column.extension
        return column.precision

    def _create_extension(self, table: PgVectorTable) -> None:
        try:
            with translating(self.using, table.collection):
                table.create_extension()
        except StoreError as error:
            raise StoreError(
                f"The database {self.using!r} has no pgvector, and creating the extension "
                f"failed ({error}). Install pgvector on the server, then run in this database, "
                f"as a superuser: CREATE EXTENSION vector",
                transient=error.transient,
            ) from error

    def _score(self, distance: float) -> float:
        if self.metric is Metric.L2:
            return 1.0 / (1.0 + distance)
        if self.metric is Metric.INNER_PRODUCT:
            return -distance
        return 0.0 if isnan(distance) else 1.0 - distance  # NaN: a vector without direction

    def _is_postgresql(self) -> bool:
        return self.using in connections and isinstance(dialect(self.using), PostgreSQL)

    def _no_postgresql(self) -> str:
        return (
            f"PgVectorStore needs a PostgreSQL database, which the alias {self.using!r} is not. "
            f"Set its option 'using' to one that is, or use DatabaseStore."
        )


def _one_of(option: str, key: str | None, values: Mapping[Any, _Value]) -> _Value:
    try:
        return values[key]
    except (KeyError, TypeError):
        known = ", ".join(repr(each) for each in values)
        raise SettingsError(f"PgVectorStore: {option} is {key!r}; use one of {known}") from None
