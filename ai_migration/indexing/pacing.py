"""What a provider allows now: the arithmetic alone, without clock and database.

The algorithm of each limit is pyrate-limiter's token bucket (GCRA, ITU-T I.371). Beside
the configured limits stands the pace: a limit that is learned. A provider that asks to wait
lowers it (multiplicative decrease), and time without such a word raises it slowly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from pyrate_limiter import Duration, Rate, TokenBucket

from ai_migration.types import JSONValue

SLOWDOWN = 0.7
"""What is left of the pace after a provider asked to wait."""
GROWTH = 1.25
"""By what the pace grows in a minute."""
SLOWEST = 0.2
"""Of the pace at which the provider first asked to wait, the least it is lowered to."""
FORGOTTEN = 4.0
"""Times that pace: at this, the provider is taken for one that never asked to wait."""
ONE_BURST = 5_000
"""Milliseconds within which several such words are one."""
ENOUGH = 10
"""Requests within a minute, at least, before a pace is learned from them."""
_WINDOW = 60_000
_UNITS = 100_000
"""Larger limits count in units of several tokens: the bucket rounds to whole microseconds."""


@dataclass(frozen=True)
class Wait:
    """How long a request has to wait, and for what. ``seconds`` 0: it may be sent."""

    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Limit:
    """One limit that a request has to keep.

    Attributes:
        key: Where its state is kept.
        per_minute: How much a minute.
        burst: How much at once.
        weight: How much of it the request takes.
        reason: What to say of a request that has to wait for it.
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
    """What all processes know together of one embedder's provider. Moments are milliseconds.

    Attributes:
        arrivals: Theoretical arrival times of the token buckets, microseconds.
        blocked_until: No request before this moment.
        reason: The provider's words.
        pace: Requests a minute it was lowered to; 0: the provider never asked to wait.
        paced_at: When that was.
        peak: Requests a minute when the provider first asked to wait.
        since: From when ``requests`` counts.
        requests: Requests that were let through since.
    """

    arrivals: Mapping[str, int] = field(default_factory=dict)
    blocked_until: int = 0
    reason: str = ""
    pace: float = 0.0
    paced_at: int = 0
    peak: float = 0.0
    since: int = 0
    requests: int = 0

    @classmethod
    def from_json(cls, document: JSONValue) -> ProviderState:
        """What :attr:`as_json` wrote, or something of another version."""
        if not isinstance(document, dict):
            return cls()
        return cls(**{f.name: document[f.name] for f in fields(cls) if f.name in document})

    @property
    def as_json(self) -> dict[str, JSONValue]:
        """A JSON document."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def pace_at(self, now: int) -> float | None:
        """Requests a minute the provider bears by what it said; None: it said nothing."""
        if not self.pace:
            return None
        grown = self.pace * GROWTH ** min(60.0, (now - self.paced_at) / 60_000)
        return grown if grown < FORGOTTEN * self.peak else None

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
        if wait.seconds:
            return self, wait
        is_new = now - self.since > _WINDOW
        return (
            replace(
                self,
                arrivals=arrivals,
                since=now if is_new else self.since,
                requests=1 if is_new else self.requests + 1,
            ),
            wait,
        )

    def slowed(self, wait: float, reason: str, now: int) -> ProviderState:
        """After the provider asked to wait.

        Args:
            wait: For so many seconds.
            reason: Its words.
            now: Milliseconds.
        """
        until = now + math.ceil(wait * 1000)
        blocked = self
        if until > self.blocked_until:
            blocked = replace(self, blocked_until=until, reason=reason)
        if self.pace and now - self.paced_at < ONE_BURST:
            return blocked
        pace = self.pace_at(now)
        if pace is None and self.requests < ENOUGH:
            return blocked
        peak = self.peak
        if pace is None:
            peak = 60_000 * self.requests / max(now - self.since, 1_000)
        slower = max(SLOWDOWN * (peak if pace is None else pace), SLOWEST * peak, 1.0)
        return replace(blocked, pace=slower, paced_at=now, peak=peak)
