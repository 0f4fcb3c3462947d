"""kill -9 between any two statements: recovery makes what a control run makes."""

from __future__ import annotations

import itertools
import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ai_migration.indexing.queue import enqueue
from ai_migration.models import MigrationJob, QueueEntry, WorkerSlot
from ai_migration.models.sql.clock import Now
from ai_migration.types import EntryStatus
from tests.acceptance import victims
from tests.acceptance.embedders import embedded_texts
from tests.acceptance.index_state import IndexState, index_state, unsettled
from tests.acceptance.stores import ElsewhereStore
from tests.acceptance.victims import Orders
from tests.acceptance.worlds import World, fields_of, write_articles
from tests.testapp.models import Article

in_short = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])
"""Enough on one database, except in the gate."""

BATCH = 4
START: dict[str, Any] = {"entity_type": "article", "batch_size": BATCH}
REBUILD = {**START, "rebuild": True}


def first_run(world: World) -> dict[str, Any]:
    """Rows that were never indexed."""
    write_articles(12)
    return START


def change(world: World) -> dict[str, Any]:
    """An index, and rows that differ from it in every way there is."""
    write_articles(14)
    world.finish(START)
    edit_articles()
    return START


def edit_articles() -> None:
    """Change 14 rows."""
    rows = list(Article.objects.order_by("pk"))
    for number in (1, 4, 7):  # another text; fewer chunks; no text until now
        Article.objects.filter(pk=rows[number].pk).update(**fields_of(4 if number == 4 else 1, 1))
    Article.objects.filter(pk=rows[2].pk).update(status="draft")
    Article.objects.filter(pk=rows[3].pk).update(title="", body="")
    Article.objects.filter(pk=rows[5].pk).update(body="poison from now on")
    Article.objects.filter(pk__in=[rows[6].pk, rows[13].pk]).delete()
    Article.objects.create(**fields_of(20))


def rebuild(world: World) -> dict[str, Any]:
    """The same, into a new collection that becomes ACTIVE at the end."""
    change(world)
    return REBUILD


SCENES = {scene.__name__: scene for scene in (first_run, change, rebuild)}


def points_of(world: World, start: dict[str, Any] | None, tmp_path: Path) -> list[str]:
    """The instants an undisturbed run goes through."""
    with world.copy() as copied:
        copied.finish(start, listing=tmp_path / "listing")
    return (tmp_path / "listing").read_text().splitlines()


