"""How long PgVectorStore takes to load vectors, and to build their HNSW index.

python benchmarks/index.py --rows 100000
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from harness import bench, say
from recall import BATCH, Array, make_rows

SERVER = {"max_maintenance_work_mem": None, "build_workers": 2}
"""As PostgreSQL is set: 64 MB and two workers."""


def measure(vectors: Array, runs: int) -> None:
    """Load a collection, build its index with the server's settings and with ours, and print."""
    from django.db import connection

    from ai_migration.stores.pgvector import PgVectorStore
    from ai_migration.types import CollectionRef, VectorBatch

    ref = CollectionRef(1, "benchmark", vectors.shape[1])
    store = PgVectorStore()
    store.ensure_collection(ref)
    started = time.perf_counter()
    for start in range(0, len(vectors), BATCH):
        part = vectors[start : start + BATCH]
        ids = [str(start + row) for row in range(len(part))]
        store.upsert(ref, VectorBatch(ids, [0] * len(ids), part))
    say("  loaded", f"{time.perf_counter() - started:.1f} s")
    kinds: dict[str, dict[str, Any]] = {"as the server is set": SERVER, "by default": {}}
    for name, options in kinds.items():
        seconds = []
        for _ in range(runs):
            started = time.perf_counter()
            PgVectorStore(**options).optimize(ref)
            seconds.append(time.perf_counter() - started)
            with connection.cursor() as cursor:
                cursor.execute(f"DROP INDEX {ref.name}_hnsw_cosine")
        say(f"  index, {name}", f"{min(seconds):.0f} s", f"best of {runs}")
    store.drop_collection(ref)


def main() -> None:
    """Measure both kinds of vectors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=256)
    kinds = ("clustered", "random")
    parser.add_argument("--vectors", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args()
    with bench("postgresql") as databases:
        os.environ["DATABASE_URL"] = databases.seeded(1)
        os.environ["DJANGO_SETTINGS_MODULE"] = "bench_settings"
        import django

        django.setup()
        for kind in options.vectors:
            say(f"{kind} vectors", f"{options.rows:,} × {options.dimensions}")
            measure(make_rows(kind, options.rows, options.dimensions).vectors, options.runs)


if __name__ == "__main__":
    main()
