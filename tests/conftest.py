"""Fixtures for all tests.

`database` runs a test on a fresh SQLite and on a fresh PostgreSQL database; tests/unit has
none, and pytest-django lets nobody connect there.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from pytest_django import DjangoDbBlocker

from tests.commands import Manage
from tests.databases import VENDORS, Databases, FreshDatabase

if TYPE_CHECKING:
    from tests.postgres import PostgresServer

hypothesis.settings.register_profile("tests", deadline=None, print_blob=True)
hypothesis.settings.load_profile("tests")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that uses `database`, itself or by another fixture, runs on each vendor."""
    if "database" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("vendors")
        metafunc.parametrize("database", marker.args if marker else VENDORS, indirect=True)


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """Where fresh databases come from; for fixtures that `database` does not fit."""
    directory = Path(tempfile.mkdtemp(prefix="aim-sqlite-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory)

        def start_postgres() -> PostgresServer:
            try:
                from tests.postgres import postgres_server
            except ImportError as error:
                if "CI" in os.environ:
                    raise
                pytest.skip(f"PostgreSQL is not available here: {error}")
            return stack.enter_context(postgres_server())

        yield Databases(directory, start_postgres)


@pytest.fixture
def database(
    request: pytest.FixtureRequest, databases: Databases, django_db_blocker: DjangoDbBlocker
) -> Iterator[FreshDatabase]:
    """Fresh, migrated databases `default` and `other`; Django is connected to them."""
    with django_db_blocker.unblock(), databases.fresh(request.param) as fresh:
        yield fresh


@pytest.fixture
def manage(database: FreshDatabase) -> Manage:
    """Runs management commands in processes of their own, on the databases of the test."""
    return Manage(database)
