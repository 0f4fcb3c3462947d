"""How soon a saved row is searchable, what a save costs, and how fast changes are indexed.

python benchmarks/freshness.py --database postgresql
python benchmarks/freshness.py --database sqlite
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from harness import HERE, MANAGE, Bench, bench, say

ROWS = 10_000
BACKFILL_ROWS = 200_000
"""They keep the embedder of ``beside`` busy for 200 seconds."""
LIMITS = {
    ("idle", "postgresql"): 1.0,
    ("idle", "sqlite"): 2.0,
    ("beside", "postgresql"): 3.0,
    ("beside", "sqlite"): 3.0,
}
"""Seconds within which 95 % of the changes have to be searchable."""
LIMIT_SAVE = 1.3
BUSY = {"BENCH_EMBEDDER": "embedders.BusyEmbedder"}
CONFIGS = {
    "of an entity type": HERE / "ai-entity-config-alone.yml",
    "… that another reads, too": MANAGE.parent / "ai-entity-config.yml",
}
"""Of saves. In the example project, the texts of orders have the names of their products."""
PARTS = ("idle", "beside", "drain", "saves", "storm")


def main() -> None:
    """Run the parts, and print what they measured with the load of the machine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--changes", type=int, default=60, help="that are timed one by one")
    options = parser.parse_args()
    with bench(options.database) as databases:
        for part in options.parts or PARTS:
            if part == "storm" and options.database == "sqlite":
                continue  # one connection writes at a time
            print(f"load: {os.getloadavg()[0]:.1f}", flush=True)
            report(part, options.database, databases, options.changes)


def report(part: str, database: str, databases: Bench, changes: int) -> None:
    """Run one part and print its figures."""
    if part == "idle":
        say_waits("idle worker", run(databases, "idle", changes), LIMITS[part, database])
    elif part == "beside":
        found = run(databases, "beside", changes, rows=BACKFILL_ROWS, **BUSY)
        say_waits("beside a backfill, busy provider", found, LIMITS[part, database])
        say("… of which meanwhile", f"{found['rate']:,.0f} texts/s", "≤ 1,024")
    elif part == "drain":
        found = run(databases, "drain", ROWS)
        say("changes of single rows that wait", f"{found['rate']:,.0f} rows/s")
    elif part == "saves":
        for words, config in CONFIGS.items():
            environ = {"BENCH_AI_MIGRATION": json.dumps({"ENTITY_CONFIG": str(config)})}
            found = run(databases, "saves", 20 * changes, **environ)
            plain = statistics.median(found["plain"])
            ratios = {name: statistics.median(found[name]) / plain for name in found}
            note = f"≤ {LIMIT_SAVE}; {ratios['waiting']:.2f} × where its row waits already"
            say(
                f"a save {words}",
                f"{ratios['recorded']:.2f} ×",
                f"of {1000 * plain:.2f} ms, {note}",
            )
    else:
        found = run(databases, "storm", 20 * changes)
        say("four processes, the same rows", f"{found['rate']:,.0f} transactions/s", "no deadlock")


def say_waits(what: str, found: dict[str, Any], limit: float) -> None:
    """Print percentiles of waits."""
    waits: Sequence[float] = sorted(found["waits"])
    say(f"{what}: half within", f"{statistics.median(waits):.2f} s")
    p95 = waits[min(len(waits) - 1, int(0.95 * len(waits)))]
    say("… 95 % within", f"{p95:.2f} s", f"< {limit:g} s, at worst {waits[-1]:.2f} s")


def run(databases: Bench, part: str, changes: int, rows: int = ROWS, **environ: str) -> Any:
    """Run a part in a process of its own; what it measured."""
    command = [sys.executable, str(HERE / "run_freshness.py"), part, "--changes", str(changes)]
    with databases.copied(rows) as url:
        return json.loads(databases.process(command, url, **environ).splitlines()[-1])


if __name__ == "__main__":
    main()
