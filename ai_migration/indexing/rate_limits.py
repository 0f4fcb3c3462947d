"""Requests a minute, one budget over all processes and hosts.

The algorithm is pyrate-limiter's token bucket (GCRA, ITU-T I.371); only its state lives
here, in a row that is stepped under its own lock.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.db.models import F
from pyrate_limiter import Duration, Rate, TokenBucket

from ai_migration.models import RateLimitState
from ai_migration.models.sql import clock


@dataclass(frozen=True)
class SharedRateLimit:
    """A limit that everybody who uses the same key keeps together.

    Attributes:
        key: Whose budget it is, such as ``job:mig-…``.
        per_minute: Requests a minute. At most a second's worth may come in one burst.
        using: Database alias of our tables.
    """

    key: str
    per_minute: int
    using: str

    def acquire(self) -> float:
        """Try to take one request; never waits.

        Returns:
            0.0 when it was granted, else the seconds after which trying again makes sense.
        """
        rates = [Rate(self.per_minute, Duration.MINUTE, burst=max(1, self.per_minute // 60))]
        bucket = TokenBucket()
        with transaction.atomic(using=self.using):
            row = self._locked()
            state = tuple(row.state) or bucket.initial(rates)
            now = clock.now_microseconds(self.using) // 1000
            state, decision = bucket.step(rates, state, now, 1)
            if decision.allowed:
                row.state = list(state)
                row.save(using=self.using, update_fields=["state"])
                return 0.0
        return max(decision.retry_after_ms or 0, 1) / 1000

    def _locked(self) -> RateLimitState:
        rows = RateLimitState.objects.using(self.using)
        while not rows.filter(key=self.key).update(state=F("state")):  # an UPDATE locks
            try:
                with transaction.atomic(using=self.using):
                    rows.create(key=self.key)
            except IntegrityError:
                continue  # somebody else was first
        return rows.get(key=self.key)
