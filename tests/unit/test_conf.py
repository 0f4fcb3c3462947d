"""AI_MIGRATION: what is accepted, and what is said of what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from ai_migration.conf import (
    Settings,
    SettingsFault,
    entity_config_path,
    get_settings,
    settings_problems,
)
from ai_migration.exceptions import SettingsError

HASH = {"BACKEND": "ai_migration.embedders.hash.HashEmbedder"}
SECRET = "sk-very-secret"


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"ENABLED": False, "ENTITY_CONFIG": None, "DEFAULT_RATE_LIMIT": None},
        {"ENTITY_CONFIG": "config/entities.yml", "SLICE_SECONDS": 5, "MAX_FAILURE_RATIO": 1},
        {"EMBEDDERS": {"default": HASH, "other": {**HASH, "OPTIONS": {"dimensions": 8}}}},
        {"SEARCH_PERMISSION": "a.b"},
        {"THROTTLE": ["a.b", {"BACKEND": "a.C", "OPTIONS": {"limit": 5}}]},
    ],
)
def test_right_settings_are_no_problem(raw: dict[str, Any]) -> None:
    assert settings_problems(raw) == []


@pytest.mark.parametrize("raw", [None, [], "x", 5])
def test_settings_that_are_no_dict(raw: object) -> None:
    [problem] = settings_problems(raw)
    assert problem.fault is SettingsFault.NO_DICT
    assert type(raw).__name__ in problem.message


@pytest.mark.parametrize(
    ("raw", "key", "hint"),
    [
        ({"DEFAULT_BATCHSIZE": 5}, "'DEFAULT_BATCHSIZE'", "Did you mean 'DEFAULT_BATCH_SIZE'?"),
        ({"default-batch-size": 5}, "'default-batch-size'", "'DEFAULT_BATCH_SIZE'"),
        ({"Qqq": 1}, "'Qqq'", "Known keys: ENABLED, ENTITY_CONFIG"),
        ({1: 2}, "[1]", "Known keys"),
        ({"STORES": {"default": {**HASH, "OPTION": {}}}}, "['default']['OPTION']", "'OPTIONS'?"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known(
    raw: dict[Any, Any], key: str, hint: str
) -> None:
    [problem] = settings_problems(raw)
    assert problem.fault is SettingsFault.UNKNOWN_KEY
    assert key in problem.message
    assert hint in problem.hint


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("DEFAULT_BATCH_SIZE", 0, "is 0: it should be greater than or equal to 1"),
        ("DEFAULT_BATCH_SIZE", 10**9, "less than or equal to 100000"),
        ("DEFAULT_BATCH_SIZE", "5", "is '5': it should be a valid integer"),
        ("DEFAULT_BATCH_SIZE", True, "is True: it should be a valid integer"),
        ("MAX_CONCURRENT_JOBS", 1.5, "is 1.5: it should be a valid integer"),
        ("DEFAULT_RATE_LIMIT", 10**12, "less than or equal to"),
        ("CLEANUP_COMPLETED_AFTER_DAYS", 10**9, "less than or equal to"),
        ("ENABLED", "true", "is 'true': it should be a valid boolean"),
        ("ENABLED", 1, "is 1: it should be a valid boolean"),
        ("SLICE_SECONDS", float("inf"), "is inf"),
        ("LEASE_SECONDS", float("nan"), "is nan"),
        ("RETRY_DELAY_SECONDS", True, "is True: it should be a valid number"),
        ("MAX_FAILURE_RATIO", 1.5, "less than or equal to 1"),
        ("ON_CONFIG_CHANGE", "panic", "it should be 'ignore', 'warn' or 'migrate'"),
        ("DISPATCHER", None, "is None: it should be a valid string"),
        ("ENTITY_CONFIG", 5, "is 5: it is not a valid path"),
        ("EMBEDDERS", None, "is a NoneType: it should be a valid dictionary"),
        ("EMBEDDERS", {"default": "x"}, "['default'] is a str: it should be a valid dictionary"),
        ("EMBEDDERS", {"default": {}}, "['default']['BACKEND'] is missing"),
        ("STORES", {"default": HASH, "": HASH}, "['']: an alias is a name"),
        ("THROTTLE", "a.b", "is a str: it should be a valid list"),
        ("THROTTLE", ["a.b", 5], "[1] is a int: it should be a valid dictionary"),
        ("THROTTLE", [{"OPTIONS": {}}], "[0]['BACKEND'] is missing"),
        ("STORES", {"default": HASH, "a" * 101: HASH}, "an alias is a name"),
        ("STORES", {"default": {**HASH, "OPTIONS": {1: 2}}}, "the name of an option is text"),
    ],
)
def test_a_wrong_value_is_named(key: str, value: object, words: str) -> None:
    [problem] = settings_problems({key: value})
    assert problem.fault is SettingsFault.WRONG_VALUE
    assert problem.message.startswith(f"AI_MIGRATION['{key}']")
    assert words in problem.message
    assert f"AI_MIGRATION['{key}']" in problem.hint


def test_a_number_that_python_does_not_write_is_named() -> None:
    [problem] = settings_problems({"DEFAULT_BATCH_SIZE": 16**10_000})
    assert "is a number of 40,001 bits" in problem.message


def test_each_fault_is_named() -> None:
    problems = settings_problems({"QUEUE_WINDOW": 0, "MAX_ATTEMPTS": 0, "NOPE": 1})
    assert len(problems) == 3


@pytest.mark.parametrize("key", ["EMBEDDERS", "STORES"])
def test_the_alias_default_has_to_be_there(key: str) -> None:
    [problem] = settings_problems({key: {"other": HASH}})
    assert problem.fault is SettingsFault.NO_DEFAULT
    assert key in problem.message


@pytest.mark.parametrize(
    "raw",
    [
        {"EMBEDDERS": SECRET},
        {"EMBEDDERS": {"default": SECRET}},
        {"EMBEDDERS": {"default": {"BACKEND": [SECRET]}}},
        {"EMBEDDERS": {"default": {**HASH, "OPTIONS": SECRET}}},
        {"THROTTLE": SECRET},
        {"THROTTLE": [{"BACKEND": "a.B", "OPTIONS": SECRET}]},
        {"EMBEDDERS": {"default": {**HASH, "OPTIONS": [SECRET], "api_key": SECRET}}},
    ],
)
def test_an_option_is_never_repeated(raw: dict[str, Any]) -> None:
    assert SECRET not in str(settings_problems(raw))
    with override_settings(AI_MIGRATION=raw), pytest.raises(SettingsError) as raised:
        get_settings()
    assert SECRET not in str(raised.value)
    assert SECRET not in str(raised.value.__cause__)


def test_options_are_in_no_repr(settings: Any) -> None:
    settings.AI_MIGRATION = {"STORES": {"default": {**HASH, "OPTIONS": {"password": SECRET}}}}
    assert SECRET not in repr(get_settings())


def test_settings_are_read_at_use() -> None:
    with override_settings(AI_MIGRATION={"QUEUE_WINDOW": 7}):
        assert get_settings().QUEUE_WINDOW == 7
        with override_settings(AI_MIGRATION={"QUEUE_WINDOW": 8}):
            assert get_settings().QUEUE_WINDOW == 8
        assert get_settings().QUEUE_WINDOW == 7


def test_a_change_in_place_is_seen(settings: Any) -> None:
    options = {"dimensions": 8}
    settings.AI_MIGRATION = {"EMBEDDERS": {"default": {**HASH, "OPTIONS": options}}}
    assert get_settings().EMBEDDERS["default"].OPTIONS == {"dimensions": 8}
    assert get_settings() is get_settings()
    options["dimensions"] = 16
    assert get_settings().EMBEDDERS["default"].OPTIONS == {"dimensions": 16}


def test_without_the_setting_the_defaults_hold(settings: Any) -> None:
    del settings.AI_MIGRATION
    assert get_settings() == Settings()


def test_wrong_settings_raise_with_every_fault(settings: Any) -> None:
    settings.AI_MIGRATION = {"QUEUE_WINDOW": 0, "NOPE": 1}
    with pytest.raises(SettingsError, match=r"QUEUE_WINDOW.*NOPE.*Known keys"):
        get_settings()


def test_the_entity_config_is_looked_for_in_base_dir(settings: Any, tmp_path: Path) -> None:
    settings.AI_MIGRATION = {"ENTITY_CONFIG": "a.yml"}
    settings.BASE_DIR = str(tmp_path)
    assert entity_config_path() == tmp_path / "a.yml"
    del settings.BASE_DIR
    assert entity_config_path() == Path("a.yml")
    settings.AI_MIGRATION = {"ENTITY_CONFIG": tmp_path / "b.yml"}
    assert entity_config_path() == tmp_path / "b.yml"
    settings.AI_MIGRATION = {"ENTITY_CONFIG": None}
    assert entity_config_path() is None
