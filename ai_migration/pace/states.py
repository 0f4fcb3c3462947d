"""Storage for the state of limits, which all processes and hosts share."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.core.cache import InvalidCacheBackendError, caches
from django.db import transaction
from django.db.models import F

from ai_migration.conf import get_settings
from ai_migration.models import RateLimitState
from ai_migration.models.sql import clock
from ai_migration.pace.pacing import ProviderState

logger = logging.getLogger("ai_migration")

T = TypeVar("T")
Change = Callable[[ProviderState, int], tuple[ProviderState, T]]
"""Takes the state and the time in milliseconds, returns the new state and an answer. It may be
called again if another process was faster."""

_KEPT = 3600
"""Seconds an unused state is kept in Redis: by then every bucket is full again."""


class LimitStates(ABC):
    """States by key."""

    @abstractmethod
    def change(self, key: str, change: Change[T]) -> T:
        """Replace a state by what ``change`` returns, atomically."""

    @abstractmethod
    def read(self, keys: Sequence[str]) -> tuple[list[ProviderState], int]:
        """Return states, and the time of their clock in milliseconds."""


class DatabaseLimitStates(LimitStates):
    """States in a row each, changed under its lock.

    Args:
        using: Database alias of our tables.
    """

    def __init__(self, using: str) -> None:
        self._using = using
        self._is_there = False

    def change(self, key: str, change: Change[T]) -> T:
        if not self._is_there:  # before the transaction: MySQL locks the gap of an absent row
            self._create(key)
            self._is_there = True
        with transaction.atomic(using=self._using):
            row = self._locked(key)
            before = ProviderState.from_json(row.state)
            state, answer = change(before, self._now())
            if state is not before:
                row.state = state.as_json
                row.save(using=self._using, update_fields=["state"])
        return answer

    def read(self, keys: Sequence[str]) -> tuple[list[ProviderState], int]:
        rows = RateLimitState.objects.using(self._using).filter(key__in=keys)
        known = dict(rows.values_list("key", "state"))
        return [ProviderState.from_json(known.get(key)) for key in keys], self._now()

    def _now(self) -> int:
        return clock.now_microseconds(self._using) // 1000

    def _create(self, key: str) -> None:
        rows = RateLimitState.objects.using(self._using)
        rows.bulk_create([RateLimitState(key=key)], ignore_conflicts=True)

    def _locked(self, key: str) -> RateLimitState:
        rows = RateLimitState.objects.using(self._using)
        while not rows.filter(key=key).update(state=F("state")):  # an UPDATE locks
            self._create(key)  # it was deleted meanwhile
        return rows.get(key=key)


class RedisLimitStates(LimitStates):
    """States in Redis, which saves the database a transaction for each request.

    While Redis does not answer, the database keeps the states.

    Args:
        client: A client of redis-py.
        fallback: The states in the database.
    """

    def __init__(self, client: Any, fallback: LimitStates) -> None:
        self._client = client
        self._fallback = fallback

    def change(self, key: str, change: Change[T]) -> T:
        from redis.exceptions import RedisError

        name = _name(key)

        def optimistic(pipe: Any) -> T:  # redis-py calls it again where the key was changed
            before = _parsed(pipe.get(name))
            state, answer = change(before, _milliseconds(pipe.time()))
            pipe.multi()
            if state is not before:
                pipe.set(name, json.dumps(state.as_json), ex=_KEPT)
            return answer

        try:
            answer: T = self._client.transaction(optimistic, name, value_from_callable=True)
        except RedisError as error:
            logger.warning("Redis failed; rate limits are kept in the database: %s", error)
            return self._fallback.change(key, change)
        return answer

    def read(self, keys: Sequence[str]) -> tuple[list[ProviderState], int]:
        from redis.exceptions import RedisError

        try:
            kept = self._client.mget([_name(key) for key in keys])
            return [_parsed(document) for document in kept], _milliseconds(self._client.time())
        except RedisError:
            return self._fallback.read(keys)


def limit_states(using: str) -> LimitStates:
    """Return the storage of the settings: Redis if ``RATE_LIMIT_CACHE`` names a cache on it, else
    the database.

    Args:
        using: Database alias of our tables.
    """
    database = DatabaseLimitStates(using)
    client = _redis_client(get_settings().RATE_LIMIT_CACHE)
    return database if client is None else RedisLimitStates(client, database)


def _redis_client(alias: str | None) -> Any:
    """Return redis-py's client of a cache that is Django's ``RedisCache``; None: it is another."""
    from django.core.cache.backends.redis import RedisCache

    if alias is None:
        return None
    try:
        cache = caches[alias]
    except InvalidCacheBackendError:
        return None
    return cache._cache.get_client(write=True) if isinstance(cache, RedisCache) else None


def _name(key: str) -> str:
    return f"ai_migration:limits:{key}"


def _parsed(document: bytes | None) -> ProviderState:
    return ProviderState.from_json(json.loads(document) if document else None)


def _milliseconds(time: tuple[int, int]) -> int:
    seconds, microseconds = time
    return seconds * 1000 + microseconds // 1000
