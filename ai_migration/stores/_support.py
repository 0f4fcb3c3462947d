"""Helpers that our stores share: refusals, payloads as JSON, filters, scores."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ai_migration.exceptions import MissingDependencyError, SettingsError, StoreError
from ai_migration.stores.base import VectorStore
from ai_migration.types import AnyOf, CollectionRef, JSONValue, Metric, VectorBatch, Vectors

Documents = Sequence[Mapping[str, JSONValue]]

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""A NUL as JSON writes it; not a backslash followed by ``u0000``."""
_SANITISE = "Replace such characters before they get here."

INHERITED: list[object] = []
"""Connections inherited by fork: another process uses them, so they are neither used nor closed in
this one."""


def require_library(module: str, library: str, extra: str, store: type[VectorStore]) -> None:
    """Refuse to create a store without its library; nothing is imported.

    Raises:
        MissingDependencyError: It is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingDependencyError(library, extra, store.__name__)


def parse_metric(metric: str, store: type[VectorStore]) -> Metric:
    """Return the metric of a store's options.

    Raises:
        SettingsError: There is no such metric.
    """
    try:
        return Metric(metric)
    except ValueError:
        known = ", ".join(Metric.values)
        raise SettingsError(f"{store.__name__}: metric is {metric!r}; use one of {known}") from None


def require_vectors(store: VectorStore, collection: CollectionRef, vectors: Vectors) -> Vectors:
    """Return the vectors as contiguous float32.

    Raises:
        StoreError: Wrong dimensions, NaN or infinity.
    """
    store.require_dimensions(collection, vectors)
    array = np.ascontiguousarray(vectors, dtype=np.float32)
    if not np.isfinite(array).all():
        raise StoreError(f"{collection.name}: NaN or infinity in a vector; nothing was written")
    return array


def require_batch(store: VectorStore, collection: CollectionRef, batch: VectorBatch) -> Vectors:
    """Return the vectors of a batch, if it can be written.

    Raises:
        StoreError: Wrong dimensions, columns of different lengths, NaN, or ids that no database
            accepts.
    """
    require_ids(collection, batch.entity_ids)
    lengths = {len(batch), len(batch.chunks), len(batch.vectors)}
    if batch.metadata is not None:
        lengths.add(len(batch.metadata))
    if len(lengths) > 1:
        raise StoreError(f"{collection.name}: the columns of a batch have different lengths")
    return require_vectors(store, collection, batch.vectors)


def require_ids(collection: CollectionRef, entity_ids: Sequence[str]) -> None:
    """Refuse ids that no database accepts.

    Raises:
        StoreError: NUL or a lone surrogate in an id.
    """
    _require_text(collection, "an entity id", "".join(entity_ids))


def dump_metadata(collection: CollectionRef, metadata: Documents) -> list[str]:
    """Return payloads as JSON documents that every database accepts.

    Raises:
        StoreError: NUL, a lone surrogate, NaN, or a value JSON does not know.
    """
    try:
        documents = [_encode(payload) for payload in metadata]
    except (TypeError, ValueError) as error:
        raise StoreError(f"{collection.name}: a payload is not JSON: {error}") from error
    joined = "".join(documents)
    if "\\u0000" in joined and any(_NUL.search(document) for document in documents):
        raise StoreError(f"{collection.name}: NUL in a payload. {_SANITISE}")
    _require_text(collection, "a payload", joined)
    return documents


def load_metadata(payloads: Sequence[str | None]) -> Documents | None:
    """Return the payloads that :func:`dump_metadata` wrote; None: no vector has one."""
    if all(payload is None for payload in payloads):
        return None
    return [{} if payload is None else json.loads(payload) for payload in payloads]


def unpacked(packed: Sequence[bytes], dimensions: int) -> Vectors:
    """Return packed vectors as an array, shape ``(len(packed), dimensions)``; one of other
    dimensions is a row of NaN."""
    width = 4 * dimensions
    joined = b"".join(packed)
    if all(len(vector) == width for vector in packed):
        return np.frombuffer(joined, dtype="<f4").astype(np.float32).reshape(-1, dimensions)
    vectors = np.full((len(packed), dimensions), np.nan, dtype=np.float32)
    for row, vector in enumerate(packed):
        if len(vector) == width:
            vectors[row] = np.frombuffer(vector, dtype="<f4")
    return vectors


def missing(collection: CollectionRef) -> StoreError:
    """Return the error for a collection that is not in the store."""
    return StoreError(
        f"The store has no collection {collection.name} for {collection.entity_type!r}. If the "
        f"store was lost, fill a new one: manage.py migrate_ai_entities "
        f"{collection.entity_type} --rebuild"
    )


def other_dimensions(collection: CollectionRef, dimensions: int) -> StoreError:
    """Return the error for a collection with other dimensions."""
    return StoreError(
        f"{collection.name} exists with {dimensions} dimensions, not {collection.dimensions}. "
        f"Vectors of two embedders never mix: fill a new collection with --rebuild."
    )


def _require_text(collection: CollectionRef, what: str, text: str) -> None:
    if "\0" in text:
        raise StoreError(f"{collection.name}: NUL in {what}. {_SANITISE}")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise StoreError(
                f"{collection.name}: a lone surrogate in {what}. {_SANITISE}"
            ) from None


def values_of(filters: Mapping[str, JSONValue]) -> dict[str, list[JSONValue]]:
    """Return the values that match, by name: one, or those of an :class:`AnyOf`."""
    return {
        name: list(value.values) if isinstance(value, AnyOf) else [value]
        for name, value in filters.items()
    }


def matches(payload: Mapping[str, JSONValue], filters: Mapping[str, JSONValue]) -> bool:
    """Return whether every filter has a value that is equal in JSON: ``1`` is ``1.0`` but not
    ``true``."""
    absent = object()
    return all(
        any(is_equal(payload.get(name, absent), value) for value in values)
        for name, values in values_of(filters).items()
    )


def is_equal(left: JSONValue, right: JSONValue) -> bool:
    """Return whether two values are equal in JSON."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def scores(metric: Metric, vectors: Vectors, query: Vectors) -> NDArray[np.float32]:
    """Return how near each vector is to the query; higher is nearer.

    Cosine similarity, inner product, or ``1 / (1 + distance)`` for L2. The cosine of a
    vector without a direction is 0.

    Args:
        vectors: shape ``(n, dimensions)``.
        query: shape ``(dimensions,)``.
    """
    with np.errstate(over="ignore"):
        if metric is Metric.L2:
            distances = np.sqrt(np.square(vectors - query).sum(axis=1))
            return np.asarray(1.0 / (1.0 + distances), dtype=np.float32)
        products = vectors @ query
        if metric is Metric.INNER_PRODUCT:
            return np.asarray(products, dtype=np.float32)
        squares = np.einsum("ij,ij->i", vectors, vectors)
        norms = np.sqrt(squares * np.dot(query, query))
        cosines: NDArray[np.float32] = np.zeros(len(vectors), dtype=np.float32)
        np.divide(products, norms, out=cosines, where=norms > 0)
        return cosines
