"""The arithmetic of limits and cool-downs, without clock and database.

The algorithm of each limit is pyrate-limiter's token bucket (GCRA, ITU-T I.371).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from pyrate_limiter import Duration, Rate, TokenBucket

from ai_migration.types import JSONValue

FIRST_COOLDOWN = 1.0
"""Seconds of the first cool-down, if the provider does not say how long."""
LONGEST_COOLDOWN = 30.0
"""Seconds of the longest one: while the provider does not answer, each is twice as long as the one
before."""
_UNITS = 100_000
"""Larger limits count in units of several tokens: the bucket rounds to whole microseconds."""


@dataclass(frozen=True)
class Wait:
    """The time a request has to wait, and the reason. ``seconds`` 0: it may be sent."""

    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Limit:
    """One limit that a request has to keep.

    Attributes:
        key: The key of its state.
        per_minute: The amount a minute.
        burst: The amount at once.
        weight: The amount that the request takes.
        reason: The reason given for a request that has to wait for it.
    """

    key: str
    per_minute: float
    burst: float
    weight: int
    reason: str

    def step(self, arrival: int, now: int) -> tuple[int, int]:
        """Take the request's weight.

        Args:
            arrival: The bucket's theoretical arrival time, microseconds.
            now: Milliseconds.

        Returns:
            The new arrival time, and the milliseconds to wait instead; 0: none.
        """
        unit = max(1, int(self.per_minute) // _UNITS)
        weight = math.ceil(self.weight / unit)
        rate = Rate(
            max(1, int(self.per_minute / unit)),
            Duration.MINUTE,
            burst=max(1, weight, int(self.burst / unit)),
        )
        (changed,), decision = TokenBucket().step([rate], (arrival,), now, weight)
        return int(changed), 0 if decision.allowed else max(1, decision.retry_after_ms or 0)


@dataclass(frozen=True)
class ProviderState:
    """The state of one embedder's provider, shared by all processes. Times are milliseconds.

    Attributes:
        arrivals: Theoretical arrival times of the token buckets, microseconds.
        blocked_until: No request before this time.
        reason: The provider's message.
        patience: Seconds of the last cool-down whose length it did not name; 0: it has answered
            since.
    """

    arrivals: Mapping[str, int] = field(default_factory=dict)
    blocked_until: int = 0
    reason: str = ""
    patience: float = 0.0

    @classmethod
    def from_json(cls, document: JSONValue) -> ProviderState:
        """Return the state that :attr:`as_json` wrote, maybe in another version."""
        if not isinstance(document, dict):
            return cls()
        return cls(**{f.name: document[f.name] for f in fields(cls) if f.name in document})

    @property
    def as_json(self) -> dict[str, JSONValue]:
        """The state as a JSON document."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def take(self, limits: Sequence[Limit], now: int) -> tuple[ProviderState, Wait]:
        """Let one request through, if all limits have room for it.

        Returns:
            The changed state; the same one when the request has to wait.
        """
        if now < self.blocked_until:
            return self, Wait((self.blocked_until - now) / 1000, self.reason)
        arrivals = {key: at for key, at in self.arrivals.items() if at > now * 1000}
        wait = Wait()
        for limit in limits:
            arrivals[limit.key], delay = limit.step(arrivals.get(limit.key, 0), now)
            if delay / 1000 > wait.seconds:
                wait = Wait(delay / 1000, limit.reason)
        if wait.seconds or not limits:
            return self, wait
        return replace(self, arrivals=arrivals), wait

    def cooled_down(self, wait: float | None, reason: str, now: int) -> tuple[ProviderState, float]:
        """Return the state after the provider asked to wait.

        Args:
            wait: The seconds it asked for; None: it did not say.
            reason: The provider's message.
            now: Milliseconds.

        Returns:
            The changed state, and the seconds to wait.
        """
        patience = self.patience
        if wait is None:
            if now >= self.blocked_until:  # otherwise it is still the same burst
                patience = min(LONGEST_COOLDOWN, 2 * patience)
            wait = patience = patience or FIRST_COOLDOWN
        until = now + math.ceil(wait * 1000)
        if until > self.blocked_until:
            return replace(self, blocked_until=until, reason=reason, patience=patience), wait
        return replace(self, patience=patience), wait

    def recovered(self) -> ProviderState:
        """Return the state after the provider answered again."""
        return replace(self, patience=0.0) if self.patience else self
