"""Faults of requests to a vendor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from ai_migration.types import Vectors


class Kind(StrEnum):
    """The kinds of faults."""

    ANSWER = "answer"
    # The vendor refuses.
    THROTTLED = "throttled"
    NO_QUOTA = "no quota"
    SERVER_ERROR = "server error"
    UNAVAILABLE = "unavailable"
    WRONG_KEY = "wrong key"
    UNKNOWN_MODEL = "unknown model"
    REFUSED = "refused"
    TOO_LONG = "too long"
    # The answer does not arrive.
    SLOW = "slow"
    HALF = "half"
    RESET = "reset"
    # The answer is wrong.
    FEWER = "fewer"
    WRONG_DIMENSIONS = "wrong dimensions"
    OUT_OF_ORDER = "out of order"
    NOT_A_NUMBER = "not a number"


@dataclass(frozen=True)
class Fault:
    """The fault of one request.

    Attributes:
        kind: The kind of fault.
        retry_after: The header Retry-After: seconds or an HTTP date; empty: none.
        seconds: The delay of a slow answer.
        headers: More headers of the answer, or of the refusal.
    """

    kind: Kind
    retry_after: str = ""
    seconds: float = 30.0
    headers: Mapping[str, str] = field(default_factory=dict)


class FaultyVendor(Protocol):
    """A server that imitates a vendor, with planned faults.

    Attributes:
        key: The key its client calls it with.
    """

    key: str

    def plan(self, *faults: Fault) -> None:
        """Plan the faults of the next requests, one each; later ones are answered."""

    @property
    def received(self) -> Sequence[Sequence[str]]:
        """The texts of each request so far."""

    def vectors(self, texts: Sequence[str], dimensions: int) -> Vectors:
        """Return its vectors for these texts."""
