"""The vectors of queries, each embedded once and kept in a cache."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.db import BaseDatabaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.signals import setting_changed
from django.db import router

from ai_migration.conf import get_settings
from ai_migration.embedders import Embedder
from ai_migration.indexing.embedding.retries import as_embedder_error
from ai_migration.models.sql.savepoints import sparing
from ai_migration.types import Vectors

logger = logging.getLogger(__name__)

KEPT_SECONDS = 24 * 60 * 60
MOST_LOCAL = 300
"""Vectors one process keeps if no cache is configured, at most: 4 MB at 3,072 dimensions."""

_local = LocMemCache(__name__, {"OPTIONS": {"MAX_ENTRIES": MOST_LOCAL}})


def query_vector(embedder: Embedder, query: str) -> Vectors:
    """Return the vector of a query, from the cache if it was embedded before. A cache that fails or
    has something else costs a call, and nothing more.

    Args:
        embedder: The embedder of the index.
        query: The text, clean.

    Raises:
        EmbedderError: It could not be embedded.
    """
    try:
        key, dimensions = _key(embedder, query), embedder.dimensions
        if (known := _usable(_get(key), dimensions)) is not None:
            return known
        vector: Vectors = embedder.embed_query(query)
    except Exception as error:
        raise as_embedder_error(error, [query]) from None
    document = np.asarray(vector, dtype="<f4").tobytes()
    if _usable(document, dimensions) is not None:
        _set(key, document)
    return vector


def _key(embedder: Embedder, query: str) -> str:
    """Return the key of a query, which does not repeat its text."""
    parts = (embedder.fingerprint, embedder.query_type, query)
    digest = hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=20)
    return f"ai_migration:query:{digest.hexdigest()}"


def _usable(document: object, dimensions: int) -> Vectors | None:
    """Return a kept vector, if it is one."""
    if not isinstance(document, bytes) or len(document) != 4 * dimensions:
        return None
    vector: Vectors = np.frombuffer(document, dtype="<f4").astype(np.float32)
    return vector if np.isfinite(vector).all() else None


def _get(key: str) -> object:
    try:
        cache = _cache()
        with _spared(cache):
            return cache.get(key)
    except Exception as error:
        _warn(error)
        return None


def _set(key: str, document: bytes) -> None:
    try:
        cache = _cache()
        with _spared(cache):
            cache.set(key, document, KEPT_SECONDS)
    except Exception as error:
        _warn(error)


def _cache() -> BaseCache:
    alias = get_settings().QUERY_CACHE
    return _local if alias is None else caches[alias]


@contextmanager
def _spared(cache: BaseCache) -> Iterator[None]:
    """Keep the caller's transaction usable, if the cache is a table that fails."""
    with ExitStack() as spared:
        if isinstance(cache, BaseDatabaseCache):
            table = cache.cache_model_class
            for using in {router.db_for_read(table), router.db_for_write(table)}:
                spared.enter_context(sparing(using))
        yield


def _warn(error: Exception) -> None:
    alias = get_settings().QUERY_CACHE
    logger.warning("The cache %r of query vectors failed: %s", alias, type(error).__name__)


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "AI_MIGRATION":
        _local.clear()


setting_changed.connect(_forget)
