"""The admin's form that starts a migration, with its preview."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.cache import cache

from ai_migration.models import JobEvent, MigrationJob
from tests.integration.admin import few_queries, operator, said, tiles, url, words
from tests.integration.support import Project, finish, make_articles, run, start
from tests.testapp.models import Article

pytestmark = pytest.mark.vendors("sqlite")

FORM = "migrationjob_add"


@pytest.fixture(autouse=True)
def shop(project: Project) -> None:
    """Articles that can be filtered."""
    cache.clear()
    project.article(
        filterable_fields=["status", "price", "category__slug"], created_at_field="created_at"
    )
    make_articles(30)
    Article.objects.filter(title="Title 3").update(price=5)


def filled(**values: Any) -> dict[str, Any]:
    """The form as a browser sends it."""
    return {"entity_type": "article", "mode": "changed", "key": "k1", "step": "preview", **values}


def post(**values: Any) -> Any:
    return operator("view", "start").post(url(FORM), filled(**values))


def test_an_entity_type_is_chosen_first(project: Project) -> None:
    client = operator("view", "start")
    with few_queries():
        shown = client.get(url(FORM)).content.decode()
    assert 'href="?entity_type=article"' in shown
    assert "Not counted in the last minute" in shown, "a page that is opened counts nothing"
    unknown = client.get(url(FORM), {"entity_type": "articel"}, follow=True)
    assert said(unknown) == [
        "Unknown entity type 'articel'. Known entity types: article. Did you mean 'article'?"
    ]


def test_the_form_offers_what_can_be_filtered_by(project: Project) -> None:
    client = operator("view", "start")
    with few_queries():
        shown = client.get(url(FORM), {"entity_type": "article"})
    html = shown.content.decode()
    for name in ("status", "price__gte", "price__lte", "category__slug"):
        assert f'name="where-{name}"' in html
    assert 'name="created_after"' in html
    for field in re.findall(r'<input type="(?:text|number|date)"[^>]* id="([^"]+)"', html):
        if field != "nav-filter":
            assert f'for="{field}"' in html, f"{field} has no label"
    assert 'value="start"' not in html, "not before the preview"


def test_a_rebuild_that_is_needed_is_a_button(project: Project) -> None:
    """Where it is refused, and in the preview: no command for a shell."""
    run()
    project.embedder(dimensions=16)
    client = operator("view", "start")
    link = 'href="{}?entity_type=article&amp;rebuild=1"'
    asked = {"entity_type": "article", "mode": "changed"}
    refused = client.post(url("dashboard_start"), asked, follow=True).content.decode()
    assert "config: dimensions 32, now 16" in refused
    assert link.format(url(FORM)) in refused
    started = post(step="start").content.decode()
    assert link.format(url(FORM)) in started
    previewed = post().content.decode()
    assert "config: dimensions 32, now 16" in previewed
    assert link.format("") in previewed
    for page in (refused, started, previewed):
        assert "manage.py" not in page
    shown = client.get(url(FORM), {"entity_type": "article", "rebuild": "1"}).content.decode()
    assert re.search(r'name="rebuild"[^>]* checked', shown)


def test_the_preview_says_what_would_happen_and_starts_nothing(project: Project) -> None:
    client = operator("view", "start")
    with few_queries():
        answer = client.post(url(FORM), filled())
    shown = tiles(answer)
    assert (shown["to embed"], shown["to skip"]) == ("30", "0")
    assert len(shown) == 8, "they fill their rows"
    assert "30 rows match." in words(answer)
    assert "Which entities Changed: rows that are missing from the index, and" in words(answer)
    assert int(shown["tokens"].replace(",", "")) > 30
    assert not MigrationJob.objects.exists()
    assert 'value="start"' in answer.content.decode()
    run()
    assert tiles(post())["to skip"] == "30"
    assert tiles(post(mode="all"))["to embed"] == "30"


def test_filters_choose_rows(project: Project) -> None:
    prices = {"where-price__gte": "4", "where-price__lte": "6"}
    assert "1 row matches. " in words(post(**prices))
    assert "0 rows match. " in words(post(**{"where-status": "draft"}))
    assert "0 rows match. " in words(post(created_before="2001-01-01"))
    first, second = Article.objects.values_list("pk", flat=True)[:2]
    assert "2 rows match. " in words(post(entity_ids=f"{first}, {second}\n"))


def test_start_does_what_the_preview_said(project: Project) -> None:
    chosen = {"where-price__gte": "4", "batch_size": "7", "note": "a new price list"}
    client = operator("view", "start")
    hidden = client.post(url(FORM), filled(**chosen)).content.decode()
    sent = dict(re.findall(r'<input type="hidden" name="([^"]+)"(?: value="([^"]*)")?', hidden))
    sent.pop("csrfmiddlewaretoken", None)
    answer = client.post(url(FORM), {**sent, "step": "start"}, follow=True)
    job = MigrationJob.objects.get()
    assert said(answer) == [f"Started: {job.pk}."]
    assert (job.batch_size, job.created_by) == (7, "view-start")
    assert job.filter_config == {"lookups": {"price__gte": "4"}}
    assert "a new price list" in JobEvent.objects.earliest("pk").reason
    assert finish(job).indexed == 1
    again = client.post(url(FORM), {**sent, "step": "start"}, follow=True)
    assert MigrationJob.objects.count() == 1, "pressed twice is once"
    assert job.pk in words(again)


def test_what_does_not_fit_stands_at_its_field(project: Project) -> None:
    assert "does not fit" in words(post(**{"where-price__gte": "cheap"}))
    assert "Enter a whole number" in words(post(batch_size="many"))
    assert "takes no filters" in words(post(rebuild="on", **{"where-status": "draft"}))
    assert not MigrationJob.objects.exists()


def test_a_conflict_is_told(project: Project) -> None:
    job = start()
    shown = words(post(step="start"))
    assert f"{job.pk} (RUNNING) already writes the index of 'article'" in shown


@pytest.mark.parametrize("permissions", [["view"], ["view", "control"], ["start"]])
def test_who_may_not(project: Project, permissions: list[str]) -> None:
    client = operator(*permissions)
    assert client.get(url(FORM)).status_code == 403
    assert client.post(url(FORM), filled(step="start")).status_code == 403
    assert not MigrationJob.objects.exists()
