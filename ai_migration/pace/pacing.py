"""What a provider allows now: the arithmetic alone, without clock and database.

The algorithm of each limit is pyrate-limiter's token bucket (GCRA, ITU-T I.371). Beside
the configured limits stands the pace: a limit that is learned. A provider that asks to wait
lowers it, and time without such a word raises it slowly. Where fewer requests are answered
at the lower pace it is raised instead, as long as more are answered then: such a provider
refuses whatever the pace, and to ask it ever less would end in standing still.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from pyrate_limiter import Duration, Rate, TokenBucket

from ai_migration.types import JSONValue

SLOWDOWN = 0.7
"""What is left of the pace after a provider asked to wait."""
GROWTH = 2.0
"""By what the pace grows in a minute."""
SLOWEST = 0.02
"""Of the pace at which the provider first asked to wait, the least it is lowered to."""
AS_GOOD = 0.75
"""Of what was answered in a minute at the pace before: less than this is less."""
FORGOTTEN = 4.0
"""Times that pace: at this, the provider is taken for one that never asked to wait."""
ONE_BURST = 5_000
"""Milliseconds within which several such words are one."""
ENOUGH = 20
"""Requests that were answered, at least, before a pace is learned from them."""
_PATIENCE = 30_000
"""Milliseconds to wait for so many; fewer are slow enough to be sure."""
_WINDOW = 60_000
_SHORTEST = 2_000
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
        is_rising: Whether it was last raised because the lower pace was no better.
        answered: Requests a minute that were answered before that change.
        since: From when these two count.
        requests: Requests that were let through.
        refused: Those of them that were asked to wait.
    """

    arrivals: Mapping[str, int] = field(default_factory=dict)
    blocked_until: int = 0
    reason: str = ""
    pace: float = 0.0
    paced_at: int = 0
    peak: float = 0.0
    is_rising: bool = False
    answered: float = 0.0
    since: int = 0
    requests: int = 0
    refused: int = 0

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
        return replace(self.counted(1, now), arrivals=arrivals), wait

    def counted(self, requests: int, now: int) -> ProviderState:
        """After so many requests were let through."""
        if now - self.since > _WINDOW:
            return replace(self, since=now, requests=requests, refused=0)
        return replace(self, requests=self.requests + requests)

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
        blocked = replace(blocked, refused=self.refused + 1)
        is_burst = self.pace and now - self.paced_at < ONE_BURST
        since = now - self.since
        count = max(0, blocked.requests - blocked.refused)
        if is_burst or (count < ENOUGH and (not self.pace or since < _PATIENCE)):
            return blocked
        a_minute = 60_000 / max(since, _SHORTEST)
        pace, answered = self.pace_at(now), a_minute * count
        if pace is None:
            pace, is_rising = a_minute * self.requests, False
        elif self.is_rising:
            is_rising = answered > self.answered / AS_GOOD
        else:
            is_rising = answered < AS_GOOD * self.answered
        peak = max(pace, self.peak)
        slower = min(SLOWDOWN * pace, max(answered / SLOWDOWN, SLOWEST * peak))
        return replace(
            blocked,
            pace=max(1.0, pace / SLOWDOWN if is_rising else slower),
            paced_at=now,
            peak=peak,
            is_rising=is_rising,
            # Until it was first slowed down it may have lived on what it had saved up.
            answered=answered if self.pace else 0.0,
            since=now,
            requests=0,
            refused=0,
        )
