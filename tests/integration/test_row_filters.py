"""The config chooses the rows: what does not match is not in the index, and leaves it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F, QuerySet

from ai_migration import ai_capable, enqueue, search
from ai_migration.entities import registry
from ai_migration.entities.config.decorator import declared
from ai_migration.entities.config.merging import merge
from ai_migration.entities.resolving import resolve_entity
from ai_migration.exceptions import EntityConfigError
from ai_migration.jobs.feed.collections import ConfigChange, config_change
from tests.integration.support import (
    Project,
    assert_in_line,
    collection,
    counts,
    run,
    stored,
    work,
)
from tests.testapp.models import Article, Category, SoftDeleted, Tag


def cheap_articles() -> QuerySet[Article]:
    return Article.objects.filter(price__lt=10).annotate(double=F("price") * 2)


def make() -> dict[str, Article]:
    """Four articles, by title."""
    shoes = Category.objects.create(name="Shoes", slug="shoes")
    made = [
        Article.objects.create(title=title, body="b", status=status, price=price, category=category)
        for title, status, price, category in (
            ("a", "published", 1, shoes),
            ("b", "draft", 2, shoes),
            ("c", "published", 30, None),
            ("d", "archived", None, shoes),
        )
    ]
    made[0].tags.set([Tag.objects.create(name=name) for name in ("x", "xy")])
    Article.objects.filter(title="c").update(created_at=datetime(2020, 1, 1, tzinfo=UTC))
    return {article.title: article for article in made}


@pytest.mark.parametrize(
    ("filters", "titles"),
    [
        ({"status": "published"}, "ac"),
        ({"status__in": ["published", "archived"]}, "acd"),
        ({"status__in": ["published"], "category__slug": "shoes"}, "a"),
        ({"category": None}, "c"),
        ({"price__isnull": True}, "d"),
        ({"price": None}, "d"),
        ({"price__range": [1, 2.5]}, "ab"),
        ({"price__lt": "2.50"}, "ab"),
        ({"tags__name__startswith": "x"}, "a"),
        ({"createdAt__gte": "2021-01-01"}, "abd"),
        ({"created_at__lt": "2021-01-01T00:00:00+01:00"}, "c"),
        ({"status__in": []}, ""),
        ({}, "abcd"),
    ],
    ids=str,
)
@pytest.mark.vendors("sqlite")
def test_only_rows_that_match_are_indexed(
    project: Project, filters: dict[str, Any], titles: str
) -> None:
    made = make()
    project.article("title", filter=filters)
    assert run().indexed == len(titles)
    assert stored(collection()).keys() == {str(made[title].pk) for title in titles}
    assert_in_line()


def test_a_row_that_no_longer_matches_leaves_the_index(project: Project) -> None:
    made = make()
    project.article("title", filter={"status__in": ["published", "archived"], "tags__name": "x"})
    assert counts(run()) == (1, 0, 0, 0)
    made["c"].tags.set(Tag.objects.all())
    assert counts(run()) == (1, 1, 0, 0)
    Article.objects.filter(title="a").update(status="draft")
    assert [hit.id for hit in search("article", "a")] == [str(made["c"].pk)], "at once"
    assert counts(run(allow_removals=True)) == (0, 1, 1, 0)
    assert stored(collection()).keys() == {str(made["c"].pk)}

    made["c"].tags.clear()
    Article.objects.filter(title="a").update(status="archived")
    enqueue("article", [made["c"].pk, made["a"].pk, made["b"].pk])
    work()
    assert stored(collection()).keys() == {str(made["a"].pk)}
    assert_in_line()


@pytest.mark.vendors("sqlite")
def test_it_narrows_the_queryset_and_knows_its_annotations(project: Project) -> None:
    made = make()
    project.article(
        "title", queryset=f"{__name__}.cheap_articles", filter={"double__gte": 3, "status": "draft"}
    )
    assert run().indexed == 1
    assert stored(collection()).keys() == {str(made["b"].pk)}
    project.article("title", queryset=f"{__name__}.cheap_articles", filter={"doubel": 3})
    with pytest.raises(EntityConfigError, match="'filter'.*no field.*'doubel'"):
        registry.get("article")


@pytest.mark.vendors("sqlite")
def test_it_narrows_a_manager_that_hides_rows(project: Project) -> None:
    SoftDeleted.objects.create(title="a")
    SoftDeleted.objects.create(title="b", deleted=True)
    SoftDeleted.objects.create(title="c")
    project.article("title", model="testapp.SoftDeleted", filter={"title__in": ["a", "b"]})
    assert run().indexed == 1


@pytest.mark.vendors("sqlite")
def test_a_new_filter_is_a_change_of_the_rows(project: Project) -> None:
    make()
    project.article("title")
    run()
    for filters in ({"status": "draft"}, {"status": "published"}, None):
        project.article("title", filter=filters)
        assert config_change(collection(), registry.get("article")) is ConfigChange.TEXT
        run(allow_removals=True)
        assert config_change(collection(), registry.get("article")) is ConfigChange.NONE
        assert_in_line()


@pytest.mark.vendors("sqlite")
def test_a_decorator_takes_values_of_python(project: Project) -> None:
    made = make()
    options = {"price__lte": Decimal("1.50"), "created_at__gt": date(2020, 1, 1)}
    try:
        ai_capable(fields=["title"], filter=options)(Article)
        entity = resolve_entity(merge("article", declared(Article), None))
    finally:
        del Article.__ai_capable__  # type: ignore[attr-defined]
    assert [row.pk for row in entity.rows()] == [made["a"].pk]
    assert entity.snapshot["filter"] == {"price__lte": "1.50", "created_at__gt": "2020-01-01"}
