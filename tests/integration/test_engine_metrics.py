"""What the engine counts of itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from ai_migration import enqueue
from ai_migration.engine.insight.metrics import (
    KEEP_FOR,
    EngineMinute,
    Tally,
    add_to_minute,
    engine_minutes,
    freshness,
)
from ai_migration.engine.slices import slice as slices
from ai_migration.engine.slices.slice import Slice
from ai_migration.engine.upkeep.supervisor import clean_up, tick
from ai_migration.exceptions import (
    InputRefusedError,
    OwnershipLostError,
    TransientEmbedderError,
)
from ai_migration.indexing import queue
from ai_migration.jobs.feed.ranges import feed
from ai_migration.models import EngineMetrics, EntityFailure, QueueEntry, WorkerSlot
from ai_migration.models.leases import acquire, our_database
from ai_migration.models.sql import clock
from tests.integration.support import Project, die, lease, make_articles, run, start, work
from tests.testapp.models import Article


def total() -> Tally:
    """What was counted, whatever minutes it fell into."""
    return sum((minute.tally for minute in engine_minutes()), Tally())


def test_a_run_is_counted(project: Project) -> None:
    project.article("title", "body", chunking={"size": 40, "overlap": 0})
    make_articles(11)
    make_articles(1, start=11, body="A long one. " * 20)
    job = start(batch_size=4)
    held = lease("worker")
    Slice(held).run()
    counted = total()
    assert (counted.slices, counted.entities) == (1, 12)
    assert counted.claims == counted.batches + 1 == 5, "three ranges, a sweep, and the finish"
    job.refresh_from_db()
    assert counted.texts == job.embedded_texts > 12
    assert counted.batch_seconds > 0
    assert (counted.recoveries, counted.leases_lost) == (0, 0)
    Slice(held).run()
    assert total() == counted, "nothing is counted, or written, of a slice without work"


def test_the_dead_and_the_overtaken_are_counted(project: Project) -> None:
    script = project.embedder()
    make_articles(3)
    job = start()
    feed(job.pk, our_database())
    dead = acquire("dead", "dead:1")
    assert dead is not None
    queue.claim(dead, 8)
    die()
    tick()
    assert total() == Tally(recoveries=1)

    def lose(texts: object) -> None:
        script.react = lambda texts: None
        WorkerSlot.objects.filter(name="worker").update(token=F("token") + 1)
        connection.close()

    script.react = lose
    with pytest.raises(OwnershipLostError):
        Slice(lease("worker")).run()
    assert total().leases_lost >= 1
    assert total().batches == 0


def test_batches_at_the_same_time_are_timed_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first that is open to the last that is written."""
    ticks = iter([4.0, 10.0, 25.0])
    monkeypatch.setattr(slices, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    worker = Slice(lease(), clock=lambda: 0.0)
    assert worker._busy_since(0) == 4, "one of two is written, which began at 0 and 2"
    assert worker._busy_since(0) == 6, "and the other"
    assert worker._busy_since(20) == 5, "one that began after a rest"


def test_minutes_add_up_over_slots(project: Project) -> None:
    using = our_database()
    for name in ("one", "two"):
        for _ in range(2):
            add_to_minute(lease(name).slot_id, Tally(batches=1, batch_seconds=0.5), using)
            die()
    assert EngineMetrics.objects.values("slot").distinct().count() == 2
    EngineMetrics.objects.update(minute=EngineMetrics.objects.earliest("minute").minute)
    (minute,) = engine_minutes()
    assert minute == EngineMinute(minute.at, Tally(batches=4, batch_seconds=2.0))
    assert (minute.at.second, minute.at.microsecond) == (0, 0)


def test_old_minutes_are_dropped(project: Project) -> None:
    make_articles(1)
    run()
    EngineMetrics.objects.update(minute=F("minute") - timedelta(hours=4))
    assert not engine_minutes()
    assert engine_minutes(timedelta(hours=5))
    clean_up()
    assert engine_minutes(timedelta(hours=5))
    EngineMetrics.objects.update(minute=F("minute") - KEEP_FOR)
    clean_up()
    assert not EngineMetrics.objects.exists()


def test_nothing_fails_because_it_cannot_be_counted(project: Project) -> None:
    make_articles(3)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ai_engine_metrics RENAME TO elsewhere")
    assert run().indexed == 3


def age_entries(seconds: float) -> None:
    """Live changes were made so long ago."""
    QueueEntry.objects.filter(job=None).update(created_at=clock.after(-seconds), available_at=None)


def test_freshness_is_from_the_change_to_the_commit(project: Project) -> None:
    make_articles(20)
    run()
    assert not total().freshness, "a job makes nothing fresh"
    Article.objects.update(body="New.")
    keys = list(Article.objects.values_list("pk", flat=True))
    enqueue("article", keys[:15])
    age_entries(100)
    Slice(lease("worker")).run()
    assert 95 < (freshness().p50 or 0) < 400
    enqueue("article", keys[15:16])
    Article.objects.filter(pk=keys[16]).delete()
    enqueue("article", keys[16:17])
    Slice(lease("other")).run()
    found = freshness()
    assert (found.changes, engine_minutes()[-1].tally.freshness.changes in (2, 17)) == (17, True)
    assert found == total().freshness
    assert (found.p95 or 0) > 95
    assert (found.within(2 / 17) or 99) < 60


def test_a_change_counts_from_when_it_was_made_however_often_it_is_requeued(
    project: Project,
) -> None:
    script = project.embedder()
    make_articles(3)
    run()
    Article.objects.update(body="New.")
    enqueue("article", Article.objects.values_list("pk", flat=True))
    age_entries(100)

    errors = iter([TransientEmbedderError("not now"), TransientEmbedderError("nor now")])

    def refuse(texts: Sequence[str]) -> None:
        if error := next(errors, None):
            raise error

    script.react = refuse
    work()
    assert script.asked == 4
    assert freshness().changes == 3
    assert (freshness().within(0.1) or 0) > 95


def test_what_could_not_be_indexed_is_not_fresh(project: Project) -> None:
    script = project.embedder()
    make_articles(4)
    run()
    Article.objects.filter(title="Title 2").update(body="Poison.")

    def refuse(texts: Sequence[str]) -> None:
        if any("Poison" in text for text in texts):
            raise InputRefusedError("refused")

    script.react = refuse
    enqueue("article", Article.objects.values_list("pk", flat=True))
    work(rounds=1)
    assert EntityFailure.objects.count() == 1
    assert freshness().changes == 3


def test_moments_of_changes_are_by_the_databases_clock(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_articles(2)
    host = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: host() - timedelta(days=1))
    enqueue("article", Article.objects.values_list("pk", flat=True))
    entry = QueueEntry.objects.get()
    assert abs(entry.created_at - clock.now(our_database())) < timedelta(minutes=5)
