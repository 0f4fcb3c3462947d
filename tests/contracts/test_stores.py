"""The contract suite over our stores."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from ai_migration.stores import VectorStore
from ai_migration.stores.database import DatabaseStore
from ai_migration.stores.memory import MemoryStore
from ai_migration.stores.pgvector import PgVectorStore
from ai_migration.testing import VectorStoreContract
from ai_migration.types import Metric
from tests.databases import VENDORS, Databases, FreshDatabase


@pytest.fixture(scope="class", params=VENDORS)
def one_database(
    request: pytest.FixtureRequest, databases: Databases, django_db_blocker: DjangoDbBlocker
) -> Iterator[FreshDatabase]:
    """One for the whole suite: each of its tests has a collection of its own."""
    with django_db_blocker.unblock(), databases.fresh(request.param) as fresh:
        yield fresh


class TestMemoryStore(VectorStoreContract):
    min_recall = 1

    @pytest.fixture(params=Metric.values)
    def store(self, request: pytest.FixtureRequest) -> VectorStore:
        return MemoryStore(metric=request.param)


class TestDatabaseStore(VectorStoreContract):
    min_recall = 1

    @pytest.fixture
    def store(self, one_database: FreshDatabase) -> VectorStore:
        return DatabaseStore()


@pytest.mark.parametrize("one_database", ["postgresql"], indirect=True)
class TestPgVectorStore(VectorStoreContract):
    @pytest.fixture
    def store(self, one_database: FreshDatabase) -> VectorStore:
        return PgVectorStore()


@pytest.mark.parametrize("one_database", ["postgresql"], indirect=True)
class TestPgVectorStoreInHalfTheSpace(VectorStoreContract):
    tolerance = 1e-3

    @pytest.fixture
    def store(self, one_database: FreshDatabase) -> VectorStore:
        return PgVectorStore(precision="float16")


@pytest.mark.parametrize("one_database", ["postgresql"], indirect=True)
class TestPgVectorStoreWithLists(VectorStoreContract):
    @pytest.fixture
    def store(self, one_database: FreshDatabase) -> VectorStore:
        return PgVectorStore(index="ivfflat")
