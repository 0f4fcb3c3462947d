"""The pages of the admin with 10,000 jobs, 1,000,000 ledger rows, 100,000 queue entries and as many
failures, beside a database with none: queries and server time.

python benchmarks/admin_pages.py
"""

from __future__ import annotations

import json
import sys

from harness import HERE, MANAGE, bench, say

MOST_QUERIES, MOST_MILLISECONDS = 15, 300


def main() -> None:
    """Measure before and after it is filled, and print them side by side."""
    script = [sys.executable, str(HERE / "run_admin.py")]
    with bench("postgresql") as databases:
        url = databases.seeded(200)
        databases.process(
            [sys.executable, str(MANAGE), "seed_catalog", "--products=200", "--orders=200"], url
        )
        empty = json.loads(databases.process([*script, "measure"], url))
        databases.process([*script, "fill"], url)
        full = json.loads(databases.process([*script, "measure"], url))
    say("page", "queries", f"ms, empty → full (≤ {MOST_QUERIES}, < {MOST_MILLISECONDS} ms)")
    for page, (queries, milliseconds) in full.items():
        before = f"{empty[page][1]:.0f}" if page in empty else "–"
        fits = queries <= MOST_QUERIES and milliseconds < MOST_MILLISECONDS
        say(page, str(queries), f"{before} → {milliseconds:.0f}{'' if fits else '  MISSED'}")


if __name__ == "__main__":
    main()
