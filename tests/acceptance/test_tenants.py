"""django-tenants: each tenant has users, jobs, a queue and indexes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.commands import ROOT
from tests.databases import Databases
from tests.tenants.story import SCHEMAS, TYPES, USERS

_numbers = count(1)


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    """An empty database."""
    pytest.importorskip("django_tenants")
    name = f"tenants_{next(_numbers)}"
    yield databases.postgres.create(name)
    databases.postgres.drop(name)


def run(url: str, directory: Path, ours: str, *arguments: str, code: int = 0) -> str:
    """Run a module of Python in the project; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.tenants.settings",
            "DATABASE_URL": url,
            "DIRECTORY": str(directory),
            "OURS": ours,
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.gate
def test_each_tenant_has_indexes_of_its_own_rows(url: str, tmp_path: Path) -> None:
    said = run(url, tmp_path, "both", "tests.tenants.story")
    report = json.loads(said.splitlines()[-1])
    for schema in SCHEMAS:
        times = len(TYPES) - (schema == "globex")
        wanted = {f"username: {schema} {number}": times for number in range(USERS)}
        assert report["sent"][schema] == wanted
        assert report["found"][schema] == {name: [USERS, True, 1.0] for name in TYPES}
    assert "Set-up and engine are in order" in report["doctor"]
    assert "schema 'acme', and the tables of ai_migration are in 'public'" in report["elsewhere"]


@pytest.mark.parametrize("command", [["ai_migration", "worker"], ["migrate_ai_entities", "user"]])
def test_without_a_tenant_nobody_works(url: str, tmp_path: Path, command: list[str]) -> None:
    said = run(url, tmp_path, "tenants", "django", *command, code=1)
    assert "The schema 'public' has no tables of ai_migration" in said
    assert "tenant_command" in said


def test_tables_that_tenants_share_do_not_say_whose_rows_are_meant(
    url: str, tmp_path: Path
) -> None:
    said = run(url, tmp_path, "shared", "django", "check", code=1)
    assert "ai_migration.E046" in said
    assert "do not say for which tenant a job is" in said
    assert "TENANT_APPS" in said
