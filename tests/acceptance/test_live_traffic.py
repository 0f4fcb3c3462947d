"""A writer at full speed, beside a backfill, a rebuild and workers that are killed: in the end the
index is what the rows say."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Q

from ai_migration import IndexedQuerySet
from ai_migration.indexing.triggers.service import install
from ai_migration.models import MigrationJob, QueueEntry
from ai_migration.types import EntryStatus, JobStatus
from tests.acceptance.index_state import index_state, newest_job, unsettled
from tests.acceptance.victims import wait_until
from tests.acceptance.worlds import World, dawdling
from tests.commands import Manage
from tests.testapp.models import Article, Category, Tag

pytestmark = pytest.mark.gate

ROWS = 300
WRITES = 400
CONFIG = """
ai-entities:
  article:
    model: testapp.Article
    embeddable-fields: [title, body, category__name, tags__name]
    metadata-fields: [status, category__slug]
    filter: {status: published}
    updated-at-field: updated_at
"""
WORKER = ("ai_migration", "worker")


def rows() -> IndexedQuerySet[Article]:
    return IndexedQuerySet(Article)


class Writer:
    """An application that writes whatever comes to its mind.

    Args:
        seed: Of its mind.
        writes_raw: Whether it also writes without Django's models.
    """

    def __init__(self, seed: int, *, writes_raw: bool) -> None:
        self._rng = random.Random(seed)
        self._number = 0
        self._categories = [
            Category.objects.create(name=f"Category {i}", slug=f"c{i}") for i in range(4)
        ]
        self._tags = [Tag.objects.create(name=f"Tag {i}") for i in range(4)]
        self._acts: list[Callable[[], object]] = [
            *[self.create, self.change, self.change, self.delete, self.touch, self.hide],
            *[self.bulk_create, self.bulk_update, self.update, self.bulk_delete],
            *[self.rename_category, self.rename_tag, self.tag, self.untag, self.roll_back],
            self.replace_category,
        ]
        if writes_raw:
            self._acts += [self.raw_update, self.raw_category, self.raw_links] * 3

    def write(self) -> None:
        """Write once."""
        self._number += 1
        self._rng.choice(self._acts)()

    def create(self) -> None:
        article = Article.objects.create(**self._values())
        article.tags.add(self._rng.choice(self._tags))

    def change(self) -> None:
        for article in self._some(1):
            for name, value in self._values().items():
                setattr(article, name, value)
            article.save()

    def touch(self) -> None:
        for article in self._some(1):
            article.save(update_fields=["price"])

    def hide(self) -> None:
        for article in self._some(2):
            article.status = "draft" if article.status == "published" else "published"
            article.save()

    def delete(self) -> None:
        for article in self._some(1):
            article.delete()

    def bulk_create(self) -> None:
        rows().bulk_create(Article(**self._values()) for _ in range(5))

    def bulk_update(self) -> None:
        articles = self._some(5)
        for article in articles:
            article.body = f"Updated at once by {self._number}."
        rows().bulk_update(articles, ["body"])

    def update(self) -> None:
        keys = [article.pk for article in self._some(5)]
        rows().filter(pk__in=keys).update(title=f"Set by {self._number}")

    def bulk_delete(self) -> None:
        keys = [article.pk for article in self._some(2)]
        rows().filter(pk__in=keys).delete()

    def rename_category(self) -> None:
        category = self._rng.choice(self._categories)
        category.name = f"Renamed by {self._number}"
        category.save()

    def replace_category(self) -> None:
        """Its articles have none then."""
        old = self._categories.pop(self._rng.randrange(len(self._categories)))
        self._categories.append(
            Category.objects.create(name=f"New by {self._number}", slug=f"n{self._number}")
        )
        old.delete()

    def rename_tag(self) -> None:
        tag = self._rng.choice(self._tags)
        tag.name = f"Tag by {self._number}"
        tag.save()

    def tag(self) -> None:
        self._rng.choice(self._tags).article_set.add(*self._some(3))

    def untag(self) -> None:
        for article in self._some(1):
            article.tags.clear()

    def roll_back(self) -> None:
        with transaction.atomic():
            self.change()
            self.delete()
            transaction.set_rollback(True)

    def raw_update(self) -> None:
        for article in self._some(1):
            title = f"Raw by {self._number}"
            self._execute("UPDATE testapp_article SET title = %s WHERE id = %s", title, article.pk)

    def raw_category(self) -> None:
        category = self._rng.choice(self._categories)
        name = f"Raw by {self._number}"
        self._execute("UPDATE testapp_category SET name = %s WHERE id = %s", name, category.pk)

    def raw_links(self) -> None:
        for article in self._some(1):
            self._execute("DELETE FROM testapp_article_tags WHERE article_id = %s", article.pk)

    def _execute(self, sql: str, *values: str | int) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql, values)

    def _values(self) -> dict[str, Any]:
        body = f"Body of {self._number} " + "and more " * self._rng.randrange(3)
        category = self._rng.choice([None, *self._categories])
        return {"title": f"Title {self._number}", "body": body, "category": category}

    def _some(self, count: int) -> list[Article]:
        keys = list(Article.objects.values_list("pk", flat=True))
        return list(Article.objects.filter(pk__in=self._rng.sample(keys, min(count, len(keys)))))


@pytest.fixture
def followed(world: World, settings: Any, tmp_path: Path) -> World:
    """A world whose index follows its rows."""
    config = tmp_path / "followed.yml"
    config.write_text(CONFIG)
    keys = {"ENTITY_CONFIG": str(config), "SYNC": "queue", "FULL_SWEEP_SECONDS": None}
    made = replace(world, settings={**dawdling(world, 0.02).settings, **keys})
    settings.AI_MIGRATION = made.settings
    return made


def is_done() -> bool:
    open_jobs = MigrationJob.objects.filter(status__in=[JobStatus.RUNNING, JobStatus.PENDING])
    open_entries = QueueEntry.objects.filter(
        Q(job=None), status__in=[EntryStatus.PENDING, EntryStatus.CLAIMED]
    )
    return not open_jobs.exists() and not open_entries.exists()


@pytest.mark.parametrize("by", ["signals", "triggers"])
def test_the_index_is_what_the_rows_say(followed: World, manage: Manage, by: str) -> None:
    seed = 1
    rng = random.Random(seed)
    if by == "triggers":
        install(["article"])
    Article.objects.bulk_create(Article(title=f"Title {i}", body=f"B {i}") for i in range(ROWS))
    writer = Writer(seed, writes_raw=by == "triggers")
    start = ("migrate_ai_entities", "article", "--detach", "--batch-size", "20")
    with ExitStack() as stack:

        def worker() -> Any:
            return stack.enter_context(manage.watched(*WORKER, ai_migration=followed.settings))

        workers = [worker(), worker()]
        assert manage(*start, ai_migration=followed.settings).returncode == 0
        for number in range(WRITES):
            writer.write()
            if number % (WRITES // 4) == WRITES // 8:
                victim = workers.pop(rng.randrange(2))
                victim.kill()
                victim.wait()
                workers.append(worker())
            if number == WRITES // 2:
                wait_until(lambda: newest_job("article").is_finished, "the backfill")
                rebuild = manage(*start, "--rebuild", ai_migration=followed.settings)
                assert rebuild.returncode == 0, rebuild.stderr
        wait_until(is_done, "the queue is empty", limit=120)
    assert not unsettled("article")
    found, control = (
        index_state("article"),
        followed.control({"entity_type": "article"}, afresh=True),
    )
    assert found.vectors == control.vectors
    assert found.ledger == control.ledger
    verify = manage("ai_migration", "verify", "article", "--json", ai_migration=followed.settings)
    assert verify.returncode == 0, verify.stdout + verify.stderr
