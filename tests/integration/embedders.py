"""Odd embedders and stores: what providers and databases do on a bad day, on demand."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ai_migration.embedders.hash import HashEmbedder
from ai_migration.exceptions import StoreError
from ai_migration.stores.database import DatabaseStore
from ai_migration.types import CollectionRef, VectorBatch, Vectors

React = Callable[[Sequence[str]], Vectors | None]


@dataclass(eq=False)
class Script:
    """What a :class:`ScriptedEmbedder` was asked, and what it is to answer.

    Attributes:
        requests: The texts of each request that was answered.
        asked: How many requests there were, refused ones too.
        react: Sees each request first: raises, returns vectors, or None for good ones.
    """

    requests: list[list[str]] = field(default_factory=list)
    asked: int = 0
    react: React = lambda texts: None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def texts(self) -> list[str]:
        """Every text that was embedded, in order; twice when it was paid for twice."""
        return [text for request in self.requests for text in request]

    @property
    def paid_twice(self) -> list[str]:
        """Texts that were embedded more than once."""
        return [text for text, times in Counter(self.texts).items() if times > 1]

    def clear(self) -> None:
        """Forget what was asked."""
        self.requests.clear()
        self.asked = 0


class ScriptedEmbedder(HashEmbedder):
    """A HashEmbedder that a test watches and disturbs. Any two of them with the same
    dimensions have the same fingerprint, whatever their script.

    Args:
        script: Shared with the test.
        limits: ``max_batch_size``, ``max_input_tokens``… as a real provider has them.
    """

    def __init__(
        self,
        script: Script,
        dimensions: int = 32,
        concurrency: int = 1,
        **limits: int,
    ) -> None:
        super().__init__(dimensions, concurrency)
        self._script = script
        for name, limit in limits.items():
            setattr(self, name, limit)

    def embed(self, texts: Sequence[str]) -> Vectors:
        script = self._script
        with script.lock:
            script.asked += 1
            answer = script.react(texts)
            script.requests.append(list(texts))
        return super().embed(texts) if answer is None else answer


class SecretiveEmbedder(ScriptedEmbedder):
    """One that is given a key."""

    def __init__(self, script: Script, api_key: str, **options: int) -> None:
        super().__init__(script, **options)
        self.api_key = api_key


@dataclass(eq=False)
class Disk:
    """Whether there is room in a :class:`FullStore`."""

    error: StoreError | None = None


class FullStore(DatabaseStore):
    """A store that refuses to be written while its disk is full.

    Args:
        disk: Shared with the test.
    """

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self._disk = disk

    def upsert(self, collection: CollectionRef, batch: VectorBatch) -> None:
        super().upsert(collection, batch)
        if self._disk.error is not None:
            raise self._disk.error
