"""Bulk writes reach the index by a queryset, with few statements."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from ai_migration import IndexedManager, IndexedQuerySet
from ai_migration.models import QueueEntry
from tests.integration.support import Project, assert_in_line, make_articles, run, work
from tests.testapp.models import Article, Category

ROWS = 30


@pytest.fixture(autouse=True)
def live(project: Project) -> Iterator[Project]:
    project.set(SYNC="queue")
    make_articles(ROWS)
    run()
    yield project
    project.set(SYNC="off")


def rows() -> IndexedQuerySet[Article]:
    return IndexedQuerySet(Article)


def entries() -> list[list[str]]:
    found = QueueEntry.objects.filter(job=None).order_by("pk")
    return [entry.entity_ids or [] for entry in found]


def test_what_is_touched_is_in_one_entry() -> None:
    keys = sorted(Article.objects.values_list("pk", flat=True))
    with CaptureQueriesContext(connection) as queries:
        rows().filter(pk__in=keys[:20]).update(title="updated")
    assert len([q for q in queries if "INSERT INTO" in q["sql"]]) == 1
    assert [sorted(map(int, ids)) for ids in entries()] == [keys[:20]]
    work()
    assert_in_line()
    made = rows().bulk_create(Article(title=f"new {i}", body="b") for i in range(ROWS))
    assert len(made) == ROWS
    for article in made:
        article.title += "!"
    rows().bulk_update(made, ["title"])
    assert len(entries()) == 2
    work()
    assert_in_line()
    with CaptureQueriesContext(connection) as queries:
        rows().filter(title__startswith="new").delete()
    assert len([q for q in queries if "INSERT INTO" in q["sql"]]) == 1
    work()
    assert_in_line()


@pytest.mark.vendors("sqlite")
def test_one_row_is_an_entry_that_coalesces() -> None:
    article = Article.objects.latest("pk")
    article.save()
    rows().filter(pk=article.pk).update(title="another")
    assert entries() == [[str(article.pk)]]


@pytest.mark.vendors("sqlite")
def test_a_field_that_does_not_matter_is_a_plain_update() -> None:
    with CaptureQueriesContext(connection) as queries:
        rows().update(price=5)
        rows().bulk_update(Article.objects.all()[:3], ["status"])
    assert entries() == []
    assert not [q for q in queries if "ai_indexing_queue" in q["sql"]]


@pytest.mark.vendors("sqlite")
def test_more_than_can_be_listed_is_a_range(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("changes", "managers"):
        monkeypatch.setattr(f"ai_migration.live.{module}.MOST_IDS", 10)
    rows().update(title="all of them")
    assert [entry.operation for entry in QueueEntry.objects.filter(job=None)] == ["EXPAND"]
    work()
    assert_in_line()
    rows().filter(pk__gt=5).delete()
    work()
    assert_in_line()


@pytest.mark.vendors("sqlite")
def test_what_is_rolled_back_leaves_nothing() -> None:
    with transaction.atomic():
        rows().update(title="rolled back")
        rows().all().delete()
        transaction.set_rollback(True)
    assert entries() == []


def test_keys_that_the_database_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(connection.features), "can_return_rows_from_bulk_insert", False)
    rows().bulk_create(Article(title=f"new {i}", body="b") for i in range(3))
    assert [len(ids) for ids in entries()] == [3]
    work()
    assert_in_line()


@pytest.mark.vendors("sqlite")
def test_related_rows_are_followed(live: Project) -> None:
    live.article("title", "category__name")
    category = Category.objects.create(name="Shoes", slug="shoes")
    Article.objects.update(category=category)
    run()
    related: IndexedQuerySet[Category] = IndexedQuerySet(Category)
    related.update(slug="boots")
    assert entries() == []
    related.update(name="Boots")
    assert entries() == [[str(category.pk)]]
    work()
    assert_in_line()
    category.name = "Hats"
    related.bulk_update([category], ["name"])
    work()
    assert_in_line()
    related.all().delete()
    work()
    assert_in_line()


@pytest.mark.vendors("sqlite")
def test_a_manager_has_them() -> None:
    manager: IndexedManager = IndexedManager()
    manager.model = Article
    assert manager.update(title="by the manager") == ROWS
    assert [len(ids) for ids in entries()] == [ROWS]
    assert isinstance(manager.all(), IndexedQuerySet)
