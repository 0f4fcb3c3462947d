"""kill -9 of workers with requests in flight: a budget holds by what the provider has seen."""

from __future__ import annotations

import random
import signal
import time
from typing import Any

import pytest

from ai_migration import migration_service
from ai_migration.models import MigrationJob
from ai_migration.types import JobStatus
from tests.acceptance.test_storm import Provider, provider
from tests.acceptance.victims import wait_until
from tests.commands import Manage
from tests.testapp.models import Article

ROWS = 600
MAX_TOKENS = 4_000
KILLS = 5


def kill_one(vendor: Provider, manage: Manage, settings: dict[str, Any], later: float) -> None:
    """Kill a worker some time after it has sent a few requests, while some are in flight."""
    enough = vendor.seen()["requests"] + 6
    worker = ("ai_migration", "worker", "--until-idle")
    with manage.watched(*worker, ai_migration=settings) as process:
        wait_until(
            lambda: vendor.seen()["requests"] >= enough or process.poll() is not None,
            "requests of a worker",
        )
        time.sleep(later)
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.gate
@pytest.mark.vendors("sqlite")
def test_kills_spend_no_more_than_the_budget(manage: Manage) -> None:
    pytest.importorskip("openai", reason="openai is not installed")
    Article.objects.bulk_create(
        Article(title=f"Title {i}", body=f"Body of number {i}.") for i in range(ROWS)
    )
    rng = random.Random(7)
    with provider("--latency=0.2", "--dimensions=16") as vendor:
        settings = vendor.settings
        settings["EMBEDDERS"]["default"]["OPTIONS"]["max_batch_size"] = 5
        settings |= {"LEASE_SECONDS": 3, "DEFAULT_BATCH_SIZE": 20}
        budget = ("--max-tokens", str(MAX_TOKENS))
        start = ("migrate_ai_entities", "article", "--detach", *budget)
        assert manage(*start, ai_migration=settings).returncode == 0
        for _ in range(KILLS):
            kill_one(vendor, manage, settings, rng.uniform(0, 0.2))
        job = MigrationJob.objects.get()
        if job.status == JobStatus.RUNNING:
            resume = ("migrate_ai_entities", "--resume", job.pk)
            manage(*resume, ai_migration=settings)
        seen = vendor.seen()
    job = MigrationJob.objects.get()
    assert job.status == JobStatus.PAUSED, job.error_message
    assert job.reserved_tokens > 0, "somebody was killed with requests in flight"
    assert seen["tokens"] <= job.charged_tokens <= MAX_TOKENS
    assert migration_service.get_progress(job.pk).tokens == job.charged_tokens
