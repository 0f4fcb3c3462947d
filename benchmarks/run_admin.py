"""One database for ``admin_pages.py``: ``fill`` it, or ``measure`` the admin's pages on it."""

from __future__ import annotations

import json
import statistics
import sys
import time
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.cache import cache  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402
from django.utils import timezone  # noqa: E402

from ai_migration.entities import registry  # noqa: E402
from ai_migration.models import (  # noqa: E402
    Collection,
    EngineMetrics,
    EntityFailure,
    JobEvent,
    MigrationJob,
    QueueEntry,
    RateLimitState,
    WorkerSlot,
)
from ai_migration.models.jobs import new_job_id  # noqa: E402

JOBS, ENTITIES, ENTRIES, FAILURES = 10_000, 1_000_000, 100_000, 100_000
RUNS = 5
OPEN = 3
"""Jobs that run; the last one is the big one."""


def fill() -> None:
    """Two years of a busy shop."""
    collections = _collections()
    jobs = _jobs(collections)
    _happened(jobs)
    _entries(jobs)
    _minutes()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO ai_searchable_entities (collection_id, entity_id, content_hash,"
            " metadata_hash, chunk_count, version)"
            " SELECT CASE WHEN n %% 10 = 0 THEN %s ELSE %s END, n::text, decode(md5(n::text),"
            " 'hex'), decode(md5(n::text), 'hex'), 1, 1700000000000000 + n"
            " FROM generate_series(1, %s) n",
            [collections[-2].pk, collections[0].pk, ENTITIES],
        )
        cursor.execute("VACUUM ANALYZE")


def _collections() -> list[Collection]:
    """Those of the jobs that run, and 60 that are history."""
    product = registry.get("product").snapshot
    kept = [("product", "ACTIVE"), ("product-payload", "ACTIVE"), ("product", "BUILDING")]
    history = [("product", "RETIRED")] * 60
    return [
        Collection.objects.create(
            entity_type=entity_type,
            status=status,
            embedder="default",
            model_id="text-embedding-3-small",
            dimensions=256,
            fingerprint="f",
            store="default",
            config_snapshot=product,
        )
        for entity_type, status in kept + history
    ]


def _jobs(collections: list[Collection]) -> list[MigrationJob]:
    """One every two hours; one in 50 has a list of 1,000 entities to look for."""
    now = timezone.now()
    snapshot = collections[0].config_snapshot
    ids = sorted(new_job_id() for _ in range(JOBS))
    jobs = []
    for number in range(JOBS):
        is_open = number >= JOBS - OPEN
        collection = collections[number - JOBS + OPEN if is_open else number % len(collections)]
        began = now - timedelta(hours=2 * (JOBS - number))
        ended = None if is_open else began + timedelta(minutes=30)
        jobs.append(
            MigrationJob(
                id=ids[number],
                entity_type=collection.entity_type,
                collection=collection,
                status="RUNNING" if is_open else "FAILED" if number % 50 == 0 else "COMPLETED",
                batch_size=500,
                config_snapshot=snapshot,
                filter_config={"entity_ids": list(range(1000))} if number % 50 == 1 else {},
                total_entities=100_000_000,
                processed_entities=900,
                indexed_entities=890,
                failed_entities=10,
                created_by=f"user-{number % 200}",
                started_at=began,
                completed_at=ended,
            )
        )
    MigrationJob.objects.bulk_create(jobs, batch_size=2000)
    for job in jobs:  # it is the database that says when; here it was long ago
        job.created_at = job.started_at or now
    MigrationJob.objects.bulk_update(jobs, ["created_at"], batch_size=2000)
    return jobs


