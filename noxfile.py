"""The versions we promise: `nox` runs everything, `nox -p 3.13` one Python.

The plain `pytest` of the README tests one combination; this file has them all. What takes long
is not among it: `nox -- -m "not slow"`.
"""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"

# MariaDB's driver is compiled: only where somebody installed what that takes.
DEV = ".[dev,mysql]" if shutil.which("mariadb_config") else ".[dev]"

# Django 6.1 needs Python 3.12.
VERSIONS = [
    ("3.11", "5.2"),
    ("3.12", "5.2"),
    ("3.13", "5.2"),
    ("3.12", "6.1"),
    ("3.13", "6.1"),
]


@nox.session
@nox.parametrize(("python", "django"), VERSIONS)
def tests(session: nox.Session, django: str) -> None:
    """The tests on one Python and one Django."""
    session.install("-q", "-e", DEV, f"Django~={django}.0")
    session.run("pytest", *session.posargs)


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """The tests on the oldest versions that pyproject.toml says will do."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["local"], *extras["pgvector"]]
    session.install("-q", "-e", DEV)
    session.install("-q", *(each.partition(",")[0].replace(">=", "==") for each in wanted))
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, floors, and migrations that fit the models."""
    session.install("-q", "-e", ".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")
    session.run(
        *("python", "-m", "django", "makemigrations", "--check", "--dry-run", "ai_migration"),
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", "DATABASE_URL": "sqlite://:memory:"},
    )


@nox.session
def typing(session: nox.Session) -> None:
    """mypy, strict."""
    session.install("-q", "-e", ".[dev]")
    session.run("mypy")
