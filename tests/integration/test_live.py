"""What is saved is found: changes of rows and of what they read reach the index by themselves."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.serializers import deserialize, serialize
from django.db import connection, transaction
from django.db.models import Model
from django.db.models.signals import post_delete, post_save
from django.test.utils import CaptureQueriesContext

from ai_migration import suspend_sync
from ai_migration.entities import registry
from ai_migration.exceptions import EntityConfigError
from ai_migration.indexing import outbox
from ai_migration.indexing.triggers.service import install, remove
from ai_migration.models import QueueEntry
from ai_migration.types import Operation
from tests.integration.support import Project, assert_in_line, make_articles, run, work
from tests.testapp.models import Archive, Article, Category, Country, ProxyArticle, Tag

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])

ALL = ("create", "update", "delete")


@pytest.fixture
def live(project: Project) -> Iterator[Project]:
    """Five articles are indexed, and the index follows them."""
    project.set(SYNC="queue")
    make_articles(5)
    run()
    yield project
    project.set(SYNC="off")


@pytest.fixture
def reading(live: Project) -> Project:
    """The texts of articles read their category and their tags."""
    live.article("title", "category__name", "tags__name")
    run()
    return live


def waiting() -> list[tuple[str, str, Any]]:
    """The entries in the queue."""
    entries = QueueEntry.objects.filter(job=None).order_by("pk")
    return [(entry.operation, entry.path, entry.entity_ids) for entry in entries]


def indexed() -> list[Any]:
    """The entities that wait, whatever the entry."""
    return sorted(
        int(key) for operation, _, ids in waiting() if operation == Operation.INDEX for key in ids
    )


# Saves and deletes


@pytest.mark.vendors("sqlite", "postgresql", gate=["mysql"])
def test_what_is_saved_and_deleted_is_followed(live: Project) -> None:
    first, second, *_ = Article.objects.order_by("pk")
    first.title = "Another title"
    first.save()
    new = Article.objects.create(title="new", body="new")
    key = second.pk
    second.delete()
    assert indexed() == sorted([first.pk, new.pk, key])
    work()
    assert_in_line()
    assert waiting() == []


@pytest.mark.vendors("sqlite", "postgresql")  # MariaDB writes each change
def test_a_save_costs_one_statement(live: Project) -> None:
    article = Article.objects.latest("pk")
    article.save()
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        article.save()
    assert len(queries) == 2
    assert waiting() == [("INDEX", "", [str(article.pk)])]


def test_what_does_not_matter_costs_nothing(live: Project) -> None:
    live.article("title", metadata_fields=["status"])
    article = Article.objects.latest("pk")
    with CaptureQueriesContext(connection) as queries:
        article.save(update_fields=["body", "price"])
        Country.objects.create(code="AT", name="Austria")
    assert len(queries) == 2
    assert waiting() == []
    assert not post_save.has_listeners(Country)
    assert not post_delete.has_listeners(Country)
    article.save(update_fields=["status"])
    assert indexed() == [article.pk]


def test_a_type_that_was_never_indexed_writes_nothing(project: Project) -> None:
    project.set(SYNC="queue")
    make_articles(1)
    Article.objects.get().save()
    assert waiting() == []
    run()
    assert_in_line()


@pytest.mark.vendors("sqlite")
def test_off_connects_nothing(live: Project) -> None:
    live.set(SYNC="off")
    Article.objects.latest("pk").save()
    assert waiting() == []
    assert not post_save.has_listeners(Article)


@pytest.mark.vendors("sqlite")
def test_a_burst_is_one_entry_and_one_embedding(live: Project) -> None:
    script = live.embedder()
    run(rebuild=True)
    article = Article.objects.latest("pk")
    for number in range(50):
        article.title = f"Title {number}"
        article.save()
    assert waiting() == [("INDEX", "", [str(article.pk)])]
    script.clear()
    work()
    assert script.asked == 1


@pytest.mark.vendors("sqlite", "postgresql", gate=["mysql"])
def test_what_is_rolled_back_leaves_nothing(live: Project) -> None:
    first, second, *_ = Article.objects.order_by("pk")
    with transaction.atomic():
        first.save()
        with transaction.atomic():
            second.save()
            transaction.set_rollback(True)
    assert indexed() == [first.pk]
    with transaction.atomic():
        second.save()
        transaction.set_rollback(True)
    assert indexed() == [first.pk]


@pytest.mark.vendors("sqlite")
def test_a_suspension_and_loaddata_are_honoured(live: Project) -> None:
    article = Article.objects.latest("pk")
    with suspend_sync():
        article.save()
        with suspend_sync("article"):
            article.save()
        article.save()
    with suspend_sync("article"):
        article.save()
    for each in deserialize("json", serialize("json", [article])):
        each.save()
    assert waiting() == []
    article.save()
    assert indexed() == [article.pk]


@pytest.mark.vendors("sqlite")
@pytest.mark.parametrize(
    ("config", "followed"),
    [
        ({"auto_process": False}, ()),
        ({"auto_embedding": False}, ()),
        ({"indexable": False}, ()),
        ({"crud_operations": {"create": {"enabled": False}}}, ("update", "delete")),
        ({"crud_operations": {"UPDATE": {"auto-indexing": False}}}, ("create", "delete")),
        ({"crud_operations": {"update": {"generate-embedding": False}}}, ("create", "delete")),
        ({"crud_operations": {"delete": {"remove-from-search": False}}}, ("create", "update")),
        (
            {"crud_operations": {"delete": {"generate-embedding": False}}},
            ("create", "update", "delete"),
        ),
        ({"crud_operations": {"search": {"enabled": False}}}, ("create", "update", "delete")),
    ],
)
def test_the_config_decides(
    live: Project, config: dict[str, Any], followed: tuple[str, ...]
) -> None:
    live.article(**config)
    first, second, *_ = Article.objects.order_by("pk")
    keys = {"update": first.pk, "delete": second.pk}
    first.save()
    second.delete()
    keys["create"] = Article.objects.create(title="t", body="b").pk
    assert indexed() == sorted(keys[name] for name in followed)


@pytest.mark.vendors("sqlite")
def test_rows_of_proxies_and_of_the_same_table_are_the_same_rows(live: Project) -> None:
    live.config(
        "ai-entities:\n  article: {model: testapp.ProxyArticle, embeddable-fields: [title]}"
    )
    article = Article.objects.latest("pk")
    article.save()
    assert indexed() == [article.pk]
    QueueEntry.objects.all().delete()
    ProxyArticle.objects.latest("pk").save()
    assert indexed() == [article.pk]


# What cannot be


@pytest.mark.vendors("sqlite")
def test_a_save_works_without_our_tables(live: Project, caplog: pytest.LogCaptureFixture) -> None:
    outbox.forget_tables()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ai_indexing_queue RENAME TO elsewhere")
    article = Article.objects.latest("pk")
    article.save()
    article.save()
    assert [record.message for record in caplog.records] == [
        "Live changes are not recorded: the tables of ai_migration are missing or old in database "
        "'default'. Run: manage.py migrate ai_migration"
    ]
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE elsewhere RENAME TO ai_indexing_queue")
    outbox.forget_tables()
    article.save()
    assert indexed() == [article.pk]


def test_a_queue_that_refuses_does_not_refuse_the_save(
    live: Project, caplog: pytest.LogCaptureFixture
) -> None:
    article = Article.objects.latest("pk")
    article.save()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ai_collections RENAME TO elsewhere")
    try:
        article.title = "saved all the same"
        article.save()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO ai_collections")
    assert Article.objects.filter(title="saved all the same").exists()
    assert "could not be put in the queue" in caplog.text


@pytest.mark.vendors("postgresql")
def test_a_lock_on_the_queue_is_the_callers_to_wait_for(live: Project) -> None:
    """Two of them that save the same row do not wait for each other because of the queue."""
    article = Article.objects.latest("pk")
    article.save()
    passed = threading.Event()

    def other() -> None:
        try:
            with transaction.atomic():
                Article.objects.first().save()  # type: ignore[union-attr]
                passed.set()
        finally:
            connection.close()

    with transaction.atomic():
        article.save()
        thread = threading.Thread(target=other)
        thread.start()
        assert passed.wait(30)
        thread.join()


# Relations


def category_of(*articles: Article) -> Category:
    category = Category.objects.create(name="Shoes", slug="shoes")
    Article.objects.filter(pk__in=[article.pk for article in articles]).update(category=category)
    run()
    QueueEntry.objects.filter(job=None).delete()
    return category


def test_a_related_row_is_one_entry(reading: Project) -> None:
    articles = list(Article.objects.order_by("pk"))
    category = category_of(*articles)
    category.name = "Boots"
    category.save()
    category.save()
    assert waiting() == [("EXPAND", "category", [str(category.pk)])]
    work()
    assert_in_line()


def test_a_related_row_that_is_not_read_or_not_changed_is_none(reading: Project) -> None:
    category = category_of(*Article.objects.all())
    category.save()
    category.slug = "boots"
    category.save()
    category.save(update_fields=["slug"])
    Category.objects.create(name="Hats", slug="hats")
    assert waiting() == []


@pytest.mark.parametrize("count", [2, 5])
def test_a_related_row_that_is_deleted(
    reading: Project, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr("ai_migration.live.changes.MOST_IDS", 3)
    articles = list(Article.objects.order_by("pk"))[:count]
    category = category_of(*articles)
    tag = Tag.objects.create(name="red")
    tag.article_set.set(articles)
    work()
    tag.delete()
    category.delete()
    work()
    assert_in_line()


@pytest.mark.vendors("sqlite", "postgresql", gate=["mysql"])
def test_links_to_related_rows(reading: Project) -> None:
    first, second, third, *_ = Article.objects.order_by("pk")
    red, blue = (Tag.objects.create(name=name) for name in ("red", "blue"))
    assert waiting() == []
    first.tags.add(red, blue)
    assert indexed() == [first.pk]
    work()
    assert_in_line()
    red.article_set.add(second, third)
    assert indexed() == [second.pk, third.pk]
    work()
    red.article_set.clear()
    assert indexed() == [first.pk, second.pk, third.pk]
    work()
    first.tags.remove(blue)
    work()
    second.tags.set([blue])
    second.tags.clear()
    work()
    assert_in_line()


@pytest.mark.vendors("sqlite")
def test_a_change_of_many_rows_is_walked_in_parts(
    reading: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ai_migration.indexing.expanding.MOST_ROWS", 2)
    monkeypatch.setattr("ai_migration.indexing.outbox.IDS_PER_ENTRY", 1)
    category = category_of(*Article.objects.all())
    category.name = "Boots"
    category.save()
    work()
    assert_in_line()
    assert waiting() == []


@pytest.mark.vendors("sqlite")
def test_relations_can_be_added_and_switched_off(live: Project) -> None:
    category = category_of(*Article.objects.all())
    live.article("summary", reindex_on=["category"])
    category.slug = "any field may be read"
    category.save()
    assert waiting() == [("EXPAND", "category", [str(category.pk)])]
    QueueEntry.objects.all().delete()
    live.article("title", "category__name", reindex_on=[])
    category.name = "Boots"
    category.save()
    assert waiting() == []


# Odd cases


@pytest.mark.vendors("sqlite")
def test_rows_in_another_database_are_recorded_when_they_are_committed(live: Project) -> None:
    live.article("title", name="archive", model="testapp.Archive", using="other")
    run("archive")
    with transaction.atomic(using="other"):
        kept = Archive.objects.using("other").create(title="kept", text="t")
        assert waiting() == []
    assert indexed() == [kept.pk]
    with transaction.atomic(using="other"):
        Archive.objects.using("other").create(title="rolled back", text="t")
        transaction.set_rollback(True, using="other")
    assert indexed() == [kept.pk]


@pytest.mark.vendors("sqlite")
def test_a_save_that_saves_again_is_one_entry(
    live: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(self: Article, *args: Any, **kwargs: Any) -> None:
        Model.save(self, *args, **kwargs)
        if not self.body.endswith("!"):
            self.body += "!"
            self.save()

    monkeypatch.setattr(Article, "save", save)
    article = Article.objects.latest("pk")
    article.save()
    assert waiting() == [("INDEX", "", [str(article.pk)])]


@pytest.mark.vendors("sqlite")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("categry", "Did you mean 'category'?"),
        ("title", "leads to no other table"),
    ],
)
def test_what_reindex_on_cannot_name(live: Project, name: str, words: str) -> None:
    live.article(reindex_on=[name])
    [message] = [each for each in run_checks() if each.is_serious()]
    assert words in message.msg
    with pytest.raises(EntityConfigError, match=re.escape(words)):
        registry.get("article")
    Article.objects.latest("pk").save()
    assert waiting() == []


@pytest.mark.vendors("sqlite")
def test_a_wrong_config_is_nothing_to_a_save(live: Project) -> None:
    live.config("ai-entities: {article: {modle: testapp.Article}}")
    Article.objects.latest("pk").save()
    live.set(SYNC="sometimes")
    Article.objects.latest("pk").save()
    live.set(SYNC="queue")
    assert waiting() == []


# Triggers


@pytest.mark.vendors("sqlite", "postgresql", gate=["mysql"])
def test_signals_stand_back_where_triggers_are(live: Project) -> None:
    live.article("title", "category__name")
    category = category_of(*Article.objects.all())
    install(["article"])
    try:
        article = Article.objects.latest("pk")
        article.title = "once"
        with CaptureQueriesContext(connection) as queries:
            article.save()
        assert not [q for q in queries if "INTO ai_indexing_queue" in q["sql"]]
        assert waiting() == [("INDEX", "", [str(article.pk)])]
        category.name = "Boots"
        category.save()
        assert waiting()[1:] == [("EXPAND", "category", [str(category.pk)])]
    finally:
        remove(["article"])
    category.delete()
    work()
    assert_in_line()
