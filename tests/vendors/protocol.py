"""What a vendor's protocol is to the server: how to read a request, and what to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ai_migration.testing.faults import Fault, Kind
from ai_migration.types import Vectors

SPOKEN = frozenset(
    {
        Kind.THROTTLED,
        Kind.NO_QUOTA,
        Kind.SERVER_ERROR,
        Kind.UNAVAILABLE,
        Kind.WRONG_KEY,
        Kind.UNKNOWN_MODEL,
        Kind.REFUSED,
        Kind.TOO_LONG,
    }
)
"""What a vendor has words of its own for."""


__all__ = ["ANSWER", "SPOKEN", "Asked", "Fault", "Kind", "Reply", "Vendor"]

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
        other: What else the request says.
    """

    texts: Sequence[str]
    model: str = ""
    dimensions: int | None = None
    input_type: str = ""
    key: str = ""
    encoding: str = ""
    other: Mapping[str, Any] = field(default_factory=dict)


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
