"""Whatever a new user gets wrong has a clear answer, an exit code, and no traceback."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from django.db import connection

from tests.commands import Manage
from tests.databases import Databases, FreshDatabase, _connected

MIGRATE = "migrate_ai_entities"
AI = "ai_migration"

WRONG: dict[str, tuple[list[str], list[str]]] = {
    "unknown type": ([MIGRATE, "artikle"], ["Unknown entity type 'artikle'", "'article'?"]),
    "one of two unknown": ([MIGRATE, "article", "nope"], ["Unknown entity type 'nope'"]),
    "no type": ([MIGRATE], ["Name an entity type", "article", "tenant-note"]),
    "types and all": ([MIGRATE, "article", "--all"], ["not both"]),
    "batch size 0": ([MIGRATE, "article", "--batch-size", "0"], ["batch_size", "'0'"]),
    "batch size -1": ([MIGRATE, "article", "--batch-size", "-1"], ["batch_size", "'-1'"]),
    "batch size 10^9": ([MIGRATE, "article", "--batch-size", f"{10**9}"], ["batch_size"]),
    "batch size in words": ([MIGRATE, "article", "--batch-size", "many"], ["invalid int value"]),
    "rate limit 0": ([MIGRATE, "article", "--rate-limit", "0"], ["rate_limit"]),
    "mode": ([MIGRATE, "article", "--mode", "some"], ["invalid choice: 'some'"]),
    "a date": ([MIGRATE, "article", "--created-before", "soon"], ["'soon' is not a date"]),
    "a date that is none": ([MIGRATE, "article", "--created-after", "2024-02-31"], ["not a date"]),
    "a filter without =": ([MIGRATE, "article", "--filter", "status"], ["name=value"]),
    "a filter not allowed": (
        [MIGRATE, "article", "--filter", "title=x"],
        ["cannot be filtered by 'title'", "category__slug"],
    ),
    "a filter's value": ([MIGRATE, "article", "--filter", "price=cheap"], ["price=", "cheap"]),
    "an id": ([MIGRATE, "article", "--ids", "7", "seven"], ["seven"]),
    "a filter on a rebuild": (
        [MIGRATE, "article", "--rebuild", "--noinput", "--ids", "7"],
        ["takes no filters"],
    ),
    "an option": ([MIGRATE, "article", "--fast"], ["unrecognized arguments: --fast"]),
    "resume nothing": ([MIGRATE, "--resume", "mig-f"], ["No job has the id 'mig-f'"]),
    "resume a type": ([MIGRATE, "article", "--resume", "mig-f"], ["takes no entity types"]),
    "show": ([AI, "show", "mig-f"], ["No job has the id 'mig-f'", "ai_migration jobs"]),
    "pause": ([AI, "pause", "mig-f"], ["No job has the id 'mig-f'"]),
    "resume": ([AI, "resume", "mig-f"], ["No job has the id 'mig-f'"]),
    "cancel": ([AI, "cancel", "mig-f"], ["No job has the id 'mig-f'"]),
    "retry-failed": ([AI, "retry-failed", "mig-f"], ["No job has the id 'mig-f'"]),
    "watch": ([AI, "watch", "mig-f"], ["No job has the id 'mig-f'"]),
    "no action": ([AI], ["ACTION"]),
    "an action": ([AI, "restart"], ["invalid choice: 'restart'"]),
    "a status": ([AI, "jobs", "--status", "odd"], ["Unknown status 'ODD'", "RUNNING"]),
    "jobs --limit": ([AI, "jobs", "--limit", "0"], ["whole number of 1 or more"]),
    "search --limit": ([AI, "search", "article", "x", "--limit", "-3"], ["whole number"]),
    "search for nothing": ([AI, "search", "article", " "], ["empty"]),
    "search an unknown type": ([AI, "search", "artikle", "x"], ["Unknown entity type"]),
}

FAILING: dict[str, tuple[list[str], list[str]]] = {
    "no model": ([MIGRATE, "elsewhere"], ["elsewhere", "model"]),
    "search what was never indexed": ([AI, "search", "article", "x"], ["article", MIGRATE]),
}


def assert_answer(done: CompletedProcess[str], returncode: int, words: list[str]) -> None:
    output = done.stdout + done.stderr
    assert "Traceback" not in output, output
    assert done.returncode == returncode, output
    for word in words:
        assert word in output, output


@pytest.mark.vendors("sqlite")
@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage_is_exit_2(manage_here: Manage, case: str) -> None:
    arguments, words = WRONG[case]
    done = manage_here(*arguments)
    assert_answer(done, 2, words)
    assert not done.stdout


@pytest.mark.vendors("sqlite")
@pytest.mark.parametrize("case", FAILING)
def test_what_cannot_be_done_is_exit_1(manage_here: Manage, case: str) -> None:
    arguments, words = FAILING[case]
    assert_answer(manage_here(*arguments), 1, words)


@pytest.mark.vendors("sqlite")
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("case", ["unknown type", pytest.param("no model", marks=pytest.mark.gate)])
def test_a_process_of_its_own_says_the_same(
    manage: Manage, manage_here: Manage, case: str, options: list[str]
) -> None:
    arguments = (WRONG | FAILING)[case][0] + options
    apart, here = manage(*arguments), manage_here(*arguments)
    assert apart.returncode == here.returncode
    assert (apart.stdout, apart.stderr) == (here.stdout, here.stderr)


@pytest.mark.vendors("sqlite")
@pytest.mark.parametrize("case", ["unknown type", "show", "a filter not allowed"])
def test_an_error_is_a_json_document_too(manage_here: Manage, case: str) -> None:
    arguments, words = WRONG[case]
    done = manage_here(*arguments, "--json")
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert set(error) == {"code", "message", "field"}
    assert words[0] in error["message"]
    assert not done.stderr


@pytest.mark.vendors("sqlite")
def test_a_typo_in_the_config_is_named_with_file_and_line(
    manage_here: Manage, tmp_path: Path
) -> None:
    config = tmp_path / "entities.yml"
    config.write_text(
        "ai-entities:\n  article:\n    model: testapp.Article\n    embedable-fields: [title]\n"
    )
    for arguments in ([MIGRATE, "article"], [AI, "entities"], [AI, "worker", "--until-idle"]):
        done = manage_here(*arguments, ai_migration={"ENTITY_CONFIG": str(config)})
        words = [f"{config}:4", "embedable-fields", "embeddable-fields"]
        assert_answer(done, 1, words)


@pytest.mark.vendors("sqlite")
def test_a_wrong_setting_is_named(manage_here: Manage) -> None:
    done = manage_here(MIGRATE, "article", ai_migration={"EMBEDERS": {}})
    assert_answer(done, 1, ["EMBEDERS", "'EMBEDDERS'"])
    done = manage_here(
        MIGRATE, "article", ai_migration={"STORES": {"default": {"BACKEND": "no.such"}}}
    )
    assert_answer(done, 1, ["no.such"])


@pytest.mark.vendors("sqlite", "postgresql")
def test_without_our_tables_every_command_says_migrate(
    database: FreshDatabase, databases: Databases, manage_here: Manage, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'empty.sqlite3'}"
    if database.vendor == "postgresql":
        url = databases.postgres.create("empty")
    try:
        with _connected(url, database.other_url):
            for arguments in (
                [MIGRATE, "country"],
                [MIGRATE, "country", "--dry-run"],
                [AI, "jobs"],
                [AI, "show", "mig-f"],
                [AI, "search", "country", "x"],
                [AI, "worker", "--until-idle"],
                [AI, "supervise"],
                [AI, "doctor"],
                [AI, "doctor", "--heartbeat", "worker"],
            ):
                assert_answer(manage_here(*arguments), 1, ["manage.py migrate"])
    finally:
        if database.vendor == "postgresql":
            databases.postgres.drop("empty")


def test_without_the_model_s_table_it_says_migrate(manage_here: Manage) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE testapp_country")
    for options in ([], ["--dry-run"]):
        assert_answer(manage_here(MIGRATE, "country", *options), 1, ["testapp.Country", "migrate"])
