"""Vectors in Qdrant: a server, or its local mode in a folder."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from django.core.checks import CheckMessage, Warning

from ai_migration.exceptions import SettingsError
from ai_migration.redaction import Address, guard_loggers
from ai_migration.stores._support import (
    INHERITED,
    dump_metadata,
    matches,
    other_dimensions,
    parse_metric,
    require_batch,
    require_ids,
    require_library,
    require_vectors,
    values_of,
)
from ai_migration.stores.base import VectorStore, vector_id
from ai_migration.stores.qdrant import client as qdrant
from ai_migration.types import (
    CollectionRef,
    JSONValue,
    Metric,
    StoreHit,
    VectorBatch,
    VectorKey,
    Vectors,
)

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

_DISTANCES = {Metric.COSINE: "Cosine", Metric.INNER_PRODUCT: "Dot", Metric.L2: "Euclid"}
_INDEX_TYPES = ("keyword", "integer", "float", "bool", "uuid", "datetime")
_IDS = 1000
"""Entities in one request to delete."""
_KEYS = 2000
"""Keys in one request of a scroll."""
_POLL_SECONDS = 1.0


class QdrantStore(VectorStore):
    """Qdrant, with a collection for each of ours, on qdrant-client (extra ``qdrant``).

    A payload is ``{"entity", "chunk", "norm", "metadata"}``: Qdrant keeps vectors of the
    metric ``cosine`` at length 1, and ``norm`` brings the length back. A filter that Qdrant cannot
    express exactly (null, lists, odd keys) fetches more and compares here. A scroll reads the keys
    of all vectors first, and sorts them in a temporary file: Qdrant cannot order by text. A batch
    that does not fit one request is written in several.

    Args:
        url: The server, ``https://qdrant.example.com:6333``. A user and password in it are sent as
            a header, for a proxy in front of it.
        api_key: Its key.
        path: Instead of ``url``: the folder of the local mode. One process at a time, exact
            search, a few thousand vectors: to try things out, and for tests.
        prefix: Prefix of the names of collections and aliases, if several sites share a server.
        metric: ``cosine``, ``inner_product`` or ``l2``.
        indexed: Metadata fields with a payload index, by its type: ``{"tenant": "keyword"}``.
            A filter on another field reads the payload of every candidate.
        m: Links of a node of the HNSW graph; while a collection is loaded there is none.
        timeout: Seconds to wait for an answer.

    System checks:
        ``ai_migration.W161``: the local mode is for one process.
    """

    supports_filters = True
    supports_any_of = True

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        path: str | os.PathLike[str] | None = None,
        prefix: str = "",
        metric: str = "cosine",
        indexed: Mapping[str, str] | None = None,
        m: int = 16,
        timeout: int = 60,
    ) -> None:
        require_library("qdrant_client", "qdrant-client", "qdrant", QdrantStore)
        if (url is None) == (path is None):
            raise SettingsError("QdrantStore: name the server with 'url', or a folder with 'path'")
        self.indexed = dict(indexed or {})
        for name, kind in self.indexed.items():
            if kind not in _INDEX_TYPES:
                known = ", ".join(_INDEX_TYPES)
                raise SettingsError(
                    f"QdrantStore: index of {name!r} is {kind!r}; use one of {known}"
                )
        self.metric = parse_metric(metric, QdrantStore)
        self.prefix = prefix
        self.one_process = path is not None
        self._m = m
        self._address, self._api_key = Address.parse(url or ""), api_key
        self._where: dict[str, Any] = {
            "url": self._address.url,
            "api_key": api_key,
            "timeout": timeout,
            "metadata": self._address.headers,
        }
        if path is not None:
            self._where = {"path": os.fspath(path), "force_disable_check_same_thread": True}
        self._lock = threading.RLock()
        self._opened: tuple[int, QdrantClient] | None = None

    def ensure_collection(self, collection: CollectionRef) -> None:
        from qdrant_client.http.exceptions import UnexpectedResponse

        name = self._name(collection)
        with self._calling(collection) as client:
            if not client.collection_exists(name):
                try:
                    self._create(client, name, collection.dimensions)
                except UnexpectedResponse:
                    if not client.collection_exists(name):  # no other process was faster
                        raise
            vectors: Any = client.get_collection(name).config.params.vectors
        if vectors.size != collection.dimensions:
            raise other_dimensions(collection, vectors.size)

    def exists(self, collection: CollectionRef) -> bool:
        with self._calling(collection) as client:
            return client.collection_exists(self._name(collection))

    def upsert(self, collection: CollectionRef, batch: VectorBatch) -> None:
        from qdrant_client import models

        vectors = require_batch(self, collection, batch)
        documents: Sequence[str | None] = [None] * len(batch)
        if batch.metadata is not None:
            documents = dump_metadata(collection, batch.metadata)
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1).tolist()
        keys = list(zip(batch.entity_ids, map(int, batch.chunks), strict=True))
        payloads: list[dict[str, JSONValue]] = [
            {"entity": entity_id, "chunk": chunk, "norm": norm}
            for (entity_id, chunk), norm in zip(keys, norms, strict=True)
        ]
        for payload, document in zip(payloads, documents, strict=True):
            if document is not None:
                payload["metadata"] = json.loads(document)
        for part in qdrant.slices(collection.dimensions, batch.entity_ids, documents):
            points = models.Batch(
                ids=[str(vector_id(collection, *key)) for key in keys[part]],
                vectors=vectors[part].tolist(),
                payloads=payloads[part],
            )
            with self._calling(collection) as client:
                client.upsert(self._name(collection), points, wait=True)

    def update_metadata(
        self,
        collection: CollectionRef,
        entity_ids: Sequence[str],
        metadata: Sequence[Mapping[str, JSONValue]],
    ) -> None:
        from qdrant_client import models

        require_ids(collection, entity_ids)
        documents = dump_metadata(collection, metadata)
        operations = [
            models.SetPayloadOperation(
                set_payload=models.SetPayload(
                    payload={"metadata": json.loads(document)}, filter=qdrant.entities([entity_id])
                )
            )
            for entity_id, document in zip(entity_ids, documents, strict=True)
        ]
        for part in qdrant.slices(0, entity_ids, documents):
            with self._calling(collection) as client:
                client.batch_update_points(self._name(collection), operations[part], wait=True)

    def delete(self, collection: CollectionRef, entity_ids: Sequence[str]) -> None:
        from qdrant_client import models

        require_ids(collection, entity_ids)
        for start in range(0, len(entity_ids), _IDS):
            chosen = qdrant.entities(entity_ids[start : start + _IDS])
            with self._calling(collection) as client:
                client.delete(
                    self._name(collection), models.FilterSelector(filter=chosen), wait=True
                )

    def scroll(self, collection: CollectionRef, *, page_size: int = 1000) -> Iterator[VectorBatch]:
        # An unnamed database of SQLite: in memory, and in a temporary file when it grows.
        with closing(sqlite3.connect("", check_same_thread=False)) as keys:
            keys.execute(
                "CREATE TABLE keys (entity TEXT, chunk INTEGER, id TEXT, "
                "PRIMARY KEY (entity, chunk)) WITHOUT ROWID"
            )
            for found, _ in self._pages(collection):
                keys.executemany("INSERT OR REPLACE INTO keys VALUES (?, ?, ?)", found)
            ordered = keys.execute("SELECT id FROM keys ORDER BY entity, chunk")
            while ids := [row[0] for row in ordered.fetchmany(page_size)]:
                page = self._page(collection, ids)
                if page:
                    yield page

    def fetch(self, collection: CollectionRef, entity_ids: Sequence[str]) -> Iterator[VectorBatch]:
        for start in range(0, len(entity_ids), _IDS):
            chosen = qdrant.entities(entity_ids[start : start + _IDS])
            for points in self._points(collection, chosen):
                yield qdrant.as_batch(points, normalized=self.metric is Metric.COSINE)

    def keys(
        self, collection: CollectionRef, *, after: JSONValue = None, limit: int
    ) -> tuple[list[VectorKey], JSONValue]:
        """Return the keys of points in the order of their ids. One without an entity, which is
        none of ours, counts for the entity ``""``."""
        found, after = next(self._pages(collection, after, min(limit, _KEYS)))
        return [(entity, chunk) for entity, chunk, _ in found], after

    def count(self, collection: CollectionRef) -> int:
        name = self._name(collection)
        with self._calling(collection) as client:
            return client.count(name, exact=True).count if client.collection_exists(name) else 0

    def search(
        self,
        collection: CollectionRef,
        vector: Vectors,
        *,
        limit: int,
        filters: Mapping[str, JSONValue] | None = None,
    ) -> list[StoreHit]:
        query = require_vectors(self, collection, vector).tolist()
        if limit < 1:
            return []
        wanted, filters = limit, filters or {}
        wanted_values = values_of(filters)
        dump_metadata(collection, [wanted_values])  # refuse what no payload can have
        if not all(wanted_values.values()):
            return []
        condition = qdrant.condition(wanted_values)
        while True:
            with self._calling(collection) as client:
                points = client.query_points(
                    self._name(collection), query, query_filter=condition, limit=wanted
                ).points
            hits = [
                StoreHit(payload["entity"], payload["chunk"], self._score(point.score), metadata)
                for point in points
                for payload in [point.payload or {}]
                for metadata in [payload.get("metadata", {})]
                if matches(metadata, filters)
            ]
            if len(hits) >= limit or len(points) < wanted:
                return hits[:limit]
            wanted *= 4

    def drop_collection(self, collection: CollectionRef) -> None:
        with self._calling(collection) as client:
            client.delete_collection(self._name(collection))

    def optimize(self, collection: CollectionRef) -> None:
        """Let Qdrant build its HNSW graph, and wait for it. Searches are exact until then."""
        from qdrant_client import models

        name = self._name(collection)
        with self._calling(collection) as client:
            client.update_collection(name, hnsw_config=models.HnswConfigDiff(m=self._m))
        while True:
            with self._calling(collection) as client:
                status = client.get_collection(name).status
            if status != models.CollectionStatus.YELLOW:
                return
            time.sleep(_POLL_SECONDS)

    def needs_index(self, collection: CollectionRef, *, above: int) -> bool:
        if self.one_process:  # in this process every search is exact
            return False
        with self._calling(collection) as client:
            info = client.get_collection(self._name(collection))
        return info.config.hnsw_config.m == 0 and (info.points_count or 0) > above

    def activated(self, collection: CollectionRef) -> None:
        """Point the alias ``<prefix><entity type>`` to the collection, in one step: other readers
        of the server need not know our names. A tenant's alias has its scope before the entity
        type: ``<prefix><scope>_<entity type>``."""
        from qdrant_client import models

        scope = f"{collection.scope}_" if collection.scope else ""
        alias, name = f"{self.prefix}{scope}{collection.entity_type}", self._name(collection)
        create = models.CreateAlias(alias_name=alias, collection_name=name)
        operations: list[Any] = [models.CreateAliasOperation(create_alias=create)]
        with self._calling(collection) as client:
            if any(known.alias_name == alias for known in client.get_aliases().aliases):
                delete = models.DeleteAlias(alias_name=alias)
                operations.insert(0, models.DeleteAliasOperation(delete_alias=delete))
            client.update_collection_aliases(operations)

    def check(self) -> list[CheckMessage]:
        if not self.one_process:
            return []
        return [
            Warning(
                "QdrantStore: its local mode locks the folder for one process at a time",
                hint="Name a server with the option 'url', or use SqliteVecStore.",
                id="ai_migration.W161",
            )
        ]

    def secrets(self) -> Iterator[str]:
        yield from self._address.secrets
        yield self._api_key or ""

    def _name(self, collection: CollectionRef) -> str:
        return f"{self.prefix}{collection.name}"

    def _create(self, client: QdrantClient, name: str, dimensions: int) -> None:
        from qdrant_client import models

        client.create_collection(
            name,
            models.VectorParams(size=dimensions, distance=models.Distance(_DISTANCES[self.metric])),
            hnsw_config=models.HnswConfigDiff(m=0),
        )
        if not self.one_process:  # the local mode has no indexes
            fields = {f"metadata.{name}": kind for name, kind in self.indexed.items()}
            for field, kind in {"entity": "keyword", **fields}.items():
                client.create_payload_index(name, field, models.PayloadSchemaType(kind))

    def _points(self, collection: CollectionRef, chosen: models.Filter) -> Iterator[list[Any]]:
        """Yield points with their vectors, in pages."""
        offset: Any = None
        while True:
            with self._calling(collection) as client:
                points, offset = client.scroll(
                    self._name(collection),
                    chosen,
                    limit=_IDS,
                    offset=offset,
                    with_payload=True,
                    with_vectors=True,
                )
            if points:
                yield points
            if offset is None:
                return

    def _pages(
        self, collection: CollectionRef, offset: Any = None, size: int | None = None
    ) -> Iterator[tuple[list[tuple[str, int, str]], JSONValue]]:
        """Yield entity, chunk and id of points, in the order of their ids, each page with the id of
        the point after it."""
        while True:
            with self._calling(collection) as client:
                points, offset = client.scroll(
                    self._name(collection),
                    limit=size or _KEYS,
                    offset=offset,
                    with_payload=["entity", "chunk"],
                )
            page = [
                (payload.get("entity", ""), payload.get("chunk", 0), str(point.id))
                for point in points
                for payload in [point.payload or {}]
            ]
            yield page, offset
            if offset is None:
                return

    def _page(self, collection: CollectionRef, ids: list[str]) -> VectorBatch | None:
        with self._calling(collection) as client:
            found = client.retrieve(self._name(collection), ids, with_vectors=True)
        points = {str(point.id): point for point in found}
        page: list[Any] = [points[each] for each in ids if each in points]
        if not page:  # deleted meanwhile
            return None
        return qdrant.as_batch(page, normalized=self.metric is Metric.COSINE)

    def _score(self, score: float) -> float:
        return 1.0 / (1.0 + score) if self.metric is Metric.L2 else score

    @contextmanager
    def _calling(self, collection: CollectionRef) -> Iterator[QdrantClient]:
        """Give the client of this process; the local mode takes one thread at a time."""
        with qdrant.translating(collection, self):
            if self.one_process:
                with self._lock:
                    yield self._client()
            else:
                yield self._client()

    def _client(self) -> QdrantClient:
        with self._lock:
            if self._opened is None or self._opened[0] != os.getpid():
                INHERITED.append(self._opened)
                self._opened = os.getpid(), self._connect()
            return self._opened[1]

    def _connect(self) -> QdrantClient:
        from qdrant_client import QdrantClient

        # Making a client asks nothing: the version of the server is not looked up.
        client = QdrantClient(**self._where, check_compatibility=False)
        guard_loggers()  # the library and what it brings are imported now
        return client
