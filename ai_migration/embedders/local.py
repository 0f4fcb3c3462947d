"""A real embedding model whose weights ship in its wheel: no server, no key, no network."""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from django.core.checks import CheckMessage, Error

from ai_migration.embedders.base import Embedder
from ai_migration.exceptions import MissingDependencyError, SettingsError
from ai_migration.types import Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

AVAILABLE_DIMENSIONS = (64, 128, 256)

_TEXTS_AT_ONCE = 64
"""Texts tokenised at once: a token's bookkeeping is far larger than the token."""
_TOKENS_AT_ONCE = 4096
"""Tokens whose vectors are summed at once: 4 MB at 256 dimensions."""


class LocalEmbedder(Embedder):
    """wordllama: the mean of the vectors of a text's tokens, scaled to length 1.

    The model is loaded at the first use (0.3 s, 32 MB). A vector depends on its text
    alone, bit by bit, not on the batch. Texts are not truncated. Needs the extra ``local``.

    Args:
        dimensions: 64, 128 or 256: fewer are smaller and a little less precise.

    System checks:
        ``ai_migration.E101``: the library is not installed.
    """

    provider = "wordllama"
    max_batch_size = 512
    max_input_tokens = 512

    def __init__(self, dimensions: int = 256) -> None:
        if dimensions not in AVAILABLE_DIMENSIONS:
            raise SettingsError(
                f"LocalEmbedder: dimensions is {dimensions!r}; use one of 64, 128, 256"
            )
        self._dimensions = dimensions
        self._lock = threading.Lock()
        self._model: tuple[Tokenizer, NDArray[np.float32]] | None = None

    @property
    def model_id(self) -> str:
        return "wordllama-l2-supercat"

    @property
    def dimensions(self) -> int:
        return self._dimensions

    def embed(self, texts: Sequence[str]) -> Vectors:
        weights = self._loaded()[1]
        vectors: Vectors = np.zeros((len(texts), self._dimensions), dtype=np.float32)
        for row, tokens in zip(vectors, self._tokenize(texts), strict=True):
            for start in range(0, len(tokens), _TOKENS_AT_ONCE):
                ids = tokens[start : start + _TOKENS_AT_ONCE]
                row += weights.take(ids, axis=0, mode="clip").sum(axis=0)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        # A text without a token has no direction: it stays the zero vector.
        np.divide(vectors, norms, out=vectors, where=norms > 0)
        return vectors

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, by the model's own tokenizer."""
        return [len(tokens) for tokens in self._tokenize(texts)]

    def check(self) -> list[CheckMessage]:
        if importlib.util.find_spec("wordllama") is not None:
            return []
        missing = _missing()
        return [Error(missing.message, id="ai_migration.E101")]

    def _tokenize(self, texts: Sequence[str]) -> Iterator[list[int]]:
        tokenizer = self._loaded()[0]
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            clean = [
                # The tokenizer refuses lone surrogates.
                text if text.isascii() else text.encode("utf-8", "replace").decode()
                for text in texts[start : start + _TEXTS_AT_ONCE]
            ]
            for encoding in tokenizer.encode_batch_fast(clean, add_special_tokens=False):
                yield encoding.ids

    def _loaded(self) -> tuple[Tokenizer, NDArray[np.float32]]:
        if self._model is None:
            with self._lock:
                if self._model is None:
                    self._model = _load(self._dimensions)
        return self._model


def _load(dimensions: int) -> tuple[Any, NDArray[np.float32]]:
    # The library calls logging.basicConfig(level=INFO) when imported, which does nothing
    # where the root logger has a handler: the host's logging stays as it is.
    root, placeholder = logging.getLogger(), logging.NullHandler()
    root.addHandler(placeholder)
    try:
        import wordllama
    except ImportError as error:
        raise _missing() from error
    finally:
        root.removeHandler(placeholder)
    model = wordllama.WordLlama.load(
        cache_dir=Path(wordllama.__file__).parent,
        trunc_dim=None if dimensions == max(AVAILABLE_DIMENSIONS) else dimensions,
        disable_download=True,
    )
    # Padding is state of the tokenizer, shared by all threads. Without it encoding is
    # stateless, and the cost of a batch does not depend on its longest text.
    model.tokenizer.no_padding()
    return model.tokenizer, model.embedding


def _missing() -> MissingDependencyError:
    return MissingDependencyError("wordllama", "local", "LocalEmbedder")
