"""The interface of vector stores, which keep vectors by entity and chunk and find the nearest."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any, NoReturn
from zlib import crc32

from django.core.checks import CheckMessage
from django.db import Error

from ai_migration.exceptions import AIMigrationError, StoreError
from ai_migration.redaction import redacted, scrub, secrets_of
from ai_migration.types import (
    CollectionRef,
    IndexBuild,
    JSONValue,
    StoreHit,
    VectorBatch,
    VectorKey,
    Vectors,
)

_LONGEST_MESSAGE = 500
_CALLS = (
    *("ensure_collection", "exists", "drop_collection", "activated"),
    *("optimize", "needs_index", "index_build"),
    *("upsert", "update_metadata", "delete", "scroll", "count", "search"),
    *("fetch", "keys"),
)
"""The operations of a store."""
VECTOR_NAMESPACE = uuid.UUID("5b7a7f6e-6f0a-5d6b-9a58-0f3c1f1a2d4e")


def vector_id(collection: CollectionRef, entity_id: str, chunk: int) -> uuid.UUID:
    """Return the deterministic id of one vector (RFC 9562, UUID version 5): indexing twice never
    duplicates. Stores with the key (entity, chunk) need not keep it."""
    return uuid.uuid5(VECTOR_NAMESPACE, f"{collection.id}\0{entity_id}\0{chunk}")


class VectorStore(ABC):
    """A store of vectors. Subclass it and name it in ``AI_MIGRATION["STORES"]``.

    ``OPTIONS`` of the alias are the keyword arguments of ``__init__``. Writes are
    idempotent. All failures are :class:`~ai_migration.exceptions.StoreError`.
    """

    supports_filters: bool = False
    """True if ``search`` applies ``filters`` itself."""

    supports_any_of: bool = False
    """True if it also applies an :class:`~ai_migration.types.AnyOf`; otherwise it gets none."""

    one_process: bool = False
    """True if only one process can use it at a time."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Turn whatever a store raises into a :class:`StoreError`, without secrets."""
        super().__init_subclass__(**kwargs)
        for name in _CALLS:
            if name in vars(cls):
                setattr(cls, name, _guarded(vars(cls)[name]))

    def shares_transaction(self, using: str) -> bool:
        """Return whether writes join the transaction that is open on database alias ``using``. Then
        vectors and ledger are committed together; otherwise the vectors go first."""
        return False

    @abstractmethod
    def ensure_collection(self, collection: CollectionRef) -> None:
        """Create the collection unless it exists.

        Raises:
            StoreError: It exists with other dimensions, or cannot be created.
        """

    @abstractmethod
    def exists(self, collection: CollectionRef) -> bool:
        """Return whether the collection exists (it does not after the store was lost)."""

    @abstractmethod
    def upsert(self, collection: CollectionRef, batch: VectorBatch) -> None:
        """Write vectors; an existing one of the same entity and chunk is replaced.

        No (entity, chunk) is twice in a batch.

        Raises:
            StoreError: Wrong dimensions, no such collection, a full disk, no connection.
        """

    @abstractmethod
    def update_metadata(
        self,
        collection: CollectionRef,
        entity_ids: Sequence[str],
        metadata: Sequence[Mapping[str, JSONValue]],
    ) -> None:
        """Replace the payload of all vectors of each entity; absent ones are ignored."""

    @abstractmethod
    def delete(self, collection: CollectionRef, entity_ids: Sequence[str]) -> None:
        """Remove all vectors of these entities; absent ones are ignored."""

    @abstractmethod
    def scroll(self, collection: CollectionRef, *, page_size: int = 1000) -> Iterator[VectorBatch]:
        """Yield all vectors ordered by (entity, chunk), in bounded memory."""

    def fetch(self, collection: CollectionRef, entity_ids: Sequence[str]) -> Iterator[VectorBatch]:
        """Yield all vectors of these entities, in any order, for a verify: what the store has, also
        if it has a chunk twice. A vector of other dimensions is a row of NaN.

        This one reads the whole collection. Override it where the store can look ids up.
        """
        wanted = set(entity_ids)
        for page in self.scroll(collection):
            rows = [i for i, entity_id in enumerate(page.entity_ids) if entity_id in wanted]
            if rows:
                yield page.part(rows)

    def keys(
        self, collection: CollectionRef, *, after: JSONValue = None, limit: int
    ) -> tuple[list[VectorKey], JSONValue]:
        """Return the entity and chunk of some vectors, in any order: called with each cursor in
        turn, of every vector of the collection.

        This one reads the whole collection, and returns those with one hash. Override it where the
        store can begin anywhere.

        Args:
            collection: The collection.
            after: The cursor of the call before; None at the beginning.
            limit: The number of vectors, approximately.

        Returns:
            The keys, and a cursor for the next call; None where none are left.
        """
        part, parts = after or (0, self.count(collection) // limit + 1)
        found = [
            (entity_id, chunk)
            for page in self.scroll(collection)
            for entity_id, chunk in page.pairs()
            if crc32(f"{entity_id}\0{chunk}".encode()) % parts == part
        ]
        return found, [part + 1, parts] if part + 1 < parts else None

    @abstractmethod
    def count(self, collection: CollectionRef) -> int:
        """Return the number of vectors of the collection; 0 if it does not exist."""

    @abstractmethod
    def search(
        self,
        collection: CollectionRef,
        vector: Vectors,
        *,
        limit: int,
        filters: Mapping[str, JSONValue] | None = None,
    ) -> list[StoreHit]:
        """Return the nearest vectors, best first.

        Args:
            vector: float32, shape ``(dimensions,)``.
            limit: The number of vectors (not entities), at most.
            filters: Payload values that must be equal, or one of those of an
                :class:`~ai_migration.types.AnyOf`, if ``supports_any_of``.

        Raises:
            StoreError: The collection does not exist, or the dimensions are wrong.
        """

    @abstractmethod
    def drop_collection(self, collection: CollectionRef) -> None:
        """Remove the collection and all its vectors; absent is fine."""

    def optimize(self, collection: CollectionRef) -> None:
        """Build what would have slowed down a bulk load (an HNSW index). Called once after it. It
        may take long, and runs in a thread of its own, outside any transaction."""
        return

    def needs_index(self, collection: CollectionRef, *, above: int) -> bool:
        """Return whether the collection has more than ``above`` vectors and no index for searches,
        although :meth:`optimize` would build one. False while it is being built. It is called every
        minute, so it must be cheap."""
        return False

    def index_build(self, collection: CollectionRef) -> IndexBuild | None:
        """Return the progress of the index that is being built, by this process or another; None:
        none is being built, or the store cannot tell."""
        return None

    def activated(self, collection: CollectionRef) -> None:
        """Take note that the collection answers searches from now on. Called when a job has filled
        it; must be idempotent. A failure is only logged."""
        return

    def check(self) -> list[CheckMessage]:
        """Return the messages of the system checks of this store; must not connect anywhere."""
        return []

    def check_server(self) -> list[CheckMessage]:
        """Return the messages of the system checks that ask the store's server. They run where
        Django passes databases (``check --database default``), and in ``doctor``: for a store in a
        Django database, if that is passed."""
        return []

    def secrets(self) -> Iterable[str]:
        """Return further secrets to be cut out of errors and logs, besides those in ``OPTIONS``:
        passwords read from the environment. Must not connect anywhere."""
        return ()

    def require_dimensions(self, collection: CollectionRef, vectors: Vectors) -> None:
        """Refuse vectors that do not fit.

        Args:
            vectors: shape ``(n, dimensions)`` or ``(dimensions,)``.

        Raises:
            StoreError: The last axis is not ``collection.dimensions`` long.
        """
        if vectors.shape[-1] != collection.dimensions:
            raise StoreError(
                f"{collection.name} holds vectors of {collection.dimensions} dimensions; "
                f"got {vectors.shape[-1]}"
            )


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    if isgeneratorfunction(method):

        @wraps(method)
        def guarded(self: VectorStore, *args: Any, **kwargs: Any) -> Any:
            try:
                yield from method(self, *args, **kwargs)
            except Exception as error:
                _raise_clean(self, error)

    else:

        @wraps(method)
        def guarded(self: VectorStore, *args: Any, **kwargs: Any) -> Any:
            try:
                return method(self, *args, **kwargs)
            except Exception as error:
                _raise_clean(self, error)

    return guarded


def _raise_clean(store: VectorStore, error: Exception) -> NoReturn:
    """Raise an error of a store as a StoreError. A database's error stays as it is: it shows
    whether the database is down."""
    if isinstance(error, AIMigrationError):
        scrub(error, secrets_of(store))
    if isinstance(error, (AIMigrationError, Error)):
        raise error
    words = redacted(str(error), secrets_of(store))[:_LONGEST_MESSAGE]
    ours = StoreError(f"{type(store).__name__} raised {type(error).__name__}: {words}")
    raise ours.with_traceback(error.__traceback__) from None
