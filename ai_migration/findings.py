"""The findings of ``ai_migration doctor``, and the contract of its diagnoses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Level(StrEnum):
    """The severity of a finding."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One observation of a diagnosis.

    Attributes:
        name: Its subject: ``supervisor``, ``worker``, ``job``…
        fact: The observation.
        advice: The advice; empty where all is well.
        level: An error has to be acted upon; a warning is a risk.
    """

    name: str
    fact: str
    advice: str = ""
    level: Level = Level.OK


class Diagnosis(Protocol):
    """Looks at one thing; usually a frozen dataclass."""

    def run(self) -> Iterable[Finding]:
        """Return the findings."""
