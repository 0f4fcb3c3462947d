"""The texts of a batch, and the requests they are sent in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ai_migration.exceptions import EmbedderError, TransientEmbedderError
from ai_migration.types import Vectors


class EmbedPlan:
    """The texts of one batch for one collection, and the vectors as they come.

    Attributes:
        texts: What is to be embedded.
        long: The spans of rows in several texts, ``(start, stop)``: worth nothing by halves.
        vectors: float32, shape ``(len(texts), dimensions)``; rows are valid where ``done``.
        done: Which texts have their vector.
        errors: By position: why a text has none and will get none.
        tokens: Of each text, where somebody counts them.
        spent: Tokens of the texts that were answered, as the provider says.
        open: Texts that still wait for an answer.
    """

    def __init__(
        self, texts: Sequence[str], dimensions: int, spans: Iterable[tuple[int, int]] = ()
    ) -> None:
        self.texts = texts
        self.long = [(start, stop) for start, stop in spans if stop - start > 1]
        self.vectors: Vectors = np.empty((len(texts), dimensions), dtype=np.float32)
        self.done = np.zeros(len(texts), dtype=np.bool_)
        self.errors: dict[int, EmbedderError] = {}
        self.tokens: Sequence[int] = ()
        self.spent = 0
        self.open = len(texts)

    @property
    def has_transient_errors(self) -> bool:
        """Whether some text failed in a way that may pass."""
        return any(isinstance(e, TransientEmbedderError) for e in self.errors.values())


@dataclass
class Request:
    """Consecutive texts of one or more plans, each part ``(plan, start, stop)``.

    Attributes:
        parts: The texts.
        attempt: Which sending of them this is, counted from 1.
        not_before: Not to be sent earlier, by the pool's clock.
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
        """Tokens of the texts; 0 where nobody counts them."""
        return sum(sum(plan.tokens[start:stop]) for plan, start, stop in self.parts)

    def halves(self) -> tuple[Request, Request]:
        """The same texts in two requests."""
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
