"""Rows are read by another thread only where it is certain to read what the worker's would."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from django.db import connection, connections, models
from django.db.backends.signals import connection_created

from ai_migration.engine.slices import slice as slices
from ai_migration.engine.worker import run_worker
from ai_migration.entities import registry
from ai_migration.entities.rows.project_code import runs_project_code
from ai_migration.indexing import batches
from ai_migration.stores.base import VectorStore
from ai_migration.types import JobStatus
from tests.databases import FreshDatabase
from tests.integration.embedders import Script
from tests.integration.support import Project, make_articles, progress, run, start, work
from tests.routers import Router
from tests.testapp.models import Archive, Article, LiveManager, SoftDeleted

pytestmark = pytest.mark.vendors("postgresql")

scope = threading.local()
"""Whose rows are meant, as many projects keep it."""


def scoped_articles() -> models.QuerySet[Article]:
    return Article.objects.filter(status=getattr(scope, "status", "nobody's"))


def all_articles() -> models.QuerySet[Article]:
    return Article.objects.all()


def titles(script: Script) -> list[str]:
    return sorted(text.splitlines()[0].removeprefix("title: ") for text in script.texts)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Who read batches."""
    seen: set[str] = set()
    read = batches.read_batch

    def watched(*arguments: Any) -> Any:
        seen.add(threading.current_thread().name.partition("_")[0])
        return read(*arguments)

    monkeypatch.setattr(slices, "read_batch", watched)
    return seen


def test_plain_rows_are_read_ahead_by_another_thread(
    project: Project, script: Script, threads: set[str]
) -> None:
    make_articles(5)
    run(batch_size=2)
    assert threads == {"read"}


def test_a_scope_that_a_thread_keeps_is_that_of_the_worker(
    project: Project, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scope, "status", "mine", raising=False)
    Article.objects.create(title="mine", status="mine")
    Article.objects.create(title="theirs", status="theirs")
    project.article("title", queryset=f"{__name__}.scoped_articles")
    run()
    assert titles(script) == ["mine"]


def test_the_scope_of_a_manager_is_that_of_the_worker(
    project: Project, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get_queryset(self: models.Manager[SoftDeleted]) -> models.QuerySet[SoftDeleted]:
        rows: models.QuerySet[SoftDeleted] = models.QuerySet(SoftDeleted, using=self._db)
        return rows.filter(title__startswith=getattr(scope, "owner", "nobody"))

    monkeypatch.setattr(LiveManager, "get_queryset", get_queryset)
    monkeypatch.setattr(scope, "owner", "mine", raising=False)
    SoftDeleted.objects.create(title="mine")
    SoftDeleted.objects.create(title="theirs")
    project.article("title", model="testapp.SoftDeleted")
    run()
    assert titles(script) == ["mine"]


def test_routers_are_asked_by_the_worker(
    project: Project, script: Script, threads: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def db_for_write(self: Router, model: type[models.Model], **hints: Any) -> str | None:
        return getattr(scope, "database", "nowhere") if model is Archive else None

    monkeypatch.setattr(Router, "db_for_write", db_for_write)
    monkeypatch.setattr(scope, "database", "other", raising=False)
    Archive.objects.using("other").create(title="old", text="text")
    project.article("title", model="testapp.Archive")
    run()
    assert titles(script) == ["old"]
    assert threads == {"read"}


def test_the_session_of_the_worker_says_where_tables_are(
    project: Project, script: Script, threads: set[str]
) -> None:
    make_articles(3)
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA tenant")
        cursor.execute("CREATE TABLE tenant.testapp_article (LIKE public.testapp_article)")
        cursor.execute("INSERT INTO tenant.testapp_article SELECT * FROM public.testapp_article")
        cursor.execute("UPDATE tenant.testapp_article SET title = 'of the tenant'")
        cursor.execute("SET search_path TO tenant, public")
    project.article("title")
    job = start()
    run_worker(should_stop=lambda: False, until_idle=True)
    assert progress(job).status == JobStatus.COMPLETED
    assert set(titles(script)) == {"of the tenant"}
    assert threads == {"MainThread"}


def test_an_index_is_built_in_the_session_of_the_worker_unless_another_is_certain(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def optimize(self: VectorStore, collection: object) -> None:
        built.append(threading.current_thread().name.partition("_")[0])

    monkeypatch.setattr(VectorStore, "optimize", optimize)
    make_articles(1)
    run()
    start()
    with connection.execute_wrapper(lambda execute, *arguments: execute(*arguments)):
        work()
    assert built == ["optimize", "MainThread"]


# What is not certain


@contextmanager
def a_wrapper() -> Iterator[None]:
    with connection.execute_wrapper(lambda execute, *arguments: execute(*arguments)):
        yield


@contextmanager
def a_listener() -> Iterator[None]:
    def tell(connection: Any, **_: Any) -> None:
        connection.cursor().execute("SET application_name = 'of this thread'")

    connection_created.connect(tell)
    try:
        yield
    finally:
        connection_created.disconnect(tell)


def a_backend() -> Any:
    """As if the class of connections were the project's own."""
    return mock.patch.object(type(connections["default"]), "__module__", "host.backend")


@pytest.mark.parametrize("uncertain", [a_wrapper, a_listener, a_backend])
def test_where_another_connection_is_not_certain_the_worker_reads(
    project: Project, script: Script, threads: set[str], uncertain: Any
) -> None:
    make_articles(3)
    with uncertain():
        run(batch_size=2)
    assert threads == {"MainThread"}


class Methods(models.QuerySet[Article]):
    def published(self) -> Methods:
        return self.filter(status="published")


class Scoped(models.QuerySet[Article]):
    def iterator(self, *arguments: Any, **keywords: Any) -> Any:
        return super().iterator(*arguments, **keywords)


@pytest.mark.parametrize(
    ("fields", "more", "is_certain"),
    [
        (["title", "category__name", "tags__name", "attributes__size"], {}, True),
        (["title", "headline"], {}, False),
        (["title"], {"metadata_fields": [{"name": "headline"}]}, False),
        (["title"], {"queryset": f"{__name__}.all_articles"}, False),
        (["title"], {"model": "testapp.SoftDeleted"}, False),
        (["title"], {"model": "testapp.SoftDeleted", "queryset": "all_objects"}, True),
    ],
)
def test_what_is_code_of_the_project(
    database: FreshDatabase, project: Project, fields: list[str], more: Any, is_certain: bool
) -> None:
    project.article(*fields, **more)
    assert runs_project_code(registry.get("article")) is not is_certain


@pytest.mark.parametrize(
    ("queryset", "is_certain"), [(models.QuerySet, True), (Methods, True), (Scoped, False)]
)
def test_a_queryset_may_add_methods(
    project: Project, monkeypatch: pytest.MonkeyPatch, queryset: Any, is_certain: bool
) -> None:
    manager = models.Manager.from_queryset(queryset)()
    manager.model = Article
    monkeypatch.setitem(Article._meta.__dict__, "default_manager", manager)
    assert Article._default_manager is manager
    assert runs_project_code(registry.get("article")) is not is_certain
