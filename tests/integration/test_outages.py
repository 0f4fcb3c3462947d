"""What ends a slice and is tried again, and what stops the job with its reason."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command
from django.db import (
    DatabaseError,
    Error,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    connections,
)

from ai_migration import migration_service
from ai_migration.engine.worker import run_worker
from ai_migration.exceptions import AIMigrationError, StoreError
from ai_migration.models import JobEvent
from ai_migration.models.sql.outages import in_words, is_outage
from ai_migration.types import JobStatus
from tests.databases import FreshDatabase
from tests.integration.odd_models import drop_table
from tests.integration.support import Project, start
from tests.testapp.models import Article


class CauseError(Exception):
    def __init__(self, sqlstate: str | None) -> None:
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        (None, True),
        ("57P01", True),
        ("40P01", True),
        ("08006", True),
        ("53100", False),
        ("25P03", True),
        ("25006", True),
    ],
)
def test_postgresql_says_by_its_state(sqlstate: str | None, expected: bool) -> None:
    error = OperationalError("words")
    error.__cause__ = CauseError(sqlstate)
    assert is_outage(error) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OperationalError("database is locked"), True),
        (OperationalError("database or disk is full"), False),
        (OperationalError("no such table: x"), False),
        (OperationalError(2013, "Lost connection"), True),
        (OperationalError(1927, "Connection was killed"), True),
        (OperationalError(1021, "Disk full"), False),
        (OperationalError("no such column: is locked"), False),
        (OperationalError("near 40: syntax error"), False),
        (IntegrityError("UNIQUE constraint failed: t.locked"), False),
        (InterfaceError("connection already closed"), True),
        (StoreError("database is locked", transient=True), False),
        (DatabaseError("anything else"), False),
    ],
)
def test_other_databases_say_by_code_or_words(error: Exception, expected: bool) -> None:
    assert is_outage(error) is expected


@pytest.fixture
def unreachable(database: FreshDatabase, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database of the test is where nobody is."""
    connection.close()
    elsewhere = {"NAME": "/nowhere/at/all.sqlite3"}
    if database.vendor != "sqlite":
        elsewhere = {"HOST": "127.0.0.1", "PORT": "1"}
    for key, value in elsewhere.items():
        monkeypatch.setitem(connection.settings_dict, key, value)


@pytest.mark.usefixtures("unreachable")
def test_who_cannot_reach_the_database_is_not_told_to_migrate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = "refuses: unable to open" if connection.vendor == "sqlite" else "does not answer: "
    with pytest.raises(AIMigrationError) as caught:
        start()
    for arguments in (["migrate_ai_entities", "article"], ["ai_migration", "jobs"]):
        with pytest.raises(CommandError) as refused:
            call_command(*arguments)
        for said in (caught.value.message, str(refused.value)):
            assert f"he database {words}" in said
            assert "manage.py migrate" not in said
            assert "\n" not in said
    connections.close_all()


def test_who_has_not_migrated_is_told_so(database: FreshDatabase) -> None:
    drop_table(JobEvent)
    with pytest.raises(Error) as missing:
        JobEvent.objects.exists()
    assert in_words(missing.value).endswith(". Run: manage.py migrate")
    with pytest.raises(Error) as missing:
        Article.objects.extra(select={"x": "nothing_like_it"}).first()
    assert in_words(missing.value).endswith(". Run: manage.py migrate")


def test_a_table_that_vanishes_under_a_job_stops_it_with_the_reason(
    database: FreshDatabase,
) -> None:
    Article.objects.create(title="here", body="now")
    job = migration_service.index_all_entities("article")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE testapp_article RENAME TO elsewhere")
    run_worker(should_stop=lambda: False, only_jobs=[job.pk], until_idle=True)
    progress = migration_service.get_progress(job.pk)
    assert progress.status == JobStatus.FAILED
    assert "testapp_article" in progress.error_message
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE elsewhere RENAME TO testapp_article")
    migration_service.resume_migration(job.pk)
    run_worker(should_stop=lambda: False, only_jobs=[job.pk], until_idle=True)
    assert migration_service.get_progress(job.pk).indexed == 1