def _happened(jobs: list[MigrationJob]) -> None:
    """Three events and five failures a job; half of all failures are the big job's, and no two
    of those have the same words."""
    events = (
        JobEvent(job=job, actor=job.created_by, to_status=status, reason="as planned")
        for job in jobs
        for status in ("PENDING", "RUNNING", job.status)
    )
    JobEvent.objects.bulk_create(events, batch_size=5000)
    failures = (
        EntityFailure(
            job=jobs[-1] if number % 2 else jobs[number // 10],
            collection=jobs[-1].collection if number % 2 else jobs[number // 10].collection,
            entity_id=str(number),
            error_code="embedder_input" if number % 3 else "embedder_transient",
            error=f"Text {number} was refused: it is longer than the model takes. " * 3,
        )
        for number in range(FAILURES)
    )
    EntityFailure.objects.bulk_create(failures, batch_size=5000)
    recent = EntityFailure.objects.order_by("-pk")[:20_000].values("pk")
    old = timezone.now() - timedelta(days=30)
    EntityFailure.objects.exclude(pk__in=recent).update(last_failed_at=old)


def _entries(jobs: list[MigrationJob]) -> None:
    """Four in ten are done, for the jobs that run; three wait for them, three are live."""
    now = timezone.now()
    entries = []
    for number in range(ENTRIES):
        kind, job = number % 10, jobs[-1 - (number % 100 < 10)]
        is_live, is_done = kind >= 7, kind < 4
        at = now - timedelta(seconds=(ENTRIES - number) / 10)
        entries.append(
            QueueEntry(
                job=None if is_live else job,
                entity_type="product" if is_live else job.entity_type,
                operation="INDEX",
                priority=(0, 1, 5)[kind - 7] if is_live else 10,
                status="COMPLETED" if is_done else "PENDING",
                lower=number * 500,
                upper=None if is_live else number * 500 + 500,
                entity_ids=[str(number + n) for n in range(100)] if is_live else None,
                created_at=at,
                claimed_at=at if is_done else None,
                completed_at=at + timedelta(seconds=1) if is_done else None,
                indexed=500 if is_done else 0,
            )
        )
    QueueEntry.objects.bulk_create(entries, batch_size=5000)


def _minutes() -> None:
    """A week of four slots."""
    now = timezone.now().replace(second=0, microsecond=0)
    lease = now + timedelta(hours=1)
    slots = [
        WorkerSlot.objects.create(
            name=f"worker-{n}", holder=f"host-{n}:1", lease_expires_at=lease, last_seen_at=now
        )
        for n in range(4)
    ]
    week = 7 * 24 * 60
    minutes = (
        EngineMetrics(minute=now - timedelta(minutes=n), slot=slot, slices=4, entities=n % 9000)
        for n in range(week)
        for slot in slots
    )
    EngineMetrics.objects.bulk_create(minutes, batch_size=5000)
    RateLimitState.objects.create(key="default", state={})


def pages() -> dict[str, tuple[str, dict[str, Any]]]:
    """By their names: the path and, for a form that is sent, what is in it."""
    product = Collection.objects.filter(entity_type="product", status="ACTIVE").first()
    ended = MigrationJob.objects.filter(status="FAILED").first()
    big = MigrationJob.objects.order_by("-pk").first()
    queries: dict[str, tuple[str, dict[str, Any]]] = {
        "jobs": ("migrationjob/", {}),
        "jobs, last page": ("migrationjob/", {"p": 200}),
        "jobs that run": ("migrationjob/", {"status__exact": "RUNNING"}),
        "jobs that failed, of a user": (
            "migrationjob/",
            {"status__exact": "FAILED", "created_by": "user-0"},
        ),
        "jobs of an entity type": ("migrationjob/", {"entity_type": "product-payload"}),
        "jobs, an id": ("migrationjob/", {"q": big.pk if big else "mig-0"}),
        "jobs, no such id": ("migrationjob/", {"q": "nothing"}),
        "jobs of a year": ("migrationjob/", {"created_at__year": timezone.now().year}),
        "jobs of a month": (
            "migrationjob/",
            {
                "created_at__year": timezone.now().year,
                "created_at__month": timezone.now().month,
            },
        ),
        "start: which entity type": ("migrationjob/add/", {}),
        "start: the form": ("migrationjob/add/", {"entity_type": "order"}),
        "dashboard, 3 hours": ("dashboard/", {}),
        "dashboard, 24 hours": ("dashboard/", {"hours": 24}),
        "dashboard, 7 days": ("dashboard/", {"hours": 168}),
        "dashboard, its panel": ("dashboard/panel/", {}),
        "dashboard, its coverage": ("dashboard/coverage/", {}),
        "rebuild everything": ("dashboard/rebuild/", {}),
        "queue": ("queueentry/", {}),
        "queue, last page": ("queueentry/", {"p": 200}),
        "queue, done": ("queueentry/", {"status__exact": "COMPLETED"}),
        "queue, failed": ("queueentry/", {"status__exact": "FAILED"}),
        "queue, removals": ("queueentry/", {"operation__exact": "REMOVE"}),
        "queue, critical": ("queueentry/", {"priority__exact": 0}),
        "queue, of an entity type": ("queueentry/", {"entity_type": "product-payload"}),
        "failures": ("entityfailure/", {}),
        "failures, last page": ("entityfailure/", {"p": 200}),
        "failures of an entity type": ("entityfailure/", {"entity_type": "product-payload"}),
        "failures with an error": ("entityfailure/", {"error_code": "embedder_transient"}),
        "failures with no such error": ("entityfailure/", {"error_code": "nothing"}),
        "failures of a job": ("entityfailure/", {"job__id__exact": ended.pk if ended else ""}),
        "failures, an entity": ("entityfailure/", {"q": "77777"}),
        "ledger": ("searchableentity/", {}),
        "ledger, last page": ("searchableentity/", {"p": 200}),
        "ledger of a collection": (
            "searchableentity/",
            {"collection": product.pk if product else "0"},
        ),
        "ledger, an entity": ("searchableentity/", {"q": "777777"}),
        "collections": ("collection/", {}),
        "collections, active": ("collection/", {"status__exact": "ACTIVE"}),
        "rate limits": ("ratelimitstate/", {}),
    }
    for name, job in (("a job that ended", ended), ("a big job that runs", big)):
        if job is not None:
            queries[name] = (f"migrationjob/{job.pk}/change/", {})
            queries[f"{name}, its panel"] = (f"migrationjob/{job.pk}/panel/", {})
    return queries


def measure() -> dict[str, Any]:
    """Queries and milliseconds of each page; the median of several, with an empty cache."""
    user, _ = User.objects.get_or_create(username="operator", is_staff=True, is_superuser=True)
    client = Client(SERVER_NAME="localhost")
    client.force_login(user)
    root = "/admin/ai_migration"
    asked = {
        name: (client.get, f"{root}/{path}?{urlencode(query)}", {})
        for name, (path, query) in pages().items()
    }
    form = {"entity_type": "order", "mode": "changed", "step": "preview", "key": "x"}
    asked["start: the preview of 200 rows"] = (client.post, f"{root}/migrationjob/add/", form)
    found = {}
    for name, (call, path, data) in asked.items():
        times = []
        call(path, data)
        for _ in range(RUNS):
            cache.clear()
            began = time.perf_counter()
            response = call(path, data)
            times.append(1000 * (time.perf_counter() - began))
            assert response.status_code == 200, (name, response.status_code, response.headers)
        cache.clear()
        with CaptureQueriesContext(connection) as queries:
            call(path, data)
        found[name] = [len(queries), statistics.median(times)]
    return found


if sys.argv[1] == "fill":
    fill()
else:
    print(json.dumps(measure()))
