"""What an embedder raised, as one of four kinds, and how soon it is asked again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tenacity import RetryCallState, wait_exponential, wait_random

from ai_migration.conf import redacted
from ai_migration.embedders._too_long import is_too_long
from ai_migration.embedders.base import without_texts
from ai_migration.exceptions import (
    EmbedderError,
    InputRefusedError,
    TextTooLongError,
    TransientEmbedderError,
)


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how soon a request that failed in passing is sent again.

    Attributes:
        attempts: Sends of one request, at most.
        initial_delay: Seconds before the second; doubles from there, with jitter.
        max_delay: Seconds, at most.
    """

    attempts: int = 4
    initial_delay: float = 0.5
    max_delay: float = 30.0

    def delay(self, attempt: int) -> float:
        """Seconds to wait after the attempt of that number, counted from 1."""
        state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]
        state.attempt_number = attempt
        doubling = wait_exponential(multiplier=self.initial_delay, max=self.max_delay)
        return float((doubling + wait_random(0, self.initial_delay))(state))


def as_embedder_error(error: BaseException, texts: Sequence[str]) -> EmbedderError:
    """What an embedder raised, as one of the four kinds, without texts and keys in it.

    Lost connections and time-outs are transient. Anything else an embedder did not
    classify is taken for a fault of the texts: bisected, it costs the row that causes it.
    """
    message = without_texts(redacted(str(error)), texts)
    kind: type[EmbedderError] = InputRefusedError
    if isinstance(error, (ConnectionError, TimeoutError)):
        kind = TransientEmbedderError
    elif is_too_long(message):
        kind = TextTooLongError
    if isinstance(error, InputRefusedError) and kind is TextTooLongError:
        return kind(message[:500])
    if isinstance(error, EmbedderError):
        error.message = message[:500]
        return error
    return kind(f"{type(error).__name__}: {message}"[:500])
