"""Triggers that cannot be, and what is said about them."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, connections

from ai_migration.exceptions import (
    AIMigrationError,
    SettingsError,
    TriggersRefusedError,
    UnknownEntityTypeError,
)
from ai_migration.indexing.triggers import service
from ai_migration.indexing.triggers.service import TriggerState
from ai_migration.indexing.triggers.standing import installed
from tests.integration.odd_models import Logged, table_of
from tests.integration.support import Project
from tests.integration.test_triggers import triggers_here

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])


def refusal(*names: str) -> str:
    with pytest.raises(AIMigrationError) as caught:
        service.install(names)
    assert triggers_here() == []
    return caught.value.message


def test_a_view(project: Project) -> None:
    project.article("title", name="view", model="testapp.UnmanagedView")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE testapp_article RENAME TO articles")
        cursor.execute("CREATE VIEW testapp_article AS SELECT id, title, body FROM articles")
    assert "'view': 'testapp_article': it is a view. Signals" in refusal("view")
    [standing] = service.install()
    assert (standing.state, standing.reason) == (
        TriggerState.NOT_INSTALLED,
        "'testapp_article': it is a view",
    )


def test_a_missing_table(project: Project) -> None:
    project.article("title", name="logged", model="testapp.Dated")
    assert "there is no such table" in refusal("logged")


def test_another_database(project: Project) -> None:
    project.article("title", name="archive", model="testapp.Archive", using="other")
    assert "are in the database 'other', the queue in 'default'" in refusal("archive")
    assert not installed("archive", "other")


def test_a_key_that_sql_writes_otherwise(project: Project) -> None:
    project.article("title", name="logged", model="testapp.Logged")
    with table_of(Logged):
        assert "'at' of testapp.Logged is a DateTimeField" in refusal("logged")


@pytest.mark.parametrize("switch", ["indexable", "auto_process", "auto_embedding"])
def test_an_entity_type_that_follows_no_change(project: Project, switch: str) -> None:
    switches: dict[str, Any] = {switch: False}
    project.article("title", **switches)
    assert "follows no change" in refusal("article")


def test_an_unknown_entity_type(project: Project) -> None:
    for act in (service.install, service.remove, service.status):
        with pytest.raises(UnknownEntityTypeError, match="Did you mean 'article'"):
            act(["artcle"])


def test_missing_tables_of_ours(project: Project) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ai_indexing_queue RENAME TO elsewhere")
    with pytest.raises(SettingsError, match="manage.py migrate ai_migration"):
        service.install(["article"])


def test_a_vendor_without_triggers(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections["default"], "vendor", "oracle")
    with pytest.raises(SettingsError, match="There are no triggers for"):
        service.status()


@pytest.mark.vendors("postgresql")
def test_a_role_without_rights(project: Project, role: Any) -> None:
    role("GRANT SELECT, INSERT, UPDATE ON ai_indexing_queue, ai_collections")
    with pytest.raises(TriggersRefusedError, match="permission denied.*It needs TRIGGER on"):
        service.install(["article"])


@pytest.mark.vendors("postgresql")
def test_a_role_that_may_not_write_the_queue(project: Project, role: Any) -> None:
    role("GRANT ALL ON testapp_article")
    with pytest.raises(TriggersRefusedError, match="This role needs SELECT, INSERT and UPDATE"):
        service.install(["article"])
