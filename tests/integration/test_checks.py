"""The system checks that query, and `manage.py check` as people run it."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core import checks
from django.core.management import call_command
from django.db import connection
from django.db.models import QuerySet, Value
from django.test.utils import CaptureQueriesContext

from ai_migration.exceptions import EntityConfigError, RebuildRequiredError, StoreError
from ai_migration.findings import Level
from ai_migration.management.doctor import examine
from ai_migration.stores.memory import MemoryStore
from tests.commands import Manage
from tests.databases import FreshDatabase
from tests.integration.support import Project, collection, make_articles, run, start
from tests.testapp.models import Article, Category
from tests.unit.test_checks import our_checks

HERE = __name__
SETTINGS = """
from tests.settings import *
DATABASES["default"] = {{"ENGINE": "django.db.backends.sqlite3", "NAME": {name!r}}}
"""


def categories() -> QuerySet[Category]:
    return Category.objects.all()


def first_articles() -> QuerySet[Article]:
    return Article.objects.all()[:5]


def of_the_house() -> QuerySet[Article]:
    house = Category.objects.get(slug="house")
    return Article.objects.filter(category=house).annotate(house=Value("ours"))


def asks_the_database() -> QuerySet[Article]:
    return Article.objects.filter(pk__in=list(Article.objects.values_list("pk", flat=True)))


def found(database: str | None = "default") -> list[str]:
    """What our checks say, as Django runs them with and without a database."""
    return [
        f"{message.id} {message.msg} {message.hint}"
        for check in our_checks()
        if database or checks.Tags.database not in check.tags
        for message in check(app_configs=None, databases=[database] if database else None)
    ]


def test_a_right_config_is_silent_and_asks_for_little(project: Project) -> None:
    make_articles(3)
    run()
    with CaptureQueriesContext(connection) as queries:
        assert found() == []
    asked = [query["sql"] for query in queries if "SELECT" in query["sql"]]
    assert len(asked) == 3, "for the collections, for live changes that wait, and for triggers"
    with CaptureQueriesContext(connection) as queries:
        assert found(None) == []
    assert len(queries) == 0, "without databases nothing is asked"
    assert found("other") == []


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"fields": ("title",)}, "W051", "texts that differ are embedded again"),
        ({"fields": ("title", "body"), "metadata_fields": ["status"]}, "W051", "metadata is"),
        ({"fields": ("title", "body"), "queryset": "objects"}, "W051", "texts that differ"),
        ({"fields": ("title", "body"), "embedder": "other"}, "W050", "--rebuild"),
        ({"fields": ("title", "body"), "store": "other"}, "W050", "--rebuild"),
        ({"fields": ("title", "body"), "batch_size": 7}, "", ""),
    ],
)
@pytest.mark.vendors("sqlite")
def test_an_index_that_was_built_with_another_config(
    project: Project, settings: Any, change: dict[str, Any], code: str, words: str
) -> None:
    make_articles(3)
    run()
    stores = settings.AI_MIGRATION["STORES"]
    project.set(STORES={**stores, "other": stores["default"]})
    project.embedder(alias="other", dimensions=16)
    project.article(
        *change["fields"], **{key: value for key, value in change.items() if key != "fields"}
    )
    messages = found()
    if not code:
        assert messages == []
        return
    [message] = messages
    assert message.startswith(f"ai_migration.{code} The index of 'article'")
    assert words in message
    assert "migrate_ai_entities article" in message
    assert found(None) == []
    project.set(ON_CONFIG_CHANGE="ignore")
    assert found() == []


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.8.1", ["ai_migration.W113"]),
        ("0.8.2", ["ai_migration.I114"]),
        ("0.8.4", []),
        ("0.10.0", []),
        (None, []),
    ],
)
@pytest.mark.vendors("postgresql")
def test_versions_of_pgvector_that_have_faults(
    project: Project, version: str | None, expected: list[str]
) -> None:
    project.store("ai_migration.stores.pgvector.PgVectorStore")
    with connection.cursor() as cursor:
        if version is None:
            cursor.execute("DROP EXTENSION vector CASCADE")
        else:
            cursor.execute("UPDATE pg_extension SET extversion = %s", [version])
    messages = found()
    assert [message.split()[0] for message in messages] == expected
    assert all(f"pgvector {version}" in message for message in messages)
    assert all("ALTER EXTENSION vector UPDATE" in message for message in messages)
    assert found(None) == []
    assert found("other") == [], "another database was asked for"
    warned = [each.name for each in examine(0) if each.level is Level.WARNING]
    assert warned == (["check ai_migration.W113"] if version == "0.8.1" else [])


@pytest.mark.vendors("sqlite")
def test_a_store_whose_server_is_down_is_no_fault_of_the_config(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(self: MemoryStore) -> list[checks.CheckMessage]:
        raise StoreError("no route to host", transient=True)

    monkeypatch.setattr(MemoryStore, "check_server", ask)
    project.store("ai_migration.stores.memory.MemoryStore")
    assert found() == []


@pytest.mark.vendors("sqlite")
def test_another_store_is_filled_by_a_rebuild_only(project: Project, settings: Any) -> None:
    """Else what is new would go where nobody looks for it any more."""
    make_articles(3)
    run()
    configured = settings.AI_MIGRATION["STORES"]
    memory = {"BACKEND": "ai_migration.stores.memory.MemoryStore"}
    project.set(STORES={**configured, "other": memory})
    project.article(store="other")
    with pytest.raises(RebuildRequiredError, match="store default, now other.*--rebuild"):
        start()
    assert run(rebuild=True).indexed == 3
    assert collection().store == "other"
    assert found() == []


@pytest.mark.vendors("sqlite")
def test_another_model_under_the_same_alias(project: Project) -> None:
    make_articles(3)
    run()
    project.embedder(dimensions=16)
    [message] = found()
    assert message.startswith("ai_migration.W050 ")
    assert "dimensions 32, now 16" in message


@pytest.mark.vendors("sqlite")
def test_an_embedder_that_cannot_be_made_is_told_once(project: Project) -> None:
    make_articles(3)
    run()
    project.set(EMBEDDERS={"default": {"BACKEND": "nope.Nope"}})
    assert [message[:17] for message in found()] == ["ai_migration.E010"]


@pytest.mark.parametrize(
    ("queryset", "words"),
    [("categories", "testapp.Category"), ("first_articles", "sliced")],
)
def test_a_queryset_that_gives_no_rows(project: Project, queryset: str, words: str) -> None:
    project.article(queryset=f"{HERE}.{queryset}")
    [message] = found()
    assert message.startswith("ai_migration.E028 ")
    assert words in message
    assert found(None) == []


def test_a_queryset_whose_data_is_not_there_yet_stops_no_migrate(project: Project) -> None:
    """It is told, and no job starts; but how should the data come in without the tables?"""
    project.article("title", "house", queryset=f"{HERE}.of_the_house")
    [message] = found()
    assert message.startswith("ai_migration.W021 ")
    assert "Category matching query does not exist" in message
    call_command("migrate", skip_checks=False, verbosity=0, stderr=StringIO())
    with pytest.raises(EntityConfigError, match="does not exist"):
        start()
    house = Category.objects.create(name="House", slug="house")
    Article.objects.create(title="x", category=house)
    assert found() == []
    assert run().indexed == 1


def test_a_queryset_may_need_tables_that_are_not_there_yet(
    project: Project, database: FreshDatabase
) -> None:
    project.article(queryset=f"{HERE}.asks_the_database")
    assert found() == []
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE testapp_article RENAME TO elsewhere")
    assert found() == []


@pytest.mark.usefixtures("project")
def test_before_the_tables_are_there(database: FreshDatabase) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ai_collections RENAME TO elsewhere")
    assert found() == []


# As people run it


@pytest.mark.vendors("sqlite")
@pytest.mark.gate
def test_check_before_and_after_migrate(manage: Manage, tmp_path: Path) -> None:
    """On SQLite as Django sets it up: warned of, and nothing worse."""
    module = tmp_path / "plain_settings.py"
    module.write_text(SETTINGS.format(name=str(tmp_path / "new.sqlite3")))
    settings = [f"--pythonpath={tmp_path}", "--settings=plain_settings"]
    for command in ("check --database default", "migrate", "check --database default"):
        done = manage(*command.split(), *settings)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert "ai_migration.W040" in done.stderr
        assert "ai_migration.E" not in done.stderr


@pytest.mark.vendors("sqlite")
@pytest.mark.parametrize(
    ("yaml", "code"),
    [
        ("ai-entities:\n\ta: 1", "E021"),
        ("ai-entities: {a: {model: no.No}}", "E022"),
        (None, "E020"),
    ],
)
def test_a_broken_config_is_an_error_without_a_traceback(
    manage_here: Manage, tmp_path: Path, yaml: str | None, code: str
) -> None:
    path = tmp_path / "broken.yml"
    if yaml is not None:
        path.write_text(yaml)
    done = manage_here("check", ai_migration={"ENTITY_CONFIG": str(path)})
    assert done.returncode == 1
    assert f"ai_migration.{code}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.vendors("sqlite")
@pytest.mark.parametrize(
    "keys",
    [
        {"DEFAULT_BATCH_SIZE": "many"},
        {"EMBEDDERS": {"default": {"BACKEND": "nope.Nope"}}},
        {"STORES": {}},
        {"DISPATCHER": "nope"},
    ],
)
def test_broken_settings_are_an_error_without_a_traceback(
    manage_here: Manage, keys: dict[str, Any]
) -> None:
    done = manage_here("check", ai_migration=keys)
    assert done.returncode == 1
    assert "(ai_migration.E" in done.stderr
    assert "Traceback" not in done.stderr
