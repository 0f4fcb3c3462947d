"""One part of ``freshness.py``: prints what it measured as JSON."""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from typing import Any

from run_workers import DEADLINE, _running, _wait_for

INDEXED = 1000
"""Rows whose changes are timed."""


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=sorted(PARTS))
    parser.add_argument("--changes", type=int, required=True)
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "bench_settings"
    import django

    django.setup()
    print(json.dumps(PARTS[options.what](options.changes)))


# From the commit of a change to the end of its entry, which ends with the commit of its vectors


def idle(changes: int) -> dict[str, Any]:
    """Seconds until a worker without other work has indexed single changes."""
    _index(INDEXED)
    with _running(["ai_migration", "worker"], 1):
        _one_by_one(3)
        return {"waits": _one_by_one(changes)}


def beside(changes: int) -> dict[str, Any]:
    """Seconds until a worker in the middle of a backfill has indexed single changes, and the texts
    of the backfill that were embedded meanwhile, each second."""
    from ai_migration import MigrationRequest, migration_service

    job = migration_service.start_migration(MigrationRequest("product", batch_size=500)).pk
    with _running(["ai_migration", "worker"], 1):
        _wait_for(lambda: _embedded(job) > 0)
        before, began = _embedded(job), time.perf_counter()
        waits = _one_by_one(changes)
        texts, seconds = _embedded(job) - before, time.perf_counter() - began
        if migration_service.get_job(job).status != "RUNNING":
            sys.exit("The backfill ended before the changes did")
        return {"waits": waits, "rate": texts / seconds}


def drain(changes: int) -> dict[str, Any]:
    """Changes a second that a worker indexes of as many as wait, each an entry of its own."""
    from ai_migration.engine.worker import run_worker

    _index(changes)
    for key in _keys(changes):
        _change(key)
    began = time.perf_counter()
    run_worker(should_stop=lambda: not _waiting(), until_idle=True)
    seconds = time.perf_counter() - began
    if _waiting():
        sys.exit("Changes are left")
    return {"rate": changes / seconds}


def _one_by_one(changes: int) -> list[float]:
    rng = random.Random(changes)
    waits = []
    for key in rng.choices(_keys(INDEXED), k=changes):
        time.sleep(rng.uniform(0.2, 1.2))  # at any moment of the worker's round
        _change(key)
        began = time.perf_counter()
        ends = began + DEADLINE
        while _waiting():
            if time.perf_counter() > ends:
                sys.exit("A change is never indexed")
            time.sleep(0.005)
        waits.append(time.perf_counter() - began)
    return waits


def _change(key: int) -> None:
    from catalog.models import Product
    from django.db import transaction

    from ai_migration.indexing import outbox

    with transaction.atomic():
        Product.objects.filter(pk=key).update(description=f"Changed at {time.time_ns()}.")
        outbox.record([outbox.Change("product", str(key))], Product)


def _waiting() -> bool:
    from ai_migration.models import QueueEntry

    return bool(QueueEntry.objects.filter(job=None).exists())


def _keys(count: int) -> list[int]:
    from catalog.models import Product

    return list(Product.objects.order_by("pk").values_list("pk", flat=True)[:count])


def _index(rows: int) -> None:
    """Have an index of the first rows."""
    from ai_migration import MigrationFilters, MigrationRequest, migration_service
    from ai_migration.engine.worker import run_worker

    filters = MigrationFilters(entity_ids=[str(key) for key in _keys(rows)])
    migration_service.start_migration(MigrationRequest("product", filters=filters))
    run_worker(should_stop=lambda: False, until_idle=True)


def _embedded(job: str) -> int:
    from ai_migration import migration_service

    return migration_service.get_job(job).embedded_texts


PARTS = {"idle": idle, "beside": beside, "drain": drain}


if __name__ == "__main__":
    main()
