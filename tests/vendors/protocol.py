"""What a vendor's protocol is to the server: how to read a request, and what to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from ai_migration.types import Vectors


class Kind(StrEnum):
    """What can happen to a request."""

    ANSWER = "answer"
    # The vendor says no.
    THROTTLED = "throttled"
    NO_QUOTA = "no quota"
    SERVER_ERROR = "server error"
    UNAVAILABLE = "unavailable"
    WRONG_KEY = "wrong key"
    UNKNOWN_MODEL = "unknown model"
    REFUSED = "refused"
    # The answer does not arrive.
    SLOW = "slow"
    HALF = "half"
    RESET = "reset"
    # The answer is wrong.
    FEWER = "fewer"
    WRONG_DIMENSIONS = "wrong dimensions"
    OUT_OF_ORDER = "out of order"
    NOT_A_NUMBER = "not a number"


SPOKEN = frozenset(
    {
        Kind.THROTTLED,
        Kind.NO_QUOTA,
        Kind.SERVER_ERROR,
        Kind.UNAVAILABLE,
        Kind.WRONG_KEY,
        Kind.UNKNOWN_MODEL,
        Kind.REFUSED,
    }
)
"""What a vendor has words of its own for."""


@dataclass(frozen=True)
class Fault:
    """What happens to one request.

    Attributes:
        kind: Which of them.
        retry_after: The header Retry-After: seconds or an HTTP date; empty: none.
        seconds: How late a slow answer is.
        headers: More headers of the answer, or of the refusal.
    """

    kind: Kind
    retry_after: str = ""
    seconds: float = 30.0
    headers: Mapping[str, str] = field(default_factory=dict)


ANSWER = Fault(Kind.ANSWER)


@dataclass(frozen=True)
class Asked:
    """A request as the vendor understands it.

    Attributes:
        texts: What is to be embedded.
        model: The model named; empty: none.
        dimensions: How long the vectors shall be; None: as the model makes them.
        input_type: What the vectors are for, in the vendor's words; empty: not said.
        key: The key it came with.
        encoding: How the vectors shall be written, in the vendor's words.
    """

    texts: Sequence[str]
    model: str = ""
    dimensions: int | None = None
    input_type: str = ""
    key: str = ""
    encoding: str = ""


@dataclass(frozen=True)
class Reply:
    """An HTTP answer whose body is JSON."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


class Vendor(Protocol):
    """The protocol of one vendor."""

    name: str

    def asked(self, path: str, headers: Mapping[str, str], body: Any) -> Asked | None:
        """The request, if this path is one; header names are in lower case."""

    def answer(self, asked: Asked, vectors: Vectors, order: Sequence[int], tokens: int) -> Reply:
        """The vectors. ``order`` says which of the texts each is for."""

    def refusal(self, asked: Asked, kind: Kind) -> Reply:
        """Why there are none, one of ``SPOKEN``, as unkind as a vendor can be: the words
        repeat the key that is wrong, and the text that is refused."""
