"""One part of ``freshness.py``: prints what it measured as JSON."""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from run_workers import DEADLINE, _running, _wait_for

INDEXED = 1000
"""Rows whose changes are timed."""
BLOCK = 50
"""Saves of one kind before the next takes its turn."""
WRITERS, SHARED = 4, 20
"""Processes that save, and the rows that all of them save."""


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


def saves(changes: int) -> dict[str, Any]:
    """Seconds of saves, each in a transaction: without the signals, with them, and with them where
    the row waits in the queue already. They take turns, a block at a time."""
    from ai_migration.live import signals
    from ai_migration.models import QueueEntry

    _index(INDEXED)
    products = _products(_keys(BLOCK))
    found: dict[str, list[float]] = {"plain": [], "recorded": [], "waiting": []}
    for _ in range(changes // BLOCK):
        signals.uninstall()
        found["plain"] += _saved(products)
        signals.install()
        found["recorded"] += _saved(products)
        found["waiting"] += _saved(products)
        QueueEntry.objects.filter(job=None).delete()
    return found


def storm(changes: int) -> dict[str, Any]:
    """Saves a second of four processes, of the same few rows, beside a worker."""
    from ai_migration.models import QueueEntry

    _index(INDEXED)
    command = [sys.executable, __file__, "writer", "--changes", str(changes)]
    with _running(["ai_migration", "worker"], 1):
        began = time.perf_counter()
        writers = [subprocess.Popen(command) for _ in range(WRITERS)]
        if failed := sum(each.wait(DEADLINE) != 0 for each in writers):
            sys.exit(f"Saves failed in {failed} processes")
        seconds = time.perf_counter() - began
        most = QueueEntry.objects.filter(job=None).count()
        _wait_for(lambda: not _waiting())
    return {"rate": WRITERS * changes / seconds, "left": most}


def writer(changes: int) -> dict[str, Any]:
    """Save the same few rows again and again; two of them in a transaction, lowest first."""
    from django.db import transaction

    rng = random.Random(os.getpid())
    products = _products(_keys(SHARED))
    for turn in range(changes):
        with transaction.atomic():
            for index in sorted(rng.sample(range(SHARED), 2)):
                products[index].description = f"Saved in turn {turn} of {os.getpid()}."
                products[index].save()
    return {}


def _saved(products: Sequence[Any]) -> list[float]:
    from django.db import transaction

    seconds = []
    for product in products:
        product.description = f"Saved at {time.time_ns()}."
        began = time.perf_counter()
        with transaction.atomic():
            product.save()
        seconds.append(time.perf_counter() - began)
    return seconds


def _products(keys: Sequence[int]) -> list[Any]:
    from catalog.models import Product

    return list(Product.objects.filter(pk__in=keys).order_by("pk"))


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


PARTS = {each.__name__: each for each in (idle, beside, drain, saves, storm, writer)}


if __name__ == "__main__":
    main()
