"""The kill matrix: every victim, every signal, every way to run; then the index is compared,
row by row, with an uninterrupted run.

``python -m tests.acceptance.kill_matrix --kills 200 --seed 1`` kills at random and prints a table.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGSTOP, SIGTERM

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
if __name__ == "__main__":
    django.setup()

from django.conf import settings

from ai_migration.models import MigrationJob
from tests.acceptance.clusters import BATCH, ORM, Clusters, is_over, redis_broker
from tests.acceptance.embedders import embedded_texts
from tests.acceptance.index_state import index_state, unsettled
from tests.acceptance.sites import LIMIT, ClusterSite, ForegroundSite, Site
from tests.acceptance.victims import wait_until
from tests.acceptance.worlds import World, dawdling, settings_for, write_articles
from tests.databases import Databases
from tests.postgres import PostgresServer, postgres_server
from tests.redis_server import RedisServer, redis_server

VICTIMS = {
    "orm": ["worker", "sentinel", "main", "group", "database"],
    "redis": ["worker", "sentinel", "main", "group", "database", "redis"],
    "sqlite": ["process"],
}
"""Who can be killed where work is done: there is no Redis without its broker, and a foreground
command on SQLite is one process with its database inside."""
SIGNALS = (SIGKILL, SIGTERM, SIGSTOP)


@dataclass(frozen=True)
class Cell:
    """One combination of the matrix."""

    broker: str
    victim: str
    signal: signal.Signals

    def __str__(self) -> str:
        return f"{self.broker}-{self.victim}-{self.signal.name}"


CELLS = [
    Cell(broker, victim, number)
    for broker, victims in VICTIMS.items()
    for victim in victims
    for number in SIGNALS
]
SHORT = [
    Cell("orm", "worker", SIGSTOP),
    Cell("orm", "sentinel", SIGKILL),
    Cell("orm", "main", SIGTERM),
    Cell("orm", "database", SIGKILL),
    Cell("redis", "worker", SIGKILL),
    Cell("redis", "group", SIGTERM),
    Cell("redis", "redis", SIGKILL),
    *(Cell("sqlite", "process", number) for number in SIGNALS),
]
"""One of each victim and of each signal, for every day."""


@contextmanager
def site_of(
    broker: str, world: World, redis: RedisServer | None = None, fault: str = ""
) -> Iterator[Site]:
    """A place where work is done; everything in it has ended afterwards.

    Args:
        broker: "orm", "redis" or "sqlite".
        world: Its database and its rows.
        redis: The broker, if it is that.
        fault: What is broken in its processes; see `sabotage.FAULTS`.
    """
    site: Site
    if broker == "sqlite":
        site = ForegroundSite(world)
    else:
        q_cluster = redis_broker(redis.url) if redis else ORM
        postgres = world.databases.postgres
        assert isinstance(postgres, PostgresServer)
        site = ClusterSite(Clusters(world, q_cluster, fault), postgres, redis)
    try:
        yield site
    finally:
        site.close()


@dataclass(frozen=True)
class Outcome:
    """What came of a job that was disturbed.

    Attributes:
        problems: What is not as in an uninterrupted run.
        strikes: How often it was disturbed.
        paid_twice: Texts embedded that the uninterrupted run did not.
    """

    problems: list[str]
    strikes: int
    paid_twice: int


def disturbed(world: World, site: Site, strike: Callable[[str], bool]) -> Outcome:
    """Run a job on a site, disturb it, let it recover, and compare.

    Args:
        world: Its rows are there.
        site: Nothing runs there yet.
        strike: Given the job, disturbs it; called until it says that it did not.
    """
    control = world.control({"entity_type": "article", "batch_size": BATCH})
    paid = embedded_texts(world.log)
    world.log.write_text("")
    job = site.begin()
    strikes = 0
    while strike(job):
        strikes += 1
    wait_until(lambda: is_over(job), "the end of the job", LIMIT, site.tend)
    site.close()
    paid_twice = embedded_texts(world.log) - paid
    problems = unsettled("article") + index_state("article").differences(control)
    most = max(chunks for _, _, chunks in control.ledger.values())
    if paid_twice > strikes * int(world.settings["QUEUE_WINDOW"]) * BATCH * most:
        problems.append(f"{paid_twice} texts paid twice after {strikes} strikes")
    return Outcome(problems, strikes, paid_twice)


def processed(job: str) -> int:
    """How many rows a job is done with."""
    return MigrationJob.objects.get(pk=job).processed_entities


# By hand


def kill_at_random(kills: int, seed: int) -> int:
    """Kill at random victims and instants, job after job; the exit code."""
    rng = random.Random(seed)
    done: Counter[Cell] = Counter()
    bad = paid_twice = jobs = 0
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aim-matrix-")))
        databases = Databases(directory, lambda vendor: stack.enter_context(postgres_server()))
        redis = stack.enter_context(redis_server())
        while done.total() < kills:
            broker = rng.choices(list(VICTIMS), [4, 4, 1])[0]
            struck: list[Cell] = []
            try:
                outcome = _one_job(broker, databases, redis, rng, struck, directory / "log")
            except AssertionError as error:  # it did not go on
                outcome = Outcome([str(error)], len(struck), 0)
            done.update(struck)
            jobs += 1
            bad += bool(outcome.problems)
            paid_twice += outcome.paid_twice
            said = "; ".join(outcome.problems) or "as undisturbed"
            print(f"{done.total():4} {', '.join(map(str, struck))}: {said}", flush=True)  # noqa: T201
    print(_table(done))  # noqa: T201
    print(f"{done.total()} kills in {jobs} jobs, {bad} jobs differ, {paid_twice} texts paid twice")  # noqa: T201
    return int(bad > 0)


def _one_job(
    broker: str,
    databases: Databases,
    redis: RedisServer,
    rng: random.Random,
    struck: list[Cell],
    log: Path,
) -> Outcome:
    vendor = "sqlite" if broker == "sqlite" else "postgresql"
    limit = rng.randint(2, 6)

    def strike(job: str) -> bool:
        target = processed(job) + rng.randrange(1, 100)
        wait_until(lambda: is_over(job) or processed(job) >= target, "progress", LIMIT, site.tend)
        if is_over(job) or len(struck) == limit:
            return False
        cell = Cell(broker, rng.choice(VICTIMS[broker]), rng.choice(SIGNALS))
        if not site.strike(cell.victim, cell.signal):
            return False
        struck.append(cell)
        return True

    with databases.fresh(vendor) as database:
        settings.AI_MIGRATION = settings_for(vendor, log)
        log.write_text("")
        world = World(database, databases, settings.AI_MIGRATION, log)
        write_articles(900)
        world = dawdling(world, 0.03, WORKERS=3)
        with site_of(broker, world, redis if broker == "redis" else None) as site:
            return disturbed(world, site, strike)


def _table(done: Counter[Cell]) -> str:
    lines = ["| broker | victim | " + " | ".join(number.name for number in SIGNALS) + " |"]
    lines.append("| --- " * (2 + len(SIGNALS)) + "|")
    for broker, victims in VICTIMS.items():
        for victim in victims:
            counts = [str(done[Cell(broker, victim, number)]) for number in SIGNALS]
            lines.append(f"| {broker} | {victim} | {' | '.join(counts)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sys.exit(kill_at_random(options.kills, options.seed))
