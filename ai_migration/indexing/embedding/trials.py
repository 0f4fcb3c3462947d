"""Finds out whether a provider answers at all, while nothing of a job is embedded yet."""

from __future__ import annotations

from collections.abc import Callable

from ai_migration.embedders import Embedder
from ai_migration.embedders.probing import PROBE, say_the_same
from ai_migration.exceptions import EmbedderError, FatalEmbedderError, InputRefusedError
from ai_migration.indexing.embedding.plan import EmbedPlan, Request


class Trial:
    """Keeps the first refusals of a provider until their cause is known.

    Splitting a batch down to each of its rows, and recording each failure, takes for ever where
    every text is refused, for an unknown parameter or a wrong model. So the first text that is
    refused waits, and a plain one is sent. If that is answered, the text is the cause. If it is
    refused with the same message, the provider is.

    Args:
        embedder: The embedder that is tried.
        is_on: Whether nothing was embedded yet.

    Attributes:
        is_on: Whether nothing was answered yet: until then, one text is sent at a time.
        suspects: The requests that were refused, with their errors.
    """

    def __init__(self, embedder: Embedder, *, is_on: bool) -> None:
        self.is_on = is_on
        self.suspects: list[tuple[Request, EmbedderError]] = []
        self._embedder = embedder
        self._probe: EmbedPlan | None = None

    def suspect(self, request: Request, error: EmbedderError) -> Request | None:
        """Keep the refusal of a single text; return the request to send next, unless it was
        sent."""
        self.suspects.append((request, error))
        if self._probe is not None:
            return None
        self._probe = EmbedPlan([PROBE], self._embedder.dimensions)
        self._probe.tokens = list(self._embedder.count_tokens([PROBE]))
        return Request([(self._probe, 0, 1)])

    def is_probe(self, request: Request) -> bool:
        """Return whether a request is the one that was made by :meth:`suspect`."""
        return self._probe is not None and request.parts[0][0] is self._probe

    def judge(self, error: EmbedderError) -> None:
        """Judge by the plain text, which was not answered.

        Raises:
            FatalEmbedderError: It was refused with the same message as a text of the job.
        """
        for _, other in self.suspects:
            if isinstance(error, InputRefusedError) and say_the_same(other.message, error.message):
                self._probe = None
                raise FatalEmbedderError(f"Every text is refused. {error.message}")
        self.end()

    def end(self) -> None:
        """End the trial, since something was answered: the refused texts are the cause."""
        self.is_on = False
        for request, error in self.suspects:
            request.fail(error)
        if self.suspects and self._probe is not None:
            self.suspects[0][0].parts[0][0].spent += self._probe.spent
        self.suspects = []

    def forget(self, is_kept: Callable[[EmbedPlan], bool]) -> None:
        """Drop the refusals of texts of some plans, and the plain text if none is left."""
        self.suspects = [each for each in self.suspects if is_kept(each[0].parts[0][0])]
        if not self.suspects:
            self._probe = None
