"""Embedders that keep books, dawdle, refuse and fail, for processes that get killed."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from ai_migration.embedders.hash import HashEmbedder
from ai_migration.exceptions import FatalEmbedderError, InputRefusedError
from ai_migration.types import Vectors
from tests.acceptance import sabotage

POISON = "poison"
"""A text with this word is refused."""


class BookkeepingEmbedder(HashEmbedder):
    """Notes in a file how many texts it embedded, whichever process asks.

    Args:
        log: The file; a line for each request, written at once and kept by a kill.
        seconds: How long a request takes.
        max_batch_size: Texts in one request.
        max_input_tokens: Longer texts are chunked.
        fatal: Whether every request fails for good.
    """

    def __init__(
        self,
        log: str,
        seconds: float = 0.0,
        dimensions: int = 8,
        concurrency: int = 2,
        max_batch_size: int = 8,
        max_input_tokens: int | None = 40,
        fatal: bool = False,
    ) -> None:
        super().__init__(dimensions=dimensions, concurrency=concurrency)
        self.max_batch_size = max_batch_size
        self.max_input_tokens = max_input_tokens
        self._log = log
        self._seconds = seconds
        self._fatal = fatal

    def embed(self, texts: Sequence[str]) -> Vectors:
        time.sleep(self._seconds)
        if self._fatal:
            raise FatalEmbedderError("The key is wrong")
        if any(POISON in text for text in texts):
            raise InputRefusedError("These texts are refused")
        _append(self._log, f"{len(texts)}\n")
        sabotage.point("embed")
        return super().embed(texts)


def embedded_texts(log: Path) -> int:
    """How many texts were embedded since the file was empty."""
    return sum(map(int, log.read_text().split())) if log.exists() else 0


def _append(path: str, line: str) -> None:
    descriptor = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, line.encode())
    os.close(descriptor)
