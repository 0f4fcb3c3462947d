"""A provider behind HTTP that takes 50 ms: its speed, its limits, its patience, its price.

python benchmarks/providers.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import HERE, Bench, Run, bench, median_of, say

from ai_migration.embedders.hash import HashEmbedder
from tests.vendors.openai import OpenAIVendor
from tests.vendors.protocol import Fault, Kind
from tests.vendors.server import Chance, VendorServer, serving

if TYPE_CHECKING:
    from tests.vendors.seen import SeenRequest

LATENCY = 0.05
DIMENSIONS = 256
IN_FLIGHT = (1, 4, 8, 16)
PARTS = ("speed", "limit", "throttled", "failures")
WARM_UP = 30.0
"""Seconds of a limited run that are not counted: a minute may begin with a burst."""
BURST_AFTER, BURST_SECONDS, RETRY_AFTER = 200, 1.0, 5.0
"""Answers before the burst of 429, how long it lasts, and what each of them says."""
FAILING = 0.05


@dataclass(frozen=True)
class Provider:
    """A provider, and how a run is to use it.

    Args:
        databases: Where the rows are.
        options: Of the command line.
    """

    databases: Bench
    options: argparse.Namespace

    @contextmanager
    def serving(self, **chance: float) -> Iterator[VendorServer]:
        """A server of ours that plays it, on threads of this process, which does nothing else."""
        with serving(
            OpenAIVendor(), dimensions=DIMENSIONS, chance=Chance(latency=LATENCY, **chance)
        ) as server:
            yield server

    def run(
        self,
        server: VendorServer,
        *arguments: str,
        script: str = "run_one.py",
        in_flight: int = 8,
        rate_limit: int | None = None,
        rows: int = 0,
    ) -> Run:
        """A job in processes of its own."""
        of_job = rate_limit if self.options.limit_of == "job" else None
        of_embedder = rate_limit if self.options.limit_of == "embedder" else None
        return self.databases.run(
            *arguments,
            "--batch-size",
            str(self.options.batch_size),
            rows=rows or self.options.rows,
            script=script,
            BENCH_STORE="stores.UnindexedPgVectorStore",
            BENCH_EMBEDDER="ai_migration.embedders.openai.OpenAIEmbedder",
            BENCH_EMBEDDER_OPTIONS=json.dumps(embedder_options(server, self.options, in_flight)),
            BENCH_EMBEDDER_LIMITS=json.dumps(
                {"REQUESTS_PER_MINUTE": of_embedder, "LIVE_SHARE": 0.0}
            ),
            BENCH_AI_MIGRATION=json.dumps({"DEFAULT_RATE_LIMIT": of_job}),
        )


def embedder_options(
    server: VendorServer, options: argparse.Namespace, in_flight: int
) -> dict[str, object]:
    """How the embedder finds the server."""
    return {
        "model": "bench",
        "dimensions": DIMENSIONS,
        "base_url": f"{server.url}/v1",
        "api_key": server.key,
        "concurrency": in_flight,
        "max_batch_size": options.texts,
    }


def main() -> None:
    """Run what the command line says, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument(
        "--rows", type=int, default=40_000, help="with 8 in flight; in proportion else"
    )
    parser.add_argument(
        "--in-flight", type=int, nargs="+", default=IN_FLIGHT, metavar="N", help="requests at once"
    )
    parser.add_argument("--texts", type=int, default=32, help="texts in one request")
    parser.add_argument("--batch-size", type=int, default=500)
    parser.add_argument("--runs", type=int, default=3, help="of each number in flight")
    parser.add_argument("--rate-limit", type=int, default=100, help="requests a minute")
    parser.add_argument("--seconds", type=float, default=150.0, help="of the limited run")
    parser.add_argument("--processes", type=int, default=4, help="of the limited run")
    parser.add_argument("--limit-of", choices=("job", "embedder"), default="embedder")
    options = parser.parse_args()
    measures = {"speed": speed, "limit": limit, "throttled": throttled, "failures": failures}
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"{', '.join(unknown)}: use {', '.join(PARTS)}")
    with bench("postgresql") as databases:
        for part in options.parts or PARTS:
            measures[part](Provider(databases, options))


