"""A provider that refuses: how much of what it allows is used, and how many 429 that takes.

python benchmarks/refusals.py
"""

from __future__ import annotations

import argparse
import json
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from harness import Bench, bench, say

from tests.vendors.openai import OpenAIVendor
from tests.vendors.protocol import ANSWER, Asked, Fault, Kind
from tests.vendors.server import Chance, VendorServer

ALLOWED = 5.0
"""Requests a second, by those who have a limit."""
LATENCY = 0.25
IN_FLIGHT = 4
"""Of each worker."""

Limiter = Callable[[float], float | None]
"""By the moment of a request: seconds until another one passes; None: it does."""
Words = Callable[[float], Mapping[str, str]]
"""Headers of a 429, by the seconds that remain."""


def window(length: float = 60.0) -> Limiter:
    """So many in each window, whenever in it."""
    began, used = -math.inf, 0

    def limiter(now: float) -> float | None:
        nonlocal began, used
        if now >= began + length:
            began, used = now, 0
        used += 1
        return None if used <= ALLOWED * length else began + length - now

    return limiter


def bucket(seconds: float) -> Limiter:
    """So many seconds' worth at once, and then one by one."""
    room = ALLOWED * seconds
    left, last = room, -math.inf

    def limiter(now: float) -> float | None:
        nonlocal left, last
        left, last = min(room, left + (now - last) * ALLOWED), now
        if left < 1:
            return (1 - left) / ALLOWED
        left -= 1
        return None

    return limiter


def strict(length: float = 10.0) -> Limiter:
    """So many in any ten seconds, and what is refused counts as well."""
    seen: deque[float] = deque()

    def limiter(now: float) -> float | None:
        while seen and seen[0] <= now - length:
            seen.popleft()
        seen.append(now)
        return None if len(seen) <= ALLOWED * length else length

    return limiter


def storm(share: float, wait: float) -> Limiter:
    """Refuses a share of the requests, however many there are."""
    dice = random.Random(1)
    return lambda now: wait if dice.random() < share else None


def exact(wait: float) -> Mapping[str, str]:
    return {"Retry-After-Ms": str(math.ceil(1000 * wait))}


def in_seconds(wait: float) -> Mapping[str, str]:
    return {"Retry-After": str(math.ceil(wait))}


def silent(wait: float) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class Provider:
    """How one refuses.

    Attributes:
        limiter: Makes its rule.
        words: What a 429 says.
        workers: Processes that ask it.
        configured: Requests a minute it is believed to allow; None: nobody said.
        has_limit: Whether the ideal is ``ALLOWED``, not as many as can be in flight.
    """

    limiter: Callable[[], Limiter]
    words: Words
    workers: int = 2
    configured: int | None = None
    has_limit: bool = True

    @property
    def ideal(self) -> float:
        """Requests a second."""
        return ALLOWED if self.has_limit else self.workers * IN_FLIGHT / LATENCY


PROVIDERS = {
    "window": Provider(window, in_seconds),
    "window-silent": Provider(window, silent),
    "bucket-exact": Provider(lambda: bucket(1), exact),
    "bucket-seconds": Provider(lambda: bucket(1), in_seconds),
    "bucket-silent": Provider(lambda: bucket(1), silent),
    "bucket12-silent": Provider(lambda: bucket(12), silent),
    "strict": Provider(strict, in_seconds),
    "strict-silent": Provider(strict, silent),
    "hidden": Provider(lambda: bucket(1), exact, workers=4, configured=600),
    "storm": Provider(lambda: storm(0.3, 0.2), exact, has_limit=False),
    "gusts": Provider(lambda: storm(0.05, 1), exact, has_limit=False),
}


class LimitedServer(VendorServer):
    """Plays OpenAI's API by a rule."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(OpenAIVendor(), chance=Chance(latency=LATENCY))
        self._limiter, self._words = provider.limiter(), provider.words
        self._lock = threading.Lock()

    def next_fault(self, asked: Asked) -> Fault:
        with self._lock:
            wait = self._limiter(time.monotonic())
        return ANSWER if wait is None else Fault(Kind.THROTTLED, headers=self._words(wait))


@contextmanager
def serving(provider: Provider) -> Iterator[LimitedServer]:
    """A server on threads of this process."""
    with LimitedServer(provider) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def main() -> None:
    """Run what the command line says, and print a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("providers", nargs="*", metavar="provider", help=", ".join(PROVIDERS))
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=180.0, help="that are counted")
    options = parser.parse_args()
    if unknown := set(options.providers) - set(PROVIDERS):
        parser.error(f"{', '.join(unknown)}: use {', '.join(PROVIDERS)}")
    with bench("postgresql") as databases:
        for _ in range(options.runs):
            for name in options.providers or PROVIDERS:
                measure(databases, name, options.seconds)


def measure(databases: Bench, name: str, seconds: float) -> None:
    """One run, counted by the provider from the first request on."""
    provider = PROVIDERS[name]
    with serving(provider) as server:
        options = {
            "model": "bench",
            "dimensions": 16,
            "base_url": f"{server.url}/v1",
            "api_key": server.key,
            "concurrency": IN_FLIGHT,
            "max_batch_size": 4,
        }
        databases.run(
            *("worker", "--slots", str(provider.workers), "--batch-size", "40"),
            *("--seconds", str(seconds)),
            rows=40_000,
            script="run_workers.py",
            BENCH_STORE="stores.UnindexedPgVectorStore",
            BENCH_EMBEDDER="ai_migration.embedders.openai.OpenAIEmbedder",
            BENCH_EMBEDDER_OPTIONS=json.dumps(options),
            BENCH_EMBEDDER_LIMITS=json.dumps(
                {"REQUESTS_PER_MINUTE": provider.configured, "LIVE_SHARE": 0.0}
            ),
            BENCH_AI_MIGRATION=json.dumps({"DEFAULT_RATE_LIMIT": None}),
        )
        requests = server.seen.requests
    ends = min(request.at for request in requests) + seconds
    counted = [request for request in requests if request.at < ends]
    answers = sorted(request.at for request in counted if request.kind is Kind.ANSWER)
    gap = max(later - at for at, later in zip(answers, [*answers[1:], ends], strict=True))
    refused = 1000 * (len(counted) - len(answers)) / len(counted)
    say(
        name,
        f"{len(answers) / (provider.ideal * seconds):.1%}",
        f"of what it allows; {refused:.0f} of 1000 requests refused; at most {gap:.0f} s apart",
    )


if __name__ == "__main__":
    main()
