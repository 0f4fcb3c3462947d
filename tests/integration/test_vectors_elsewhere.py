"""Vectors in a PostgreSQL of their own, beside a ledger in any database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections

from ai_migration import search
from ai_migration.engine.worker import run_worker
from ai_migration.exceptions import StoreError
from ai_migration.models import MigrationJob, SearchableEntity
from ai_migration.stores import stores
from ai_migration.stores.pgvector import PgVectorStore
from ai_migration.testing.stores import batch_of
from ai_migration.types import CollectionRef, VectorBatch
from tests.databases import Databases, FreshDatabase
from tests.integration.support import (
    Killed,
    Project,
    assert_in_line,
    collection,
    counts,
    die,
    finish,
    make_articles,
    run,
    start,
)
from tests.settings import database_settings
from tests.testapp.models import Article

pytestmark = pytest.mark.usefixtures("vectors")

STORE = "ai_migration.stores.pgvector.PgVectorStore"


class DyingStore(PgVectorStore):
    """Its process is killed when it has written, as often as `deaths` says."""

    deaths = 0

    def upsert(self, collection: CollectionRef, batch: VectorBatch) -> None:
        super().upsert(collection, batch)
        if DyingStore.deaths:
            DyingStore.deaths -= 1
            raise Killed


@pytest.fixture
def vectors(database: FreshDatabase, databases: Databases, project: Project) -> Iterator[str]:
    """The alias `vectors`, an empty database, where the store is."""
    alias, name = "vectors", "vectors_elsewhere"
    settings = {alias: database_settings(databases.postgres.create(name))}
    connections.databases.update(connections.configure_settings(connections.databases | settings))
    project.store(STORE, using=alias)
    yield alias
    connections[alias].close()
    del connections[alias], connections.databases[alias]
    databases.postgres.drop(name)


def test_a_backfill_and_what_follows(project: Project) -> None:
    make_articles(20)
    assert counts(run()) == (20, 0, 0, 0)
    assert_in_line()
    assert not stores["default"].shares_transaction("default")
    assert collection().ref.name in connections["vectors"].introspection.table_names()

    Article.objects.filter(title="Title 3").update(body="Another one.")
    Article.objects.filter(title="Title 4").delete()
    assert counts(run()) == (1, 18, 1, 0)
    assert_in_line()
    assert len(search("article", "Another one.", limit=5)) == 5


def test_killed_between_the_vectors_and_the_ledger(project: Project) -> None:
    """The ledger says meanwhile that it does not know, so the rerun makes them again: also
    of rows that by then read as they did before."""
    make_articles(20)
    run()
    Article.objects.update(body="Written by whoever dies.")
    project.store(f"{__name__}.DyingStore", using="vectors")
    job = start(batch_size=10)
    DyingStore.deaths = 1
    with pytest.raises(Killed):
        run_worker(should_stop=lambda: False, until_idle=True)
    assert SearchableEntity.objects.filter(content_hash=b"").count() == 10
    for number, article in enumerate(Article.objects.order_by("pk")):
        article.body = f"Body of number {number}."
        article.save()
    die()
    assert counts(finish(job)) == (10, 10, 0, 0)
    assert_in_line()


def test_a_lost_vector_database_connection_costs_no_row(project: Project) -> None:
    make_articles(20)
    job = start(batch_size=5)
    with connections["vectors"].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()
    other = connections["vectors"].copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    other.close()
    assert counts(finish(job)) == (20, 0, 0, 0)
    assert_in_line()


@pytest.fixture
def number(project: Project) -> int:
    """Of the next collection; one is there."""
    make_articles(3)
    run()
    return collection().pk + 1


def test_vectors_that_our_tables_know_nothing_of_are_left_alone(number: int) -> None:
    """Our tables are new, the vectors are not; or another site keeps its own there."""
    store, taken = stores["default"], CollectionRef(number, "article", 8)
    store.ensure_collection(taken)
    store.upsert(taken, batch_of(["somebody's"]))
    jobs = MigrationJob.objects.count()
    with pytest.raises(StoreError, match="already has 1 vector ") as caught:
        start(rebuild=True)
    assert not caught.value.transient
    assert MigrationJob.objects.count() == jobs
    assert store.count(taken) == 1


def test_an_empty_table_is_replaced(number: int) -> None:
    """Left by a start that was killed before our tables knew of it."""
    stores["default"].ensure_collection(CollectionRef(number, "article", 9))
    run(rebuild=True)
    assert collection().pk == number
    assert_in_line()