def speed(provider: Provider) -> None:
    """Texts a second against what so many requests at once allow: by the clock, and by what
    the same client and server reach here when nothing else is done with the answers."""
    options = provider.options
    numbers = options.in_flight
    rows = {number: options.rows * number // 8 for number in numbers}  # all take equally long
    runs: dict[int, list[Run]] = {number: [] for number in numbers}
    bare: dict[int, list[Run]] = {number: [] for number in numbers}
    for _ in range(options.runs):
        for number in numbers:
            with provider.serving() as server:
                run = provider.run(server, "product", in_flight=number, rows=rows[number])
                runs[number].append(run)
            with provider.serving() as server:
                bare[number].append(_bare(server, options, number))
    for number in numbers:
        rate = rows[number] / median_of(runs[number])
        ideal = number * options.texts / LATENCY
        reachable = bare[number][0].rows / median_of(bare[number])
        goal = "  ≥ 90%" if number == 8 else ""
        say(
            f"{number} in flight, {options.texts} texts a request",
            f"{rate:,.0f} texts/s",
            f"{rate / ideal:.1%} of the ideal{goal}, "
            f"{rate / reachable:.1%} of client and server alone",
        )


def _bare(server: VendorServer, options: argparse.Namespace, in_flight: int) -> Run:
    """Nothing but requests, by the same embedder, in a process of its own."""
    rows = 100 * in_flight * options.texts
    given = json.dumps(embedder_options(server, options, in_flight))
    command = [sys.executable, str(HERE / "run_requests.py"), given, str(rows)]
    return Run(**json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def limit(provider: Provider) -> None:
    """Requests a minute that the provider sees from several processes."""
    options = provider.options
    processes = str(options.processes)
    with provider.serving() as server:
        provider.run(
            server,
            *("worker", "--slots", processes, "--seconds", str(options.seconds)),
            script="run_workers.py",
            rate_limit=options.rate_limit,
        )
        moments = sorted(request.at for request in server.seen.requests)
    counted = [at - moments[0] - WARM_UP for at in moments if at - moments[0] >= WARM_UP]
    minutes = int(counted[-1] // 60) if counted else 0
    if not minutes:
        sys.exit(f"--seconds: at least {WARM_UP + 70:.0f}, to have a whole minute to count")
    rate = sum(at < 60 * minutes for at in counted) / minutes
    fullest = max(sum(at <= other < at + 60 for other in moments) for at in moments)
    say(
        f"{processes} processes, {options.rate_limit} a minute, of the {options.limit_of}",
        f"{rate:.1f} a minute",
        f"{rate / options.rate_limit - 1:+.1%}, ± 5%; {fullest} in the fullest minute",
    )


def throttled(provider: Provider) -> None:
    """How soon after a burst of 429 the work goes on, and who asks before."""
    with provider.serving() as server:
        stop = threading.Event()
        burst = threading.Thread(target=_burst, args=(server, stop))
        burst.start()
        try:
            provider.run(server, "worker", "--slots", "2", script="run_workers.py")
        finally:
            stop.set()
            burst.join()
        requests = sorted(server.seen.requests, key=lambda request: request.until)
    told = [request.until for request in requests if request.kind is Kind.THROTTLED]
    ends = told[-1] + RETRY_AFTER
    success = min(
        request.until
        for request in requests
        if request.kind is Kind.ANSWER and request.at > told[-1]
    )
    early = [request for request in requests if told[0] + LATENCY < request.at < ends]
    say(
        f"2 processes, {len(told)} × 429 with Retry-After",
        f"{success - ends:+.2f} s",
        f"from its end to the first success, ≤ 2 s; {len(early)} requests before it",
    )


def _burst(server: VendorServer, stop: threading.Event) -> None:
    while len(server.seen.requests) < BURST_AFTER:
        if stop.wait(0.01):
            return
    server.always(Fault(Kind.THROTTLED, retry_after=f"{RETRY_AFTER:.0f}"))
    stop.wait(BURST_SECONDS)
    server.always(None)


def failures(provider: Provider) -> None:
    """What is paid for twice when requests fail at random."""
    with provider.serving(fail=FAILING) as server:
        run = provider.run(server, "product")
        requests = server.seen.requests
    failed = [request for request in requests if request.kind is not Kind.ANSWER]
    sent, lost = _tokens(requests), _tokens(failed)
    answered = Counter(text for each in requests if each not in failed for text in each.texts)
    again = sum(HashEmbedder().count_tokens(list((answered - Counter(set(answered))).elements())))
    say(
        f"{len(failed)} of {len(requests)} requests failed",
        f"{again:,} tokens",
        f"embedded twice, none; {sent:,} sent, {lost:,} of them in requests that failed; "
        f"{run.rows:,} rows in {run.seconds:.0f} s",
    )


def _tokens(requests: Sequence[SeenRequest]) -> int:
    return sum(request.tokens for request in requests)


if __name__ == "__main__":
    main()
