"""Texts and tables nobody asked for: indexed as well as they can be, or refused in words."""

from __future__ import annotations

import pytest

from ai_migration import migration_service, search
from ai_migration.exceptions import AIMigrationError, EntityConfigError, InvalidRequestError
from ai_migration.models import MigrationJob
from ai_migration.types import JobStatus
from tests.integration.embedders import Script
from tests.integration.odd_models import Dated, drop_table, table_of
from tests.integration.support import (
    GLOBAL,
    Project,
    assert_in_line,
    collection,
    counts,
    finish,
    make_articles,
    payloads,
    run,
    start,
    stored,
)
from tests.testapp.models import Article, Country, Document

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])


def test_empty_texts_are_skipped_and_counted(project: Project, script: Script) -> None:
    make_articles(3)
    Article.objects.create(title="", body="")
    Article.objects.create(title="  \n\t ", body=" ")
    assert counts(run()) == (3, 2, 0, 0)
    assert len(script.texts) == 3
    assert counts(run()) == (0, 5, 0, 0)
    assert counts(run(reindex_existing=True)) == (3, 2, 0, 0)
    assert all(text.strip() for text in script.texts)
    assert_in_line()


def test_a_text_that_is_emptied_leaves_the_index_and_comes_back(
    project: Project, script: Script
) -> None:
    make_articles(3)
    run()
    Article.objects.filter(title="Title 1").update(title="", body="")
    run()
    assert len(stored(collection())) == 2
    assert_in_line()
    Article.objects.filter(title="").update(title="back")
    assert run().indexed == 1
    assert_in_line()


ODD = {
    "NUL": ("a\0b", "ab"),
    "a lone surrogate": ("a\ud800b", "a?b"),
    "only NUL": ("\0", ""),
    "right to left": ("نص من اليمين إلى اليسار", "نص من اليمين إلى اليسار"),
    "emoji": ("👩‍👩‍👧‍👦 🇦🇹", "👩‍👩‍👧‍👦 🇦🇹"),
    "combining": ("é ñ", "é ñ"),
    "overrides": ("\u202ertl\u202c", "\u202ertl\u202c"),
    "a byte order mark": ("\ufeffx", "\ufeffx"),
    "astral": ("\U0010ffff", "\U0010ffff"),
    "a backslash": ("\\u0000 \\N {x} %s %%", "\\u0000 \\N {x} %s %%"),
    "quotes": ('\'; DROP TABLE "x"; --', '\'; DROP TABLE "x"; --'),
}


