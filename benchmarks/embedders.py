"""An embedder that answers as slowly as a remote one."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ai_migration.embedders.hash import HashEmbedder
from ai_migration.types import Vectors

SECONDS = 0.05
"""How long a request takes, whatever its size."""


class SleepingEmbedder(HashEmbedder):
    """50 ms a request of up to 256 texts, 8 requests in flight: 41,000 texts a second.

    Args:
        concurrency: Requests in flight.
    """

    max_batch_size = 256
    seconds = SECONDS

    def __init__(self, concurrency: int = 8) -> None:
        super().__init__(dimensions=256, concurrency=concurrency)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Wait, then answer at once: the time the vectors take is part of the wait."""
        ready = time.perf_counter() + self.seconds
        vectors = super().embed(texts)
        time.sleep(max(0.0, ready - time.perf_counter()))
        return vectors


IDEAL_RATE = SleepingEmbedder.max_batch_size * 8 / SECONDS
"""Texts a second, if nothing but the embedder took time."""


class BoundEmbedder(SleepingEmbedder):
    """The same with 2 requests in flight, 10,000 texts a second: a worker waits for it most
    of the time, as for an API."""

    ideal_rate = SleepingEmbedder.max_batch_size * 2 / SECONDS

    def __init__(self) -> None:
        super().__init__(concurrency=2)


class BusyEmbedder(SleepingEmbedder):
    """Half a second a request of up to 64 texts, 8 requests in flight: 1,024 texts a second. A
    backfill keeps it busy all the time."""

    max_batch_size = 64
    seconds = 0.5
