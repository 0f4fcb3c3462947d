"""Triggers put in the queue what no signal tells of, on every database."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.recorder import MigrationRecorder

from ai_migration.checks.triggers import check_triggers
from ai_migration.entities.keys import KeyCodec
from ai_migration.indexing.triggers import service
from ai_migration.indexing.triggers.service import TriggerState
from ai_migration.indexing.triggers.standing import installed
from ai_migration.models import Collection, QueueEntry
from ai_migration.types import CollectionStatus
from tests.commands import ManageHere
from tests.databases import FreshDatabase
from tests.integration.odd_models import Composed, Typed, table_of
from tests.integration.support import Project, assert_in_line, make_articles, work
from tests.integration.support import run as migrate
from tests.testapp.models import (
    Article,
    Category,
    ChildThing,
    Country,
    Document,
    ParentThing,
    Tag,
    TenantNote,
)

Entry = tuple[str, str, list[str]]


def index(*entity_types: str) -> None:
    """Let there be an index of these entity types, with triggers."""
    for name in entity_types:
        Collection.objects.create(
            entity_type=name, status=CollectionStatus.ACTIVE, dimensions=2, fingerprint=name
        )
    service.install(entity_types)


def taken() -> list[Entry]:
    """Return the entries in the queue, and empty it."""
    rows = list(QueueEntry.objects.order_by("pk"))
    QueueEntry.objects.all().delete()
    return [(row.operation, row.path, row.entity_ids or []) for row in rows]


def ids(entries: list[Entry]) -> list[str]:
    """Return the ids of entries, sorted."""
    return sorted(each for _, _, entity_ids in entries for each in entity_ids)


def run(sql: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)


def test_all_ways_of_writing_reach_the_queue(project: Project) -> None:
    index("article")
    article = Article.objects.create(title="one")
    own = str(article.pk)
    entry = QueueEntry.objects.get()
    assert (entry.operation, entry.priority, entry.coalescing_key) == ("INDEX", 1, own)
    assert (entry.path, entry.lower, entry.upper, entry.status) == ("", None, None, "PENDING")
    assert taken() == [("INDEX", "", [own])]
    article.title = "two"
    article.save()
    assert ids(taken()) == [own]
    Article.objects.update(body="three")
    assert ids(taken()) == [own]
    run("UPDATE testapp_article SET title = 'TWO' WHERE id = %s", article.pk)
    assert ids(taken()) == [own]
    many = Article.objects.bulk_create(Article(title=f"{i}") for i in range(3))
    assert ids(taken()) == sorted(str(each.pk) for each in many)
    run("UPDATE testapp_article SET id = 77 WHERE id = %s", many[0].pk)
    assert ids(taken()) == sorted([str(many[0].pk), "77"])
    article.delete()
    run("DELETE FROM testapp_article WHERE id = 77")
    assert ids(taken()) == sorted([own, "77"])


def test_only_columns_that_matter_count(project: Project) -> None:
    project.article("title", "body", metadata_fields=[{"name": "price"}], filter={"status": "x"})
    index("article")
    Article.objects.create(title="one", price=None)
    taken()
    Article.objects.update(attributes={"a": 1}, created_at="2024-01-01T00:00Z")
    Article.objects.update(title="one")
    assert taken() == []
    for changed in ({"title": "One"}, {"price": 1}, {"price": 2}, {"price": None}, {"status": "x"}):
        Article.objects.update(**changed)
        assert len(taken()) == 1, changed


def test_any_column_counts_where_a_property_reads_the_row(project: Project) -> None:
    project.article("headline")
    index("article")
    Article.objects.create(title="one")
    taken()
    Article.objects.update(status="x")
    assert len(taken()) == 1


def test_what_is_rolled_back_leaves_nothing(project: Project) -> None:
    index("article")
    with transaction.atomic():
        kept = Article.objects.create(title="one")
        with transaction.atomic():
            Article.objects.create(title="two")
            transaction.set_rollback(True)
    with transaction.atomic():
        Article.objects.update(title="three")
        transaction.set_rollback(True)
    assert ids(taken()) == [str(kept.pk)]


@pytest.mark.vendors("sqlite", "postgresql")  # MariaDB looks for no entries that wait
def test_a_burst_is_one_entry(project: Project) -> None:
    index("article")
    article = Article.objects.create(title="one")
    with transaction.atomic():
        for i in range(1000):
            Article.objects.filter(pk=article.pk).update(title=f"{i}")
    assert len(taken()) == 1
    Article.objects.update(title="again")
    QueueEntry.objects.update(status="CLAIMED")
    Article.objects.update(title="once more")
    assert len(taken()) == 2


@pytest.mark.parametrize("way", ["insert", "update", "delete"])
def test_many_rows_are_all_there(project: Project, database: FreshDatabase, way: str) -> None:
    index("article")
    Article.objects.bulk_create(Article(title="x") for _ in range(2500))
    if way != "insert":
        taken()
    expected = sorted(map(str, Article.objects.values_list("pk", flat=True)))
    if way == "update":
        Article.objects.update(title="y")
    elif way == "delete":
        run("DELETE FROM testapp_article")
    entries = taken()
    assert len(expected) == 2500
    assert ids(entries) == expected
    if database.vendor == "postgresql":
        assert sorted(len(entity_ids) for _, _, entity_ids in entries) == [500, 1000, 1000]


def test_nothing_is_written_without_an_index(project: Project) -> None:
    service.install(["article"])
    Article.objects.create(title="one")
    assert taken() == []


ODD = "a\"b\\c/é😀'\n\t\x7f<%s>"


def test_ids_of_all_kinds_of_keys(project: Project) -> None:
    project.config(
        """
        ai-entities:
          document: {model: testapp.Document, embeddable-fields: [{name: title}]}
          country: {model: testapp.Country, embeddable-fields: [{name: name}]}
          tenant-note: {model: testapp.TenantNote, embeddable-fields: [{name: text}]}
        """
    )
    index("document", "country", "tenant-note")
    key = uuid.UUID("0a1b2c3d-0000-4000-8000-00000000abcd")
    Document.objects.create(id=key, title="one")
    assert ids(taken()) == [str(key)]
    for code in ("de", "DE", 'é"', "\\", "7"):
        Country.objects.create(code=code, name="Germany")
        assert ids(taken()) == [code]
        Country.objects.all().delete()
        assert ids(taken()) == [code]
    run("INSERT INTO testapp_country (code, name) VALUES ('de', 'Germany')")
    taken()
    run("UPDATE testapp_country SET code = 'DE'")
    assert ids(taken()) == ["DE", "de"]
    TenantNote.objects.create(tenant_id=7, number=-3, text="one")
    assert ids(taken()) == ["[7,-3]"]
    TenantNote.objects.update(text="two")
    assert ids(taken()) == ["[7,-3]"]


def test_a_composite_key_is_json_as_python_writes_it(project: Project) -> None:
    project.article("text", name="odd", model="testapp.Composed")
    with table_of(Composed):
        index("odd")
        key = KeyCodec.of(Composed)
        for name in ("plain", ODD):
            row = Composed.objects.create(name=name, uid=uuid.uuid4(), number=-5, text="one")
            expected = key.to_entity_id(row.pk)
            assert ids(taken()) == [expected]
            Composed.objects.filter(name=name).update(text="two")
            assert ids(taken()) == [expected]


def test_a_change_of_any_type_of_column_is_seen(project: Project) -> None:
    changes: dict[str, Any] = {
        "title": "Title",
        "small": 2,
        "integer": 2,
        "weight": 1.5000001,
        "price": "1.01",
        "flag": False,
        "day": "2024-01-02",
        "at": "2024-01-01T00:00:00.000001Z",
        "clock": "12:00:00.000001",
        "span": timedelta(days=1, microseconds=1),
        "uid": uuid.UUID(int=2),
        "attrs": {"a": [1, 2]},
        "ip": "127.0.0.2",
        "category": None,
    }
    fields = [{"name": name} for name in changes]
    project.article("title", name="typed", model="testapp.Typed", metadata_fields=fields)
    with table_of(Typed):
        category = Category.objects.create(name="x", slug="x")
        index("typed")
        Typed.objects.create(category=category)
        taken()
        for name, value in changes.items():
            Typed.objects.update(**{name: value})
            assert len(taken()) == 1, name
            Typed.objects.update(**{name: value})
            assert taken() == [], name


@pytest.mark.vendors("postgresql", gate=["mysql"])
def test_a_column_that_is_gone_breaks_no_statement(project: Project) -> None:
    index("article")
    article = Article.objects.create(title="one")
    taken()
    run("ALTER TABLE testapp_article DROP COLUMN body")
    run("UPDATE testapp_article SET title = 'two'")
    assert ids(taken()) == [str(article.pk)]


@pytest.mark.vendors("postgresql", gate=["mysql"])
def test_a_queue_that_is_gone_breaks_no_statement(project: Project) -> None:
    index("article")
    run("ALTER TABLE ai_indexing_queue RENAME TO elsewhere")
    article = Article.objects.create(title="one")
    Article.objects.update(title="two")
    article.delete()


@pytest.mark.vendors("sqlite")
def test_triggers_make_way_for_database_migrations(project: Project) -> None:
    index("article")
    call_command("migrate", "ai_migration", "0015", verbosity=0)
    assert triggers_here() == []
    service_triggers().execute(["ALTER TABLE testapp_article RENAME COLUMN body TO content"])
    service_triggers().execute(["ALTER TABLE testapp_article RENAME COLUMN content TO body"])
    call_command("migrate", verbosity=0)
    assert triggers_here() == []


@pytest.mark.vendors("sqlite")
def test_triggers_are_there_again_after_a_database_migration(project: Project) -> None:
    index("article")
    before = triggers_here()
    recorder = MigrationRecorder(connection)
    recorder.record_unapplied("sessions", "0001_initial")
    run("DROP TABLE django_session")
    call_command("migrate", verbosity=0)
    assert triggers_here() == before
    Article.objects.create(title="one")
    assert len(taken()) == 1


def test_a_childs_text_is_in_two_tables(project: Project) -> None:
    project.article("title", "detail", name="child-thing", model="testapp.ChildThing")
    index("child-thing")
    other = ParentThing.objects.create(title="no child")
    ParentThing.objects.filter(pk=other.pk).update(title="still none")
    other.delete()
    assert taken() == []
    child = ChildThing.objects.create(title="one", detail="two")
    own = str(child.pk)
    assert ids(taken()) == [own]
    ParentThing.objects.update(title="three")
    assert ids(taken()) == [own]
    ChildThing.objects.update(detail="four")
    assert ids(taken()) == [own]
    child.delete()
    assert ids(taken()) == [own]


def test_related_rows(project: Project) -> None:
    project.article("title", "category__name", "tags__name")
    index("article")
    shoes = Category.objects.create(name="shoes", slug="shoes")
    hats = Category.objects.create(name="hats", slug="hats")
    red = Tag.objects.create(name="red")
    assert taken() == []
    article = Article.objects.create(title="one", category=shoes)
    own = str(article.pk)
    taken()
    Category.objects.filter(pk=shoes.pk).update(slug="other")
    assert taken() == []
    Category.objects.filter(pk=shoes.pk).update(name="Shoes")
    entry = QueueEntry.objects.get()
    assert entry.coalescing_key == f"category={shoes.pk}"
    assert (entry.operation, entry.priority, entry.path) == ("EXPAND", 5, "category")
    assert ids(taken()) == [str(shoes.pk)]
    Article.objects.update(category=hats)
    assert taken() == [("INDEX", "", [own])]
    article.tags.add(red)
    assert taken() == [("INDEX", "", [own])]
    Tag.objects.update(name="green")
    assert taken() == [("EXPAND", "tags", [str(red.pk)])]
    Article.tags.through.objects.all().delete()
    assert taken() == [("INDEX", "", [own])]
    with table_of(Typed):  # it has such a foreign key too
        hats.delete()
    assert taken() == [("INDEX", "", [own])]
    Category.objects.bulk_create(Category(name=f"{i}", slug=f"{i}") for i in range(3))
    Category.objects.update(name="all")
    assert len(ids(taken())) == 4


def test_the_index_follows_raw_sql(project: Project) -> None:
    project.article("title", "category__name", "tags__name")
    shoes = Category.objects.create(name="shoes", slug="shoes")
    red = Tag.objects.create(name="red")
    make_articles(5)
    Article.objects.update(category=shoes)
    migrate()
    service.install()
    first, second, third, *_ = Article.objects.order_by("pk").values_list("pk", flat=True)
    run("UPDATE testapp_article SET title = 'raw' WHERE id = %s", first)
    run("DELETE FROM testapp_article WHERE id = %s", second)
    run("UPDATE testapp_article SET id = 900 WHERE id = %s", third)
    run("UPDATE testapp_category SET name = 'Shoes'")
    run("INSERT INTO testapp_article_tags (article_id, tag_id) VALUES (900, %s)", red.pk)
    Article.objects.bulk_create([Article(title="bulk")])
    work()
    assert_in_line()
    run("UPDATE testapp_tag SET name = 'green'")
    run("DELETE FROM testapp_article_tags")
    work()
    assert_in_line()


@pytest.mark.vendors("postgresql", gate=["mysql"])
def test_writers_of_the_same_row_do_not_wait_for_the_queue(project: Project) -> None:
    """A worker has the entry locked, or another transaction that wrote it is still open."""
    index("article")
    first, second = (Article.objects.create(title="x") for _ in range(2))
    written = threading.Event()

    def other() -> None:
        try:
            with transaction.atomic():
                Article.objects.filter(pk=second.pk).update(title="other")
            written.set()
        finally:
            connection.close()

    with transaction.atomic():
        list(QueueEntry.objects.select_for_update())
        Article.objects.filter(pk=first.pk).update(title="one")
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(30)
        assert written.is_set()
    assert set(ids(taken())) == {str(first.pk), str(second.pk)}


def test_crud_operations_decide(project: Project) -> None:
    project.article(crud_operations={"create": {"enabled": False}, "delete": {"enabled": False}})
    index("article")
    Article.objects.create(title="one")
    assert taken() == []
    Article.objects.update(title="two")
    assert len(taken()) == 1
    Article.objects.all().delete()
    assert taken() == []


def state(entity_type: str = "article") -> TriggerState:
    return next(each.state for each in service.status() if each.entity_type == entity_type)


def test_install_status_remove(project: Project, database: FreshDatabase) -> None:
    assert state() == TriggerState.NOT_INSTALLED
    assert not installed("article", "default")
    [standing] = service.install(["article"])
    assert (standing.state, standing.tables) == (TriggerState.INSTALLED, ("testapp_article",))
    assert installed("article", "default")
    assert not installed("article", "other")
    before = {each.name for each in triggers_here()}
    service.install(["article"])
    assert {each.name for each in triggers_here()} == before
    project.article("title")
    assert state() == TriggerState.OUTDATED
    assert not installed("article", "default")
    service.install()
    assert state() == TriggerState.INSTALLED
    assert {each.name for each in triggers_here()}.isdisjoint(before)
    assert installed("article", "default")
    gone = triggers_here()[0]
    service_triggers().execute(service_triggers().drops([gone._replace(function="")]))
    assert state() == TriggerState.OUTDATED
    service.install()
    assert state() == TriggerState.INSTALLED
    project.article("title", name="other")
    [left, other] = sorted(service.status(), key=lambda each: each.state)
    assert (left.state, other.state) == (TriggerState.LEFT_OVER, TriggerState.NOT_INSTALLED)
    assert service.remove(["article"]) == len(before)
    assert triggers_here() == []
    assert [each.state for each in service.status()] == [TriggerState.NOT_INSTALLED]


def service_triggers() -> Any:
    from ai_migration.models.sql.triggers import triggers_of

    return triggers_of("default")


def triggers_here() -> list[Any]:
    return list(service_triggers().found())


def test_outdated_and_left_over_triggers_are_a_warning(project: Project) -> None:
    def warnings() -> list[str]:
        return [each.msg for each in check_triggers(databases=["default"])]

    assert warnings() == []
    service.install(["article"])
    assert warnings() == []
    project.article("title")
    [outdated] = warnings()
    assert check_triggers(databases=["default"])[0].id == "ai_migration.W061"
    assert "'article' are not those of its present config" in outdated
    project.article("title", name="other")
    [left] = warnings()
    assert "are left over: not in the config" in left
    assert check_triggers() == []


def test_the_command(project: Project, manage_here: ManageHere) -> None:
    config = {"ENTITY_CONFIG": str(project.get("ENTITY_CONFIG"))}
    done = manage_here("ai_migration", "triggers", "install", "article", ai_migration=config)
    assert done.returncode == 0, done.stderr
    assert "installed" in done.stdout
    assert "testapp_article" in done.stdout
    done = manage_here("ai_migration", "triggers", "status", "--json", ai_migration=config)
    assert '"state": "installed"' in done.stdout
    done = manage_here("ai_migration", "triggers", "remove", ai_migration=config)
    assert "Removed" in done.stdout
    done = manage_here("ai_migration", "triggers", "install", "artcle", ai_migration=config)
    assert done.returncode == 2
    assert "article" in done.stderr