@pytest.mark.parametrize(
    "store",
    ["ai_migration.stores.database.DatabaseStore", "ai_migration.stores.memory.MemoryStore"],
)
def test_odd_characters_are_indexed(
    project: Project, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    """From a method: not every database could keep them in a column."""
    monkeypatch.setattr(Article, "summary", lambda self: ODD[self.title][0])
    project.article(template="{{ title }} {{ summary }}", metadata_fields=["summary", "attributes"])
    script = project.embedder()
    project.store(store)
    attributes = {"k": {"raw": [1, None, True, "é"]}}
    made = {name: Article.objects.create(title=name, attributes=attributes) for name in ODD}
    ended = run()
    assert counts(ended) == (len(ODD), 0, 0, 0), migration_service.list_failures(ended.job_id)
    texts = {name: f"{name} {clean}".strip() for name, (_, clean) in ODD.items()}
    assert sorted(script.texts) == sorted(texts.values())
    assert payloads(collection()) == {
        str(made[name].pk): {"summary": clean, "attributes": attributes}
        for name, (_, clean) in ODD.items()
    }
    assert_in_line()
    assert counts(run()) == (0, len(ODD), 0, 0), "the same text is the same text again"
    assert {name: search("article", text, limit=1)[0].text for name, text in texts.items()} == texts


def test_odd_characters_in_a_key(database: object) -> None:
    keys = {clean[:2] for _, clean in ODD.values()} - {""}
    Country.objects.bulk_create(Country(code=key, name="Odd") for key in keys)
    for batch_size in (1, 2, 500):
        run("country", reindex_existing=True, batch_size=batch_size)
        assert stored(collection("country")).keys() == keys
    assert_in_line("country")
    assert counts(run("country")) == (0, len(keys), 0, 0)
    Country.objects.all().delete()
    assert counts(run("country")) == (0, 0, len(keys), 0)


def test_a_text_of_10_megabytes_is_one_text_or_many_chunks(project: Project) -> None:
    megabytes = 10
    body = "All work and no play makes Jack a dull boy. " * (megabytes * (1 << 20) // 44)
    Article.objects.create(title="Novel", body=body)
    script = project.embedder()
    assert counts(run()) == (1, 0, 0, 0)
    assert len(script.texts) == 1
    assert len(script.texts[0]) > 10_000_000
    limited = project.embedder(max_input_tokens=8192)
    assert counts(run(reindex_existing=True)) == (1, 0, 0, 0)
    assert 300 < len(limited.texts) < 800, "never cut silently"
    assert sum(map(len, limited.texts)) > 10_000_000 * 0.99
    assert_in_line()


@pytest.mark.vendors("sqlite")
def test_requests_are_limited_by_tokens_too(project: Project) -> None:
    script = project.embedder(max_batch_tokens=60, max_batch_size=100)
    make_articles(30)
    run()
    assert len(script.requests) >= 5
    for request in script.requests:
        assert sum((len(text) + 3) // 4 for text in request) <= 60
    assert len(script.texts) == 30


def test_an_empty_table(project: Project, script: Script) -> None:
    for request in ({}, {"reindex_existing": True}, {"rebuild": True}, {"mode": "missing"}):
        assert counts(run(**request)) == (0, 0, 0, 0)
    assert script.asked == 0


def test_a_table_that_is_not_there(project: Project) -> None:
    drop_table(Document)
    project.article("title", name="document", model="testapp.Document")
    with pytest.raises(AIMigrationError, match=r"testapp.Document.*manage.py migrate") as caught:
        start("document")
    assert "\n" not in caught.value.message
    assert not MigrationJob.objects.exists()


def test_a_table_that_is_lost_during_a_run_stops_the_job(project: Project) -> None:
    with table_of(Dated):
        for i in range(5):
            Dated.objects.create(title=f"d{i}", made_on="2024-01-01")
        project.article("title", name="dated", model="testapp.Dated")
        job = start("dated", batch_size=2)
        drop_table(Dated)
        ended = finish(job)
    assert ended.status == JobStatus.FAILED
    assert "odd_dated" in ended.error_message


@pytest.mark.parametrize(
    ("keys", "entity", "message"),
    [
        ({"ENABLED": False}, "", "switched off"),
        ({}, "indexable: false", "indexable: false"),
        ({}, "embedder: nobody", "nobody.*Known aliases: default"),
        ({}, "store: nowhere", "nowhere.*Known aliases: default"),
        ({}, "model: testapp.Nothing", "Nothing"),
        ({}, "embeddable-fields: [titel]", "Did you mean 'title'"),
    ],
)
@pytest.mark.vendors("sqlite")
def test_what_is_configured_wrong_is_refused_before_anything_starts(
    project: Project, keys: dict[str, object], entity: str, message: str
) -> None:
    lines = {"model": "testapp.Article", "embeddable-fields": "[title]"}
    if entity:
        key, _, value = entity.partition(": ")
        lines[key] = value
    inner = "\n".join(f"    {key}: {value}" for key, value in lines.items())
    project.config(GLOBAL + f"ai-entities:\n  article:\n{inner}\n")
    project.set(**keys)
    with pytest.raises(AIMigrationError, match=message):
        start()
    assert not MigrationJob.objects.exists()


@pytest.mark.vendors("sqlite")
def test_an_entity_type_of_another_application_is_refused_only_when_asked_for(
    project: Project,
) -> None:
    project.config(
        GLOBAL
        + """
ai-entities:
  elsewhere: {features: [embedding], auto-embedding: true}
  article: {model: testapp.Article, embeddable-fields: [title]}
"""
    )
    make_articles(1)
    assert run().indexed == 1
    with pytest.raises(EntityConfigError, match="'elsewhere'.*has no model"):
        start("elsewhere")


@pytest.mark.vendors("sqlite")
def test_embedding_can_be_switched_off_for_all(project: Project) -> None:
    project.config(
        """
ai-config: {enable-embedding-generation: false}
ai-entities:
  article: {model: testapp.Article, embeddable-fields: [title]}
"""
    )
    with pytest.raises(InvalidRequestError, match="enable-embedding-generation"):
        start()
