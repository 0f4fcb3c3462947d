"""One suite over every dispatcher."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from django.db import connection
from django.test.utils import modify_settings

from ai_migration.dispatch import Dispatcher, WakeUp
from ai_migration.dispatchers.none import NullDispatcher
from ai_migration.testing import DispatcherContract
from tests.databases import FreshDatabase


@pytest.mark.usefixtures("database")
@pytest.mark.vendors("sqlite")
class TestNullDispatcher(DispatcherContract):
    @pytest.fixture
    def dispatcher(self) -> Dispatcher:
        return NullDispatcher()


@pytest.mark.vendors("sqlite", "postgresql")
class TestDjangoQDispatcher(DispatcherContract):
    """With django-q2's tables in the same database, its broker too: a message is a row."""

    @pytest.fixture
    def dispatcher(self, database: FreshDatabase) -> Iterator[Dispatcher]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it complains of its own defaults
            from django_q.conf import Conf

            with modify_settings(INSTALLED_APPS={"append": "django_q"}):
                from django_q.models import OrmQ, Schedule, Task

                with connection.schema_editor() as editor:  # its migrations take ten times as long
                    for model in (OrmQ, Schedule, Task):
                        editor.create_model(model)
                with patch.object(Conf, "ORM", "default"):
                    from ai_migration.dispatchers.django_q import DjangoQDispatcher

                    yield DjangoQDispatcher()

    def delivered(self) -> list[WakeUp]:
        from django_q.models import OrmQ

        return [WakeUp(*row.task["args"]) for row in OrmQ.objects.order_by("pk")]
