"""QdrantStore's view of Qdrant: filters, sizes of requests, points, errors."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ai_migration.exceptions import StoreError
from ai_migration.redaction import redacted
from ai_migration.stores._support import missing
from ai_migration.stores.base import VectorStore
from ai_migration.types import CollectionRef, JSONValue, VectorBatch

if TYPE_CHECKING:
    from qdrant_client import models
    from qdrant_client.http.exceptions import UnexpectedResponse

REQUEST_BYTES = 16 << 20
"""Half of the largest request a server accepts:
https://qdrant.tech/documentation/guides/configuration/ (``service.max_request_size_mb``)."""
_FLOAT_BYTES = 24
"""Bytes of a float32 as JSON, at most."""
_POINT_BYTES = 300
"""Bytes of the rest of a point."""
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")


def condition(filters: Mapping[str, Sequence[JSONValue]]) -> models.Filter | None:
    """Return filters, each with the values that match, as far as Qdrant can express them: it
    matches all that they match, and maybe more. Null also matches a list with a null in it, and a
    value a list that has it; lists, objects, numbers beyond a double and keys that its JSON paths
    cannot express are left to Python."""
    from qdrant_client import models

    must: list[Any] = []
    for name, values in filters.items():
        found = [_has(f"metadata.{name}", value) for value in values]
        if not _PLAIN_KEY.fullmatch(name) or None in found:
            continue
        if len(values) > 1 and all(isinstance(value, str) for value in values):
            match = models.MatchAny(any=list(values))
            found = [models.FieldCondition(key=f"metadata.{name}", match=match)]
        must.append(found[0] if len(found) == 1 else models.Filter(should=found))
    return models.Filter(must=must) if must else None


def _has(key: str, value: JSONValue) -> Any:
    """Return the condition that a payload has a value; None: Qdrant cannot express it."""
    from qdrant_client import models

    if value is None:
        return models.IsNullCondition(is_null=models.PayloadField(key=key))
    if isinstance(value, bool | str):
        return models.FieldCondition(key=key, match=models.MatchValue(value=value))
    if isinstance(value, int | float) and abs(value) < 2**53:
        return models.FieldCondition(key=key, range=models.Range(gte=value, lte=value))  # 1 is 1.0
    return None


def entities(entity_ids: Sequence[str]) -> models.Filter:
    """Return the filter for all vectors of these entities."""
    from qdrant_client import models

    match = models.MatchAny(any=list(entity_ids))
    return models.Filter(must=[models.FieldCondition(key="entity", match=match)])


def slices(
    dimensions: int, entity_ids: Sequence[str], documents: Sequence[str | None]
) -> Iterator[slice]:
    """Yield runs of points that fit into one request.

    Args:
        dimensions: Those of the vectors; 0 if none are sent.
        entity_ids: Entity of each point.
        documents: Payload of each point.
    """
    start, total = 0, 0
    for index, (entity_id, document) in enumerate(zip(entity_ids, documents, strict=True)):
        size = _FLOAT_BYTES * dimensions + _POINT_BYTES
        size += len(entity_id.encode()) + len((document or "").encode())
        if index > start and total + size > REQUEST_BYTES:
            yield slice(start, index)
            start, total = index, 0
        total += size
    if total:
        yield slice(start, len(entity_ids))


def as_batch(points: Sequence[Any], *, normalized: bool) -> VectorBatch:
    """Return the points of ``retrieve`` or ``scroll`` as a batch.

    Args:
        points: At least one.
        normalized: Whether Qdrant keeps the vectors at length 1.
    """
    payloads = [point.payload for point in points]
    vectors = np.array([point.vector for point in points], dtype=np.float64)
    if normalized:
        vectors *= np.array([payload.get("norm", 1.0) for payload in payloads])[:, np.newaxis]
    metadata = None
    if any("metadata" in payload for payload in payloads):
        metadata = [payload.get("metadata", {}) for payload in payloads]
    return VectorBatch(
        [payload["entity"] for payload in payloads],
        [payload.get("chunk", 0) for payload in payloads],
        vectors.astype(np.float32),
        metadata,
    )


@contextmanager
def translating(collection: CollectionRef, store: VectorStore) -> Iterator[None]:
    """Translate Qdrant's errors and missing answers. The library's own message is cut, and may have
    half a secret in it, so it is not passed on.

    Raises:
        StoreError: Transient if trying again can help.
    """
    from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    def short(words: str) -> str:
        return redacted(words, store.secrets())[:200]

    try:
        yield
    except ResourceExhaustedResponse as error:
        raise StoreError(
            f"{collection.name}: Qdrant: {short(str(error))}", transient=True
        ) from None
    except UnexpectedResponse as error:
        raise _refused(collection, error.status_code or 0, short(_words(error))) from None
    except ResponseHandlingException as error:
        raise _no_answer(collection, error.source, short(str(error.source))) from None
    except (ValueError, RuntimeError, OSError, sqlite3.Error) as error:  # the local mode's
        if "not found" in str(error):
            raise missing(collection) from error
        raise StoreError(f"{collection.name}: Qdrant: {short(str(error))}") from error


def _words(error: UnexpectedResponse) -> str:
    try:
        return str(error.structured()["status"]["error"])
    except (ValueError, LookupError, TypeError):
        return error.reason_phrase


def _refused(collection: CollectionRef, status: int, said: str) -> StoreError:
    said = f"{status} {said}".strip()
    if status == 404 and "ollection" in said:
        return missing(collection)
    if status == 507 or "No space left" in said:
        return StoreError(
            f"{collection.name}: the disk of Qdrant is full ({said}). Free space, then resume."
        )
    if status in (401, 403):
        return StoreError(
            f"{collection.name}: Qdrant refuses the option 'api_key' of the store ({said})"
        )
    transient = status >= 500 or status in (408, 429)
    return StoreError(f"{collection.name}: Qdrant: {said}", transient=transient)


def _no_answer(collection: CollectionRef, source: Exception, said: str) -> StoreError:
    kind = type(source).__name__
    if isinstance(source, ValueError):  # pydantic's, of an answer it cannot read
        return StoreError(
            f"{collection.name}: the answer is not from Qdrant ({kind}). Is the option 'url' "
            f"of the store right?"
        )
    return StoreError(f"{collection.name}: no answer from Qdrant: {kind}: {said}", transient=True)
