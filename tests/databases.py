"""Fresh, migrated databases: a copy of a template for every test, SQLite, PostgreSQL
or MariaDB.

They are real databases, not a transaction that is rolled back: a test may use threads,
transactions and subprocesses, and kill them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import django
import pytest
from _pytest.mark import ParameterSet
from django.core.management import call_command
from django.db import connection, connections
from django.utils.module_loading import import_string

from ai_migration.embedders import embedders
from ai_migration.stores import VectorStore, stores
from tests.settings import database_settings

VENDORS = ("sqlite", "postgresql", "mysql")


def vendor(name: str, when: str = "") -> ParameterSet:
    """Return the parameter that stands for a vendor, with the marker `when`; MariaDB is for the
    gate."""
    when = when or ("gate" if name == "mysql" else "")
    return pytest.param(name, marks=getattr(pytest.mark, when) if when else ())


class Server(Protocol):
    """A database server of this session: see tests/postgres.py and tests/mariadb.py."""

    def create(self, name: str, *, template: str = ...) -> str: ...
    def drop(self, name: str) -> None: ...
    def restart(self) -> None: ...


@dataclass(frozen=True)
class FreshDatabase:
    """The databases of one test: `default` of this vendor, `other` always SQLite."""

    vendor: str
    url: str
    other_url: str

    @property
    def settings(self) -> dict[str, Any]:
        """The entry of DATABASES for `default`."""
        return database_settings(self.url)

    def environ(self, **ai_migration: Any) -> dict[str, str]:
        """The environment of a subprocess that is to use these databases.

        Args:
            ai_migration: Keys of AI_MIGRATION to set there.
        """
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "DATABASE_URL": self.url,
            "OTHER_DATABASE_URL": self.other_url,
            "AI_MIGRATION_JSON": json.dumps(ai_migration),
            "PYTHONFAULTHANDLER": "1",  # whoever is aborted says where it stood
        }

    def open_store(self, path: str, **options: Any) -> VectorStore:
        """The store of that dotted path on these databases, in a process that has just begun."""
        django.setup()
        _point_to({"default": self.settings, "other": database_settings(self.other_url)})
        store: VectorStore = import_string(path)(**options)
        return store


class Databases:
    """Makes fresh databases from one template per vendor, made at first use.

    Args:
        directory: Where the SQLite files go.
        start: Starts the server of a vendor; called once, when the first test needs it.
    """

    def __init__(self, directory: Path, start: Callable[[str], Server]) -> None:
        self._directory = directory
        self._start = start
        self._servers: dict[str, Server] = {}
        self._templates: set[str] = set()
        self._numbers = count(1)

    @contextmanager
    def fresh(self, vendor: str) -> Iterator[FreshDatabase]:
        """Create databases, and point Django's connections to them meanwhile."""
        name = f"fresh_{next(self._numbers)}"
        other = self._copy(self._other_template, f"{name}_other")
        if vendor == "sqlite":
            url = self._copy(self._sqlite_template, name)
        else:
            url = self.server(vendor).create(name, template=self._template(vendor))
        try:
            with _connected(url, other):
                yield FreshDatabase(vendor, url, other)
        finally:
            if vendor != "sqlite":
                self.server(vendor).drop(name)
            for file in self._directory.glob(f"{name}[._]*"):
                file.unlink()

    def server(self, vendor: str) -> Server:
        """The server of this session."""
        if vendor not in self._servers:
            self._servers[vendor] = self._start(vendor)
        return self._servers[vendor]

    @property
    def postgres(self) -> Server:
        """The PostgreSQL of this session."""
        return self.server("postgresql")

    @cached_property
    def _sqlite_template(self) -> Path:
        return self._migrated_sqlite("default")

    @cached_property
    def _other_template(self) -> Path:
        return self._migrated_sqlite("other")

    def _template(self, vendor: str) -> str:
        if vendor not in self._templates:
            url = self.server(vendor).create("template")
            with _connected(url, self._url(self._directory / "unused")):
                if vendor == "postgresql":
                    with connection.cursor() as cursor:
                        cursor.execute("CREATE EXTENSION vector")
                _migrate("default")
            self._templates.add(vendor)
        return "template"

    def _migrated_sqlite(self, alias: str) -> Path:
        file = self._directory / f"template_{alias}.sqlite3"
        unused = self._url(self._directory / "unused")
        urls = {"default": unused, "other": unused, alias: self._url(file)}
        with _connected(urls["default"], urls["other"]):
            _migrate(alias)
        return file

    def _copy(self, template: Path, name: str) -> str:
        file = self._directory / f"{name}.sqlite3"
        shutil.copyfile(template, file)
        return self._url(file)

    @staticmethod
    def _url(file: Path) -> str:
        return f"sqlite:///{file}"


def _migrate(alias: str) -> None:
    call_command("migrate", database=alias, run_syncdb=True, verbosity=0)


@contextmanager
def _connected(default: str, other: str) -> Iterator[None]:
    """Use these URLs as if the settings had said so, in threads to come too."""
    before = dict(connections.databases)
    _point_to({"default": database_settings(default), "other": database_settings(other)})
    try:
        yield
    finally:
        _point_to(before)


def _point_to(databases: Mapping[str, Any]) -> None:
    for opened in connections.all(initialized_only=True):
        opened.close()
        del connections[opened.alias]
    connections.databases.update(connections.configure_settings(dict(databases)))
    # Backends may remember what they have seen in the database.
    stores.reset()
    embedders.reset()
