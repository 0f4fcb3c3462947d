"""Search: the nearest entities, as their rows read now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asgiref.sync import async_to_sync

from ai_migration import asearch, search
from ai_migration.exceptions import (
    EmbedderError,
    FatalEmbedderError,
    InvalidRequestError,
    NotIndexedError,
    UnknownEntityTypeError,
)
from ai_migration.jobs.report.documents import Hit
from ai_migration.types import Vectors
from tests.integration.embedders import Script
from tests.integration.stores import options_of
from tests.integration.support import Project, make_articles, run, start, work
from tests.testapp.models import Article, Category

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])

STORES = ("ai_migration.stores.database.DatabaseStore", "ai_migration.stores.memory.MemoryStore")


def by_words(texts: Sequence[str]) -> Vectors:
    """Texts with the same words are near each other."""
    vectors = np.zeros((len(texts), 32), dtype=np.float32)
    for row, text in enumerate(texts):
        for word in text.lower().replace(".", "").split():
            vectors[row, sum(word.encode()) % 31] += 1
        vectors[row, 31] = 0.1
    return vectors


@pytest.fixture(params=STORES)
def words(request: pytest.FixtureRequest, project: Project) -> Script:
    """An embedder that knows words, and the texts themselves."""
    project.article(
        template="{{ title }} {{ body }}",
        metadata_fields=["status", "category__name", {"name": "price", "type": "NUMERIC"}],
    )
    script = project.embedder()
    project.store(request.param)
    script.react = by_words
    return script


def titles(query: str, **options: Any) -> list[str]:
    hits = search("article", query, **options)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len({hit.id for hit in hits}) == len(hits)
    return [Article.objects.get(pk=hit.id).title for hit in hits]


def test_the_nearest_come_first(words: Script) -> None:
    for title in ("red shoes", "blue shoes", "green hat", "tax return"):
        Article.objects.create(title=title)
    run()
    assert titles("red shoes")[:2] == ["red shoes", "blue shoes"]
    assert titles("red shoes", limit=1) == ["red shoes"]
    hit = search("article", "green hat", limit=1)[0]
    assert hit.text == "green hat"
    assert hit.score == pytest.approx(1.0, abs=1e-5)
    assert hit.metadata == {"status": "published", "category__name": None, "price": None}
    assert Hit.of(hit).keys() == {"id", "score", "metadata", "text"}


def test_filters_are_values_of_the_payload(words: Script) -> None:
    shoes = Category.objects.create(name="Shoes", slug="s")
    for i in range(30):
        Article.objects.create(
            title=f"red shoes {i}",
            category=shoes if i == 17 else None,
            status="draft" if i % 2 else "published",
            price=i,
        )
    run()
    assert titles("red shoes", filters={"category__name": "Shoes"}) == ["red shoes 17"]
    assert len(titles("red shoes", limit=50, filters={"status": "draft"})) == 15
    assert titles("red shoes", filters={"status": "draft", "price": 3}) == ["red shoes 3"]
    assert titles("red shoes", filters={"status": "nothing"}) == []
    with pytest.raises(InvalidRequestError, match=r"no metadata field 'colour'.*status") as caught:
        search("article", "x", filters={"colour": "red"})
    assert caught.value.field == "filters"


@pytest.mark.parametrize(
    "store",
    [
        *STORES,
        "tests.integration.stores.NoFilterStore",
        "ai_migration.stores.sqlite_vec.SqliteVecStore",
        "ai_migration.stores.qdrant.QdrantStore",
    ],
)
@pytest.mark.vendors("sqlite")
def test_a_tenant_finds_only_its_own(project: Project, tmp_path: Path, store: str) -> None:
    """However near the rows of the others are, and whatever the store can do."""
    project.article(template="{{ title }}", tenant_field="status")
    project.embedder().react = by_words
    project.store(store, **options_of(store, tmp_path))
    for _ in range(40):
        Article.objects.create(title="red shoes", status="acme")
    for title in ("red hat", "tax return"):
        Article.objects.create(title=title, status="rival")
    run()
    for limit in (1, 2, 10):
        found = titles("red shoes", limit=limit, filters={"status": "rival"})
        assert found == ["red hat", "tax return"][:limit]
    assert titles("red shoes", filters={"status": "nobody"}) == []


def test_a_row_that_is_gone_is_left_out_and_leaves_no_gap(words: Script) -> None:
    make_articles(40, body="same words")
    run()
    kept = list(Article.objects.order_by("pk").values_list("pk", flat=True))[-5:]
    Article.objects.exclude(pk__in=kept).delete()
    assert len(titles("same words", limit=5)) == 5


def test_the_text_is_the_rows_now(words: Script) -> None:
    made = Article.objects.create(title="red shoes")
    run()
    Article.objects.filter(pk=made.pk).update(title="blue hat")
    assert search("article", "red shoes")[0].text == "blue hat"


@pytest.mark.vendors("sqlite")
def test_a_limit_out_of_range_is_refused(project: Project) -> None:
    for limit in (0, -1, 1001, True, "5", 1.5):
        with pytest.raises(InvalidRequestError, match="from 1 to 1000") as caught:
            search("article", "x", limit=limit)  # type: ignore[arg-type]
        assert caught.value.field == "limit"


@pytest.mark.vendors("sqlite")
def test_an_empty_query_is_refused(project: Project) -> None:
    make_articles(1)
    run()
    for query in ("", "   ", "\n\t", "\0", None, 5):
        with pytest.raises(InvalidRequestError, match="query is empty") as caught:
            search("article", query)  # type: ignore[arg-type]
        assert caught.value.field == "query"


def test_any_other_query_finds_something(words: Script) -> None:
    make_articles(3)
    run()
    for query in ("a\0b", "lone \ud800 surrogate", "نص", "👩‍👩‍👧‍👦", "x " * 50_000):
        assert len(search("article", query)) == 3, query[:20]


@pytest.mark.vendors("sqlite")
def test_whatever_an_embedder_raises_at_a_query_is_an_embedder_error(
    project: Project, script: Script
) -> None:
    make_articles(1)
    run()
    for error in (FatalEmbedderError("bad key"), ValueError("odd"), TimeoutError("slow")):

        def react(texts: Sequence[str], error: Exception = error) -> None:
            raise error

        script.react = react
        with pytest.raises(EmbedderError, match=str(error)):
            search("article", "x")
    script.react = lambda texts: np.full((1, 32), np.nan, dtype=np.float32)
    with pytest.raises(EmbedderError, match="NaN"):
        search("article", "x")


def test_an_unknown_entity_type_names_the_known_ones(project: Project) -> None:
    with pytest.raises(UnknownEntityTypeError, match="Known entity types: article"):
        search("nothing", "x")


def test_what_was_never_indexed_says_how_to(project: Project) -> None:
    with pytest.raises(NotIndexedError, match="migrate_ai_entities article"):
        search("article", "x")


def test_an_index_that_is_empty_finds_nothing(project: Project) -> None:
    run()
    assert search("article", "x") == []


def test_a_backfill_that_runs_finds_what_it_has(project: Project) -> None:
    make_articles(3)
    start()
    assert search("article", "x") == []
    work()
    assert len(search("article", "x")) == 3


def test_the_config_has_the_default_limit(project: Project) -> None:
    make_articles(8)
    project.config(
        """
        ai-config: {default-search-limit: 3}
        ai-entities:
          article: {model: testapp.Article, embeddable-fields: [title]}
          silent: {model: testapp.Article, embeddable-fields: [title], enable-search: false}
        """
    )
    run()
    run("silent")
    assert len(search("article", "x")) == 3
    with pytest.raises(InvalidRequestError, match="enable-search: false"):
        search("silent", "x")


@pytest.mark.vendors("sqlite")
def test_a_coroutine_finds_the_same(words: Script) -> None:
    make_articles(3)
    run()
    found = search("article", "Title 2", limit=2)
    assert async_to_sync(asearch)("article", "Title 2", limit=2) == found
    with pytest.raises(InvalidRequestError, match="limit"):
        async_to_sync(asearch)("article", "Title 2", limit=0)
