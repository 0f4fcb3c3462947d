"""An embedder that takes 50 ms a request: how much of the ideal rate is reached.

python benchmarks/latency.py --database postgresql
"""

from __future__ import annotations

import argparse

from embedders import IDEAL_RATE
from harness import Run, bench, median_of, say


def main() -> None:
    """Run with the slow embedder and with the instant one in turn, then print shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--batch-size", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    arguments = ("product", "--batch-size", str(options.batch_size))
    slow: list[Run] = []
    instant: list[Run] = []
    environment = {}
    if options.database == "postgresql":
        environment["BENCH_STORE"] = "stores.UnindexedPgVectorStore"
    with bench(options.database) as databases:
        for _ in range(options.runs):
            slow.append(
                databases.run(
                    *arguments,
                    rows=options.rows,
                    BENCH_EMBEDDER="embedders.SleepingEmbedder",
                    **environment,
                )
            )
            instant.append(databases.run(*arguments, rows=options.rows, **environment))
    rate, ceiling = (options.rows / median_of(runs) for runs in (slow, instant))
    say("50 ms a request of 256 texts, 8 in flight", f"{rate:,.0f} texts/s")
    say("ideal", f"{IDEAL_RATE:,.0f} texts/s")
    say("with an instant embedder", f"{ceiling:,.0f} texts/s")
    say("share of the lower of the two", f"{rate / min(IDEAL_RATE, ceiling):.1%}", "≥ 90%")


if __name__ == "__main__":
    main()
