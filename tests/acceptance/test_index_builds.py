"""A worker that ends while PostgreSQL builds an index for it."""

from __future__ import annotations

import signal
from contextlib import closing

import pytest
from django.db import connection, connections

from ai_migration import enqueue
from ai_migration.models import Collection, QueueEntry, WorkerSlot
from ai_migration.stores import stores
from ai_migration.types import IndexBuild
from tests.acceptance.victims import TIMEOUT, wait_until
from tests.acceptance.worlds import World, write_articles
from tests.commands import Manage
from tests.testapp.models import Article

pytestmark = [pytest.mark.gate, pytest.mark.vendors("postgresql")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_server_goes_on_and_nobody_begins_anew(
    world: World, manage: Manage, number: signal.Signals
) -> None:
    write_articles(8)
    keys = [str(pk) for pk in Article.objects.values_list("pk", flat=True)]
    settings = {**world.settings, "BUILD_INDEX_ABOVE": 4}
    first = manage("migrate_ai_entities", "article", "--ids", *keys[:5], ai_migration=settings)
    assert first.returncode == 0
    collection = Collection.objects.get()
    store, ref = stores[collection.store], collection.ref

    def waits() -> bool:
        return store.index_build(ref) == IndexBuild(0.0, "waiting for writers before build")

    with closing(connection.copy()) as writer, writer.cursor() as cursor:
        writer.set_autocommit(False)
        cursor.execute(f"UPDATE {ref.name} SET chunk = chunk")  # until it ends, the build waits
        with manage.watched("ai_migration", "worker", ai_migration=settings) as worker:
            wait_until(waits, "the index is being built")
            enqueue("article", [str(pk) for pk in Article.objects.values_list("pk", flat=True)[5:]])
            wait_until(
                lambda: not QueueEntry.objects.filter(job=None).exists(),
                "live changes go on meanwhile",
            )
            worker.send_signal(number)
            worker.wait(TIMEOUT)
            assert worker.returncode == (0 if number == signal.SIGTERM else -number)
        WorkerSlot.objects.update(last_seen_at=None)
        assert manage("ai_migration", "supervise", ai_migration=settings).returncode == 0
        assert waits(), "one is enough"
        writer.rollback()
    wait_until(lambda: store.index_build(ref) is None, "it is built")
    assert not store.needs_index(ref, above=4)
    with connection.cursor() as cursor:
        valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"
        cursor.execute(valid, [f"{ref.name}_hnsw_cosine"])
        assert cursor.fetchall() == [(True,)]
    connections.close_all()
