"""How many of the true ten nearest a search of PgVectorStore finds, with filters of all sizes.

python benchmarks/recall.py --rows 100000
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from harness import bench, say

TOPICS, DIRECTIONS = 500, 48
BATCH, QUERIES, LIMIT = 5_000, 100, 10
GOAL = 0.95
SHARES = {
    "50 %": 0.5,
    "25 %": 0.25,
    "10 %": 0.1,
    "1 %": 0.01,
    "0.1 %": 0.001,
    "0.01 %": 0.0001,
}
"""Of the rows, chosen at random; and once more, a few topics that hold as many."""
Array = Any


@dataclass(frozen=True)
class Rows:
    """What is searched.

    Attributes:
        vectors: Of length 1.
        topics: The number of each vector's topic; topic 0 is the largest.
        queries: What is asked for, of the same kind.
        random: A number from 0 to 1 for each row: below a share it is chosen.
        rank: The share of the rows that are of earlier topics, in an order of topics by chance.
    """

    vectors: Array
    topics: Array
    queries: Array
    random: Array
    rank: Array

    def matching(self, name: str, share: float) -> Array:
        """Which rows a filter leaves."""
        return (self.random if name == "random" else self.rank) < share

    def payloads(self) -> Iterator[list[dict[str, Any]]]:
        """Of the rows, in batches: ``{"random 1 %": true}``."""
        columns = {
            f"{name} {label}": self.matching(name, share)
            for name in ("random", "topics")
            for label, share in SHARES.items()
        }
        for start in range(0, len(self.vectors), BATCH):
            part = {key: column[start : start + BATCH].tolist() for key, column in columns.items()}
            yield [dict(zip(part, row, strict=True)) for row in zip(*part.values(), strict=True)]


def make_rows(kind: str, rows: int, dimensions: int) -> Rows:
    """Vectors as models make them: topics of very different sizes, and few directions in which
    anything varies much. Or ``random``: any direction, the worst there is."""
    rng = np.random.default_rng(0)
    total = rows + QUERIES
    sizes = 1.0 / np.arange(1, TOPICS + 1)
    topics = rng.choice(TOPICS, total, p=sizes / sizes.sum())
    if kind == "random":
        vectors = rng.standard_normal((total, dimensions), dtype=np.float32)
    else:
        scale = (1.0 / np.sqrt(np.arange(1, DIRECTIONS + 1))).astype(np.float32)
        centres = rng.standard_normal((TOPICS, DIRECTIONS), dtype=np.float32)
        latent = centres[topics] + 0.7 * rng.standard_normal((total, DIRECTIONS), dtype=np.float32)
        directions = rng.standard_normal((DIRECTIONS, dimensions), dtype=np.float32)
        vectors = (latent * scale) @ directions
        vectors += 0.2 * rng.standard_normal((total, dimensions), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    order = rng.permutation(TOPICS)[topics[:rows]]  # topics by chance, big ones and small ones
    rank = np.empty(rows)
    rank[np.argsort(order, kind="stable")] = np.arange(rows) / rows
    return Rows(vectors[:rows], topics[:rows], vectors[rows:], rng.random(rows), rank)


def measure(rows: Rows, index: str) -> None:
    """Fill a collection, build its index, search it with each filter, and print."""
    from django.db import connection

    from ai_migration.stores.pgvector import PgVectorStore
    from ai_migration.types import CollectionRef, VectorBatch

    store = PgVectorStore(index=index, maintenance_work_mem="1GB")
    ref = CollectionRef(1, "benchmark", rows.vectors.shape[1])
    store.ensure_collection(ref)
    for number, payloads in enumerate(rows.payloads()):
        ids = [str(number * BATCH + row) for row in range(len(payloads))]
        vectors = rows.vectors[number * BATCH : (number + 1) * BATCH]
        store.upsert(ref, VectorBatch(ids, [0] * len(ids), vectors, payloads))
    started = time.perf_counter()
    store.optimize(ref)
    say(f"{index} of {len(rows.vectors):,} built", f"{time.perf_counter() - started:.0f} s")
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {ref.name}")
    everything = np.arange(len(rows.vectors))
    cases: list[tuple[str, dict[str, Any] | None, Array]] = [("no filter", None, everything)]
    for name in ("random", "topics"):
        for label, share in SHARES.items():
            chosen = np.flatnonzero(rows.matching(name, share))
            cases.append((f"{label} of the rows, {name}", {f"{name} {label}": True}, chosen))
    for what, filters, chosen in cases:
        recalls, milliseconds = [], []
        for query in rows.queries:
            true = chosen[np.argsort(-(rows.vectors[chosen] @ query))[:LIMIT]]
            started = time.perf_counter()
            hits = store.search(ref, query, limit=LIMIT, filters=filters)
            milliseconds.append((time.perf_counter() - started) * 1000)
            found = {int(hit.entity_id) for hit in hits}
            recalls.append(len(found & set(true.tolist())) / len(true))
        recall = statistics.mean(recalls)
        missed = "" if recall >= GOAL else "  MISSED"
        say(
            f"{what} ({len(chosen):,})",
            f"{recall:.3f}",
            f"≥ {GOAL}{missed}; worst {min(recalls):.1f}; {statistics.median(milliseconds):.1f} ms",
        )


def main() -> None:
    """Make the rows, and search them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--vectors", choices=("clustered", "random"), default="clustered")
    parser.add_argument("--index", choices=("hnsw", "ivfflat"), default="hnsw")
    options = parser.parse_args()
    with bench("postgresql") as databases:
        os.environ["DATABASE_URL"] = databases.seeded(1)
        os.environ["DJANGO_SETTINGS_MODULE"] = "bench_settings"
        import django

        django.setup()
        say(f"{options.vectors} vectors", f"recall at {LIMIT}", "goal; worst query; median time")
        measure(make_rows(options.vectors, options.rows, options.dimensions), options.index)


if __name__ == "__main__":
    main()
