"""A whole job with each kind of embedder: on a model here, and against servers that play vendors
and fail on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ai_migration import migration_service, search
from ai_migration.engine.worker import run_worker
from ai_migration.types import JobStatus
from tests import tiny_models
from tests.databases import FreshDatabase
from tests.testapp.models import Article
from tests.vendors.bedrock import BedrockVendor
from tests.vendors.cohere import CohereVendor
from tests.vendors.google import GoogleVendor
from tests.vendors.protocol import Fault, Kind
from tests.vendors.server import Chance, VendorServer, serving

ROWS = 120
REMOTE: dict[str, tuple[str, type[Any], dict[str, Any]]] = {
    "cohere": ("cohere.CohereEmbedder", CohereVendor, {"model": "embed-v4.0"}),
    "google.genai": ("google.GoogleEmbedder", GoogleVendor, {"model": "gemini-embedding-001"}),
    "boto3": (
        "bedrock.BedrockEmbedder",
        BedrockVendor,
        {"model": "cohere.embed-v4:0", "region": "eu-west-1"},
    ),
}


def index(settings: Any, backend: str, **options: Any) -> dict[str, int]:
    path = f"ai_migration.embedders.{backend}"
    settings.AI_MIGRATION = {
        **settings.AI_MIGRATION,
        "EMBEDDERS": {"default": {"BACKEND": path, "OPTIONS": options}},
        "DEFAULT_RATE_LIMIT": None,
    }
    Article.objects.bulk_create(
        Article(title=f"Title {number}", body=f"Body of number {number}") for number in range(ROWS)
    )
    job = migration_service.index_all_entities("article")
    run_worker(should_stop=lambda: False, only_jobs=[job.pk], until_idle=True)
    progress = migration_service.get_progress(job.pk)
    assert progress.status == JobStatus.COMPLETED, progress
    return {"indexed": progress.indexed, "failed": progress.failed}


@contextmanager
def playing(vendor: Any) -> Iterator[VendorServer]:
    with serving(vendor, chance=Chance(refuse_word="number 77")) as server:
        server.plan(Fault(Kind.THROTTLED, retry_after="0.1"), Fault(Kind.UNAVAILABLE))
        yield server


@pytest.mark.vendors("sqlite")
@pytest.mark.parametrize("library", REMOTE)
def test_a_job_survives_what_a_vendor_does(
    library: str, database: FreshDatabase, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(library, reason=f"needs the library {library}")
    backend, vendor, options = REMOTE[library]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with playing(vendor()) as server:
        found = index(settings, backend, base_url=server.url, dimensions=256, **options)
        seen = server.seen.statistics()
        assert found == {"indexed": ROWS - 1, "failed": 1}
        assert seen["texts_answered_again"] == 0
        assert len(search("article", "anything at all", limit=3)) == 3


@pytest.mark.vendors("sqlite")
@pytest.mark.parametrize(
    ("backend", "save"),
    [
        ("model2vec.Model2VecEmbedder", tiny_models.save_static_model),
        ("sentence_transformers.SentenceTransformerEmbedder", tiny_models.save_bert),
    ],
)
def test_a_job_on_a_model_here(
    backend: str,
    save: Callable[[Path], Path],
    database: FreshDatabase,
    settings: Any,
    tmp_path: Path,
) -> None:
    found = index(settings, backend, model=str(save(tmp_path)))
    assert found == {"indexed": ROWS, "failed": 0}
    assert len(search("article", "anything at all", limit=3)) == 3
