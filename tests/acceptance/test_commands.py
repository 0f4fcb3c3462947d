"""The commands as somebody types them: what they print, what they leave, how they exit."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ai_migration.models import Collection, MigrationJob, QueueEntry
from ai_migration.types import CollectionStatus, EntryStatus, JobStatus
from tests.acceptance.embedders import embedded_texts
from tests.acceptance.index_state import newest_job
from tests.acceptance.victims import TIMEOUT, wait_until
from tests.acceptance.worlds import World, dawdling, write_articles
from tests.commands import ROOT, Manage
from tests.testapp.models import Article, Country

pytestmark = pytest.mark.vendors("sqlite")
MIGRATE = "migrate_ai_entities"
AI = "ai_migration"
POISONED = 9  # of the rows `write_articles` makes, the number of the first that is refused


def ok(manage: Manage, *arguments: str, returncode: int = 0, **options: Any) -> str:
    """Run a command, and return what it printed."""
    done = manage(*arguments, **options)
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == returncode, done.stdout + done.stderr
    return done.stdout


def document(manage: Manage, *arguments: str, **options: Any) -> Any:
    """Run a command with --json, and return the one document it printed."""
    return json.loads(ok(manage, *arguments, "--json", **options))


# From the first run to a search


@pytest.mark.vendors("sqlite", gate=["postgresql"])
def test_rows_are_indexed_and_found(manage: Manage) -> None:
    Country.objects.bulk_create(Country(code=f"C{n}", name=f"Country {n}") for n in range(8))
    output = ok(manage, MIGRATE, "country")
    assert re.search(r"^Job mig-[0-9a-f-]{36}$", output, re.M)
    assert "country: 100 % · 8 of 8" in output
    assert "COMPLETED: 8 indexed of 8" in output
    assert "\x1b" not in output
    hits = document(manage, AI, "search", "country", "name: Country 3", "--limit", "5")
    assert [set(hit) for hit in hits] == [{"id", "score", "metadata", "text"}] * 5
    assert hits[0]["id"] == "C3"
    assert hits[0]["text"] == "name: Country 3"
    assert ok(manage, AI, "search", "country", "name: Country 3").split()[1] == "C3"


def test_the_json_of_a_run_is_as_documented(world: World, manage_here: Manage) -> None:
    write_articles(POISONED + 1)
    run = document(manage_here, MIGRATE, "article", returncode=1, ai_migration=world.settings)
    assert list(run) == [
        *("jobId", "entityType", "status", "progress", "throttle", "tokens", "cost", "errorMessage")
    ]
    assert list(run["progress"]) == [
        *("total", "processed", "indexed", "skipped", "removed", "failed", "percentComplete"),
        *("entitiesPerSecond", "estimatedTimeRemaining", "indexBuild"),
    ]
    assert run["entityType"] == "article"
    assert run["status"] == "COMPLETED"
    assert run["errorMessage"] is None
    counted = {name: run["progress"][name] for name in ("total", "processed", "failed")}
    assert counted == {"total": 10, "processed": 10, "failed": 1}
    assert run["progress"]["percentComplete"] == 100
    assert run["progress"]["estimatedTimeRemaining"] is None

    shown = document(manage_here, AI, "show", run["jobId"])
    assert shown["failures"] == [
        {
            "entityId": str(POISONED + 1),
            "code": "embedder_input",
            "error": "These texts are refused",
            "attempts": 1,
        }
    ]
    assert [event["to"] for event in shown["events"]] == ["PENDING", "RUNNING", "COMPLETED"]
    [listed] = document(manage_here, AI, "jobs", "--type", "article", "--status", "completed")
    assert listed["id"] == run["jobId"]
    assert listed["failedEntities"] == 1


def test_failed_rows_are_listed_and_tried_again(world: World, manage_here: Manage) -> None:
    write_articles(POISONED + 1)
    output = ok(manage_here, MIGRATE, "article", returncode=1, ai_migration=world.settings)
    job = newest_job("article")
    assert f"See what failed: manage.py ai_migration show {job.pk}" in output
    shown = ok(manage_here, AI, "show", job.pk)
    assert "embedder_input" in shown
    assert "These texts are refused" in shown
    Article.objects.filter(pk=POISONED + 1).update(body="Harmless now.")
    output = ok(manage_here, AI, "retry-failed", job.pk, ai_migration=world.settings)
    assert f"--resume {job.pk}" in output
    output = ok(manage_here, MIGRATE, "--resume", job.pk, ai_migration=world.settings)
    assert "COMPLETED: 9 indexed, 1 skipped of 10" in output
    assert "See what failed" not in output


@pytest.mark.gate
def test_options_choose_what_is_indexed(world: World, manage_here: Manage) -> None:
    write_articles(6)
    Article.objects.filter(pk__in=[1, 2]).update(status="draft", created_at="2020-01-01T00:00Z")
    settings = world.settings

    def indexed(*options: str) -> int:
        run = document(manage_here, MIGRATE, "article", *options, ai_migration=settings)
        return int(run["progress"]["indexed"])

    assert indexed("--ids", "1", "3") == 2
    assert indexed("--filter", "status=draft", "--filter", "price__isnull=true") == 1
    assert indexed("--created-before", "2021-01-01", "--reindex-existing") == 2
    assert indexed("--created-after", "2021-01-01", "--mode", "missing") == 3
    assert indexed("--mode", "all", "--batch-size", "2", "--rate-limit", "6000") == 6
    assert indexed() == 0
    assert embedded_texts(world.log) == 2 + 1 + 2 + 3 + 6 + 2  # one row has two chunks, twice


def test_a_dry_run_starts_nothing(world: World, manage_here: Manage) -> None:
    write_articles(6)
    output = ok(manage_here, MIGRATE, "article", "--dry-run", ai_migration=world.settings)
    assert "article: 6 rows match. Nothing was started." in output
    plan = document(manage_here, MIGRATE, "article", "--dry-run", ai_migration=world.settings)
    assert (plan["entityType"], plan["total"], plan["toEmbed"]) == ("article", 6, 6)
    assert plan["rebuildRequired"] is None
    assert not MigrationJob.objects.exists()
    assert not Collection.objects.exists()
    assert embedded_texts(world.log) == 0


def test_a_rebuild_fills_a_fresh_collection(world: World, manage_here: Manage) -> None:
    write_articles(4)
    ok(manage_here, MIGRATE, "article", ai_migration=world.settings)
    ok(manage_here, MIGRATE, "article", "--rebuild", "--noinput", ai_migration=world.settings)
    statuses = Collection.objects.order_by("pk").values_list("status", flat=True)
    assert list(statuses) == [CollectionStatus.RETIRED, CollectionStatus.ACTIVE]
    # Another model: refused, and it says how to go on.
    options = {**world.settings["EMBEDDERS"]["default"]["OPTIONS"], "dimensions": 4}
    embedder = {**world.settings["EMBEDDERS"]["default"], "OPTIONS": options}
    settings = {**world.settings, "EMBEDDERS": {"default": embedder}}
    done = manage_here(MIGRATE, "article", ai_migration=settings)
    assert done.returncode == 1
    assert "manage.py migrate_ai_entities article --rebuild" in done.stderr
    ok(manage_here, MIGRATE, "article", "--rebuild", "--noinput", ai_migration=settings)


def test_all_indexes_every_entity_type_of_this_project(manage_here: Manage) -> None:
    Country.objects.create(code="AT", name="Austria")
    runs = document(manage_here, MIGRATE, "--all")
    types = [run["entityType"] for run in runs]
    assert {"article", "country", "tenant-note", "archive"} <= set(types)
    assert "elsewhere" not in types
    assert {run["status"] for run in runs} == {"COMPLETED"}
    described = {item["entityType"]: item for item in document(manage_here, AI, "entities")}
    assert described["country"]["indexed"] == 1
    assert "country" in ok(manage_here, AI, "entities")


def test_one_type_that_cannot_start_leaves_the_others_alone(manage_here: Manage) -> None:
    ok(manage_here, MIGRATE, "article", "--detach")
    done = manage_here(MIGRATE, "article", "country")
    assert done.returncode == 1
    assert "already writes the index of 'article'" in done.stderr
    assert newest_job("country").status == JobStatus.COMPLETED


def test_the_schema_is_json(manage_here: Manage) -> None:
    schema = json.loads(ok(manage_here, AI, "entities", "--schema"))
    assert "ai-entities" in schema["properties"]


def test_an_empty_project_says_what_to_do_first(manage_here: Manage) -> None:
    assert "No jobs. Start one with: manage.py migrate_ai_entities TYPE" in ok(
        manage_here, AI, "jobs"
    )
    assert document(manage_here, AI, "jobs") == []
    assert "No such jobs" in ok(manage_here, AI, "jobs", "--status", "failed")


# Detached


def test_a_detached_job_is_done_by_a_worker(world: World, manage_here: Manage) -> None:
    write_articles(30)
    output = ok(manage_here, MIGRATE, "article", "--detach", ai_migration=world.settings)
    assert "RUNNING" in output
    assert "manage.py ai_migration worker" in output
    job = newest_job("article")
    assert embedded_texts(world.log) == 0
    output = ok(manage_here, AI, "worker", "--until-idle", ai_migration=world.settings)
    assert re.search(r"Stopped after \d+ batch", output)
    job.refresh_from_db()
    assert job.status == JobStatus.COMPLETED
    output = ok(manage_here, AI, "watch", job.pk, returncode=1)  # one row failed
    assert "COMPLETED" in output


def test_jobs_are_steered_from_another_terminal(manage_here: Manage) -> None:
    Country.objects.create(code="AT", name="Austria")
    job_id = document(manage_here, MIGRATE, "country", "--detach")["jobId"]
    assert f"{job_id} PAUSED" in ok(manage_here, AI, "pause", job_id)
    assert f"{job_id} PAUSED" in ok(manage_here, AI, "pause", job_id)  # it is: nothing to do
    assert document(manage_here, AI, "resume", job_id)["status"] == "RUNNING"
    assert f"{job_id} CANCELLED" in ok(manage_here, AI, "cancel", job_id)
    done = manage_here(AI, "resume", job_id)
    assert done.returncode == 1
    assert f"{job_id} is CANCELLED: it cannot become RUNNING" in done.stderr
    reasons = [event["to"] for event in document(manage_here, AI, "show", job_id)["events"]]
    assert reasons == ["PENDING", "RUNNING", "PAUSED", "RUNNING", "CANCELLED"]


@pytest.mark.gate
def test_supervise_recovers_what_a_dead_worker_left(
    world: World, manage: Manage, manage_here: Manage
) -> None:
    write_articles(40)
    slow = dawdling(world, TIMEOUT)
    ok(manage_here, MIGRATE, "article", "--detach", ai_migration=slow.settings)
    claimed = QueueEntry.objects.filter(status=EntryStatus.CLAIMED)
    with manage.started(AI, "worker", ai_migration=slow.settings) as process:
        wait_until(claimed.exists, "the worker claims")
        process.kill()
        process.wait()
    report = document(manage_here, AI, "supervise", ai_migration=slow.settings)
    assert report["recovered"] >= 1
    assert not claimed.exists()
    output = ok(manage_here, AI, "supervise", ai_migration=slow.settings)
    assert output.startswith("Requeued 0 entries of dead workers")


# Interrupted


@contextmanager
def working(
    world: World, manage: Manage, seconds: float, *arguments: str
) -> Iterator[subprocess.Popen[str]]:
    """A migration of 200 articles in the middle of its work."""
    write_articles(200)
    settings = dawdling(world, seconds).settings
    command = (MIGRATE, "article", "--batch-size", "10", *arguments)
    with manage.started(*command, ai_migration=settings) as process:
        wait_until(
            QueueEntry.objects.filter(
                status=EntryStatus.COMPLETED if seconds < 1 else EntryStatus.CLAIMED
            ).exists,
            "it works",
        )
        yield process


def ended(process: subprocess.Popen[str]) -> str:
    """What a process printed to its end."""
    output, _ = process.communicate(timeout=TIMEOUT)
    assert "Traceback" not in output
    return output


@pytest.mark.gate
@pytest.mark.parametrize(
    ("sent", "returncode"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.gate)],
    ids=["INT", "TERM"],
)
def test_a_signal_pauses_and_says_how_to_go_on(
    world: World, manage: Manage, sent: signal.Signals, returncode: int
) -> None:
    with working(world, manage, 0.05) as process:
        process.send_signal(sent)
        output = ended(process)
    assert process.returncode == returncode
    job = newest_job("article")
    assert job.status == JobStatus.PAUSED
    assert not QueueEntry.objects.filter(status=EntryStatus.CLAIMED).exists()
    assert 0 < job.processed_entities < 200
    assert job.events.latest("id").reason in ("stopped with Ctrl-C", "its process was asked to end")
    assert f"{job.pk} PAUSED: " in output
    said = re.search(r"Resume with: (.+)", output)
    assert said is not None
    python, *words = shlex.split(said[1])
    assert words[:2] == ["-m", "django"]  # as the test called it
    # As the shell finds it: by its name where that will do, else from the test's directory.
    assert (ROOT / (shutil.which(python) or python)).samefile(sys.executable)
    output = ok(manage, *words[2:], returncode=1, ai_migration=world.settings)
    assert "COMPLETED" in output
    job.refresh_from_db()
    assert job.processed_entities == job.total_entities == 200
    # Nothing was paid twice: a pause waits for what is in flight. Only the other chunks of
    # the two rows that were refused are not in the index.
    assert embedded_texts(world.log) - job.embedded_texts <= 2 * 3


@pytest.mark.gate
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_ctrl_c_twice_stops_at_once(world: World, manage: Manage, as_json: bool) -> None:
    """Even while a request hangs; what was claimed is claimed again by the next run."""
    with working(world, manage, 600, *["--json"] * as_json) as process:
        job = newest_job("article")
        process.send_signal(signal.SIGINT)
        wait_until(lambda: newest_job("article").status == JobStatus.PAUSED, "it pauses")
        process.send_signal(signal.SIGINT)
        output = ended(process)
    assert process.returncode == 130
    assert "Stopped at once" in output
    assert f"-m django migrate_ai_entities --resume {job.pk}" in output
    ok(manage, MIGRATE, "--resume", job.pk, returncode=1, ai_migration=world.settings)
    assert newest_job("article").processed_entities == 200


@pytest.mark.gate
def test_a_pause_from_elsewhere_ends_the_foreground(world: World, manage: Manage) -> None:
    with working(world, manage, 0.4) as process:
        job = newest_job("article")
        ok(manage, AI, "pause", job.pk)
        output = ended(process)
    assert process.returncode == 1
    assert f"{job.pk} PAUSED" in output
    assert "Resume with" in output


@pytest.mark.gate
def test_a_worker_stops_after_the_batch_in_flight(world: World, manage: Manage) -> None:
    write_articles(100)
    settings = dawdling(world, 0.05).settings
    ok(manage, MIGRATE, "article", "--batch-size", "5", "--detach", ai_migration=settings)
    with manage.started(AI, "worker", ai_migration=settings) as process:
        wait_until(QueueEntry.objects.filter(status=EntryStatus.COMPLETED).exists, "it works")
        process.send_signal(signal.SIGTERM)
        output = ended(process)
    assert process.returncode == 0
    assert re.search(r"Stopped after \d+ batch", output)
    assert newest_job("article").status == JobStatus.RUNNING
    assert not QueueEntry.objects.filter(status=EntryStatus.CLAIMED).exists()


def test_an_embedder_that_fails_for_good_fails_the_job(world: World, manage_here: Manage) -> None:
    write_articles(5)
    embedder = world.settings["EMBEDDERS"]["default"]
    options = {**embedder["OPTIONS"], "fatal": True}
    settings = {**world.settings, "EMBEDDERS": {"default": {**embedder, "OPTIONS": options}}}
    output = ok(manage_here, MIGRATE, "article", returncode=1, ai_migration=settings)
    job = newest_job("article")
    assert f"{job.pk} FAILED" in output
    assert "The key is wrong" in output
    assert f"Remove the cause, then: manage.py migrate_ai_entities --resume {job.pk}" in output
    ok(manage_here, MIGRATE, "--resume", job.pk, ai_migration=world.settings)


# On a terminal


def in_terminal(world: World, settings: dict[str, Any], *arguments: str) -> tuple[int, str]:
    """Run a command on a terminal of 100 columns; its exit code and all it drew."""
    ours, theirs = pty.openpty()
    environment = {**world.database.environ(**settings), "COLUMNS": "100", "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-m", "django", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        watchdog = threading.Timer(TIMEOUT, process.kill)
        watchdog.start()
        drawn = b""
        while True:
            try:
                drawn += os.read(ours, 65_536)
            except OSError:  # the other end is closed
                break
        watchdog.cancel()
        os.close(ours)
    return process.returncode, drawn.decode()


@pytest.mark.gate
def test_a_bar_is_drawn_in_place_on_a_terminal(world: World, tmp_path: Path) -> None:
    write_articles(120)
    settings = dawdling(world, 0.05).settings
    returncode, drawn = in_terminal(world, settings, MIGRATE, "article", "--batch-size", "10")
    assert returncode == 1  # two rows failed
    assert "━" in drawn
    assert "left" in drawn
    assert "120 of 120 · 2 failed" in drawn
    assert len(drawn.splitlines()) < 40  # in place, not down the screen
    assert drawn.count("\x1b[?25l") == drawn.count("\x1b[?25h") == 1  # the cursor is back
