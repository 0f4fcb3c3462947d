"""A provider on its worst day: it throttles, fails, refuses, and goes away."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from ai_migration.models import EntityFailure, MigrationJob, QueueEntry
from ai_migration.types import EntryStatus, JobStatus
from tests.acceptance.clusters import is_over
from tests.acceptance.index_state import index_state, unsettled
from tests.acceptance.victims import wait_until
from tests.commands import ROOT, Manage
from tests.testapp.models import Article

pytestmark = [pytest.mark.gate, pytest.mark.vendors("postgresql")]

ROWS = 20_000
REFUSED = "unspeakable"
"""A text with this word is refused."""


@dataclass(frozen=True)
class Provider:
    """A process that plays OpenAI."""

    url: str

    @property
    def settings(self) -> dict[str, Any]:
        """AI_MIGRATION for whoever uses it."""
        options = {
            "model": "text-embedding-3-small",
            "dimensions": 16,
            "api_key": "sk-test",
            "base_url": f"{self.url}/v1",
            "concurrency": 4,
            "max_batch_size": 100,
        }
        backend = "ai_migration.embedders.openai.OpenAIEmbedder"
        return {
            "EMBEDDERS": {"default": {"BACKEND": backend, "OPTIONS": options}},
            "DEFAULT_RATE_LIMIT": None,
            "RETRY_DELAY_SECONDS": 1.0,
        }

    def seen(self) -> dict[str, Any]:
        """What it was asked so far."""
        with urllib.request.urlopen(f"{self.url}/_seen") as answer:
            seen: dict[str, Any] = json.load(answer)
        return seen


@contextmanager
def provider(*options: str) -> Iterator[Provider]:
    command = [sys.executable, "-m", "tests.vendors.server", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Provider(process.stdout.readline().strip())
        finally:
            process.kill()


def test_a_storm_costs_nothing_but_time(manage: Manage) -> None:
    pytest.importorskip("openai", reason="openai is not installed")
    Article.objects.bulk_create(
        Article(title=f"Title {i}", body=REFUSED if i % 1_000 == 500 else f"Body of number {i}.")
        for i in range(ROWS)
    )
    refused = {
        str(key) for key in Article.objects.filter(body=REFUSED).values_list("pk", flat=True)
    }
    storm = ["--throttle=0.3", "--retry-after=0.2", "--fail=0.05", "--outage-at=5"]
    storm += ["--outage-seconds=10", f"--refuse-word={REFUSED}", "--dimensions=16"]
    with provider(*storm) as vendor:
        started = manage(
            *("migrate_ai_entities", "article", "--detach", "--json"), ai_migration=vendor.settings
        )
        job = json.loads(started.stdout)["jobId"]
        worker = ("ai_migration", "worker")
        with (
            manage.watched(*worker, ai_migration=vendor.settings),
            manage.watched(*worker, ai_migration=vendor.settings),
        ):
            wait_until(lambda: is_over(job), "the end of the job", limit=240)
        seen = vendor.seen()
    ended = MigrationJob.objects.get(pk=job)
    assert (ended.status, ended.error_message) == (JobStatus.COMPLETED, "")
    assert (ended.indexed_entities, ended.failed_entities) == (ROWS - len(refused), len(refused))
    assert not unsettled("article")
    state = index_state("article")
    assert {entity_id for entity_id, _ in state.vectors}.isdisjoint(refused)
    assert len(state.vectors) == ROWS - len(refused)

    assert seen["kinds"].keys() >= {"throttled", "server error", "refused", "reset"}
    assert seen["texts_answered_again"] == 0, "what was answered was never asked again"
    failures = EntityFailure.objects.filter(job=job)
    assert set(failures.values_list("entity_id", flat=True)) == refused
    assert set(failures.values_list("error_code", "attempts")) == {("embedder_input", 1)}
    assert not failures.filter(error__contains=REFUSED).exists(), "no text is repeated"
    done = QueueEntry.objects.filter(job=job, status=EntryStatus.COMPLETED)
    assert not done.filter(error__contains="429").exists()
