"""Saves, rollbacks, claims and crashes in any order: the newest committed row is what is found."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import pytest
from django.db import transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ai_migration.engine.slices.slice import Slice
from ai_migration.entities import registry
from ai_migration.entities.rows.reader import EntityReader
from ai_migration.exceptions import OwnershipLostError
from ai_migration.indexing import queue
from ai_migration.indexing.batches import Batch, read_batch
from ai_migration.indexing.targets import live_collections, serving_target
from ai_migration.indexing.writing import write_batch
from ai_migration.models import QueueEntry
from ai_migration.models.leases import Lease
from ai_migration.types import Operation
from tests.integration.support import (
    Project,
    assert_in_line,
    die,
    lease,
    make_articles,
    run,
    work,
)
from tests.testapp.models import Article, Category

ROWS = 2
ACTS = (
    *("save", "save", "roll back", "delete", "create", "rename"),
    *("claim", "read", "claim and read", "write", "write", "crash", "work"),
)
LATE = [("save", 0), ("claim and read", 0), ("save", 0), ("write", 0)]
"""A worker writes what it read before the row was saved again."""
GONE = [("save", 0), ("claim and read", 0), ("delete", 0), ("write", 0), ("create", 0)]
OVERTAKEN = [*LATE[:2], ("crash", 0), ("save", 0), ("work", 0), ("write", 0)]
"""Another has its lease, and has written by then."""


class Application:
    """Rows that are written, and a worker that may stand still or die between any two steps."""

    def __init__(self) -> None:
        self._number = 0
        self._lease: Lease | None = None
        self._claimed: list[QueueEntry] = []
        self._read: list[Batch] = []

    def act(self, act: str, which: int) -> None:
        """Do one thing."""
        getattr(self, act.replace(" ", "_"))(which)

    def save(self, which: int) -> None:
        self._number += 1
        for article in Article.objects.order_by("pk")[which : which + 1]:
            article.title = f"Title {self._number}"
            article.save()

    def roll_back(self, which: int) -> None:
        with transaction.atomic():
            self.save(which)
            transaction.set_rollback(True)

    def delete(self, which: int) -> None:
        for article in Article.objects.order_by("pk")[which : which + 1]:
            article.delete()

    def create(self, which: int) -> None:
        self._number += 1
        category = Category.objects.get()
        Article.objects.create(title=f"Title {self._number}", body="b", category=category)

    def rename(self, which: int) -> None:
        self._number += 1
        category = Category.objects.get()
        category.name = f"Name {self._number}"
        category.save()

    def claim(self, which: int) -> None:
        if self._lease is None:
            self._lease = lease("dawdler")
        with suppress(OwnershipLostError):
            claimed = queue.claim(self._lease, which + 1, in_hand=bool(self._claimed))
            for entry in claimed:
                if entry.operation == Operation.INDEX:
                    self._claimed.append(entry)
                else:
                    queue.requeue(self._lease, [entry.pk])

    def read(self, which: int) -> None:
        entity = registry.get("article")
        targets = [serving_target(each) for each in live_collections("article", "default")]
        for entry in self._claimed:
            reader = EntityReader(entity)
            self._read.append(read_batch([entry], entity, reader, targets, None, "default"))
        self._claimed = []

    def claim_and_read(self, which: int) -> None:
        self.claim(ROWS)
        self.read(which)

    def write(self, which: int) -> None:
        batches, self._read = self._read, []
        for batch in batches:
            for plan in batch.plans:
                if plan.embed.texts:
                    plan.embed.vectors[:] = plan.target.embedder.embed(plan.embed.texts)
                plan.embed.done[:] = True
                plan.embed.open = 0
            assert self._lease is not None
            with suppress(OwnershipLostError):
                write_batch(batch, self._lease)

    def crash(self, which: int) -> None:
        """The worker is gone, or only taken for it: then what it writes later is too late."""
        die()
        if which:
            self._lease, self._claimed, self._read = None, [], []

    def work(self, which: int) -> None:
        """Another worker works meanwhile."""
        held = lease("other")
        try:
            Slice(held, seconds=1e9).run()
        finally:
            held.release()


@pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])
@pytest.mark.parametrize("examples", [12, pytest.param(100, marks=pytest.mark.gate)])
def test_the_newest_committed_row_is_found(project: Project, examples: int) -> None:
    project.article("title", "category__name")
    project.set(SYNC="queue", MAX_CRASHES=1000)
    category = Category.objects.create(name="Name", slug="name")
    make_articles(ROWS)
    Article.objects.update(category=category)
    run()

    @settings(
        max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @example(LATE)
    @example(GONE)
    @example(OVERTAKEN)
    @given(st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, ROWS - 1)), max_size=25))
    def histories(acts: Sequence[tuple[str, int]]) -> None:
        application = Application()
        for act, which in acts:
            application.act(act, which)
        die()
        work()
        assert_in_line()
        assert not QueueEntry.objects.filter(job=None).exists()

    histories()
    project.set(SYNC="off")
