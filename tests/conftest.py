"""Fixtures for all tests.

`database` runs a test on a fresh database of each vendor; tests/unit has none, and
pytest-django lets nobody connect there.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest
from pytest_django import DjangoDbBlocker

from tests.commands import Manage, ManageHere
from tests.databases import VENDORS, Databases, FreshDatabase, Server, vendor

MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4 * 2**30:
    # A copy of a database is hundreds of files: on a disk it takes ten times as long.
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

# Processes that are started keep what they compile, even where the environment forbids it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

hypothesis.settings.register_profile("tests", deadline=None, print_blob=True)
hypothesis.settings.load_profile("tests")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """`-n auto`: half as many again as there are cores, since many tests wait for processes."""
    return (os.cpu_count() or 1) * 3 // 2


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that uses `database`, itself or by another fixture, runs on each vendor; on MariaDB
    with the marker `gate`."""
    if "database" in metafunc.fixturenames:
        names: list[tuple[str, str]] = [(name, "") for name in VENDORS]
        if marker := metafunc.definition.get_closest_marker("vendors"):
            names = [(name, "") for name in marker.args]
            names += [(name, when) for when, some in marker.kwargs.items() for name in some]
        metafunc.parametrize("database", [vendor(*each) for each in names], indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long has the time it takes, on a busy machine too."""
    for item in items:
        if item.get_closest_marker("gate") or item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """Where fresh databases come from; for fixtures that `database` does not fit."""
    directory = Path(tempfile.mkdtemp(prefix="aim-sqlite-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory)

        def start(vendor: str) -> Server:
            try:
                if vendor == "mysql":
                    from tests.mariadb import mariadb_server

                    return stack.enter_context(mariadb_server())
                from tests.postgres import postgres_server

                return stack.enter_context(postgres_server())
            except (ImportError, FileNotFoundError) as error:
                if vendor == "postgresql" and "CI" in os.environ:  # it comes with our wheels
                    raise
                pytest.skip(f"{vendor} is not available here: {error}")

        yield Databases(directory, start)


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


@pytest.fixture
def manage_here(database: FreshDatabase) -> ManageHere:
    """As `manage`, without the process: for what needs none."""
    return ManageHere(database)
