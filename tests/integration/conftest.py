"""Fixtures of the integration tests."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from django.db import connection

from tests.databases import FreshDatabase
from tests.integration.embedders import Script
from tests.integration.support import Project

if TYPE_CHECKING:
    from tests.integration.rest import Api

GOOD_CLUSTER = {
    "TIMEOUT": 60,
    "RETRY": 300,
    "QUEUE_LIMIT": 4,
    "BULK": 1,
    "WORKERS": 4,
    "ACK_FAILURES": True,
    "MAX_ATTEMPTS": 1,
    "GUARD_CYCLE": 0.5,
    "ORM": None,
}


@pytest.fixture
def project(database: FreshDatabase, settings: Any, tmp_path: Path) -> Project:
    """The settings of the test: entity type `article`, and failures are retried at once."""
    made = Project(settings, tmp_path)
    made.set(RETRY_DELAY_SECONDS=0.0005)
    made.article()
    return made


@pytest.fixture
def role(database: FreshDatabase) -> Iterator[Callable[[str], None]]:
    """Becomes another role of PostgreSQL, with the rights that a GRANT without its end gives."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE somebody")

        def become(grant: str) -> None:
            cursor.execute(f"{grant} TO somebody")
            cursor.execute("SET ROLE somebody")

        yield become
        cursor.execute("RESET ROLE")
        cursor.execute("DROP OWNED BY somebody")
        cursor.execute("DROP ROLE somebody")


@pytest.fixture
def api(project: Project, settings: Any) -> Api:
    """The REST API, called by somebody who may do everything."""
    settings.ROOT_URLCONF = "tests.rest_urls"
    rest = pytest.importorskip("tests.integration.rest")
    return cast("Api", rest.Api(*rest.ALL))


@pytest.fixture
def script(project: Project) -> Script:
    """What the default embedder is asked, and what it is to answer."""
    return project.embedder()


@pytest.fixture
def conf(monkeypatch: pytest.MonkeyPatch) -> Any:
    """django-q2's settings, all good."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it complains of its own defaults
        from django_q.conf import Conf
    for name, value in GOOD_CLUSTER.items():
        monkeypatch.setattr(Conf, name, value)
    return Conf
