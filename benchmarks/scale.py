"""The cost of a row and the memory, in a small table and in a large one.

python benchmarks/scale.py --database postgresql --small 10000 --large 1000000
"""

from __future__ import annotations

import argparse

from harness import Run, bench, median_of, say

MEGABYTE = 1_000_000


def main() -> None:
    """Run on both tables in turn, then print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--batch-size", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    arguments = ("product", "--batch-size", str(options.batch_size))
    environment = {}
    if options.database == "postgresql":
        environment["BENCH_STORE"] = "stores.UnindexedPgVectorStore"
    runs: dict[int, list[Run]] = {options.small: [], options.large: []}
    with bench(options.database) as databases:
        for _ in range(options.runs):
            for rows in runs:
                runs[rows].append(databases.run(*arguments, rows=rows, **environment))
    cost = {rows: median_of(of_size) / rows for rows, of_size in runs.items()}
    for rows, of_size in runs.items():
        memory = median_of(of_size, "peak_memory") / MEGABYTE
        say(f"{rows:,} rows", f"{cost[rows] * 1e6:.1f} µs a row", f"{memory:.0f} MB at most")
    ratio = cost[options.large] / cost[options.small]
    say("cost of a row, large against small", f"{ratio:.2f} ×", "≤ 1.1")


if __name__ == "__main__":
    main()
