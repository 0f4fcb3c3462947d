"""What the database itself holds, whoever writes to it: the same on every one."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.core import checks
from django.core.management import call_command
from django.db import IntegrityError, connection, connections, transaction
from django.db.models import Model

from ai_migration.models import Collection, EntityFailure, MigrationJob, WorkerSlot
from ai_migration.models.sql import clock, ledger
from ai_migration.models.sql.clock import Now
from ai_migration.models.sql.dialects.base import LedgerRow
from ai_migration.types import CollectionStatus, JobStatus
from tests.databases import FreshDatabase

pytestmark = pytest.mark.usefixtures("database")

ACTIVE, BUILDING, RETIRED = CollectionStatus.ACTIVE, CollectionStatus.BUILDING, "RETIRED"


def make(status: str = ACTIVE, entity_type: str = "article") -> Collection:
    return Collection.objects.create(entity_type=entity_type, status=status, dimensions=1)


def open_job(collection: Collection, **values: Any) -> MigrationJob:
    return MigrationJob.objects.create(collection=collection, batch_size=1, **values)


def refused(model: type[Model], **values: Any) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        model._default_manager.create(**values)


@pytest.mark.parametrize("status", [ACTIVE, BUILDING])
def test_an_entity_type_has_one_collection_of_each_kind(status: str) -> None:
    make(status)
    for retired in range(2):
        assert make(RETIRED).pk, retired
    refused(Collection, entity_type="article", status=status, dimensions=1)
    assert make(status, "Article").pk  # another name
    with pytest.raises(IntegrityError), transaction.atomic():
        Collection.objects.filter(entity_type="article", status=RETIRED).update(status=status)
    Collection.objects.filter(entity_type="article").update(status=RETIRED)
    assert make(status).pk


def test_a_collection_has_one_open_job() -> None:
    first = open_job(make())
    refused(MigrationJob, collection=first.collection, batch_size=1, status=JobStatus.PAUSED)
    MigrationJob.objects.update(status=JobStatus.FAILED)
    open_job(first.collection, status=JobStatus.RUNNING)
    with pytest.raises(IntegrityError), transaction.atomic():
        MigrationJob.objects.filter(pk=first.pk).update(status=JobStatus.PENDING)


def test_an_entity_is_listed_once_as_failed() -> None:
    collection = make()
    jobs = [open_job(collection), open_job(make(BUILDING))]
    for job in (*jobs, None):
        row = {"job": job, "collection": collection, "entity_id": "1"}
        EntityFailure.objects.create(**row)
        refused(EntityFailure, **row)
        EntityFailure.objects.create(**{**row, "entity_id": "2"})


def test_ids_are_compared_byte_by_byte() -> None:
    ids = ["a", "A", "a ", "ä", "a\u0308", "ß", "ss", "😀", "😁"]
    rows = [LedgerRow(entity_id, b"", b"", 1) for entity_id in ids]
    collection = make().pk
    with transaction.atomic():
        assert not ledger.upsert("default", collection, rows, read_started=1, version=2)
    assert ledger.lookup("default", collection, ids).keys() == set(ids)
    assert ledger.lookup("default", collection, ["A "]) == {}


def test_the_database_tells_one_time() -> None:
    """The server of the tests is in a time zone where nobody else is."""
    WorkerSlot.objects.create(name="one", last_seen_at=Now())
    seen = WorkerSlot.objects.values_list("last_seen_at", flat=True).get()
    assert seen is not None
    assert abs(clock.now("default") - seen) < timedelta(minutes=15)


def test_who_inserts_a_second_time_is_told(database: FreshDatabase) -> None:
    """Both found nothing in the ledger. The second waits for the first, and may not put its
    older read in the place of the newer one."""
    collection = make().pk
    row = LedgerRow("1", b"newer", b"", 1)
    inserting = threading.Event()
    stale: set[str] = set()

    def announce(execute: Any, sql: str, *rest: Any) -> Any:
        if "INSERT" in sql or database.vendor == "sqlite":
            inserting.set()
        return execute(sql, *rest)

    def insert_older() -> None:
        older = row._replace(content_hash=b"older")
        with connections["default"].execute_wrapper(announce), transaction.atomic():
            stale.update(ledger.upsert("default", collection, [older], read_started=1, version=2))
        connections.close_all()

    thread = threading.Thread(target=insert_older)
    with transaction.atomic():
        ledger.upsert("default", collection, [row], read_started=3, version=4)
        thread.start()
        assert inserting.wait(60)
    thread.join()
    assert stale == {"1"}
    assert ledger.lookup("default", collection, ["1"])["1"].content_hash == b"newer"


def test_django_has_nothing_to_say_about_our_tables() -> None:
    """On MySQL it warns of conditions in indexes and constraints, which are not kept there."""
    ours = [apps.get_app_config("ai_migration")]
    assert checks.run_checks(app_configs=ours, tags=["models"], databases=["default"]) == []


@pytest.mark.gate
@pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])
def test_the_tables_can_go_back_and_forth() -> None:
    job = open_job(make())
    for target in (["0001"], []):
        call_command("migrate", "ai_migration", *target, verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM ai_migration_jobs")
            assert cursor.fetchall() in ([(job.pk,)], ((job.pk,),))
    refused(MigrationJob, collection=job.collection, batch_size=1)
