"""A query is embedded once, whatever the cache does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.db import transaction

from ai_migration import search
from ai_migration.exceptions import EmbedderError
from ai_migration.indexing import queries
from ai_migration.indexing.queries import query_vector
from tests.integration.embedders import Script, ScriptedEmbedder
from tests.integration.support import Project, make_articles, run
from tests.integration.test_checks import found

pytestmark = pytest.mark.vendors("sqlite")

LOCAL = "django.core.cache.backends.locmem.LocMemCache"


class BrokenCache(LocMemCache):
    """One whose server does not answer."""

    def get(self, *args: Any, **options: Any) -> Any:
        raise ConnectionError("no route to redis.example with password hunter2")

    set = get


@pytest.fixture
def script(project: Project, settings: Any) -> Script:
    settings.CACHES = {
        **settings.CACHES,
        "shared": {"BACKEND": LOCAL, "LOCATION": "queries"},
        "broken": {"BACKEND": f"{__name__}.BrokenCache"},
        "table": {
            "BACKEND": "django.core.cache.backends.db.DatabaseCache",
            "LOCATION": "missing_table",
        },
    }
    caches["shared"].clear()
    made = project.embedder()
    make_articles(3)
    run()
    made.clear()
    return made


@pytest.mark.parametrize("alias", [None, "shared"])
def test_a_repeated_search_is_one_call(script: Script, project: Project, alias: str | None) -> None:
    project.set(QUERY_CACHE=alias)
    first = search("article", "red shoes")
    assert [search("article", "red shoes") for _ in range(3)] == [first] * 3
    assert search("article", "red shoes", limit=1, filters={}) == first[:1]
    assert script.texts == ["red shoes"]
    search("article", "Red shoes")
    assert script.asked == 2


def test_a_vector_that_is_kept_has_the_same_bits(script: Script, project: Project) -> None:
    embedder = ScriptedEmbedder(script)
    fresh, kept = (query_vector(embedder, "red shoes") for _ in range(2))
    assert script.asked == 1
    assert kept.dtype == np.float32
    assert np.array_equal(kept, fresh)


def test_other_vectors_have_other_keys(script: Script) -> None:
    """Of another fingerprint, or with another prompt for queries."""
    other = ScriptedEmbedder(script, 16)
    prompted = ScriptedEmbedder(script)
    prompted.query_type = "query: "
    for embedder in (ScriptedEmbedder(script), other, prompted):
        assert len(query_vector(embedder, "red shoes")) == embedder.dimensions
    assert script.asked == 3
    assert query_vector(ScriptedEmbedder(script), "red shoes") is not None
    assert script.asked == 3


def test_the_text_is_not_in_the_cache(script: Script, project: Project) -> None:
    project.set(QUERY_CACHE="shared")
    query = "my private question"
    search("article", query)
    [(key, value)] = caches["shared"]._cache.items()  # type: ignore[attr-defined]
    assert query not in key
    assert query.encode() not in value


@pytest.mark.vendors("sqlite", "postgresql")
@pytest.mark.parametrize("alias", ["broken", "table", "nowhere"])
def test_a_cache_that_fails_breaks_no_search(
    script: Script, project: Project, alias: str, caplog: Any
) -> None:
    """Nor the transaction it is in."""
    project.set(QUERY_CACHE=alias)
    for _ in range(2):
        with transaction.atomic():
            assert len(search("article", "red shoes")) == 3
    assert script.asked == 2
    assert f"The cache '{alias}' of query vectors failed" in caplog.text
    assert "hunter2" not in caplog.text
    assert "red shoes" not in caplog.text


def test_rubbish_in_the_cache_is_not_used(script: Script, project: Project) -> None:
    project.set(QUERY_CACHE="shared")
    embedder = ScriptedEmbedder(script)
    fresh = query_vector(embedder, "red shoes")
    cache = caches["shared"]
    [key] = [key.removeprefix(":1:") for key in cache._cache]  # type: ignore[attr-defined]
    nan = np.full(32, np.nan, dtype=np.float32).tobytes()
    rubbish: list[Any] = ["text", 5, [1.0], b"short", b"\0" * 4 * 16, nan, {"a": 1}]
    for number, value in enumerate(rubbish, start=2):
        cache.set(key, value)
        assert np.array_equal(query_vector(embedder, "red shoes"), fresh)
        assert script.asked == number
    query_vector(embedder, "red shoes")
    assert script.asked == len(rubbish) + 1, "it was replaced"


def test_an_error_is_not_kept(script: Script) -> None:
    def react(texts: Any) -> None:
        raise TimeoutError("slow")

    script.react, good = react, script.react
    with pytest.raises(EmbedderError, match="slow"):
        search("article", "red shoes")
    script.react = good
    assert len(search("article", "red shoes")) == 3


def test_what_a_process_keeps_is_bounded(script: Script) -> None:
    embedder = ScriptedEmbedder(script)
    for number in range(queries.MOST_LOCAL + 50):
        query_vector(embedder, f"query {number}")
    assert len(queries._local._cache) <= queries.MOST_LOCAL  # type: ignore[attr-defined]
    script.clear()
    query_vector(embedder, f"query {queries.MOST_LOCAL + 49}")
    assert script.asked == 0, "the newest are kept"


def test_an_unknown_alias_is_reported(script: Script, project: Project) -> None:
    project.set(QUERY_CACHE="nowhere")
    [said] = found(None)
    assert said.startswith("ai_migration.E009 ")
    assert "'nowhere'" in said
    assert "shared" in said
