"""The texts of a batch, and the requests they are sent in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ai_migration.embedders import Embedder
from ai_migration.embedders.chunking import chunk_text
from ai_migration.exceptions import EmbedderError, TransientEmbedderError
from ai_migration.types import Vectors

MAX_CUTS = 5
"""Times a text is cut to half its length, at most: a limit of 8,192 tokens that is really one
of 256 is found."""


class EmbedPlan:
    """The texts of one batch for one collection, and the vectors as they come.

    Attributes:
        texts: The texts to embed.
        long: The spans of rows in several texts, ``(start, stop)``: useless in part.
        vectors: float32, shape ``(len(texts), dimensions)``; rows are valid where ``done``.
        done: Whether each text has its vector.
        errors: By position: the reason why a text gets no vector.
        tokens: Tokens of each text, where they are counted.
        spent: Tokens of the texts that were answered, as the provider says.
        open: Texts that still wait for an answer.
        cuts: By position of a text that was cut: the positions of its pieces, ``(start, stop)``.
        overlap: Tokens that a piece repeats of the one before.
        heads: By position: the head of the pieces of a text that is cut.
    """

    def __init__(
        self,
        texts: Sequence[str],
        dimensions: int,
        spans: Iterable[tuple[int, int]] = (),
        overlap: int = 0,
        heads: Sequence[str] = (),
    ) -> None:
        self.texts = list(texts)
        self.long = [(start, stop) for start, stop in spans if stop - start > 1]
        self.vectors: Vectors = np.empty((len(texts), dimensions), dtype=np.float32)
        self.done = np.zeros(len(texts), dtype=np.bool_)
        self.errors: dict[int, EmbedderError] = {}
        self.tokens: list[int] = []
        self.spent = 0
        self.open = len(texts)
        self.cuts: dict[int, tuple[int, int]] = {}
        self.overlap = overlap
        self.heads = list(heads) or [""] * len(texts)
        self._origins: dict[int, tuple[int, int]] = {}  # of pieces: text, number of cuts
        self._given_up: set[int] = set()

    @property
    def has_transient_errors(self) -> bool:
        """Return whether some text failed transiently."""
        return any(isinstance(e, TransientEmbedderError) for e in self.errors.values())

    def cut(self, position: int, embedder: Embedder) -> bool:
        """Replace a text that is too long for its embedder by pieces of half its length. They are
        added at the end, so that nothing changes its position.

        Returns:
            Whether it could be cut: not when it was cut so often that its length cannot be the
            problem.
        """
        origin, times = self._origins.get(position, (position, 0))
        if times == MAX_CUTS:
            self._given_up.add(origin)
        if origin in self._given_up:
            return False
        text = self.texts[position]
        half = max(1, embedder.count_tokens([text])[0] // 2)
        head = self.heads[position]
        pieces = chunk_text(text, embedder, half, self.overlap, head)
        if len(pieces) < 2:
            return False
        start, stop = len(self.texts), len(self.texts) + len(pieces)
        self.texts += pieces
        self.heads += [head] * len(pieces)
        if self.tokens:
            self.tokens += embedder.count_tokens(pieces)
        if stop > len(self.done):
            room = max(stop, 2 * start)
            self.vectors = np.resize(self.vectors, (room, self.vectors.shape[1]))
            self.done = np.concatenate([self.done, np.zeros(room - len(self.done), np.bool_)])
        self.cuts[position] = (start, stop)
        self._origins.update(dict.fromkeys(range(start, stop), (origin, times + 1)))
        self.open += len(pieces) - 1
        return True

    def join(self, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """Move the pieces to the places of their texts.

        Args:
            spans: The spans of the rows; every text is in one.

        Returns:
            The new spans of the rows.
        """
        order: list[int] = []
        joined = []
        for start, stop in spans:
            before = len(order)
            for position in range(start, stop):
                order += self._pieces(position)
            joined.append((before, len(order)))
        self.texts = [self.texts[position] for position in order]
        self.heads = [self.heads[position] for position in order]
        self.vectors, self.done = self.vectors[order], self.done[order]
        now_at = {position: index for index, position in enumerate(order)}
        self.errors = {now_at[position]: error for position, error in self.errors.items()}
        self.cuts = {}
        return joined

    def _pieces(self, position: int) -> list[int]:
        if position not in self.cuts:
            return [position]
        return [each for piece in range(*self.cuts[position]) for each in self._pieces(piece)]


@dataclass
class Request:
    """Consecutive texts of one or more plans, each part ``(plan, start, stop)``.

    Attributes:
        parts: The texts.
        attempt: Number of the attempt, from 1.
        not_before: The earliest time to send it, by the pool's clock.
        has_failed: Whether it was sent before, as it is or as a part of a larger one.
    """

    parts: list[tuple[EmbedPlan, int, int]]
    attempt: int = 1
    not_before: float = 0.0
    has_failed: bool = False
    texts: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.texts = [text for plan, start, stop in self.parts for text in plan.texts[start:stop]]

    @property
    def tokens(self) -> int:
        """Tokens of the texts; 0 where they are not counted."""
        return sum(sum(plan.tokens[start:stop]) for plan, start, stop in self.parts)

    def fail(self, error: EmbedderError) -> None:
        """Record that its texts get no vector."""
        for plan, start, stop in self.parts:
            plan.errors.update(dict.fromkeys(range(start, stop), error))
            plan.open -= stop - start

    def halves(self) -> tuple[Request, Request]:
        """Return the same texts in two requests."""
        middle = len(self.texts) // 2
        first: list[tuple[EmbedPlan, int, int]] = []
        second: list[tuple[EmbedPlan, int, int]] = []
        position = 0
        for plan, start, stop in self.parts:
            cut = min(max(start + middle - position, start), stop)
            if cut > start:
                first.append((plan, start, cut))
            if stop > cut:
                second.append((plan, cut, stop))
            position += stop - start
        return Request(first, has_failed=True), Request(second, has_failed=True)
