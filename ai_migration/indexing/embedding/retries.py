"""Classifies the errors of embedders into four kinds, and times the retries."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from ai_migration import exceptions
from ai_migration.embedders._too_long import is_too_long
from ai_migration.exceptions import (
    EmbedderError,
    InputRefusedError,
    TextTooLongError,
    TransientEmbedderError,
)
from ai_migration.redaction import forget_origin, redacted, without_texts

_LONGEST_MESSAGE = 500


@dataclass(frozen=True)
class RetryPolicy:
    """The number and the delays of attempts to send a request that failed transiently.

    Attributes:
        attempts: Sends of one request, at most.
        initial_delay: Seconds before the second; doubles from there, with jitter.
        max_delay: Seconds, at most.
    """

    attempts: int = 4
    initial_delay: float = 0.5
    max_delay: float = 30.0

    def delay(self, attempt: int) -> float:
        """Return the seconds to wait after the attempt of that number, counted from 1."""
        jitter = random.uniform(0, self.initial_delay)
        return backoff(attempt, self.initial_delay, self.max_delay) + jitter


def backoff(attempt: int, initial: float, longest: float = math.inf) -> float:
    """Return the seconds to wait after the attempt of that number, counted from 1: they double, ten
    times at most
    (https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/).
    """
    return min(longest, initial * 2.0 ** min(attempt - 1, 10))


def as_embedder_error(error: BaseException, texts: Sequence[str]) -> EmbedderError:
    """Return an embedder's error as one of the four kinds, without texts and keys in its message
    or in what it was raised from. Its traceback is kept.

    Lost connections and time-outs are transient. Anything else an embedder did not
    classify is taken for a fault of the texts: bisected, it costs the row that causes it.
    """
    words = without_texts(redacted(str(error)), texts)
    is_unnamed = isinstance(error, InputRefusedError) and not isinstance(error, TextTooLongError)
    if is_unnamed and is_too_long(words):
        return _of_kind(TextTooLongError, words, error)
    if isinstance(error, EmbedderError):
        return _said_anew(error, words[:_LONGEST_MESSAGE])
    kind: type[EmbedderError] = InputRefusedError
    if isinstance(error, (ConnectionError, TimeoutError)):
        kind = TransientEmbedderError
    elif is_too_long(words):
        kind = TextTooLongError
    return _of_kind(kind, f"{type(error).__name__}: {words}", error)


def _of_kind(kind: type[EmbedderError], words: str, error: BaseException) -> EmbedderError:
    return kind(words[:_LONGEST_MESSAGE]).with_traceback(error.__traceback__)


def _said_anew(error: EmbedderError, words: str) -> EmbedderError:
    """Return the same error with another message; one that makes its own message becomes its base
    class."""
    error.message, error.args = words, (words,)
    forget_origin(error)
    if str(error) == words:
        return error
    base = next(kind for kind in type(error).__mro__ if kind.__module__ == exceptions.__name__)
    ours: EmbedderError = base(words)
    if isinstance(error, exceptions.ThrottledError):
        ours.retry_after = error.retry_after  # type: ignore[attr-defined]
    return ours.with_traceback(error.__traceback__)
