"""The reference pages list everything there is, and nothing else."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand
from django.utils.module_loading import import_string

import ai_migration
from ai_migration import exceptions
from ai_migration.conf import Settings
from ai_migration.entities.config import schema
from ai_migration.jobs.service import DataMigrationService
from tests.docs.pages import ROOT

REFERENCE = ROOT / "docs" / "reference"
PACKAGE = ROOT / "ai_migration"
NOT_YET, NO_EFFECT = "Not used yet", "No effect"


def sections(page: Path) -> dict[str, str]:
    """The text under each heading of a page, without what is under deeper ones."""
    parts = re.split(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(section: str) -> dict[str, list[str]]:
    """The rows of a section's tables by the code in their first cell."""
    found = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("| "))]
        for name in re.findall(r"`([^`]+)`", cells[0]) if line.startswith("|") else ():
            found[name] = cells[1:]
    return found


# Settings

SETTINGS = rows(sections(REFERENCE / "settings.md")["Settings"])


def test_every_setting_is_documented() -> None:
    assert set(SETTINGS) == set(Settings.model_fields)


def test_documented_defaults_are_the_real_ones() -> None:
    for name, field in Settings.model_fields.items():
        if name in ("EMBEDDERS", "STORES"):
            backend = field.get_default(call_default_factory=True)["default"].BACKEND
            assert backend.rpartition(".")[2] in SETTINGS[name][0]
        else:
            default = str(field.default) if name == "ENTITY_CONFIG" else field.default
            assert SETTINGS[name][0].strip("`").replace('"', "'") == repr(default), name


# The entity config

SECTIONS: dict[str, type[schema.Section]] = {
    "ai-config": schema.GlobalConfig,
    "An entity type": schema.EntityConfig,
    "embeddable-fields": schema.EmbeddableField,
    "searchable-fields": schema.SearchableField,
    "metadata-fields": schema.MetadataField,
    "filterable-fields": schema.NamedField,
    "chunking": schema.Chunking,
    "crud-operations": schema.CrudOperation,
}
CONFIG = {name: rows(text) for name, text in sections(REFERENCE / "entity-config.md").items()}


@pytest.mark.parametrize("name", SECTIONS)
def test_every_key_of_the_config_is_documented(name: str) -> None:
    documented = set(CONFIG[name]) - {"enable-…"}
    assert documented == {schema.kebab(key) for key in SECTIONS[name].model_fields}


def keys_of_the_config() -> Iterator[tuple[str, str, Any]]:
    for name, section in SECTIONS.items():
        for key, field in section.model_fields.items():
            yield name, schema.kebab(key), field


def test_keys_without_effect_say_so_and_no_others() -> None:
    for section, key, field in keys_of_the_config():
        says_so = CONFIG[section][key][-1].startswith(NO_EFFECT)
        assert says_so == schema.is_inert(field), (section, key)


# What nothing uses yet

DECLARED = {"conf.py", "schema.py", "decorator.py"}


def used_names() -> set[str]:
    sources = [file for file in PACKAGE.rglob("*.py") if file.name not in DECLARED]
    return set(re.findall(r"\w+", "".join(file.read_text() for file in sources)))


def test_settings_that_nothing_uses_say_so_and_no_others() -> None:
    used = used_names()
    for name in Settings.model_fields.keys() - {"ENTITY_CONFIG", "EMBEDDERS", "STORES"}:
        assert (name not in used) == (NOT_YET in SETTINGS[name][-1]), name


def test_keys_without_effect_are_those_that_nothing_uses() -> None:
    """Fails when one of them begins to act: then it is not inert any more."""
    used = used_names()
    ambiguous = {"features", "model", "weight", "default-embedding-model", "updated-at-field"}
    for section, key, field in keys_of_the_config():
        if section != "crud-operations" and key not in ambiguous:
            assert (key.replace("-", "_") not in used) == schema.is_inert(field), (section, key)


# Commands

COMMANDS = sections(REFERENCE / "commands.md")


def command(name: str) -> BaseCommand:
    loaded = load_command_class(get_commands()[name], name)
    assert isinstance(loaded, BaseCommand)
    return loaded


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command and action, by the heading it is documented under."""
    found: dict[str, argparse.ArgumentParser] = {}
    for name in ("migrate_ai_entities", "ai_migration"):
        parser = command(name).create_parser("manage.py", name)
        found[name] = parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                del found[name]
                found.update({f"{name} {key}": each for key, each in action.choices.items()})
    return found


def options(parser: argparse.ArgumentParser) -> set[str]:
    plain = BaseCommand().create_parser("manage.py", "plain")
    common = {option for action in plain._actions for option in action.option_strings}
    own = {option for action in parser._actions for option in action.option_strings}
    return own - common - {"-h", "--help"}


def test_every_command_is_documented() -> None:
    documented = {name for name in COMMANDS if name.startswith(("migrate_ai", "ai_migration "))}
    assert documented == set(parsers())


@pytest.mark.parametrize("name", sorted(parsers()))
def test_every_option_is_documented(name: str) -> None:
    assert {each for each in rows(COMMANDS[name]) if each.startswith("--")} == options(
        parsers()[name]
    )


# Python

PYTHON = (REFERENCE / "python-api.md").read_text()


def test_every_public_name_is_documented() -> None:
    for name in ai_migration.__all__:
        assert f"`{name}" in PYTHON, name


def test_every_method_of_the_service_is_documented() -> None:
    public = [name for name in vars(DataMigrationService) if not name.startswith("_")]
    section = PYTHON.split("## Start and steer migrations")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)\(", section, re.MULTILINE)
    assert sorted(documented) == sorted(public)


def test_every_error_and_its_code_is_documented() -> None:
    classes = [
        each
        for each in vars(exceptions).values()
        if isinstance(each, type) and issubclass(each, ai_migration.AIMigrationError)
    ]
    documented = {name: cells[0].strip("`") for name, cells in rows(PYTHON).items() if cells}
    for each in classes:
        if each is not ai_migration.AIMigrationError:
            assert documented.get(each.__name__) == each.code


@pytest.mark.parametrize(
    ("former", "name", "now"),
    [
        ("engine.metrics", "engine_minutes", "engine.insight.metrics.engine_minutes"),
        ("engine.recovery", "recover_in_passing", "engine.recovery.recover_opportunistically"),
        ("entities.reader", "EntityReader", "entities.rows.reader.EntityReader"),
    ],
)
def test_documented_names_that_moved_have_an_alias(former: str, name: str, now: str) -> None:
    alias = getattr(import_module(f"ai_migration.{former}"), name)
    assert alias is import_string(f"ai_migration.{now}")
