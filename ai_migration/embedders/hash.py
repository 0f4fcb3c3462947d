"""An embedder without a model: deterministic and instant, for tests and benchmarks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ai_migration.embedders.base import Embedder
from ai_migration.exceptions import SettingsError
from ai_migration.types import Vectors

_BLOCK_BYTES = 1 << 16
"""Rows are mixed in blocks that stay in the processor's cache."""


class HashEmbedder(Embedder):
    """Makes vectors of length 1 out of a 64-bit hash of the text.

    The same text has the same bits in any batch, process and platform: everything is
    exact integer arithmetic up to one correctly rounded square root and division. Near
    texts are *not* near each other: it finds a text only by itself.

    Args:
        dimensions: Length of each vector, 1 to 65,536.
        concurrency: Requests in flight at once, at most.
    """

    provider = "hash"
    kept_options: Sequence[str] = ("dimensions", "concurrency")
    max_batch_size = 1024

    def __init__(self, dimensions: int = 256, concurrency: int = 1) -> None:
        if not 1 <= dimensions <= 65_536:
            raise SettingsError(f"HashEmbedder: dimensions is {dimensions}; use 1 to 65536")
        if concurrency < 1:
            raise SettingsError(f"HashEmbedder: concurrency is {concurrency}; use 1 or more")
        self._dimensions = dimensions
        self.concurrency = concurrency
        # Two elements come out of each 32-bit word.
        self._salt = np.arange(1, (dimensions + 1) // 2 + 1, dtype="<u4") * np.uint32(0x9E3779B9)

    @property
    def model_id(self) -> str:
        return "blake2b-64"

    @property
    def dimensions(self) -> int:
        return self._dimensions

    def embed(self, texts: Sequence[str]) -> Vectors:
        digest = hashlib.blake2b
        seeds = np.frombuffer(
            b"".join(
                [
                    digest(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                    for text in texts
                ]
            ),
            dtype="<u4",
        ).reshape(len(texts), 2)
        vectors = np.empty((len(texts), self._dimensions), dtype=np.float32)
        block = max(1, _BLOCK_BYTES // (2 * self._dimensions))
        for start in range(0, len(texts), block):
            self._expand(seeds[start : start + block], vectors[start : start + block])
        return vectors

    def _expand(self, seeds: NDArray[np.uint32], out: Vectors) -> None:
        """Fill ``out`` from the seeds: a multiply-and-shift mix of seed and position."""
        words = seeds[:, :1] ^ self._salt
        words *= np.uint32(0x7FEB352D)
        words ^= words >> np.uint32(15)
        words += seeds[:, 1:]
        words *= np.uint32(0x846CA68B)
        words ^= words >> np.uint32(16)
        # An odd integer is never zero, so no vector is.
        words |= np.uint32(0x00010001)
        elements = words.view("<i2")[:, : self._dimensions].astype(np.float64)
        # Sums of squares of 16-bit integers are exact in float64, in whatever order.
        norms = np.sqrt(np.einsum("ij,ij->i", elements, elements))
        np.divide(elements, norms[:, None], out=out, casting="same_kind")
