"""Anything in any order: start, steer, work a little, die, edit, fail. Afterwards the index
equals the source."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import pytest
from django.db.models import Count, F
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from ai_migration import enqueue, migration_service
from ai_migration.engine.upkeep.supervisor import tick
from ai_migration.exceptions import (
    ConflictingJobError,
    FatalEmbedderError,
    InvalidRequestError,
    InvalidTransitionError,
    TransientEmbedderError,
)
from ai_migration.indexing.queue import claim
from ai_migration.jobs.steer.states import STATES
from ai_migration.models import (
    Collection,
    JobEvent,
    MigrationJob,
    QueueEntry,
    SearchableEntity,
    WorkerSlot,
)
from ai_migration.models.leases import acquire
from ai_migration.models.vectors import StoredVector
from ai_migration.types import OPEN_STATUSES, CollectionStatus, JobStatus
from tests.integration.embedders import Script
from tests.integration.support import (
    Project,
    assert_in_line,
    counts,
    make_articles,
    progress,
    run,
    run_slice,
    start,
    work,
)
from tests.testapp.models import Article

SLOTS = 2
STEERS = ("pause_migration", "resume_migration", "cancel_migration", "retry_failed")
WHICH = st.integers(0, 11)


class Service(RuleBasedStateMachine):
    """The service and its workers, by everything that can happen to them.

    Args:
        script: What the embedder is to do.
    """

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.script = script
        self.refused: set[str] = set()
        self.mood: Exception | None = None
        script.react = self.react
        for model in (MigrationJob, Collection, QueueEntry, SearchableEntity, StoredVector):
            model._default_manager.all().delete()
        WorkerSlot.objects.all().delete()
        Article.objects.all().delete()

    def react(self, texts: Sequence[str]) -> None:
        if self.mood is not None:
            raise self.mood
        if any(text.splitlines()[0] in self.refused for text in texts):
            raise ValueError("refused")

    @initialize()
    def rows(self) -> None:
        make_articles(12)

    def job(self, which: int) -> MigrationJob | None:
        jobs = list(MigrationJob.objects.order_by("-pk")[:4])
        return jobs[which % len(jobs)] if jobs else None

    def row(self, which: int) -> Article | None:
        rows = list(Article.objects.order_by("pk"))
        return rows[which % len(rows)] if rows else None

    # What people do

    @rule(
        mode=st.sampled_from(["missing", "changed", "all"]),
        batch_size=st.sampled_from([1, 3, 100]),
        rebuild=st.booleans(),
    )
    def start(self, mode: str, batch_size: int, rebuild: bool) -> None:
        is_open = MigrationJob.objects.filter(status__in=OPEN_STATUSES).exists()
        try:
            job = start(mode=mode, batch_size=batch_size, rebuild=rebuild)
        except ConflictingJobError:
            assert is_open
        else:
            assert job.status in (JobStatus.RUNNING, JobStatus.PENDING)

    @rule(steer=st.sampled_from(STEERS), which=WHICH)
    def steer(self, steer: str, which: int) -> None:
        job = self.job(which)
        if job is not None:
            with contextlib.suppress(
                InvalidTransitionError, ConflictingJobError, InvalidRequestError
            ):
                getattr(migration_service, steer)(job.pk)

    @rule(which=WHICH, live=st.booleans(), body=st.sampled_from(["", "One.", "Two."]))
    def edit(self, which: int, live: bool, body: str) -> None:
        article = self.row(which)
        if article is not None:
            Article.objects.filter(pk=article.pk).update(body=body)
            self.say(article.pk, live)

    @rule(which=WHICH, live=st.booleans())
    def delete(self, which: int, live: bool) -> None:
        article = self.row(which)
        if article is not None:
            Article.objects.filter(pk=article.pk).delete()
            self.say(article.pk, live)

    @rule(live=st.booleans(), number=st.integers(100, 110))
    def insert(self, live: bool, number: int) -> None:
        self.say(Article.objects.create(title=f"New {number}", body="New.").pk, live)

    def say(self, pk: int, live: bool) -> None:
        if live:
            enqueue("article", [pk])

    # What workers and machines do

    @rule(seconds=st.integers(1, 60))
    def work(self, seconds: int) -> None:
        run_slice(seconds=seconds)

    @rule(entries=st.integers(1, 4), name=st.sampled_from(["dead-1", "dead-2"]))
    def die_with_entries(self, entries: int, name: str) -> None:
        taken = acquire(name, "dead:1")
        if taken is not None:
            claim(taken, entries)

    @rule()
    def leases_run_out(self) -> None:
        WorkerSlot.objects.filter(lease_expires_at__isnull=False).update(
            lease_expires_at=F("lease_expires_at") - timedelta(days=1)
        )

    @rule()
    def tick(self) -> None:
        tick()

    @rule(which=WHICH)
    def refuse(self, which: int) -> None:
        self.refused ^= {f"title: Title {which}"}

    @rule(mood=st.sampled_from([None, FatalEmbedderError("no"), TransientEmbedderError("503")]))
    def provider(self, mood: Exception | None) -> None:
        self.mood = mood

    # What is true at any time

    @invariant()
    def jobs_add_up(self) -> None:
        for job in MigrationJob.objects.all():
            progress(job)
            assert job.failed_entities == job.failures.count()

    @invariant()
    def one_of_each(self) -> None:
        for status in (CollectionStatus.ACTIVE, CollectionStatus.BUILDING):
            assert Collection.objects.filter(status=status).count() <= 1
        running = MigrationJob.objects.filter(status=JobStatus.RUNNING)
        assert running.count() <= SLOTS
        open_jobs = MigrationJob.objects.filter(status__in=OPEN_STATUSES)
        shared = open_jobs.values("collection").annotate(jobs=Count("pk")).filter(jobs__gt=1)
        assert not shared.exists()

    @invariant()
    def every_step_is_an_edge(self) -> None:
        for job in MigrationJob.objects.all():
            events = list(JobEvent.objects.filter(job=job).order_by("pk"))
            assert (events[0].from_status, events[0].to_status) == ("", "PENDING")
            for before, after in pairwise(events):
                assert before.to_status == after.from_status
                step = (JobStatus(after.from_status), JobStatus(after.to_status))
                assert step[0] == step[1] or step[1] in STATES[step[0]].edges
            assert events[-1].to_status == job.status

    @invariant()
    def what_is_claimed_has_an_owner(self) -> None:
        assert not QueueEntry.objects.filter(status="CLAIMED", claimed_by=None).exists()

    # What must come of it

    def settle(self) -> None:
        """Work until there is nothing to do."""
        work()

    def teardown(self) -> None:
        self.mood = None
        self.refused.clear()
        self.leases_run_out()
        tick()
        QueueEntry.objects.update(available_at=None)
        MigrationJob.objects.update(throttled_until=None)
        for job in MigrationJob.objects.filter(status__in=[JobStatus.PAUSED, JobStatus.FAILED]):
            with contextlib.suppress(InvalidTransitionError, ConflictingJobError):
                migration_service.resume_migration(job.pk)
        self.settle()
        for job in MigrationJob.objects.filter(status=JobStatus.PAUSED):
            migration_service.cancel_migration(job.pk)
        self.jobs_add_up()
        self.one_of_each()
        self.every_step_is_an_edge()
        ended = run()
        assert ended.failed == 0
        assert_in_line()
        before = len(self.script.texts)
        rows = Article.objects.count()
        assert counts(run()) == (0, rows, 0, 0)
        assert len(self.script.texts) == before, "nothing is paid twice"
        # A FAILED job keeps its entries: it can be resumed. So does a live change that failed.
        left = QueueEntry.objects.exclude(status="COMPLETED").exclude(job__status="FAILED")
        left = left.exclude(status="FAILED")
        assert not left.exists()


STORES = ("ai_migration.stores.database.DatabaseStore", "ai_migration.stores.memory.MemoryStore")
CHAOS = settings(
    max_examples=10,
    stateful_step_count=25,
    deadline=None,
    phases=[Phase.generate],
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.gate
@pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])
@pytest.mark.parametrize("store", [STORES[0], pytest.param(STORES[1], marks=pytest.mark.gate)])
def test_anything_in_any_order(project: Project, store: str) -> None:
    project.set(MAX_CONCURRENT_JOBS=SLOTS, MAX_ATTEMPTS=3)
    script = project.embedder(max_batch_size=3)
    project.store(store)

    class Scripted(Service):
        def __init__(self) -> None:
            super().__init__(script)

    run_state_machine_as_test(Scripted, settings=CHAOS)
