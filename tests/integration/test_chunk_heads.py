"""The chunks of a long text say what they belong to."""

from __future__ import annotations

from typing import Any

import pytest

from ai_migration import search
from ai_migration.entities import registry
from ai_migration.exceptions import EntityConfigError
from ai_migration.jobs.feed.collections import ConfigChange, config_change
from ai_migration.jobs.start.planning import plan_migration
from ai_migration.types import MigrationRequest
from tests.integration.embedders import Script
from tests.integration.support import (
    Project,
    assert_in_line,
    collection,
    counts,
    make_articles,
    run,
    stored,
)
from tests.testapp.models import Article, Category

pytestmark = pytest.mark.vendors("sqlite")

LONG = " ".join(f"Sentence number {number} speaks of it." for number in range(60))
SIZE = {"size": 60}


def make_long(**values: Any) -> Article:
    return Article.objects.create(**{"title": "Walking boots", "body": LONG, **values})


def test_later_chunks_have_the_short_fields_before_the_long_one(
    project: Project, script: Script
) -> None:
    long = make_long(category=Category.objects.create(name="Shoes", slug="s"), status="new")
    project.article("price", "title", "category__name", "body", "status", chunking=SIZE)
    run()
    first, *later = script.texts
    assert first.startswith("title: Walking boots\ncategory name: Shoes\nbody: Sentence number 0")
    assert len(later) > 5
    for text in later:
        assert text.startswith("title: Walking boots\ncategory name: Shoes\nSentence")
    assert_in_line()
    [hit] = search("article", later[2])
    assert (hit.id, hit.text) == (str(long.pk), later[2])
    assert hit.score == pytest.approx(1.0, abs=1e-5)
    assert counts(run()) == (0, 1, 0, 0)
    Article.objects.update(status="old")
    assert run().indexed == 1, "it is in the text"


def test_the_config_names_the_context(project: Project, script: Script) -> None:
    make_long(status="new")
    context = ["title", {"name": "status", "label": "state"}]
    project.article("body", chunking={**SIZE, "context": context})
    run()
    head = "title: Walking boots\nstate: new\n"
    assert len(script.texts) > 5
    for text in script.texts:
        assert text.startswith(head + ("body: " if text == script.texts[0] else "Sentence"))
    script.clear()
    Article.objects.update(status="old")
    assert run().indexed == 1, "the head is a part of what is embedded"
    assert {text.splitlines()[1] for text in script.texts} == {"state: old"}


def test_a_template_says_where_its_chunks_begin(project: Project, script: Script) -> None:
    make_long(status="new")
    template = "{{ title }} ({{ status }})\n{% chunk %}{{ body }}{% endchunk %}\nThe end."
    project.article(template=template, chunking=SIZE)
    run()
    assert len(script.texts) > 5
    assert all(text.startswith("Walking boots (new)\n") for text in script.texts)
    assert script.texts[-1].endswith("The end.")
    assert "\0" not in "".join(script.texts)
    assert_in_line()


def test_a_template_without_the_tag_and_an_empty_context_have_no_heads(
    project: Project, script: Script
) -> None:
    make_long()
    project.article(template="{{ title }}\n{{ body }}", chunking=SIZE)
    run()
    project.article(chunking={**SIZE, "context": []})
    run()
    titled = [text.partition("boots")[0] for text in script.texts if "boots" in text]
    assert titled == ["Walking ", "title: Walking "]
    assert len(script.texts) > 10


def test_an_index_of_an_earlier_version_gets_heads_where_texts_were_cut_and_only_there(
    project: Project, script: Script
) -> None:
    """One without heads, as they were before there were any."""
    long = make_long()
    make_articles(5)
    project.article(chunking={**SIZE, "context": []})
    run()
    without = script.texts
    assert "context" not in collection().config_snapshot["text"]

    project.article(chunking=SIZE)
    assert config_change(collection(), registry.get("article")) is ConfigChange.TEXT
    [hit, *_] = search("article", without[2], limit=1)
    assert (hit.id, hit.text) == (str(long.pk), without[2]), "until then, as it was indexed"

    plan = plan_migration(MigrationRequest("article"))
    assert (plan.to_embed, plan.to_skip) == (1, 5)
    script.clear()
    assert counts(run()) == (1, 5, 0, 0)
    assert all("Walking boots" in text for text in script.texts)
    assert len(stored(collection())[str(long.pk)]) == len(script.texts)
    assert config_change(collection(), registry.get("article")) is ConfigChange.NONE
    assert counts(run()) == (0, 6, 0, 0)
    assert_in_line()


def test_an_entity_type_without_heads_has_the_config_it_had(project: Project) -> None:
    project.article("body")
    snapshot = registry.get("article").snapshot
    assert snapshot["text"]["chunking"] == {"size": None, "overlap": 0}
    assert snapshot["text"].keys() == {"fields", "template", "chunking"}


def test_an_unknown_field_of_the_context_is_a_fault_with_the_nearest_name(
    project: Project,
) -> None:
    project.article("body", chunking={"context": ["titel"]})
    with pytest.raises(EntityConfigError, match="'titel'.*Did you mean 'title'"):
        registry.get("article")
