"""The kill matrix, and that it has teeth."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.kill_matrix import CELLS, SHORT, Cell, Outcome, disturbed, processed, site_of
from tests.acceptance.victims import wait_until
from tests.acceptance.worlds import World, dawdling, write_articles
from tests.redis_server import RedisServer, redis_server

ROWS = 300


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


def run(cell: Cell, world: World, redis: RedisServer | None, fault: str = "") -> Outcome:
    """One job, disturbed once it is at a third of its rows."""
    write_articles(ROWS)
    world = dawdling(world, 0.03, WORKERS=3)
    is_done = False

    def strike(job: str) -> bool:
        nonlocal is_done
        if is_done:
            return False
        wait_until(lambda: site.tend() or processed(job) >= ROWS // 3, "a third of the rows")
        site.strike(cell.victim, cell.signal)
        is_done = True
        return True

    with site_of(cell.broker, world, redis, fault) as site:
        return disturbed(world, site, strike)


def parameters(cells: list[Cell]) -> list[object]:
    slow = [pytest.mark.slow, pytest.mark.timeout(600)]
    return [pytest.param(cell, id=str(cell), marks=[] if cell in SHORT else slow) for cell in cells]


def of(*brokers: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("cell", parameters([c for c in CELLS if c.broker in brokers]))


@of("orm")
@pytest.mark.vendors("postgresql")
def test_django_q2_with_its_orm_broker(world: World, cell: Cell) -> None:
    assert run(cell, world, None).problems == []


@of("redis")
@pytest.mark.vendors("postgresql")
def test_django_q2_with_a_redis_broker(world: World, redis: RedisServer, cell: Cell) -> None:
    assert run(cell, world, redis).problems == []


@of("sqlite")
@pytest.mark.vendors("sqlite")
def test_the_foreground_command_on_sqlite(world: World, cell: Cell) -> None:
    assert run(cell, world, None).problems == []
