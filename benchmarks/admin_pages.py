"""The pages of the admin with 10,000 jobs, 1,000,000 ledger rows and 100,000 queue entries, beside
an empty database: queries and server time.

python benchmarks/admin_pages.py
"""

from __future__ import annotations

import json
import sys

from harness import HERE, bench, say


def main() -> None:
    """Measure both, and print them side by side."""
    with bench("postgresql") as databases:
        script = [sys.executable, str(HERE / "run_admin.py")]
        found = []
        for rows, steps in ((0, ["measure"]), (1, ["fill", "measure"])):
            url = databases.seeded(rows)
            for step in steps:
                printed = databases.process([*script, step], url)
            found.append(json.loads(printed.splitlines()[-1]))
    empty, full = found
    say("page", "queries", "ms, empty → full (goal: ≤ 15 queries, < 300 ms)")
    for page, (queries, milliseconds) in full.items():
        before = f"{empty[page][1]:.0f}" if page in empty else "–"
        say(page, str(queries), f"{before} → {milliseconds:.0f}")


if __name__ == "__main__":
    main()
