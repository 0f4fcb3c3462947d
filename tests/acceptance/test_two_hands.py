"""Two processes pause, resume and cancel one job at random, while two workers work for it."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from itertools import pairwise
from multiprocessing.context import ForkServerProcess
from typing import Any

import pytest
from django.db import connections
from django.db.models import Sum

from ai_migration.jobs.steer.states import STATES
from ai_migration.models import JobEvent, MigrationJob, SearchableEntity
from ai_migration.types import EntryStatus, JobStatus
from tests.acceptance.index_state import index_state, newest_job, unsettled
from tests.acceptance.test_kill import COMMAND, START, WORKER
from tests.acceptance.victims import TIMEOUT, _context, wait_until
from tests.acceptance.worlds import World, dawdling, write_articles
from tests.commands import Manage

ROWS = 600
STEPS = 40


def steer(url: str, other_url: str, settings: dict[str, Any], seed: int, may_cancel: bool) -> None:
    """One of the two: what it asks for is done, or is refused because of the other."""
    from django.conf import settings as django_settings

    from ai_migration import migration_service
    from ai_migration.exceptions import InvalidTransitionError
    from tests.databases import _connected

    django_settings.AI_MIGRATION = settings
    rng = random.Random(seed)
    pause, resume = migration_service.pause_migration, migration_service.resume_migration
    with _connected(url, other_url):
        job = newest_job("article").pk
        for step in range(STEPS):
            act = rng.choice([pause, resume])
            if may_cancel and step == STEPS - 1:
                act = migration_service.cancel_migration
            with suppress(InvalidTransitionError):  # it was over
                act(job, actor=f"hand {seed}")
            time.sleep(rng.uniform(0, 0.06))


def steering(world: World, seed: int, *, may_cancel: bool) -> ForkServerProcess:
    arguments = (world.database.url, world.database.other_url, world.settings, seed, may_cancel)
    process = _context.Process(target=steer, args=arguments)
    process.start()
    return process


def assert_contiguous(job: MigrationJob) -> None:
    """Each change is recorded once, and is one that may be made."""
    events = list(JobEvent.objects.filter(job=job).order_by("pk"))
    for before, after in pairwise(events):
        assert after.from_status == before.to_status
        is_note = after.from_status == after.to_status
        assert is_note or after.to_status in STATES[JobStatus(after.from_status)].edges
    assert events[-1].to_status == job.status
    assert {"hand 1", "hand 2"} <= {event.actor for event in events}


def assert_counts(job: MigrationJob) -> None:
    """The job's counters are the sum of what its entries say."""
    names = ["indexed", "skipped", "removed", "failed"]
    done = job.entries.filter(status=EntryStatus.COMPLETED)
    sums = done.aggregate(**{f"{name}_entities": Sum(name, default=0) for name in names})
    assert sums == {name: getattr(job, name) for name in sums}
    assert job.processed_entities == sum(sums.values())


@pytest.mark.gate
@pytest.mark.parametrize("may_cancel", [False, True], ids=["pause", "cancel"])
def test_two_hands_on_one_job(world: World, manage: Manage, may_cancel: bool) -> None:
    write_articles(ROWS)
    control = world.control(START)
    slow = dawdling(world, 0.03)
    manage(*COMMAND, "--detach", ai_migration=slow.settings)
    connections.close_all()
    worker = {"ai_migration": slow.settings}
    with manage.watched(*WORKER, **worker), manage.watched(*WORKER, **worker):
        wait_until(lambda: SearchableEntity.objects.count() > 40, "some rows")
        hands = [steering(slow, seed, may_cancel=may_cancel and seed == 2) for seed in (1, 2)]
        for hand in hands:
            hand.join(TIMEOUT)
            assert hand.exitcode == 0
        job = newest_job("article")
        if not may_cancel:
            manage("ai_migration", "resume", job.pk, ai_migration=slow.settings)
        wait_until(lambda: newest_job("article").is_finished, "the end of the job")
        wait_until(lambda: not job.entries.filter(status=EntryStatus.CLAIMED), "what was in hand")
    job.refresh_from_db()
    assert_contiguous(job)
    assert_counts(job)
    assert job.status == (JobStatus.CANCELLED if may_cancel else JobStatus.COMPLETED)
    if may_cancel:  # what it indexed stays, and the next one does the rest
        manage(*COMMAND, ai_migration=world.settings)
        assert newest_job("article").indexed_entities < control.counters["indexed"]
    problems = unsettled("article")
    assert not problems, problems
    state = index_state("article")
    assert state.vectors == control.vectors
    assert state.ledger == control.ledger
