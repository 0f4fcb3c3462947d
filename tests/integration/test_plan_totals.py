"""A dry run predicts what the run says."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import QuerySet

from ai_migration import migration_service
from ai_migration.jobs.report.overview import list_entities
from ai_migration.types import MigrationPlan, MigrationProgress, MigrationRequest
from tests.commands import ManageHere
from tests.integration.support import Project, make_articles, run
from tests.testapp.models import Article, Category

pytestmark = pytest.mark.vendors("sqlite")


def both(entity_type: str = "article", **request: Any) -> tuple[MigrationPlan, MigrationProgress]:
    """The dry run, and the run."""
    plan = migration_service.plan(MigrationRequest(entity_type, **request))
    ended = run(entity_type, **request)
    counts = (plan.to_embed + plan.to_update_metadata, plan.to_skip, plan.to_remove, plan.to_fail)
    assert counts == (ended.indexed, ended.skipped, ended.removed, ended.failed)
    assert plan.total == ended.total == sum(counts)
    return plan, ended


def test_removed_rows_are_part_of_both_totals(project: Project, manage_here: ManageHere) -> None:
    make_articles(131)
    run()
    Article.objects.filter(pk__lte=15).delete()
    said = manage_here("migrate_ai_entities", "article", "--dry-run").stdout
    assert "article: 116 rows match, 15 indexed have no row: 131 in all. Nothing" in said
    plan, ended = both()
    assert (plan.rows, plan.total, ended.total) == (116, 131, 131)
    said = manage_here("migrate_ai_entities", "article", "--dry-run").stdout
    assert "article: 116 rows match. Nothing was started." in said


def parents() -> QuerySet[Category]:
    return Category.objects.filter(article__title__startswith="Title")


@pytest.mark.vendors("sqlite", "postgresql", "mysql")
def test_a_row_that_a_join_repeats_is_counted_once(project: Project) -> None:
    one = Category.objects.create(name="One", slug="one")
    Category.objects.create(name="Two", slug="two")
    make_articles(5)
    Article.objects.update(category=one)
    project.config(
        f"""
        ai-entities:
          category:
            model: testapp.Category
            embeddable-fields: [name]
            queryset: {__name__}.parents
        """
    )
    plan, _ = both("category")
    assert (plan.examined, plan.total) == (1, 1)
    [overview] = list_entities()
    assert (overview.rows, overview.indexed, overview.difference) == (1, 1, "")


@pytest.mark.parametrize(
    "limits",
    [
        {"max_batch_size": 7},
        {"max_batch_size": 7, "max_batch_tokens": 100},
        {"max_batch_size": 50, "max_batch_tokens": 64},
        {"max_batch_tokens": 30},
    ],
    ids=str,
)
def test_texts_and_requests_are_those_that_are_sent(
    project: Project, limits: dict[str, Any]
) -> None:
    script = project.embedder(max_input_tokens=40, **limits)
    project.article(chunking={"size": 25, "overlap": 5})
    for number in range(1, 30):
        Article.objects.create(title=f"Number {number}", body="Some words. " * (number % 13))
    plan, _ = both()
    assert plan.texts == len(script.texts) > 29
    assert plan.requests == script.asked


def test_one_request_is_one(project: Project, manage_here: ManageHere) -> None:
    make_articles(1)
    said = manage_here("migrate_ai_entities", "article", "--dry-run").stdout
    assert "article: 1 row matches." in said
    assert "embed            1 row: 1 text, about 10 tokens, 1 request\n" in said
