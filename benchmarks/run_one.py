"""One timed run in a process of its own: prints what it measured as JSON.

Start-up is not part of the time. ``backfill.py``, ``latency.py`` and ``scale.py`` call this.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("product", "one-table", "two-tables"))
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--payload", action="store_true")
    parser.add_argument("--warm", action="store_true", help="then again, with nothing to do")
    parser.add_argument("--verify", action="store_true", help="then a verify")
    parser.add_argument("--no-checksums", action="store_true", help="of vectors in the ledger")
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "bench_settings"
    import django

    django.setup()
    run = product if options.what == "product" else loop
    print(json.dumps(run(options)))


def product(options: argparse.Namespace) -> dict[str, Any]:
    """The migration, as the foreground command runs it."""
    from django.db import connection

    from ai_migration import MigrationRequest, migration_service
    from ai_migration.engine.worker import run_worker, settle_in
    from ai_migration.models.sql.apart import own_sessions

    def migrate() -> int:
        job = migration_service.start_migration(
            MigrationRequest(
                entity_type="product-payload" if options.payload else "product",
                batch_size=options.batch_size,
            )
        )
        run_worker(should_stop=lambda: False, only_jobs=[job.pk], until_idle=True)
        progress = migration_service.get_progress(job.id)
        if progress.status != "COMPLETED" or progress.failed:
            sys.exit(f"The job is {progress.status}: {progress.error_message}")
        return progress.processed

    def verify() -> int:
        job = migration_service.verify("product-payload" if options.payload else "product")
        run_worker(should_stop=lambda: False, only_jobs=[job.pk], until_idle=True)
        found = migration_service.get_findings(job.pk)
        if not found.agrees:
            sys.exit(f"The verify found differences: {found}")
        return found.source_rows

    def wal_position() -> int:
        if connection.vendor != "postgresql":
            return 0
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
            return int(cursor.fetchone()[0])

    if options.no_checksums:
        from ai_migration.indexing import outcomes

        outcomes.checksums = lambda vectors, spans, hashes: [None] * len(spans)
    settle_in()
    with own_sessions():  # as the command does
        result = _measured(migrate, migrate if options.warm else None, wal_position)
        if options.verify:
            _, result["verify_seconds"] = _timed(verify)
            result["verify_memory"] = peak_memory()
        return result


def loop(options: argparse.Namespace) -> dict[str, Any]:
    """A hand-written loop."""
    from django.conf import settings
    from loops import PostgreSQLLoops, SQLiteLoops

    from ai_migration.embedders import embedders

    database = settings.DATABASES["default"]
    embed = embedders["default"].embed
    keywords = {"with_payload": options.payload}
    loops: PostgreSQLLoops | SQLiteLoops
    if "postgresql" in database["ENGINE"]:
        url = os.environ["DATABASE_URL"]
        loops = PostgreSQLLoops(url, options.batch_size, embed, **keywords)
    else:
        loops = SQLiteLoops(str(database["NAME"]), options.batch_size, embed, **keywords)
    loops.prepare()
    if options.what == "one-table":
        return _measured(loops.one_table, None, loops.wal_position)
    return _measured(loops.two_tables, loops.compare if options.warm else None, loops.wal_position)


def _measured(
    cold: Callable[[], int], warm: Callable[[], int] | None, wal_position: Callable[[], int]
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    log = wal_position()
    used = time.process_time()
    result["rows"], result["seconds"] = _timed(cold)
    result["cpu_seconds"] = time.process_time() - used
    result["wal_bytes"] = wal_position() - log
    result["peak_memory"] = peak_memory()
    if warm is not None:
        result["warm_rows"], result["warm_seconds"] = _timed(warm)
    return result


def _timed(run: Callable[[], int]) -> tuple[int, float]:
    gc.collect()
    start = time.perf_counter()
    rows = run()
    return rows, time.perf_counter() - start


def peak_memory() -> int:
    """The most memory this process has had, bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts what the parent had before it started us
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found:
            return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main()
