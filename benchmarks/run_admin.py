"""One database for ``admin_pages.py``: ``fill`` it, or ``measure`` the admin's pages on it."""

from __future__ import annotations

import json
import statistics
import sys
import time
from datetime import timedelta
from typing import Any

import django

django.setup()

from django.contrib.auth.models import Permission, User  # noqa: E402
from django.core.cache import cache  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402
from django.utils import timezone  # noqa: E402

from ai_migration.models import Collection, MigrationJob, QueueEntry  # noqa: E402

JOBS, ENTITIES, ENTRIES = 10_000, 1_000_000, 100_000
RUNS = 7


def fill() -> None:
    """10,000 jobs, three of them running, a ledger of 1,000,000, a queue of 100,000."""
    now = timezone.now()
    made = Collection.objects.create(
        entity_type="product",
        status="ACTIVE",
        embedder="default",
        model_id="m",
        dimensions=64,
        fingerprint="f",
        store="default",
    )
    others = [
        Collection.objects.create(
            entity_type=f"other-{number}",
            status="ACTIVE",
            embedder="default",
            model_id="m",
            dimensions=64,
            fingerprint="f",
            store="default",
        )
        for number in range(3)
    ]
    jobs = []
    for number in range(JOBS):
        is_open = number >= JOBS - 3
        jobs.append(
            MigrationJob(
                entity_type="product",
                collection=others[number - JOBS] if is_open else made,
                status="RUNNING" if is_open else ("FAILED" if number % 50 == 0 else "COMPLETED"),
                batch_size=500,
                total_entities=1000,
                processed_entities=900,
                indexed_entities=890,
                failed_entities=10,
                created_by=f"user-{number % 20}",
                started_at=now - timedelta(minutes=JOBS - number),
                completed_at=None if is_open else now,
            )
        )
    MigrationJob.objects.bulk_create(jobs, batch_size=2000)
    MigrationJob.objects.update(created_at=now)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO ai_searchable_entities (collection_id, entity_id, content_hash,"
            " metadata_hash, chunk_count, version)"
            " SELECT %s, n::text, decode(md5(n::text), 'hex'), '\\x00', 1, 1 FROM"
            " generate_series(1, %s) n",
            [made.pk, ENTITIES],
        )
        cursor.execute(
            "INSERT INTO ai_entity_failures (job_id, collection_id, entity_id, error_code, error,"
            " attempts, first_failed_at, last_failed_at) SELECT %s, %s, n::text,"
            " 'embedder_input', 'refused', 1, now(), now() FROM generate_series(1, 20000) n",
            [jobs[-1].pk, made.pk],
        )
    running = [job.pk for job in jobs[-3:]]
    entries = (
        QueueEntry(
            job_id=running[number % 3],
            entity_type="product",
            operation="INDEX",
            priority=10,
            status="PENDING" if number >= ENTRIES // 2 else "COMPLETED",
            claimed_at=now,
            completed_at=now,
            indexed=500,
        )
        for number in range(ENTRIES)
    )
    QueueEntry.objects.bulk_create(entries, batch_size=5000)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def measure() -> dict[str, Any]:
    """Queries and milliseconds of each page; the median of several."""
    user, _ = User.objects.get_or_create(username="operator", is_staff=True)
    codes = [f"{each}_migrationjob" for each in ("view", "start", "control")]
    user.user_permissions.set(Permission.objects.filter(codename__in=codes))
    client = Client(SERVER_NAME="localhost")
    client.force_login(user)
    job = MigrationJob.objects.order_by("-pk").values_list("pk", flat=True).first()
    pages = {
        "jobs": "migrationjob/",
        "jobs, filtered": "migrationjob/?status__exact=FAILED&created_by=user-0",
        "jobs, page 200": "migrationjob/?p=200",
        "dashboard": "dashboard/",
        "dashboard, its panel": "dashboard/panel/",
        "start": "migrationjob/add/?entity_type=product",
        "queue": "queueentry/",
        "queue, filtered": "queueentry/?status__exact=PENDING",
        "failures": "entityfailure/",
        "ledger": "searchableentity/",
        "ledger, an entity": "searchableentity/?q=777777",
        "collections": "collection/",
        "rate limits": "ratelimitstate/",
    }
    if job is not None:
        pages |= {"a job": f"migrationjob/{job}/change/", "its panel": f"migrationjob/{job}/panel/"}
    found = {}
    for name, path in pages.items():
        times = []
        for _ in range(RUNS):
            cache.clear()
            began = time.perf_counter()
            response = client.get(f"/admin/ai_migration/{path}")
            times.append(1000 * (time.perf_counter() - began))
            assert response.status_code == 200, (name, response.status_code)
        with CaptureQueriesContext(connection) as asked:
            client.get(f"/admin/ai_migration/{path}")
        found[name] = [len(asked), statistics.median(times)]
    return found


if sys.argv[1] == "fill":
    fill()
else:
    print(json.dumps(measure()))
