"""What ends a slice and is tried again, and what stops the job with its reason."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from ai_migration import migration_service
from ai_migration.engine.worker import run_worker
from ai_migration.models.sql.outages import is_outage
from ai_migration.types import JobStatus
from tests.databases import FreshDatabase
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
        (InterfaceError("connection already closed"), True),
        (DatabaseError("anything else"), False),
    ],
)
def test_other_databases_say_by_code_or_words(error: Exception, expected: bool) -> None:
    assert is_outage(error) is expected


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
