"""A backfill of products against hand-written loops, cold and warm.

python benchmarks/backfill.py --database postgresql --rows 100000
"""

from __future__ import annotations

import argparse

from harness import Run, bench, median_of, say

KINDS = ("product", "one-table", "two-tables")
LIMITS = {"one-table": 2.0, "two-tables": 1.6}
WARM_LIMIT, WARM_RATE = 2.0, 60_000
MEGABYTE = 1_000_000


def main() -> None:
    """Run everything in turn, then print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--batch-size", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--payload", action="store_true", help="with three metadata fields")
    parser.add_argument(
        "--index", action="store_true", help="let pgvector build its HNSW index at the end"
    )
    options = parser.parse_args()
    arguments = ["--batch-size", str(options.batch_size), "--warm"]
    arguments += ["--payload"] if options.payload else []
    environment = {}
    if options.database == "postgresql" and not options.index:
        environment["BENCH_STORE"] = "stores.UnindexedPgVectorStore"
    runs: dict[str, list[Run]] = {kind: [] for kind in KINDS}
    with bench(options.database) as databases:
        for number in range(options.runs):
            for kind in KINDS:  # in turn: whatever disturbs the machine disturbs all of them
                run = databases.run(kind, *arguments, rows=options.rows, **environment)
                runs[kind].append(run)
                say(f"run {number + 1}: {kind}", f"{run.seconds:.2f} s", _warm_note(run))
    report(runs, options.rows)


def report(runs: dict[str, list[Run]], rows: int) -> None:
    """Print medians and ratios."""
    seconds = {kind: median_of(of_kind) for kind, of_kind in runs.items()}
    warm = {kind: median_of(runs[kind], "warm_seconds") for kind in ("product", "two-tables")}
    print("\nCold: every row is embedded and written")
    for kind in KINDS:
        memory = median_of(runs[kind], "peak_memory") / MEGABYTE
        log = median_of(runs[kind], "wal_bytes") / rows
        note = f"{memory:.0f} MB at most" + (f", {log:,.0f} bytes of WAL a row" if log else "")
        say(kind, f"{rows / seconds[kind]:,.0f} rows/s", note)
    for kind, limit in LIMITS.items():
        say(f"time against {kind}", f"{seconds['product'] / seconds[kind]:.2f} ×", f"≤ {limit}")
    log = median_of(runs["two-tables"], "wal_bytes")
    if log:
        ratio = median_of(runs["product"], "wal_bytes") / log
        say("WAL against two-tables", f"{ratio:.2f} ×", "≤ 2")
    print("\nWarm: nothing has changed")
    say("product", f"{rows / warm['product']:,.0f} rows/s", f"≥ {WARM_RATE:,}")
    say("hash compare", f"{rows / warm['two-tables']:,.0f} rows/s")
    ratio = warm["product"] / warm["two-tables"]
    say("time against hash compare", f"{ratio:.2f} ×", f"≤ {WARM_LIMIT}")


def _warm_note(run: Run) -> str:
    return f"warm {run.warm_seconds:.2f} s" if run.warm_seconds else ""


if __name__ == "__main__":
    main()
