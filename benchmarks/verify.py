"""A verify against a warm run, and what checksums of vectors cost a cold run.

python benchmarks/verify.py --database postgresql --rows 100000
"""

from __future__ import annotations

import argparse

from harness import Run, bench, median_of, say

MEGABYTE = 1_000_000
MEMORY_LIMIT = 150
CHECKSUM_LIMIT = 2.0


def main() -> None:
    """Run with and without checksums in turn, then print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--batch-size", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--payload", action="store_true", help="with three metadata fields")
    options = parser.parse_args()
    arguments = ["--batch-size", str(options.batch_size)]
    arguments += ["--payload"] if options.payload else []
    environment = {}
    if options.database == "postgresql":
        environment["BENCH_STORE"] = "stores.UnindexedPgVectorStore"
    with_them: list[Run] = []
    without: list[Run] = []
    with bench(options.database) as databases:

        def run(*more: str) -> Run:
            return databases.run("product", *arguments, *more, rows=options.rows, **environment)

        for number in range(options.runs):
            with_them.append(run("--warm", "--verify"))
            without.append(run("--no-checksums"))
            one = with_them[-1]
            say(f"run {number + 1}", f"{one.seconds:.2f} s", f"verify {one.verify_seconds:.2f} s")
    rows = options.rows
    warm, verify = (median_of(with_them, f"{what}_seconds") for what in ("warm", "verify"))
    say("warm run", f"{rows / warm:,.0f} rows/s")
    say("verify", f"{rows / verify:,.0f} rows/s", f"{verify / warm:.2f} × the time of a warm run")
    memory = median_of(with_them, "verify_memory") / MEGABYTE
    say("peak memory", f"{memory:.0f} MB", f"≤ {MEMORY_LIMIT}")
    used = [min(run.cpu_seconds for run in runs) for runs in (with_them, without)]
    say(
        "checksums",
        f"{100 * (used[0] / used[1] - 1):+.1f} % of the CPU time of a cold run",
        f"≤ {CHECKSUM_LIMIT} %",
    )


if __name__ == "__main__":
    main()
