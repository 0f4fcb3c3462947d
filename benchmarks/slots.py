"""Several workers on one job, the cluster's overhead, and how soon a pause is obeyed.

python benchmarks/slots.py --rows 300000
"""

from __future__ import annotations

import argparse
import statistics

from embedders import BoundEmbedder
from harness import Run, bench, median_of, say

SLOTS = (1, 2, 4)
LIMIT_TWO_SLOTS = 1.7
LIMIT_OVERHEAD = 1.05


def main() -> None:
    """Run everything in turn, then print rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--batch-size", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--pauses", type=int, default=20)
    options = parser.parse_args()
    batch = ("--batch-size", str(options.batch_size))
    bound = {"BENCH_EMBEDDER": "embedders.BoundEmbedder"}
    runs: dict[str, list[Run]] = {}
    with bench("postgresql") as databases:

        def run(name: str, what: str, *arguments: str, **environment: str) -> None:
            one = databases.run(
                what,
                *batch,
                *arguments,
                rows=options.rows,
                script="run_workers.py",
                BENCH_STORE="stores.UnindexedPgVectorStore",
                **environment,
            )
            runs.setdefault(name, []).append(one)

        for _ in range(options.runs):
            for slots in SLOTS:
                run(f"bound {slots}", "worker", "--slots", str(slots), **bound)
                run(f"instant {slots}", "worker", "--slots", str(slots))
            run("cluster", "cluster", BENCH_CLUSTER="1", **bound)
        run("pauses", "pauses", "--pauses", str(options.pauses), **bound)
    report(runs, options.rows)


def report(runs: dict[str, list[Run]], rows: int) -> None:
    """Print rates and ratios."""
    seconds = {name: median_of(of_name) for name, of_name in runs.items()}
    for kind, words in (("bound", "50 ms a request"), ("instant", "an instant embedder")):
        for slots in SLOTS:
            name = f"{kind} {slots}"
            ratio = seconds[f"{kind} 1"] / seconds[name]
            is_goal = name == "bound 2"
            note = f"{ratio:.2f} × one" + (f"  ≥ {LIMIT_TWO_SLOTS}" if is_goal else "")
            say(f"{slots} slots, {words}", f"{rows / seconds[name]:,.0f} rows/s", note)
    say("ideal of one slot, 50 ms a request", f"{BoundEmbedder.ideal_rate:,.0f} rows/s")
    ratio = seconds["cluster"] / seconds["bound 1"]
    say("cluster against a plain worker", f"{ratio:.3f} ×", f"≤ {LIMIT_OVERHEAD}")
    [pauses] = runs["pauses"]
    median, worst = statistics.median(pauses.pauses), max(pauses.pauses)
    say(
        f"pause to last write, {len(pauses.pauses)} pauses",
        f"{median * 1000:.0f} ms",
        f"{worst * 1000:.0f} ms at worst",
    )


if __name__ == "__main__":
    main()
