"""The fixtures themselves: what every other integration test stands on."""

from __future__ import annotations

import os
import signal
import threading
from decimal import Decimal

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections, transaction
from django.db.utils import OperationalError

from ai_migration.models import Collection
from tests.commands import Manage
from tests.databases import Databases, FreshDatabase
from tests.testapp.models import (
    Archive,
    Article,
    Category,
    ChildThing,
    Country,
    Document,
    ProxyArticle,
    SoftDeleted,
    Tag,
    TenantNote,
    UnmanagedView,
)


@pytest.mark.parametrize("round_", [1, 2])
def test_every_test_starts_with_an_empty_database(database: FreshDatabase, round_: int) -> None:
    assert connection.vendor == database.vendor
    assert not Article.objects.exists()
    assert not Archive.objects.exists()
    Article.objects.create(title="one", price=Decimal("1.50"))
    Archive.objects.create(title="one", text="old")


def test_every_kind_of_model_can_be_stored(database: FreshDatabase) -> None:
    shoes = Category.objects.create(name="Shoes", slug="shoes")
    article = Article.objects.create(title="Runner", body="Light.", category=shoes)
    article.tags.add(Tag.objects.create(name="red"))
    Document.objects.create(title="d", text="t")
    Country.objects.create(code="AT", name="Austria")
    TenantNote.objects.create(tenant_id=1, number=2, text="n")
    SoftDeleted.objects.create(title="gone", deleted=True)
    ChildThing.objects.create(title="c", detail="d")
    assert UnmanagedView.objects.get().title == ProxyArticle.objects.get().title == "Runner"
    assert TenantNote.objects.get().pk == (1, 2)
    assert (SoftDeleted.objects.count(), SoftDeleted.all_objects.count()) == (0, 1)


def test_threads_see_what_is_committed(database: FreshDatabase) -> None:
    Country.objects.create(code="AT", name="Austria")
    seen: list[str] = []

    def read() -> None:
        seen.extend(Country.objects.values_list("code", flat=True))
        connections.close_all()

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert seen == ["AT"]


def test_a_subprocess_uses_the_same_database(database: FreshDatabase, manage: Manage) -> None:
    Country.objects.create(code="AT", name="Austria")
    Archive.objects.create(title="old", text="older")
    code = (
        "from django.conf import settings\n"
        "from tests.testapp.models import Archive, Country\n"
        "Country.objects.create(code='CH', name=Archive.objects.get().title)\n"
        "print(settings.AI_MIGRATION['DEFAULT_BATCH_SIZE'])"
    )
    done = manage("shell", "--no-imports", "-c", code, ai_migration={"DEFAULT_BATCH_SIZE": 7})
    assert (done.returncode, done.stdout.strip()) == (0, "7"), done.stderr
    assert Country.objects.get(code="CH").name == "old"


def test_a_killed_subprocess_leaves_what_it_committed(
    database: FreshDatabase, manage: Manage
) -> None:
    code = (
        "import time\n"
        "from django.db import transaction\n"
        "from tests.testapp.models import Country\n"
        "Country.objects.create(code='AT', name='kept')\n"
        "with transaction.atomic():\n"
        "    Country.objects.create(code='CH', name='lost')\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with manage.started("shell", "--no-imports", "-c", code) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert list(Country.objects.values_list("code", flat=True)) == ["AT"]


def test_transactions_are_real(database: FreshDatabase) -> None:
    assert not connection.in_atomic_block
    with transaction.atomic():
        collection = Collection.objects.create(
            entity_type="article", status="ACTIVE", embedder="default", dimensions=1
        )
        transaction.set_rollback(True)
    assert collection.pk
    assert not Collection.objects.exists()


@pytest.mark.vendors("postgresql", "mysql")
def test_the_server_can_crash_and_come_back(database: FreshDatabase, databases: Databases) -> None:
    Country.objects.create(code="AT", name="Austria")
    databases.server(database.vendor).restart()
    with pytest.raises(OperationalError):
        Country.objects.count()
    connection.close()
    assert Country.objects.count() == 1


def test_without_the_fixture_nobody_connects() -> None:
    with pytest.raises((RuntimeError, ImproperlyConfigured), match="Database access not allowed"):
        Country.objects.count()
