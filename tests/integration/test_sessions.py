"""Database sessions: what a worker asks of them, and what it leaves on those that other programs
have a share in."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import psycopg
import pytest
from django.db import connection, transaction

from ai_migration.models.sql.sessions import no_standing_still
from tests.databases import FreshDatabase, _connected
from tests.integration.support import Project, assert_in_line, make_articles, run
from tests.pgbouncer import SESSIONS, pgbouncer

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
    with no_standing_still("default", 30):
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
    with no_standing_still("default", 30):
        assert value(setting) == 30
    assert value(setting) == 7
