"""Triggers of PostgreSQL: once for each statement, with the rights of their owner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from ai_migration.indexing.triggers import service
from ai_migration.models import QueueEntry
from ai_migration.models.sql.triggers import postgresql
from tests.integration.odd_models import Composed, table_of
from tests.integration.support import Project
from tests.integration.test_triggers import ids, index, run, taken
from tests.testapp.models import Article, Country

pytestmark = pytest.mark.vendors("postgresql")


@pytest.fixture
def at_most_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    """List at most ten rows, in lists of four."""
    monkeypatch.setattr(postgresql, "MOST_IDS", 10)
    monkeypatch.setattr(postgresql, "IDS_PER_ENTRY", 4)


def ranges() -> list[tuple[Any, Any]]:
    entries = QueueEntry.objects.filter(operation="EXPAND")
    found = [(entry.lower, entry.upper) for entry in entries]
    assert all((entry.priority, entry.entity_ids, entry.path) == (5, [], "") for entry in entries)
    return found


def test_many_rows_are_lists_or_a_range(project: Project, at_most_ten: None) -> None:
    index("article")
    keys = [row.pk for row in Article.objects.bulk_create(Article(title="x") for _ in range(10))]
    assert [len(each) for _, _, each in taken()] == [4, 4, 2]
    keys += [row.pk for row in Article.objects.bulk_create(Article(title="x") for _ in range(11))]
    assert ranges() == [(keys[10] - 1, keys[20])]
    taken()
    Article.objects.filter(pk__gt=keys[3]).update(title="y")
    assert ranges() == [(keys[3], keys[20])]
    assert taken() == [("EXPAND", "", [])]


def test_rows_that_are_gone_are_always_listed(project: Project, at_most_ten: None) -> None:
    """No range has them."""
    index("article")
    keys = [row.pk for row in Article.objects.bulk_create(Article(title="x") for _ in range(15))]
    taken()
    run("UPDATE testapp_article SET id = id + 1000")
    assert ranges() == [(keys[0] + 999, keys[-1] + 1000)]
    assert ids(taken()) == sorted(map(str, keys))
    run("DELETE FROM testapp_article WHERE id > %s", keys[0] + 1000)
    assert ids(taken()) == sorted(str(key + 1000) for key in keys[1:])
    Article.objects.bulk_create(Article(title="x") for _ in range(15))
    taken()
    left = sorted(map(str, Article.objects.values_list("pk", flat=True)))
    assert len(left) == 16
    run("TRUNCATE testapp_article CASCADE")
    assert ids(taken()) == left


def test_ranges_of_other_keys(project: Project, at_most_ten: None) -> None:
    project.config(
        """
        ai-entities:
          country: {model: testapp.Country, embeddable-fields: [{name: name}]}
          odd: {model: testapp.Composed, embeddable-fields: [{name: text}]}
        """
    )
    with table_of(Composed):
        index("country", "odd")
        Country.objects.bulk_create(Country(code=f"{i:02}", name="x") for i in range(11))
        assert ranges() == [(None, "10")]
        taken()
        many = [Composed(name="a", uid=f"{i:032}", number=i) for i in range(11)]
        Composed.objects.bulk_create(many)
        last = "00000000-0000-0000-0000-000000000010"
        assert ranges() == [(None, ["a", last, 10])]


def test_an_upsert_and_a_merge(project: Project) -> None:
    index("article")
    article = Article.objects.create(title="one")
    taken()
    Article.objects.bulk_create(
        [Article(pk=article.pk, title="two"), Article(pk=article.pk + 7, title="new")],
        update_conflicts=True,
        update_fields=["title"],
        unique_fields=["id"],
    )
    assert ids(taken()) == [str(article.pk), str(article.pk + 7)]


def test_a_long_queue_is_not_read(project: Project) -> None:
    """The plan was made when there was none."""
    index("article")
    article = Article.objects.create(title="one")
    Article.objects.update(title="two")
    run(
        "INSERT INTO ai_indexing_queue (entity_type, operation, priority, coalescing_key, "
        "entity_ids, created_at, status, attempts, claims, fence, error, indexed, skipped, "
        "removed, failed) SELECT 'article', 'INDEX', 1, (1000 + i)::text, '[]', now(), 'PENDING', "
        "0, 0, 0, '', 0, 0, 0, 0 FROM generate_series(1, 2000) AS i"
    )
    with transaction.atomic(), connection.cursor() as cursor:
        Article.objects.filter(pk=article.pk).update(title="three")
        cursor.execute(
            "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) "
            "FROM pg_stat_xact_user_tables WHERE relname = 'ai_indexing_queue'"
        )
        [(read,)] = cursor.fetchall()
    assert 1 <= read <= 4


def test_a_role_without_rights_on_the_queue_writes(
    project: Project, role: Callable[[str], None]
) -> None:
    index("article")
    role("GRANT ALL ON testapp_article")
    run(
        "INSERT INTO testapp_article (id, title, body, attributes, status, created_at, updated_at) "
        "VALUES (5, 'x', '', '{}', '', now(), now())"
    )
    run("RESET ROLE")
    assert ids(taken()) == ["5"]


def test_nobody_else_has_it_called(project: Project, role: Callable[[str], None]) -> None:
    index("article")
    [function] = {each.function for each in service._triggers("default").found()}
    run("CREATE TABLE theirs (id bigint)")
    role("GRANT ALL ON theirs")
    with pytest.raises(Exception, match="permission denied for function"):
        run(f"CREATE TRIGGER t AFTER TRUNCATE ON theirs EXECUTE FUNCTION {function}")


def test_tables_in_another_schema(project: Project) -> None:
    run("CREATE SCHEMA apart")
    run("CREATE TABLE apart.testapp_article (LIKE testapp_article INCLUDING ALL)")
    run("SET search_path = apart, public")
    index("article")
    run("SET search_path = pg_catalog")
    run(
        "INSERT INTO apart.testapp_article (id, title, body, attributes, status, created_at, "
        "updated_at) VALUES (5, 'x', '', '{}', '', now(), now())"
    )
    run("SET search_path = apart, public")
    assert ids(taken()) == ["5"]
    assert service.remove() == 4
