"""An embedder that writes down what it is sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ai_migration.embedders.hash import HashEmbedder
from ai_migration.types import Vectors


class WritingEmbedder(HashEmbedder):
    """Keeps the texts in a file, a line each.

    Args:
        log: The file.
    """

    def __init__(self, log: str) -> None:
        super().__init__(dimensions=8, concurrency=2)
        self._log = Path(log)

    def embed(self, texts: Sequence[str]) -> Vectors:
        with self._log.open("a") as file:
            file.writelines(f"{json.dumps(text)}\n" for text in texts)
        return super().embed(texts)
