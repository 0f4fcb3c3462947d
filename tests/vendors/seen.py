"""What a server has seen: every request, and the sums."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.vendors.protocol import Asked, Kind

KEPT = 50_000
"""Requests that are remembered one by one."""


@dataclass(frozen=True)
class SeenRequest:
    """One request and what became of it.

    Attributes:
        at: Seconds since the server began, when it came.
        until: The same, when it was dealt with.
        path: Its path.
        headers: Its headers, names in lower case.
        asked: What it asked for.
        tokens: Tokens of its texts.
        kind: What happened to it.
    """

    at: float
    until: float
    path: str
    headers: Mapping[str, str]
    asked: Asked
    tokens: int
    kind: Kind

    @property
    def texts(self) -> list[str]:
        return list(self.asked.texts)


class Seen:
    """Filled by the threads of the server, read by whoever wants to know."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._requests: deque[SeenRequest] = deque(maxlen=KEPT)
        self._kinds: Counter[Kind] = Counter()
        self._sums: Counter[str] = Counter()
        self._answered: Counter[bytes] = Counter()
        self._in_flight = 0

    def begin(self) -> float:
        """A request came: when, in seconds since the server began."""
        with self._lock:
            self._in_flight += 1
            self._sums["most_in_flight"] = max(self._sums["most_in_flight"], self._in_flight)
            return time.monotonic() - self._began

    def end(
        self,
        at: float,
        path: str,
        headers: Mapping[str, str],
        asked: Asked,
        tokens: int,
        kind: Kind,
    ) -> None:
        """The same request was dealt with, or is about to be answered."""
        until = time.monotonic() - self._began
        with self._lock:
            self._in_flight -= 1
            self._requests.append(SeenRequest(at, until, path, headers, asked, tokens, kind))
            self._kinds[kind] += 1
            self._sums.update(requests=1, texts=len(asked.texts), tokens=tokens)
            if kind in (Kind.ANSWER, Kind.OUT_OF_ORDER):
                self._sums.update(answered_texts=len(asked.texts), answered_tokens=tokens)
                self._answered.update(digest(text) for text in asked.texts)

    @property
    def requests(self) -> list[SeenRequest]:
        """The latest requests, the oldest first, in the order they were dealt with."""
        with self._lock:
            return list(self._requests)

    def times_answered(self, text: str) -> int:
        """How often this text got its vector."""
        return self._answered[digest(text)]

    def statistics(self) -> dict[str, Any]:
        """The sums: requests, texts and tokens that came, ``kinds`` of what became of the
        requests, ``distinct_texts`` that got a vector and how many of them got one again
        (``texts_answered_again``: what was paid for twice)."""
        with self._lock:
            names = ("requests", "texts", "tokens", "answered_texts", "answered_tokens")
            again = self._sums["answered_texts"] - len(self._answered)
            return {
                **{name: self._sums[name] for name in (*names, "most_in_flight")},
                "distinct_texts": len(self._answered),
                "texts_answered_again": again,
                "kinds": {kind.value: self._kinds[kind] for kind in Kind if self._kinds[kind]},
            }

    def log(self) -> list[dict[str, Any]]:
        """Each request without its texts and headers: when, what for, what became of it."""
        return [
            {
                "at": round(seen.at, 4),
                "until": round(seen.until, 4),
                "texts": len(seen.asked.texts),
                "tokens": seen.tokens,
                "kind": seen.kind.value,
            }
            for seen in self.requests
        ]


def digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
