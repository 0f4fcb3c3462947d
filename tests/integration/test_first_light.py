"""The thinnest whole: rows in, search out."""

from __future__ import annotations

import pytest

from ai_migration import migration_service, search
from ai_migration.engine.worker import run_worker
from ai_migration.types import JobStatus
from tests.databases import FreshDatabase
from tests.testapp.models import Article

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])


@pytest.mark.parametrize("rows", [0, 1, 1203])
def test_rows_become_a_searchable_index(database: FreshDatabase, rows: int) -> None:
    Article.objects.bulk_create(
        Article(title=f"Title {i}", body=f"Body of number {i}") for i in range(rows)
    )
    job = migration_service.index_all_entities("article")
    assert job.status == JobStatus.RUNNING
    run_worker(should_stop=lambda: False, only_jobs=[job.pk], until_idle=True)
    progress = migration_service.get_progress(job.pk)
    assert progress.status == JobStatus.COMPLETED, progress
    assert (progress.total, progress.processed, progress.indexed) == (rows, rows, rows)
    assert progress.percent_complete == 100
    if rows:
        article = Article.objects.first()
        assert article is not None
        from ai_migration.entities import registry
        from ai_migration.entities.rows.reader import EntityReader

        entity = registry.get("article")
        text = EntityReader(entity).read(entity.rows().filter(pk=article.pk))[0].text
        hits = search("article", text, limit=3)
        assert hits[0].id == str(article.pk)
        assert hits[0].score == pytest.approx(1.0, abs=1e-5)
