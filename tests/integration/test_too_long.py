"""Texts with more tokens than their embedder takes, whatever it counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO

import pytest
from django.core.management import call_command

from ai_migration import migration_service, search
from ai_migration.models import MigrationJob
from ai_migration.models.ledger import SearchableEntity
from ai_migration.types import JobStatus
from tests.integration.support import Project, collection, counts, finish, start, stored
from tests.testapp.models import Article
from tests.vendors.openai import OpenAIVendor
from tests.vendors.protocol import Kind
from tests.vendors.server import Chance, VendorServer, serving, tokens_of

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])

LIMIT = 40
"""Tokens the server takes; the embedder believes in 10,000."""
LONG = ". ".join(f"Sentence {number} about the number {number * 7}" for number in range(60))


@pytest.fixture
def server(project: Project) -> Iterator[VendorServer]:
    """A server that refuses what is longer, and three rows, one of them long."""
    with serving(OpenAIVendor(), chance=Chance(max_tokens=LIMIT)) as server:
        options = {
            "model": "of-the-server",
            "dimensions": 16,
            "base_url": f"{server.url}/v1",
            "max_input_tokens": 10_000,
        }
        backend = "ai_migration.embedders.openai.OpenAIEmbedder"
        project.set(
            EMBEDDERS={"default": {"BACKEND": backend, "OPTIONS": options}},
            DEFAULT_RATE_LIMIT=None,
        )
        project.article(template="{{ title }}: {{ body }}")
        for title, body in (("short", "One"), ("long", LONG), ("other", "Two")):
            Article.objects.create(title=title, body=body)
        yield server


def chunk_count() -> int:
    key = str(Article.objects.get(title="long").pk)
    return SearchableEntity.objects.get(entity_id=key).chunk_count


def test_a_text_that_is_refused_as_too_long_is_indexed_in_smaller_chunks(
    server: VendorServer,
) -> None:
    pytest.importorskip("openai")
    done = finish(start())
    assert (done.status, counts(done)) == (JobStatus.COMPLETED, (3, 0, 0, 0))
    key = str(Article.objects.get(title="long").pk)
    chunks = stored(collection())[key]
    assert sorted(chunks) == list(range(chunk_count()))
    assert len(chunks) > tokens_of([LONG])[0] // LIMIT
    answered = [each for each in server.seen.requests if each.kind is Kind.ANSWER]
    words = [word for each in answered for text in each.texts for word in text.split()]
    assert sorted(words) == sorted(f"short: One other: Two long: {LONG}".split())
    assert server.seen.statistics()["texts_answered_again"] == 0

    [hit, *_] = search("article", "Sentence 31 about the number 217", limit=3)
    assert (hit.id, hit.text) == (key, f"long: {LONG}")

    requests = len(server.seen.requests)
    again = finish(start())
    assert counts(again) == (0, 3, 0, 0)
    assert len(server.seen.requests) == requests, "nothing is embedded twice"


@pytest.mark.vendors("sqlite")
def test_its_chunks_have_their_head_and_are_known_again(
    project: Project, server: VendorServer
) -> None:
    pytest.importorskip("openai")
    project.article(template="{{ title }}\n{% chunk %}{{ body }}{% endchunk %}")
    finish(start())
    assert chunk_count() > 5
    answered = [each for each in server.seen.requests if each.kind is Kind.ANSWER]
    texts = [text for each in answered for text in each.texts if "Sentence" in text]
    assert all(text.startswith("long\n") for text in texts)
    requests = len(server.seen.requests)
    assert counts(finish(start())) == (0, 3, 0, 0)
    assert len(server.seen.requests) == requests


def test_chunks_of_a_longer_text_are_removed_when_it_gets_shorter(server: VendorServer) -> None:
    pytest.importorskip("openai")
    finish(start())
    before = chunk_count()
    Article.objects.filter(title="long").update(body=LONG[: len(LONG) // 3])
    assert counts(finish(start())) == (1, 2, 0, 0)
    key = str(Article.objects.get(title="long").pk)
    assert sorted(stored(collection())[key]) == list(range(chunk_count()))
    assert 1 < chunk_count() < before
    Article.objects.filter(title="long").update(body="no more")
    assert counts(finish(start())) == (1, 2, 0, 0)
    assert (chunk_count(), list(stored(collection())[key])) == (1, [0])


@pytest.mark.vendors("sqlite")
def test_a_provider_that_refuses_everything_is_found_out_at_once(
    server: VendorServer, project: Project
) -> None:
    pytest.importorskip("openai")
    server.chance.refuse_word = " "
    job = start()
    ended = finish(job)
    assert (ended.status, ended.processed) == (JobStatus.FAILED, 0)
    assert ended.error_message.startswith("Every text is refused. OpenAI answered 400: ")
    assert len(server.seen.requests) == 2
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("migrate_ai_entities", "article", "--dry-run", "--probe", stdout=out)
    assert "  probe            OpenAI answered 400: " in out.getvalue()
    server.chance.refuse_word = ""
    out = StringIO()
    call_command("migrate_ai_entities", "article", "--dry-run", "--probe", "--json", stdout=out)
    assert json.loads(out.getvalue())["probe"] == {"isAnswered": True, "error": None}
    assert MigrationJob.objects.count() == 1
    migration_service.resume_migration(job.pk)
    assert counts(finish(job)) == (3, 0, 0, 0)
