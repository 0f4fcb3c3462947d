"""The number of requests in flight at once: as many as the provider keeps up with."""

from __future__ import annotations

KEEPS_UP = 2.0
"""Factor of the best latency: up to this the provider is not slowed down by one more request."""
LAGS = 4.0
"""Factor of the best latency: beyond this it is slowed down."""
_FORGET = 1.01
"""The best latency grows by this with each answer, so that a new normal is found."""


class AdaptiveConcurrency:
    """Additive increase, multiplicative decrease (RFC 5681, 3.1), between 1 and a maximum.

    It starts at the maximum: most providers say when it is too much.

    Args:
        maximum: The maximum that the embedder and the config allow.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.limit = maximum
        self._best = float("inf")
        self._largest = 0
        self._kept_up = 0
        self._lagged = 0

    def answered(self, seconds: float, texts: int) -> None:
        """Take note of an answer.

        Args:
            seconds: The time it took.
            texts: The texts of the request; small requests say nothing about large ones.
        """
        self._largest = max(self._largest, texts)
        if 2 * texts < self._largest:
            return
        self._best = min(self._best * _FORGET, seconds)
        keeps_up, lags = seconds <= KEEPS_UP * self._best, seconds > LAGS * self._best
        self._kept_up = self._kept_up + 1 if keeps_up else 0
        self._lagged = self._lagged + 1 if lags else 0
        if self._kept_up >= self.limit:
            self._set(self.limit + 1)
        elif self._lagged >= self.limit:
            self._set(self.limit - 1)

    def throttled(self) -> None:
        """Take note that the provider asked to wait."""
        self._set(self.limit // 2)

    def _set(self, limit: int) -> None:
        self.limit = min(self.maximum, max(1, limit))
        self._kept_up = self._lagged = 0
