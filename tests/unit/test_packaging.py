"""What `pip install django-ai-migration` gives, and what it must not need."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.gate

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCES = sorted((ROOT / "ai_migration").rglob("*.py"))


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(each).name) for each in requirements}


def imported_modules(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_every_library_that_is_imported_is_declared() -> None:
    extras = [extra for name, extra in PROJECT["optional-dependencies"].items() if name != "dev"]
    declared = names(PROJECT["dependencies"]).union(*map(names, extras))
    declared |= {"pydantic-core", "typing-extensions"}  # come with pydantic, as it asks for them
    declared.add("asgiref")  # comes with Django, whose documentation says to use it
    distributions = packages_distributions()
    undeclared = {
        f"{source.relative_to(ROOT)} imports {top}"
        for source in SOURCES
        for top in {module.partition(".")[0] for module in imported_modules(source)}
        if top != "ai_migration"
        and top not in sys.stdlib_module_names
        and not declared & {canonicalize_name(name) for name in distributions.get(top, [top])}
    }
    assert not undeclared


def test_every_extra_that_a_message_names_exists() -> None:
    named = {
        match[1]
        for source in SOURCES
        for match in re.finditer(
            r'MissingDependencyError\(\s*"[^"]+",\s*"([^"]+)"', source.read_text()
        )
    }
    assert named <= set(PROJECT["optional-dependencies"])


def test_nothing_optional_is_imported_before_it_is_used() -> None:
    """In a process of its own: here, other tests have imported everything already."""
    code = (
        "import sys, django; django.setup(); import ai_migration.checks\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", "DATABASE_URL": "sqlite://:memory:"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    optional = {
        "wordllama",
        "model2vec",
        "sentence_transformers",
        "torch",
        "cohere",
        "google",
        "boto3",
        "psycopg",
        "rest_framework",
        "django_q",
        "openai",
    }
    assert not optional & set(done.stdout.split())


HOST = """
import sys
sys.modules |= dict.fromkeys({blocked})  # as if they were not installed
import importlib, ai_migration, django
django.setup()
for module in {modules}:
    importlib.import_module(module)
from django.core.management import call_command
call_command("check", verbosity=0)
assert not set(sys.modules) & {exposed}
try:
    import ai_migration.rest.urls
except ai_migration.AIMigrationError as error:
    print("no REST:", error)
else:
    print("REST")
"""
REST = ["rest_framework", "drf_spectacular", "drf_spectacular_sidecar", "drf_standardized_errors"]


@pytest.mark.parametrize(
    "blocked",
    [REST, *(pytest.param(blocked, marks=pytest.mark.gate) for blocked in ([], REST[3:]))],
    ids=repr,
)
def test_all_else_works_without_the_rest_api(blocked: list[str]) -> None:
    pytest.importorskip("rest_framework")
    modules = [
        ".".join(source.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for source in SOURCES
        if not source.is_relative_to(ROOT / "ai_migration" / "rest")
    ]
    exposed = {*REST, "ai_migration.rest"} - set(blocked)
    done = subprocess.run(
        [sys.executable, "-c", HOST.format(blocked=blocked, modules=modules, exposed=exposed)],
        cwd=ROOT,
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", "DATABASE_URL": "sqlite://:memory:"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (f"needs the library {blocked[0]!r}" if blocked else "REST\n") in done.stdout


def test_the_installed_version_is_the_declared_one() -> None:
    assert version("django-ai-migration") == PROJECT["version"]


def test_the_changelog_starts_with_what_is_not_released() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"


def build(target: str, directory: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(directory)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = directory.iterdir()
    return built


def test_the_wheel_has_the_package_and_nothing_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(build("wheel", tmp_path)) as wheel:
        files = set(wheel.namelist())
    package = {file for file in files if ".dist-info/" not in file}
    wanted = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "ai_migration").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert package == wanted
    assert "ai_migration/py.typed" in package
    assert any(file.endswith("/LICENSE") for file in files)


def test_the_source_distribution_can_be_tested(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as sdist:
        files = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "tests/conftest.py"} <= files
