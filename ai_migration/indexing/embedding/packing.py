"""A prediction of the requests that texts are sent in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ai_migration.embedders import Embedder


@dataclass
class Packing:
    """Counts requests as :class:`~ai_migration.indexing.embedding.pool.EmbedPool` packs them:
    texts in their order, each request as full as the embedder's limits allow.

    Attributes:
        embedder: The embedder.
        is_untried: Whether the first request has one text only, to see whether it is answered.
        requests: The requests so far.
        tokens: Their tokens.
    """

    embedder: Embedder
    is_untried: bool = False
    requests: int = 0
    tokens: int = 0
    _texts_left: int = 0
    _tokens_left: int = 0

    def add(self, counts: Iterable[int]) -> None:
        """Add texts.

        Args:
            counts: The tokens of each.
        """
        limit = self.embedder.max_batch_tokens
        for tokens in counts:
            if not self._texts_left or (limit is not None and tokens > self._tokens_left):
                is_first = self.is_untried and not self.requests
                self._texts_left = 1 if is_first else self.embedder.max_batch_size
                self._tokens_left = limit or 0
                self.requests += 1
            self._texts_left -= 1
            self._tokens_left -= tokens
            self.tokens += tokens
