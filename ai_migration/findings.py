"""What ``ai_migration doctor`` finds, and the contract of what looks for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What was looked at: ``supervisor``, ``worker``, ``job``…
        fact: What was seen.
        advice: What to do; empty where all is well.
        level: An error has to be acted upon; a warning is a risk.
    """

    name: str
    fact: str
    advice: str = ""
    level: Level = Level.OK


class Diagnosis(Protocol):
    """Looks at one thing; usually a frozen dataclass."""

    def run(self) -> Iterable[Finding]:
        """What was found."""
