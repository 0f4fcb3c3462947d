"""The contract suite over our stores."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.utils.module_loading import import_string
from pytest_django import DjangoDbBlocker

from ai_migration.stores import VectorStore
from ai_migration.stores.memory import MemoryStore
from ai_migration.stores.qdrant import QdrantStore
from ai_migration.stores.sqlite_vec import SqliteVecStore
from ai_migration.testing import VectorStoreContract
from ai_migration.testing.store_lookups import LookingUp
from ai_migration.types import Metric
from tests.databases import VENDORS, Databases, FreshDatabase, vendor

if TYPE_CHECKING:
    from tests.qdrant_server import QdrantServer


@pytest.fixture(scope="class", params=map(vendor, VENDORS))
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

    def test_scrolling_takes_bounded_memory(self) -> None:  # type: ignore[override]
        pytest.skip("it keeps everything in memory")


class PlainStore(MemoryStore):
    """A store of somebody else, from before there was a verify."""

    fetch = VectorStore.fetch
    keys = VectorStore.keys


class TestWhatAStoreNeedNotDefine(LookingUp):
    @pytest.fixture
    def store(self) -> VectorStore:
        return PlainStore()


class DjangoStoreContract(VectorStoreContract):
    """What the stores in a Django database have in common."""

    path: str
    options: Mapping[str, Any] = {}

    @pytest.fixture
    def store(self, one_database: FreshDatabase) -> VectorStore:
        self.database = one_database
        store: VectorStore = import_string(self.path)(**self.options)
        return store

    def other_process(self, store: VectorStore) -> Callable[[], VectorStore]:
        return partial(self.database.open_store, self.path, **self.options)

    def break_connection(self, store: VectorStore) -> None:
        """As an administrator would."""
        kill = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL %s"}
        if connection.vendor not in kill:
            pytest.skip("there is no connection to lose")
        own = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT connection_id()"}
        with connection.cursor() as cursor:
            cursor.execute(own[connection.vendor])
            [number] = cursor.fetchone()
        with closing(connection.copy()) as other, other.cursor() as cursor:
            cursor.execute(kill[connection.vendor], [number])

    @contextmanager
    def full_disk(self, store: VectorStore) -> Iterator[None]:
        if connection.vendor != "sqlite":
            pytest.skip("a full disk of this server would stop the other tests too")
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA page_count")
            [pages] = cursor.fetchone()
            cursor.execute(f"PRAGMA max_page_count = {pages}")
            yield
        connection.close()  # the limit is the connection's


class TestDatabaseStore(DjangoStoreContract):
    min_recall = 1
    path = "ai_migration.stores.database.DatabaseStore"


@pytest.mark.parametrize("one_database", ["postgresql"], indirect=True)
class TestPgVectorStore(DjangoStoreContract):
    path = "ai_migration.stores.pgvector.PgVectorStore"


@pytest.mark.gate
@pytest.mark.parametrize("one_database", ["postgresql"], indirect=True)
class TestPgVectorStoreInHalfTheSpace(DjangoStoreContract):
    path = "ai_migration.stores.pgvector.PgVectorStore"
    options = {"precision": "float16"}
    tolerance = 1e-3


@pytest.mark.gate
@pytest.mark.parametrize("one_database", ["postgresql"], indirect=True)
class TestPgVectorStoreWithLists(DjangoStoreContract):
    path = "ai_migration.stores.pgvector.PgVectorStore"
    options = {"index": "ivfflat"}


class TestSqliteVecStore(VectorStoreContract):
    min_recall = 1

    @pytest.fixture(params=["cosine", "l2"])
    def store(self, request: pytest.FixtureRequest, tmp_path: Path) -> VectorStore:
        pytest.importorskip("apsw")
        pytest.importorskip("sqlite_vec")
        return SqliteVecStore(tmp_path / "vectors.sqlite3", metric=request.param)

    def other_process(self, store: VectorStore) -> Callable[[], VectorStore]:
        assert isinstance(store, SqliteVecStore)
        return partial(SqliteVecStore, store.path, store.metric)

    @contextmanager
    def full_disk(self, store: VectorStore) -> Iterator[None]:
        assert isinstance(store, SqliteVecStore)
        db = store._connection()
        db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').get}")
        yield
        db.execute("PRAGMA max_page_count = 1000000000")


@pytest.fixture(scope="class")
def qdrant_server() -> Iterator[QdrantServer]:
    """One for the whole suite: each of its tests has a collection of its own."""
    pytest.importorskip("qdrant_client")
    from tests.qdrant_server import QdrantServer

    with QdrantServer().running() as server:
        yield server


@pytest.mark.gate
class TestQdrantStore(VectorStoreContract):
    min_recall = 1

    @pytest.fixture
    def store(self, qdrant_server: QdrantServer) -> VectorStore:
        self.server = qdrant_server
        return QdrantStore(qdrant_server.url, prefix="shop-")

    def other_process(self, store: VectorStore) -> Callable[[], VectorStore]:
        return partial(QdrantStore, self.server.url, prefix="shop-")

    def break_connection(self, store: VectorStore) -> None:
        self.server.reset()

    @contextmanager
    def full_disk(self, store: VectorStore) -> Iterator[None]:
        self.server.refuse(507, "No space left on device")
        yield

    def test_scrolling_takes_bounded_memory(self) -> None:  # type: ignore[override]
        pytest.skip("the stand-in's memory counts too: see test_qdrant.py")


@pytest.fixture(scope="class")
def local_qdrant() -> Iterator[QdrantStore]:
    """In memory, where there is such a folder: the local mode commits each vector."""
    pytest.importorskip("qdrant_client")
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield QdrantStore(path=folder)
    gc.collect()


# A collection that is dropped leaves its file open, which Python says when it finds it.
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
@pytest.mark.gate
class TestQdrantStoreLocally(VectorStoreContract):
    min_recall = 1

    @pytest.fixture
    def store(self, local_qdrant: QdrantStore) -> VectorStore:
        return local_qdrant

    def test_many_at_once(self) -> None:  # type: ignore[override]
        pytest.skip("the local mode compares each point with each id to delete, which is slow")

    def test_scrolling_takes_bounded_memory(self) -> None:  # type: ignore[override]
        pytest.skip("the local mode keeps everything in memory")
