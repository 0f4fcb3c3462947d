"""A value that cannot be read is the failure of its row: everywhere, on every database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime

import pytest
from django.db import OperationalError, connection, transaction

from ai_migration import MigrationRequest, enqueue, migration_service, search
from ai_migration.entities import registry
from ai_migration.entities.rows.reader import EntityReader, SourceRow
from ai_migration.exceptions import UnusableKeyError
from ai_migration.models import EntityFailure, MigrationJob
from ai_migration.models.sql.outages import is_outage
from ai_migration.types import JobStatus, MigrationFilters
from tests.databases import FreshDatabase
from tests.integration.odd_models import Logged, Measured, table_of
from tests.integration.support import Project, collection, finish, run, start, stored, work

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])

VALUES = {
    "postgresql": [
        ("at", "'infinity'"),
        ("at", "'-infinity'"),
        ("at", "'0044-03-15 12:00:00+00 BC'"),
        ("at", "'20000-01-01 00:00:00+00'"),
        ("day", "'infinity'"),
        ("day", "'0044-03-15 BC'"),
        ("span", "'1000000000 days'"),
    ],
    "sqlite": [
        ("title", "CAST(X'6c6f636b6564ff' AS TEXT)"),  # "locked", and then no UTF-8
        ("at", "'2024-13-45 00:00:00'"),
        ("day", "'2024-02-31'"),
        ("amount", "'dear'"),
        ("extra__word", """'{"word": "half a pair: \\ud800"}'"""),
        ("extra__word", "'{'"),
    ],
    "mysql": [("hour", "'100:00:00'")],
}
FIELDS = ["title", "at", "day", "hour", "span", "amount", "extra__word"]
GOOD = 20


@pytest.fixture
def bad(project: Project, database: FreshDatabase) -> Iterator[dict[str, str]]:
    """Rows of `measured`, some of which cannot be read: their ids, and the field at fault."""
    project.article(*FIELDS, name="measured", model="testapp.Measured")
    with table_of(Measured):
        values = VALUES[database.vendor]
        Measured.objects.bulk_create(Measured(title=f"Row {i}") for i in range(GOOD + len(values)))
        keys = Measured.objects.order_by("pk").values_list("pk", flat=True)[1::2]
        yield {
            str(key): spoil(key, field, sql)
            for key, (field, sql) in zip(keys, values, strict=False)
        }


def spoil(key: int, field: str, sql: str) -> str:
    """Write what Django would not into a column of a row; the field."""
    column = field.partition("__")[0]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = ON")
        cursor.execute(f"UPDATE odd_measured SET {column} = {sql} WHERE id = {key}", None)
    return field


def read() -> list[SourceRow]:
    entity = registry.get("measured")
    return EntityReader(entity).read(entity.rows())


def assert_listed(job: MigrationJob | None, bad: dict[str, str]) -> None:
    failures = EntityFailure.objects.filter(job=job)
    assert {failure.entity_id for failure in failures} == bad.keys()
    for failure in failures:
        assert failure.error_code == "invalid_row"
        field = bad[failure.entity_id]
        assert failure.error.startswith(f"its field {field!r} cannot be read: "), failure.error
        assert not {"half", "locked", "dear"} & set(failure.error.split())


@pytest.mark.parametrize("batch_size", [1, 1000])
def test_a_run_lists_it_and_indexes_the_others(bad: dict[str, str], batch_size: int) -> None:
    job = start("measured", batch_size=batch_size)
    ended = finish(job)
    assert (ended.status, ended.indexed, ended.failed) == (JobStatus.COMPLETED, GOOD, len(bad))
    assert_listed(job, bad)
    assert stored(collection("measured")).keys().isdisjoint(bad)
    again = run("measured", batch_size=batch_size)
    assert (again.skipped, again.failed, again.removed) == (GOOD, len(bad), 0)
    Measured.objects.filter(pk__in=bad).update(
        title="Good", at=None, day=None, hour=None, span=None, amount=None, extra={}
    )
    assert run("measured").indexed == len(bad)


def test_a_dry_run_passes_it_by(bad: dict[str, str]) -> None:
    for filters in (MigrationFilters(), MigrationFilters(entity_ids=tuple(bad))):
        plan = migration_service.plan(MigrationRequest("measured", filters=filters))
        rows = len(bad) if filters else GOOD + len(bad)
        assert (plan.examined, plan.total, plan.to_embed) == (rows, rows, rows - len(bad))


def test_a_live_change_lists_it(bad: dict[str, str]) -> None:
    run("measured")
    EntityFailure.objects.all().delete()
    enqueue("measured", [row.entity_id for row in read()])
    work()
    assert_listed(None, bad)
    assert len(stored(collection("measured"))) == GOOD


def test_a_hit_stays_without_its_text(bad: dict[str, str], database: FreshDatabase) -> None:
    run("measured")
    found = search("measured", "title: Row 0", limit=1)
    assert found[0].text == "title: Row 0"
    spoil(int(found[0].id), *VALUES[database.vendor][0])
    for surroundings in (nullcontext, transaction.atomic):
        with surroundings():
            hits = search("measured", "title: Row 0", limit=3)
            assert [hits[0].id, hits[0].text] == [found[0].id, ""]
            assert all(hit.text for hit in hits[1:])


def test_with_a_property_the_whole_row_is_read(bad: dict[str, str], project: Project) -> None:
    project.article("shouted", name="measured", model="testapp.Measured")
    errors = {row.entity_id: row.error for row in read()}
    assert len(errors) == GOOD + len(bad)
    for entity_id, field in bad.items():
        column = field.partition("__")[0]
        if errors[entity_id] or column != "extra":  # Django lets what is no JSON pass as text
            assert errors[entity_id].startswith(f"its field {column!r} cannot be read: ")


@pytest.mark.vendors("sqlite", "postgresql")
def test_a_key_that_cannot_be_read_ends_the_job_and_names_the_model(
    project: Project, database: FreshDatabase
) -> None:
    value = "'2024-13-45 00:00:00'" if database.vendor == "sqlite" else "'infinity'"
    project.article("title", name="logged", model="testapp.Logged")
    with table_of(Logged):
        for second in range(5):
            Logged.objects.create(at=datetime(2024, 1, 1, second=second, tzinfo=UTC), title="x")
        with connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO odd_logged VALUES ({value}, 'x')")
        for batch_size in (1, 4, 100):  # it is read for a bound, or with the rows
            job = start("logged", batch_size=batch_size)
            ended = finish(job)
            assert ended.status == JobStatus.FAILED
            said = "A primary key of testapp.Logged cannot be read"
            assert said in MigrationJob.objects.get(pk=job.pk).error_message
            with pytest.raises(UnusableKeyError, match=said):
                migration_service.plan(MigrationRequest("logged"))
            migration_service.cancel_migration(job.pk)


def test_a_text_that_speaks_of_locks_is_no_outage() -> None:
    error = OperationalError("Could not decode to UTF-8 column 'title' with text 'locked\xff'")
    assert not is_outage(error)
    assert is_outage(OperationalError("database is locked"))
