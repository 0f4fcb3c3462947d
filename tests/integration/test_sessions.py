"""Database sessions: what a worker asks of them, and what it leaves on those that other programs
have a share in."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction
from django.db.models import Model

from ai_migration import migration_service
from ai_migration.checks.databases import check_databases
from ai_migration.dispatch import WakeUp
from ai_migration.engine import slots
from ai_migration.engine.worker import run_worker
from ai_migration.exceptions import SettingsError
from ai_migration.models import MigrationJob
from ai_migration.models.sql.apart import CONNECTIONS
from ai_migration.models.sql.dialects import dialect
from tests.databases import Databases, FreshDatabase, _connected, _point_to
from tests.integration.support import Project, assert_in_line, make_articles, run, start
from tests.pgbouncer import SESSIONS, pgbouncer
from tests.routers import Router
from tests.testapp.models import Article

SETTINGS = (
    "idle_in_transaction_session_timeout",
    "maintenance_work_mem",
    "max_parallel_maintenance_workers",
    "search_path",
)


@pytest.fixture
def bouncer(database: FreshDatabase) -> Iterator[str]:
    """PgBouncer's URL; Django's connections go through it."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(pgbouncer(database.url))
        except FileNotFoundError as error:
            pytest.skip(str(error))
        stack.enter_context(_connected(url, database.other_url))
        yield url


def sessions(bouncer: str) -> dict[int, tuple[str, ...]]:
    """What a neighbour on the pool finds set on its sessions, by the server's process."""
    query = "SELECT pg_backend_pid(), " + ", ".join(f"current_setting('{s}')" for s in SETTINGS)
    with ExitStack() as stack:
        found = {}
        for _ in range(SESSIONS):  # all at once, so that each is another session
            neighbour = stack.enter_context(psycopg.connect(bouncer))
            row = neighbour.execute(query).fetchone()
            assert row is not None
            found[row[0]] = row[1:]
    assert len(found) == SESSIONS
    return found


@pytest.mark.vendors("postgresql")
def test_a_job_leaves_nothing_on_the_sessions_of_a_pooler(
    bouncer: str, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    before = sessions(bouncer)
    during: list[dict[int, tuple[str, ...]]] = []

    def watch(texts: Sequence[str]) -> None:
        during.append(sessions(bouncer))

    project.embedder(max_batch_size=10).react = watch
    project.store(
        "ai_migration.stores.pgvector.PgVectorStore",
        maintenance_work_mem="33MB",
        build_workers=1,
    )
    make_articles(40)
    with caplog.at_level(logging.WARNING, "ai_migration"):
        run(batch_size=10)
    assert len(during) >= 4
    assert all(found == before for found in during)
    assert sessions(bouncer) == before
    assert "maintenance_work_mem" in caplog.text, "who asked for it is told"
    assert_in_line()


def value(query: str) -> object:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


@pytest.mark.vendors("postgresql")
def test_the_limit_of_a_transaction_begins_and_ends_with_it(database: FreshDatabase) -> None:
    setting = "SELECT current_setting('idle_in_transaction_session_timeout')"
    with dialect("default").idle_timeout(30):
        for _ in range(2):
            with transaction.atomic(), transaction.atomic():
                assert value(setting) == "30s"
            assert value(setting) == "0"
            connection.close()  # whatever session comes next is limited as well
    with transaction.atomic():
        assert value(setting) == "0"


@pytest.mark.vendors("mysql")
def test_a_session_of_mariadb_gets_back_what_it_had(database: FreshDatabase) -> None:
    setting = "SELECT @@SESSION.idle_transaction_timeout"
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION idle_transaction_timeout = 7")
    with dialect("default").idle_timeout(30):
        assert value(setting) == 30
    assert value(setting) == 7


# Settings of a connection


@contextmanager
def reconnected(**settings: Any) -> Iterator[None]:
    """Django connects to `default` with other settings."""
    before = dict(connections.databases)
    default = before["default"]
    options = {**default["OPTIONS"], **settings.pop("OPTIONS", {})}
    _point_to({**before, "default": {**default, "OPTIONS": options, **settings}})
    try:
        yield
    finally:
        for opened in connections.all(initialized_only=True):
            opened.close()
            if opened.vendor == "postgresql":
                opened.close_pool()  # type: ignore[attr-defined]
        _point_to(before)


ISOLATION = {level.name: level for level in psycopg.IsolationLevel}


@pytest.mark.gate
@pytest.mark.vendors("postgresql")
@pytest.mark.parametrize(
    "given",
    [
        {"OPTIONS": {"pool": {"min_size": 0, "max_size": CONNECTIONS, "timeout": 20}}},
        {"OPTIONS": {"server_side_binding": True}},
        {"OPTIONS": {"isolation_level": ISOLATION["REPEATABLE_READ"]}},
        {"OPTIONS": {"isolation_level": ISOLATION["SERIALIZABLE"]}},
        {"OPTIONS": {"options": "-c search_path=ours"}},
        {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True},
    ],
    ids=["pool", "server-side binding", "repeatable read", "serializable", "no public", "kept"],
)
def test_a_job_on_connections_with(project: Project, given: dict[str, Any]) -> None:
    if "search_path" in str(given):
        with connection.cursor() as cursor:
            cursor.execute("ALTER SCHEMA public RENAME TO ours")
            cursor.execute("ALTER EXTENSION vector SET SCHEMA ours")
    project.store("ai_migration.stores.pgvector.PgVectorStore")
    with reconnected(**given):
        make_articles(30)
        run(batch_size=7)
        Article.objects.filter(title="Title 3").update(body="Another.")
        run(batch_size=7)
        assert_in_line()


def test_a_job_whose_tables_are_in_another_database(
    project: Project, database: FreshDatabase, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    def db_for_write(self: Router, model: type[Model], **hints: Any) -> str | None:
        return "ours" if model._meta.app_label == "ai_migration" else None

    monkeypatch.setattr(Router, "db_for_write", db_for_write)
    make_articles(30)
    with databases.fresh(database.vendor) as ours, _connected(database.url, database.other_url):
        before = dict(connections.databases)
        _point_to({**before, "ours": ours.settings})
        try:
            run(batch_size=7)
            assert_in_line()
            assert MigrationJob.objects.using("ours").count() == 1
            assert not MigrationJob.objects.using("default").exists()
        finally:
            connections["ours"].close()
            del connections["ours"]
            del connections.databases["ours"]
            _point_to(before)


# Pools


@pytest.mark.vendors("postgresql")
@pytest.mark.parametrize("pool", [{"min_size": 1, "max_size": 1}, {"min_size": 1}])
def test_a_pool_that_is_too_small_is_refused(
    project: Project, pool: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    make_articles(3)
    job = start()
    said = "gives 1 connections at most, and a worker needs 3 at once"
    with reconnected(OPTIONS={"pool": pool}):
        with pytest.raises(SettingsError, match=said):
            run_worker(should_stop=lambda: False, until_idle=True)
        with pytest.raises(SettingsError, match=said):
            slots.work(WakeUp(1, 0), lambda wake_up: None)
        for command in (
            ["ai_migration", "worker", "--until-idle"],
            ["migrate_ai_entities", "article"],
        ):
            with pytest.raises(CommandError, match=said):
                call_command(*command)
        assert migration_service.list_jobs(limit=2) == [job], "none was started for nobody"
        with pytest.raises(SystemExit):
            call_command("ai_migration", "doctor", "--wait=0")
        assert "ERROR    check ai_migration.E045" in capsys.readouterr().out
    assert not [each for each in check_databases() if each.id == "ai_migration.E045"]
