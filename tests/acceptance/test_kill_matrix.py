"""The kill matrix, and that it has teeth."""

from __future__ import annotations

from collections.abc import Callable
from signal import SIGKILL, SIGSTOP

import pytest
from django.db.models import Sum

from ai_migration.models import MigrationJob, SearchableEntity
from ai_migration.stores import stores
from tests.acceptance.kill_matrix import CELLS, SHORT, Cell, Outcome, disturbed, processed, site_of
from tests.acceptance.victims import wait_until
from tests.acceptance.worlds import World, dawdling, forget_index, write_articles
from tests.redis_server import RedisServer
from tests.testapp.models import Article

ROWS = 300


def a_third_is_done(job: str) -> bool:
    return processed(job) >= ROWS // 3


def run(
    cell: Cell,
    world: World,
    redis: RedisServer | None = None,
    fault: str = "",
    instant: Callable[[str], bool] = a_third_is_done,
) -> Outcome:
    """One job, disturbed once, at some instant."""
    write_articles(ROWS)
    world = dawdling(world, 0.1, WORKERS=3)
    struck: list[bool] = []

    def strike(job: str) -> bool:
        if struck:
            return False
        wait_until(lambda: instant(job), "the instant")
        struck.append(site.strike(cell.victim, cell.signal))
        return struck[0]

    with site_of(cell.broker, world, redis, fault) as site:
        outcome = disturbed(world, site, strike)
    assert outcome.strikes == 1
    return outcome


def parameters(cells: list[Cell]) -> list[object]:
    gate, slow = pytest.mark.gate, pytest.mark.slow
    return [
        pytest.param(cell, id=str(cell), marks=gate if cell in SHORT else slow) for cell in cells
    ]


def of(*brokers: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("cell", parameters([c for c in CELLS if c.broker in brokers]))


@of("orm")
@pytest.mark.vendors("postgresql")
def test_django_q2_with_its_orm_broker(world: World, cell: Cell) -> None:
    assert run(cell, world).problems == []


@of("redis")
@pytest.mark.vendors("postgresql")
def test_django_q2_with_a_redis_broker(world: World, redis: RedisServer, cell: Cell) -> None:
    assert run(cell, world, redis).problems == []


@of("sqlite")
@pytest.mark.vendors("sqlite")
def test_the_foreground_command_on_sqlite(world: World, cell: Cell) -> None:
    assert run(cell, world).problems == []


# The matrix has teeth


def is_torn(job: str) -> bool:
    """Whether the ledger knows of vectors that are not there."""
    collection = MigrationJob.objects.select_related("collection").get(pk=job).collection
    known = SearchableEntity.objects.filter(collection=collection).aggregate(n=Sum("chunk_count"))
    return bool(
        a_third_is_done(job) and known["n"] > stores[collection.store].count(collection.ref)
    )


@pytest.mark.gate
@pytest.mark.vendors("postgresql")
def test_it_sees_that_the_fence_is_missing(world: World) -> None:
    """A frozen worker that wakes up writes once more what others have written. One that was
    frozen in a transaction does not: its session was ended. So it is frozen up to four times."""
    outcomes = []
    for _ in range(4):
        outcomes.append(run(Cell("orm", "worker", SIGSTOP), world, fault="no fence"))
        if any("counters[processed]" in problem for problem in outcomes[-1].problems):
            return
        Article.objects.all().delete()
        forget_index()
    pytest.fail(f"It was not seen: {outcomes}")


@pytest.mark.gate
@pytest.mark.vendors("postgresql")
def test_it_sees_that_the_ledger_leaves_the_transaction(world: World) -> None:
    """What the ledger says was indexed before the kill is not indexed after it."""
    outcome = run(
        Cell("orm", "group", SIGKILL), world, fault="vectors long afterwards", instant=is_torn
    )
    assert any("vectors[" in problem for problem in outcome.problems), outcome
