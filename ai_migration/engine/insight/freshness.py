"""Freshness: the seconds from a change of a row until searches know of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ai_migration.jobs.report.progress import duration
from ai_migration.types import JSONValue

ACCURACY = 0.05
"""The share by which a percentile may differ from the true one."""
SHORTEST, LONGEST = 0.001, 30 * 86_400.0
"""Seconds; shorter and longer waits count as these."""
_STEP = (1 + ACCURACY) / (1 - ACCURACY)


@dataclass(frozen=True)
class Freshness:
    """The waits of live changes, from the moment of the change to the commit that made it
    searchable. They are counted in steps that grow by a tenth, so that a minute takes a few numbers
    however many changes it has, and minutes can be added up.

    Attributes:
        steps: The number of changes for each step.
    """

    steps: Counter[int] = field(default_factory=Counter)

    @classmethod
    def of(cls, changes: Iterable[tuple[datetime, int]], now: datetime) -> Freshness:
        """Return the waits of changes that are searchable from now on.

        Args:
            changes: When they were made, and their number.
            now: The present time, by the same clock.
        """
        steps: Counter[int] = Counter()
        for made_at, number in changes:
            steps[_step((now - made_at).total_seconds())] += number
        return cls(+steps)

    @classmethod
    def from_json(cls, document: Mapping[str, int] | None) -> Freshness:
        """Return what :meth:`to_json` has made."""
        return cls(Counter({int(step): number for step, number in (document or {}).items()}))

    def to_json(self) -> dict[str, JSONValue]:
        """Return it as it is kept."""
        return {str(step): number for step, number in sorted(self.steps.items())}

    def __add__(self, other: Freshness) -> Freshness:
        return Freshness(self.steps + other.steps)

    def __bool__(self) -> bool:
        return bool(self.steps)

    @property
    def changes(self) -> int:
        """The number of changes."""
        return self.steps.total()

    @property
    def p50(self) -> float | None:
        """Seconds within which half of the changes were searchable; None: there were none."""
        return self.within(0.5)

    @property
    def p95(self) -> float | None:
        """Seconds within which 95 % of them were."""
        return self.within(0.95)

    def within(self, share: float) -> float | None:
        """Return the seconds within which a share of the changes was searchable, to
        :data:`ACCURACY`.

        Args:
            share: Above 0, and 1 at most.
        """
        left = math.ceil(share * self.changes)
        for step, number in sorted(self.steps.items()):
            left -= number
            if left <= 0:
                return 2 * _STEP**step / (_STEP + 1)
        return None


def seconds(wait: float | None) -> str:
    """Return a wait for people: ``0.35 s``, ``7 s``, ``3 min 05 s``."""
    if wait is None:
        return "–"
    if wait < 10:
        return f"{wait:.2g} s"
    return duration(timedelta(seconds=wait))


def _step(seconds: float) -> int:
    return math.ceil(math.log(min(max(seconds, SHORTEST), LONGEST), _STEP))
