"""Makes the pictures of the admin out of the example project, on a database thrown away.

    .venv/bin/python docs/images/admin.py

Needs the extra ``demo``, Playwright and Debian's Chromium.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LOGIN = {"username": "anna", "password": "anna"}
HEIGHTS = {"dashboard": 1190, "list": 560, "job": 1000, "start": 620}
WIDTH = 1240
PHONE = {"width": 390, "height": 844}
SECONDS = 35
"""Between two batches: the pace of a provider with a limit. The example project's own embedder is
so fast that there would be nothing to see."""


def main() -> None:
    """Seed, serve, look."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["DATABASE_URL"] = f"sqlite:///{scratch}/db.sqlite3"
        os.environ["DJANGO_SETTINGS_MODULE"] = "example_project.settings"
        os.environ["DJANGO_DEBUG"] = "1"
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
        sys.path.insert(0, str(ROOT / "example_project"))
        import django

        django.setup()
        job = seed()
        photograph(serve(), job)


def seed() -> str:
    """A morning's work: a migration that ended with failures, and one on its way, which was paused
    for a while; the id of that."""
    from catalog.models import Product
    from django.contrib.auth.models import User
    from django.core.management import call_command

    from ai_migration import MigrationRequest, migration_service
    from ai_migration.embedders import embedders
    from ai_migration.engine.worker import run_worker
    from ai_migration.exceptions import InputRefusedError
    from ai_migration.models import EngineMetrics, EntityFailure

    call_command("migrate", verbosity=0)
    User.objects.create_superuser(**LOGIN)
    call_command("load_pydocs", package=["json", "email"], verbosity=0)
    call_command("seed_catalog", products=60_000, orders=20_000, verbosity=0)
    embedder: Any = embedders["default"]
    embed = embedder.embed

    def strict(texts: list[str]) -> Any:
        for text in texts:
            if "042\n" in text[:60]:
                raise InputRefusedError("400: the input was refused by the content filter")
        return embed(texts)

    def start(entity_type: str, by: str, **more: Any) -> str:
        asked = MigrationRequest(entity_type, created_by=by, batch_size=500, **more)
        return migration_service.start_migration(asked).pk

    documents = start("pydoc", "nightly")
    run_worker(should_stop=lambda: False, until_idle=True)
    orders = start("order", "nightly")
    embedder.embed = strict
    run_worker(should_stop=lambda: False, until_idle=True)
    embedder.embed = embed
    running = start("product", "anna", note="the shop opens on Monday")

    def is_under_way() -> bool:
        return migration_service.get_job(running).processed_entities > Product.objects.count() * 0.6

    run_worker(should_stop=is_under_way, until_idle=True)
    migration_service.pause_migration(running, actor="anna", reason="the provider has an outage")
    migration_service.resume_migration(running, actor="anna")
    EngineMetrics.objects.all().delete()
    spread(documents, ends=timedelta(minutes=130))
    spread(orders, ends=timedelta(minutes=75))
    failures = EntityFailure.objects.all()
    failures.update(last_failed_at=datetime.now(UTC) - timedelta(minutes=80))
    spread(running, ends=timedelta(seconds=1), pause=timedelta(minutes=12))
    work_on(running)
    return running


def spread(job_id: str, *, ends: timedelta, pause: timedelta = timedelta()) -> None:
    """Set the times of a job's batches, its events and the engine's minutes, as if it had run at
    the pace of a provider with a limit.

    Args:
        job_id: The job.
        ends: How long ago its last batch was completed.
        pause: How long it was paused, in its middle.
    """
    from ai_migration.models import EngineMetrics, JobEvent, MigrationJob, WorkerSlot

    entries = list(MigrationJob.objects.get(pk=job_id).entries.filter(status="COMPLETED"))
    events = JobEvent.objects.filter(job=job_id)
    now = datetime.now(UTC)
    at = now - ends
    chance = random.Random(7)
    entities, seconds = Counter[datetime](), Counter[datetime]()
    events.filter(to_status="COMPLETED").update(at=at)
    for number, entry in enumerate(reversed(entries)):
        took = timedelta(seconds=SECONDS * chance.uniform(0.7, 1.3))
        entry.completed_at, entry.claimed_at = at, at - took
        entry.save()
        minute = at.replace(second=0, microsecond=0)
        entities[minute] += entry.rows
        seconds[minute] += round(took.total_seconds())
        at -= took
        if pause and number == len(entries) // 2:
            events.filter(from_status="PAUSED").update(at=at)
            at -= pause
            events.filter(to_status="PAUSED").update(at=at)
    slot, _ = WorkerSlot.objects.get_or_create(name=job_id)
    EngineMetrics.objects.bulk_create(
        EngineMetrics(minute=minute, slot=slot, entities=count, batch_seconds=seconds[minute])
        for minute, count in entities.items()
    )
    events.filter(from_status__in=["", "PENDING"]).update(at=at)
    jobs = MigrationJob.objects.filter(pk=job_id)
    jobs.update(created_at=at, started_at=at)
    jobs.filter(status="COMPLETED").update(completed_at=now - ends)


def work_on(job_id: str) -> None:
    """Two workers are alive, and have a batch of the job in hand.

    Args:
        job_id: The job.
    """
    from ai_migration.models import QueueEntry, WorkerSlot
    from ai_migration.models.leases import acquire

    for number in (1, 2):
        assert acquire(f"worker-{number}", f"web-{number}/4026531836:{4710 + number}")
    soon = datetime.now(UTC) + timedelta(hours=1)
    slots = WorkerSlot.objects.filter(name__startswith="worker-")
    slots.update(lease_expires_at=soon)
    entry = QueueEntry.objects.filter(job=job_id, status="PENDING").earliest("id")
    claimed = {"status": "CLAIMED", "claimed_by": slots[0], "claimed_at": datetime.now(UTC)}
    QueueEntry.objects.filter(pk=entry.pk).update(**claimed)


def serve() -> str:
    """Serve the project in a thread; where."""
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.core.handlers.wsgi import WSGIHandler
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            return None

    server = ThreadedWSGIServer(("127.0.0.1", 0), Quiet)
    server.set_app(StaticFilesHandler(WSGIHandler()))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def photograph(base: str, job: str) -> None:
    """Write the pictures beside this file."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            for size in ("", "-phone"):
                page = browser.new_page(viewport=PHONE, color_scheme=scheme)
                page.add_init_script("localStorage['django.admin.navSidebarIsOpen'] = 'false'")
                page.goto(f"{base}/admin/login/")
                page.fill("#id_username", LOGIN["username"])
                page.fill("#id_password", LOGIN["password"])
                page.click("[type=submit]")
                for name, path in (
                    ("dashboard", "dashboard/?count=1"),
                    ("list", "migrationjob/"),
                    ("job", f"migrationjob/{job}/change/"),
                    ("start", "migrationjob/add/?entity_type=order"),
                ):
                    if not size:
                        page.set_viewport_size({"width": WIDTH, "height": HEIGHTS[name]})
                    page.goto(f"{base}/admin/ai_migration/{path}")
                    if name == "start":
                        page.check("input[value=all]")
                        page.click("button[value=preview]")
                    page.wait_for_load_state("networkidle")
                    page.screenshot(path=HERE / f"admin-{name}{size}-{scheme}.png")
        browser.close()


if __name__ == "__main__":
    main()