def one_of_each(*places: str) -> Callable[[list[str]], list[int]]:
    """The numbers of instants of every kind in these places: where there are several of a
    kind, one in the middle of the work."""

    def choose(points: list[str]) -> list[int]:
        kinds: dict[str, list[int]] = {}
        for number, point in enumerate(points, 1):
            if point.partition(":")[0] in places:
                kinds.setdefault(re.sub(r'"s\d+_x\d+"', "", point)[:70], []).append(number)
        assert len(kinds) >= 10
        return sorted(numbers[len(numbers) // 2] for numbers in kinds.values())

    return choose


def every_one(points: list[str]) -> Iterable[int]:
    """The numbers of all instants."""
    return range(1, len(points) + 1)


def crash_and_recover(
    world: World,
    start: dict[str, Any] | None,
    control: IndexState,
    *,
    paid: int,
    crash_at: int,
    fault: str = "",
) -> list[str]:
    """Kill a process at an instant, recover with another, and compare.

    Returns:
        What is wrong afterwards.
    """
    with world.copy() as copied:
        jobs = MigrationJob.objects.count()
        world.log.write_text("")
        code = victims.run(copied.orders(start=start, crash_at=crash_at, fault=fault))
        assert code in (-signal.SIGKILL, 0)  # 0: this time there were fewer instants
        in_flight = QueueEntry.objects.filter(status=EntryStatus.CLAIMED).count()
        is_started = MigrationJob.objects.count() > jobs
        again = copied.orders(start=None if is_started else start, fault=fault)
        assert victims.run(again) == 0
        problems = unsettled("article") + index_state("article").differences(control)
        most = max(chunks for _, _, chunks in control.ledger.values())
        twice = embedded_texts(world.log) - paid
        if twice > in_flight * BATCH * most:
            problems.append(f"{twice} texts paid twice with {in_flight} batches in flight")
        return problems


def wrong_after_crashes(
    world: World,
    start: dict[str, Any] | None,
    tmp_path: Path,
    choose: Callable[[list[str]], Iterable[int]],
    fault: str = "",
    found: list[str] | None = None,
) -> list[str]:
    """Crash a copy of the world at each chosen instant, and list in `found` what goes wrong."""
    points = points_of(world, start, tmp_path)
    world.log.write_text("")
    control = world.control(start)
    paid = embedded_texts(world.log)
    found = [] if found is None else found
    for number in choose(points):
        problems = crash_and_recover(world, start, control, paid=paid, crash_at=number, fault=fault)
        found += [f"killed at #{number} {points[number - 1][:100]}: {p}" for p in problems]
    return found


@pytest.mark.gate
def test_a_kill_at_each_kind_of_instant_of_a_batch_changes_nothing(
    world: World, tmp_path: Path
) -> None:
    start = change(world)
    choose = one_of_each("feed", "embed", "write_batch")
    assert not wrong_after_crashes(world, start, tmp_path, choose)


@pytest.mark.gate
@in_short
def test_a_kill_at_each_kind_of_instant_of_an_activation_changes_nothing(
    world: World, tmp_path: Path
) -> None:
    start = rebuild(world)
    assert not wrong_after_crashes(world, start, tmp_path, one_of_each("finish_job"))


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES)
def test_a_kill_at_any_instant_changes_nothing(world: World, scene: str, tmp_path: Path) -> None:
    start = SCENES[scene](world)
    assert not wrong_after_crashes(world, start, tmp_path, every_one)


def elsewhere(world: World, settings: Any) -> World:
    """The same world with a store that does not share the ledger's transaction."""
    store = {"BACKEND": "tests.acceptance.stores.ElsewhereStore"}
    settings.AI_MIGRATION = {**world.settings, "STORES": {"default": store}}
    ElsewhereStore.create_table()
    return replace(world, settings=settings.AI_MIGRATION)


@pytest.mark.slow
@pytest.mark.vendors("sqlite")
def test_a_kill_at_any_instant_changes_nothing_in_a_store_elsewhere(
    world: World, settings: Any, tmp_path: Path
) -> None:
    world = elsewhere(world, settings)
    start = change(world)
    assert not wrong_after_crashes(world, start, tmp_path, every_one)


@pytest.mark.gate
@pytest.mark.vendors("sqlite")
def test_rows_that_change_back_before_the_recovery_are_in_the_store_as_they_are(
    world: World, settings: Any, tmp_path: Path
) -> None:
    """Vectors go first to a store elsewhere: what a killed worker wrote there is not the
    ledger's word, and must not stay when the rows are no longer what it read."""
    world = elsewhere(world, settings)
    write_articles(14)
    indexed = world.finish(START)
    rows = list(Article.objects.all())
    edit_articles()
    points = points_of(world, START, tmp_path)
    choose = one_of_each("write_batch")
    for number in choose(points):
        with world.copy() as copied:
            victims.run(copied.orders(start=START, crash_at=number))
            touched = {*Article.objects.values_list("pk", flat=True), *(row.pk for row in rows)}
            Article.objects.all().delete()
            Article.objects.bulk_create(rows)
            enqueue("article", touched)
            state = copied.finish()
        wrong = state.differences(
            replace(indexed, counters=state.counters, failures=state.failures)
        )
        assert not wrong, f"killed at #{number} {points[number - 1][:100]}: {wrong}"


# The comparison has teeth


@pytest.mark.gate
@in_short
@pytest.mark.parametrize("fault", ["no transaction", "vectors afterwards"])
def test_the_comparison_sees_a_write_that_leaves_the_transaction(
    world: World, fault: str, tmp_path: Path
) -> None:
    start = first_run(world)
    found: list[str] = []

    def until_found(points: list[str]) -> Iterator[int]:
        numbers = [n for n, p in enumerate(points, 1) if p.startswith("write_batch")]
        yield from itertools.takewhile(lambda _: not found, numbers)

    wrong_after_crashes(world, start, tmp_path, until_found, fault, found)
    assert any("vectors[" in problem for problem in found), found


def taken_over(world: World, orders: Orders) -> IndexState:
    """Freeze a worker for longer than its lease, change a row it has read, let another
    worker do everything, and let the first go on.

    Returns:
        What there was before the first went on.
    """
    with victims.started(orders) as frozen:
        victims.wait_until(lambda: victims.is_frozen(frozen), "the worker freezes")
        assert QueueEntry.objects.filter(status=EntryStatus.CLAIMED).exists()
        row = Article.objects.order_by("pk")[0]
        Article.objects.filter(pk=row.pk).update(title="Newer than what the frozen one read")
        victims.wait_until(
            lambda: WorkerSlot.objects.filter(lease_expires_at__lt=Now()).exists(),
            "the lease runs out",
        )
        state = world.finish()
        assert frozen.pid is not None
        os.kill(frozen.pid, signal.SIGCONT)
        frozen.join(victims.TIMEOUT)
        assert frozen.exitcode == 0
    return state


@pytest.mark.gate
@in_short
@pytest.mark.parametrize("fault", ["", "no fence"])
def test_a_frozen_worker_that_wakes_up_changes_nothing(world: World, fault: str) -> None:
    """It was about to write a batch that another worker wrote meanwhile, from a newer read.
    Without the fence it is counted twice."""
    start = first_run(world)
    orders = world.orders(
        start=start, crash_at=1, place="write_batch", signal=signal.SIGSTOP, fault=fault
    )
    before = taken_over(world, orders)
    wrong = unsettled("article") + index_state("article").differences(before)
    assert bool(wrong) is bool(fault), wrong


@pytest.mark.gate
@pytest.mark.vendors("postgresql", "mysql")
def test_a_worker_that_is_frozen_in_a_transaction_holds_nobody_up(world: World) -> None:
    """It has locks: of its slot, its entries, its job. The server takes them from it."""
    start = first_run(world)
    points = world.orders(start=start, crash_at=6, place="write_batch", signal=signal.SIGSTOP)
    before = taken_over(world, points)
    wrong = unsettled("article") + index_state("article").differences(before)
    assert not wrong, wrong
