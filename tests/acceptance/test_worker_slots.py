"""``ai_migration worker --slots N``: several processes without a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace

import psutil
import pytest
from django.db import connections

from ai_migration.embedders.hash import HashEmbedder
from ai_migration.engine.upkeep.quarantine import WORKER_DIED
from ai_migration.models import EntityFailure, MigrationJob, QueueEntry, WorkerSlot
from ai_migration.types import JobStatus, Vectors
from tests.acceptance.index_state import index_state, unsettled
from tests.acceptance.victims import TIMEOUT, wait_until
from tests.acceptance.worlds import World, dawdling, write_articles
from tests.commands import Manage
from tests.testapp.models import Article

pytestmark = [
    pytest.mark.gate,
    pytest.mark.vendors("sqlite", "postgresql"),
]

ROWS = 120


class DeadlyEmbedder(HashEmbedder):
    """Some texts make it crash, as a fault in a library does."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        if any("deadly" in text for text in texts):
            os._exit(139)
        return super().embed(texts)


@pytest.fixture
def slow(world: World, manage: Manage) -> World:
    """A world with a job that takes a while."""
    write_articles(ROWS)
    made = dawdling(world, 0.3)
    arguments = ("migrate_ai_entities", "article", "--detach", "--batch-size", "10")
    assert manage(*arguments, ai_migration=made.settings).returncode == 0
    return made


@pytest.fixture
def workers(slow: World, manage: Manage) -> Iterator[subprocess.Popen[str]]:
    """Three processes that work for it."""
    with manage.started(
        "ai_migration", "worker", "--slots", "3", ai_migration=slow.settings
    ) as process:
        wait_until(lambda: len(held()) == 3, "three slots are held")
        yield process


def held() -> list[int]:
    """The processes that hold a slot."""
    holders = WorkerSlot.objects.exclude(holder="").values_list("holder", flat=True)
    return [int(holder.rpartition(":")[2]) for holder in holders]


def status() -> str:
    return MigrationJob.objects.get().status


def assert_in_line(world: World) -> None:
    assert not unsettled("article")
    assert index_state("article") == world.control({"entity_type": "article"}, afresh=True)


def test_until_idle_they_do_it_all_and_say_how_much(slow: World, manage: Manage) -> None:
    done = manage(
        "ai_migration", "worker", "--slots", "3", "--until-idle", ai_migration=slow.settings
    )
    assert done.returncode == 0, done.stdout + done.stderr
    batches = int(done.stdout.split("Stopped after ")[1].split()[0])
    assert batches >= ROWS // 10
    assert WorkerSlot.objects.filter(name="worker-2").exists()
    assert status() == JobStatus.COMPLETED
    assert_in_line(slow)


def test_one_that_dies_is_started_again(workers: subprocess.Popen[str], slow: World) -> None:
    (victim, *others) = held()
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in held() and len(held()) == 3, "another one in its place")
    assert set(others) < set(held())
    wait_until(lambda: status() == JobStatus.COMPLETED, "the end of the job")
    workers.terminate()
    workers.communicate(timeout=TIMEOUT)
    assert_in_line(slow)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_them_all_and_gives_all_back(
    workers: subprocess.Popen[str], slow: World, number: signal.Signals
) -> None:
    children = psutil.Process(workers.pid).children()
    if number == signal.SIGINT:  # as a terminal does
        for child in children:
            child.send_signal(number)
    workers.send_signal(number)
    output, _ = workers.communicate(timeout=TIMEOUT)
    assert workers.returncode == 0, output
    assert "Stopped after" in output
    assert "Traceback" not in output
    assert not held()
    assert not QueueEntry.objects.filter(status="CLAIMED").exists()
    assert status() == JobStatus.RUNNING


def test_they_do_not_outlive_the_one_that_started_them(
    workers: subprocess.Popen[str], slow: World
) -> None:
    children = psutil.Process(workers.pid).children()
    workers.kill()
    wait_until(lambda: not held(), "all slots are given back")
    psutil.wait_procs(children, timeout=TIMEOUT)
    assert not any(child.is_running() for child in children)


def test_they_end_when_it_was_gone_before_they_began(slow: World, manage: Manage) -> None:
    command = ("ai_migration", "worker", "--slots", "2")
    with manage.watched(*command, ai_migration=slow.settings) as process:
        main = psutil.Process(process.pid)
        wait_until(lambda: len(spawned(main)) == 2, "two processes")
        children = spawned(main)
        process.kill()
        assert not held(), "they have not begun"
    _, alive = psutil.wait_procs(children, timeout=TIMEOUT)
    assert not alive


def spawned(main: psutil.Process) -> list[psutil.Process]:
    return [child for child in main.children() if "spawn_main" in " ".join(child.cmdline())]


def test_a_row_that_kills_its_process_costs_itself(world: World, manage: Manage) -> None:
    backend = f"{__name__}.DeadlyEmbedder"
    settings = {"EMBEDDERS": {"default": {"BACKEND": backend}}, "MAX_CRASHES": 2}
    deadly = replace(world, settings={**world.settings, **settings})
    Article.objects.bulk_create(Article(title=f"Row {i}", body="Good.") for i in range(40))
    victim = Article.objects.order_by("pk")[17]
    Article.objects.filter(pk=victim.pk).update(body="deadly")
    arguments = ("migrate_ai_entities", "article", "--detach", "--batch-size", "8")
    assert manage(*arguments, ai_migration=deadly.settings).returncode == 0
    with manage.watched("ai_migration", "worker", "--slots", "2", ai_migration=deadly.settings):
        wait_until(lambda: status() == JobStatus.COMPLETED, "the end of the job")
    connections.close_all()
    (failure,) = EntityFailure.objects.all()
    assert (failure.entity_id, failure.error_code) == (str(victim.pk), WORKER_DIED)
    job = MigrationJob.objects.get()
    assert (job.indexed_entities, job.failed_entities, job.processed_entities) == (39, 1, 40)
