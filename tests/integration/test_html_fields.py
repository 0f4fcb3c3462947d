"""Fields that hold HTML are embedded as the text that a reader sees."""

from __future__ import annotations

from typing import Any

import pytest

from ai_migration import search
from ai_migration.entities import registry
from ai_migration.jobs.feed.collections import ConfigChange, config_change
from tests.integration.embedders import Script
from tests.integration.odd_models import RichPage, table_of
from tests.integration.support import Project, collection, counts, payloads, run
from tests.testapp.models import Article, Tag

pytestmark = pytest.mark.vendors("sqlite")
pytest.importorskip("lxml")

HTML = "<h2>Care</h2><p>Wash &amp; dry.<br>Never <b>ir</b>on.</p><script>track()</script>"
TEXT = "Care\n\nWash & dry.\nNever iron."


def page(project: Project, *fields: Any, **more: Any) -> None:
    project.article(*(fields or ("title", "body")), name="page", model="testapp.RichPage", **more)


def test_a_field_whose_class_holds_html_is_turned_to_text(project: Project, script: Script) -> None:
    with table_of(RichPage):
        RichPage.objects.create(title="Shirt <b>", body=HTML, note="<b>as it is</b>")
        page(project, "title", "body", "note", metadata_fields=["body"])
        run("page")
        text = f"title: Shirt <b>\nbody: {TEXT}\nnote: <b>as it is</b>"
        assert script.texts == [text]
        assert payloads(collection("page")) == {"1": {"body": HTML}}
        [hit] = search("page", "washing")
        assert hit.text == text


def test_the_config_has_the_last_word(project: Project, script: Script) -> None:
    with table_of(RichPage):
        RichPage.objects.create(title="&amp;", body=HTML, note="<b>bold</b>")
        page(
            project,
            {"name": "title", "html": True},
            {"name": "body", "html": False},
            {"name": "note", "html": True},
        )
        run("page")
        assert script.texts == [f"title: &\nbody: {HTML}\nnote: bold"]


def test_a_template_gets_the_text(project: Project, script: Script) -> None:
    with table_of(RichPage):
        RichPage.objects.create(title="t", body="<p>1 &lt;b&gt; 2</p>", note="<p>a</p><p>b</p>")
        page(project, template="{{ body }}|{{ body|html_text }}|{{ note|html_text }}|{{ note }}")
        run("page")
        assert script.texts == ["1 <b> 2|1 <b> 2|a\n\nb|<p>a</p><p>b</p>"]


def test_heads_and_values_of_several_rows_too(project: Project, script: Script) -> None:
    article = Article.objects.create(title="<i>Walking</i> boots", body="many words " * 60)
    article.tags.set([Tag.objects.create(name=f"<b>{name}</b>") for name in "xy"])
    names = ("title", "tags__name", "body")
    project.article(*({"name": n, "html": True} for n in names), chunking={"size": 60})
    run()
    assert script.texts[0].startswith("title: Walking boots\ntags name: x, y\nbody: many words")
    assert script.texts[1].startswith("title: Walking boots\nmany words")


def test_to_turn_it_on_embeds_the_rows_that_read_differently(
    project: Project, script: Script
) -> None:
    Article.objects.create(title="a", body="plain")
    Article.objects.create(title="b", body="<p>marked up</p>")
    project.article()
    run()
    project.article("title", {"name": "body", "html": True})
    assert config_change(collection(), registry.get("article")) is ConfigChange.TEXT
    script.clear()
    assert counts(run()) == (1, 1, 0, 0)
    assert script.texts == ["title: b\nbody: marked up"]
    assert config_change(collection(), registry.get("article")) is ConfigChange.NONE
