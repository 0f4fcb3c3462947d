"""Makes the pictures of the admin out of the example project, on a database thrown away.

    .venv/bin/python docs/images/admin.py

Needs the extra ``demo``, Playwright and Debian's Chromium.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LOGIN = {"username": "anna", "password": "anna"}
WINDOW = {"width": 1240, "height": 760}


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
    """A migration that ended with failures, and one on its way; the id of that."""
    from catalog.models import Product
    from django.contrib.auth.models import User
    from django.core.management import call_command

    from ai_migration import MigrationRequest, migration_service
    from ai_migration.embedders import embedders
    from ai_migration.engine.worker import run_worker
    from ai_migration.exceptions import InputRefusedError

    call_command("migrate", verbosity=0)
    User.objects.create_superuser(**LOGIN)
    call_command("seed_catalog", products=6000, orders=2000, verbosity=0)
    embedder: Any = embedders["default"]
    embed = embedder.embed

    def strict(texts: list[str]) -> Any:
        for text in texts:
            if "42\n" in text[:60]:
                raise InputRefusedError("400: the input was refused by the content filter")
        return embed(texts)

    def start(entity_type: str, by: str, **more: Any) -> str:
        asked = MigrationRequest(entity_type, created_by=by, batch_size=100, **more)
        return migration_service.start_migration(asked).pk

    start("order", "nightly")
    embedder.embed = strict
    run_worker(should_stop=lambda: False, until_idle=True)
    embedder.embed = embed
    running = start("product", "anna", note="the shop opens on Monday")

    def is_under_way() -> bool:
        return migration_service.get_job(running).processed_entities > Product.objects.count() * 0.4

    run_worker(should_stop=is_under_way, until_idle=True)
    return running


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
            page = browser.new_page(viewport=WINDOW, color_scheme=scheme)
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
                page.goto(f"{base}/admin/ai_migration/{path}")
                if name == "start":
                    page.check("input[value=all]")
                    page.click("button[value=preview]")
                page.wait_for_load_state("networkidle")
                page.screenshot(path=HERE / f"admin-{name}-{scheme}.png")
        browser.close()


if __name__ == "__main__":
    main()
