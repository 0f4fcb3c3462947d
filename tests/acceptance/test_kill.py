"""kill -9 at random instants of real commands, many times, and what recovery makes of it."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db import connections, transaction

from ai_migration.indexing.queue import enqueue
from ai_migration.models import MigrationJob, QueueEntry, WorkerSlot
from ai_migration.types import EntryStatus, JobStatus
from tests.acceptance.embedders import embedded_texts
from tests.acceptance.index_state import IndexState, index_state, newest_job, unsettled
from tests.acceptance.victims import wait_until
from tests.acceptance.worlds import World, dawdling, fields_of, write_articles
from tests.commands import Manage
from tests.testapp.models import Article

BATCH = 20
START: dict[str, Any] = {"entity_type": "article", "batch_size": BATCH}
COMMAND = ("migrate_ai_entities", "article", "--batch-size", str(BATCH), "--noinput")
WORKER = ("ai_migration", "worker")


def kill_once(
    world: World, manage: Manage, rng: random.Random, meanwhile: Callable[[], None]
) -> int:
    """Start a command on the job there is, or on a new one, and kill it at some instant.

    Returns:
        How many batches it had in flight.
    """
    job = MigrationJob.objects.order_by("-pk").first()
    resume = ("migrate_ai_entities", "--resume", job.pk) if job else COMMAND
    command = rng.choice([resume, WORKER]) if job else COMMAND
    before = embedded_texts(world.log)
    with manage.watched(*command, ai_migration=world.settings) as process:
        if rng.random() < 0.25:  # while it starts, or soon afterwards
            time.sleep(rng.uniform(0.2, 1.2))
        else:
            enough = before + rng.randrange(1, 250)

            def is_time() -> bool:
                meanwhile()
                if embedded_texts(world.log) >= enough or process.poll() is not None:
                    return True
                return job is not None and newest_job("article").is_finished

            wait_until(is_time, "the command works")
            time.sleep(rng.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.wait()
    return QueueEntry.objects.filter(status=EntryStatus.CLAIMED).count()


def recovered(world: World, manage: Manage) -> IndexState:
    """Let a worker finish what there is, and say what came of it."""
    job = newest_job("article")
    done = manage("migrate_ai_entities", "--resume", job.pk, ai_migration=world.settings)
    assert done.returncode in (0, 1), done.stderr
    rest = manage(*WORKER, "--until-idle", ai_migration=world.settings)
    assert rest.returncode == 0, rest.stderr
    for output in (done.stdout, done.stderr, rest.stdout, rest.stderr):
        assert "Traceback" not in output
    problems = unsettled("article")
    assert not problems, problems
    return index_state("article")


def kill_many_times(world: World, manage: Manage, seed: int, *, rows: int, kills: int) -> None:
    rng = random.Random(seed)
    write_articles(rows)
    control = world.control(START)
    paid = embedded_texts(world.log)
    world.log.write_text("")
    slow = dawdling(world, 0.02)
    in_flight = sum(kill_once(slow, manage, rng, lambda: None) for _ in range(kills))
    if not MigrationJob.objects.exists():
        manage(*COMMAND, "--detach", ai_migration=slow.settings)
    state = recovered(world, manage)
    assert not state.differences(control)
    most = max(chunks for _, _, chunks in control.ledger.values())
    assert embedded_texts(world.log) - paid <= in_flight * BATCH * most


@pytest.mark.gate
def test_kills_at_random_instants_change_nothing(world: World, manage: Manage) -> None:
    kill_many_times(world, manage, 1, rows=1200, kills=7)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 15))
def test_many_kills_at_random_instants_change_nothing(
    world: World, manage: Manage, seed: int
) -> None:
    kill_many_times(world, manage, seed, rows=6000, kills=40)


class Editor:
    """Changes rows as an application does: the row and the queue in one transaction."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._keys = list(Article.objects.values_list("pk", flat=True))
        self._version = 0
        # A row that is refused keeps the vectors it had; a fresh index has none of it.
        self._numbers = [n for n in range(2000) if "poison" not in fields_of(n)["body"]]

    def edit(self) -> None:
        """One change: mostly to a row that is there."""
        self._version += 1
        with transaction.atomic():
            what = self._rng.random()
            if what < 0.15:
                key = Article.objects.create(**fields_of(self._rng.choice(self._numbers))).pk
                self._keys.append(key)
            elif what < 0.3:
                key = self._keys.pop(self._rng.randrange(len(self._keys)))
                Article.objects.filter(pk=key).delete()
            else:
                key = self._rng.choice(self._keys)
                fields = fields_of(self._rng.choice(self._numbers), self._version)
                Article.objects.filter(pk=key).update(**fields)
            enqueue("article", [key])


def kill_among_live_changes(
    world: World, manage: Manage, seed: int, *, rows: int, kills: int
) -> None:
    """Two workers on one job, one of them killed again and again, beside live traffic."""
    rng = random.Random(seed)
    write_articles(rows)
    editor = Editor(rng)
    slow = dawdling(world, 0.02)
    manage(*COMMAND, "--detach", ai_migration=slow.settings)
    with manage.watched(*WORKER, ai_migration=slow.settings):
        for _ in range(kills):
            kill_once(slow, manage, rng, editor.edit)
    state = recovered(world, manage)
    control = world.control(START, afresh=True)
    only_index: dict[str, Any] = {"counters": {}, "failures": {}}
    assert not replace(state, **only_index).differences(replace(control, **only_index))


@pytest.mark.gate
def test_live_changes_among_two_workers_and_kills_are_all_there(
    world: World, manage: Manage
) -> None:
    kill_among_live_changes(world, manage, 2, rows=700, kills=5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 25))
def test_many_kills_among_live_changes(world: World, manage: Manage, seed: int) -> None:
    kill_among_live_changes(world, manage, seed, rows=5000, kills=30)


@pytest.mark.gate
@pytest.mark.parametrize("command", [COMMAND, WORKER], ids=["foreground", "worker"])
@pytest.mark.vendors("postgresql", "mysql")
def test_a_restart_of_the_database_is_survived(
    world: World, manage: Manage, command: tuple[str, ...]
) -> None:
    """The server crashes in the middle; the same process goes on and finishes."""
    write_articles(400)
    control = world.control(START)
    world.log.write_text("")
    slow = dawdling(world, 0.05)
    if command is WORKER:
        manage(*COMMAND, "--detach", ai_migration=slow.settings)
    with manage.watched(*command, ai_migration=slow.settings) as process:
        wait_until(lambda: embedded_texts(world.log) > 100, "the worker works")
        connections.close_all()
        world.databases.server(world.database.vendor).restart()
        wait_until(lambda: newest_job("article").status == JobStatus.COMPLETED, "the job ends")
        if command is WORKER:
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
        wait_until(lambda: process.poll() is not None, "the end of the process")
    assert process.returncode == (0 if command is WORKER else 1)  # some rows are refused
    problems = unsettled("article") + index_state("article").differences(control)
    assert not problems, problems


@pytest.mark.vendors("sqlite")
def test_a_test_that_fails_shows_where_its_command_stood(
    world: World, manage: Manage, capfd: pytest.CaptureFixture[str]
) -> None:
    def wait_in_vain() -> None:
        with manage.watched(*WORKER, ai_migration=world.settings):
            wait_until(WorkerSlot.objects.exclude(holder="").exists, "it works")
            pytest.fail("it does not end")

    with pytest.raises(pytest.fail.Exception):
        wait_in_vain()
    shown = capfd.readouterr().out
    assert "Working. Ctrl-C stops" in shown
    assert "in run_worker" in shown
