"""Which rows a migration embeds: by mode, after a change of rows, of config, of embedder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db.models import F, Value
from django.db.models.functions import Concat

from ai_migration import migration_service, search
from ai_migration.engine.upkeep.supervisor import clean_up
from ai_migration.exceptions import (
    AIMigrationError,
    ConflictingJobError,
    InvalidRequestError,
    NotIndexedError,
    RebuildRequiredError,
    StoreError,
)
from ai_migration.models import Collection, MigrationJob, SearchableEntity
from ai_migration.stores import stores
from ai_migration.stores.memory import MemoryStore
from ai_migration.types import (
    CollectionRef,
    CollectionStatus,
    JobStatus,
    MigrationFilters,
    MigrationRequest,
)
from tests.docs.pages import ROOT, blocks_of
from tests.integration.embedders import Script
from tests.integration.support import (
    GLOBAL,
    Project,
    assert_in_line,
    collection,
    counts,
    finish,
    make_articles,
    payloads,
    progress,
    run,
    run_slice,
    start,
    stored,
    work,
)
from tests.testapp.models import Article, Category

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])

ROWS = 30
DATABASE_STORE = "ai_migration.stores.database.DatabaseStore"


def change_some() -> tuple[int, int, int]:
    """Change 3 rows, delete 2, add 4."""
    pks = list(Article.objects.order_by("pk").values_list("pk", flat=True))
    Article.objects.filter(pk__in=pks[:3]).update(body=Concat(F("body"), Value(" Changed.")))
    Article.objects.filter(pk__in=pks[3:5]).delete()
    make_articles(4, start=1000)
    return 3, 2, 4


@pytest.mark.parametrize("batch_size", [1, 500])
def test_changed_embeds_exactly_what_differs(script: Script, batch_size: int) -> None:
    make_articles(ROWS)
    assert counts(run(batch_size=batch_size)) == (ROWS, 0, 0, 0)
    script.clear()
    assert counts(run(batch_size=batch_size)) == (0, ROWS, 0, 0)
    assert script.asked == 0
    changed, gone, new = change_some()
    assert counts(run(batch_size=batch_size)) == (changed + new, ROWS - changed - gone, gone, 0)
    assert len(script.texts) == changed + new
    assert_in_line()


def test_missing_embeds_only_what_the_index_does_not_have(script: Script) -> None:
    make_articles(ROWS)
    run()
    before = stored(collection())
    script.clear()
    _, gone, new = change_some()
    assert counts(run(mode="missing")) == (new, ROWS - gone, 0, 0)
    assert len(script.texts) == new
    after = stored(collection())
    assert before.items() <= after.items(), "what is there stays as it is"


@pytest.mark.parametrize("request_", [{"mode": "all"}, {"reindex_existing": True}])
def test_all_embeds_everything_once(script: Script, request_: dict[str, Any]) -> None:
    make_articles(ROWS)
    run()
    script.clear()
    _, gone, new = change_some()
    ended = run(**request_)
    assert counts(ended) == (ROWS - gone + new, 0, gone, 0)
    assert len(script.texts) == ROWS - gone + new
    assert not script.paid_twice
    job = migration_service.get_job(ended.job_id)
    assert job.reindex_existing
    assert job.embedded_texts == len(script.texts)
    assert_in_line()


@pytest.mark.parametrize(("after", "batch_size"), [(1, 3), (11, 500), (11, 3), (29, 500)])
def test_reindexing_that_is_interrupted_pays_for_nothing_twice(
    project: Project, after: int, batch_size: int
) -> None:
    script = project.embedder(max_batch_size=4)
    make_articles(ROWS)
    run()
    script.clear()
    job = start(reindex_existing=True, batch_size=batch_size)
    run_slice(should_stop=lambda: len(script.texts) >= after)
    first = len(script.texts)
    # From one look to the next a thread may send what it is given twice: two requests of 4 texts.
    assert after <= first < after + 2 * 2 * 4
    assert progress(job).status == JobStatus.RUNNING
    assert counts(finish(job)) == (ROWS, 0, 0, 0)
    assert (len(script.texts), script.paid_twice) == (ROWS, [])
    assert_in_line()


def test_a_payload_that_changes_is_updated_and_nothing_is_embedded(
    project: Project, script: Script
) -> None:
    project.article(metadata_fields=["status", "category__name"])
    make_articles(ROWS)
    run()
    script.clear()
    first = Article.objects.order_by("pk")[0]
    Article.objects.filter(pk=first.pk).update(
        status="draft", category=Category.objects.create(name="Shoes", slug="s")
    )
    assert counts(run()) == (1, ROWS - 1, 0, 0)
    assert script.asked == 0
    found = payloads(collection())
    assert found[str(first.pk)] == {"status": "draft", "category__name": "Shoes"}
    [hit] = search("article", "x", filters={"status": "draft"})
    assert hit.id == str(first.pk)
    script.clear()
    # Other fields in the payload: the same.
    project.article(metadata_fields=["status", "price"])
    assert counts(run()) == (ROWS, 0, 0, 0)
    assert script.asked == 0
    assert payloads(collection())[str(first.pk)] == {"status": "draft", "price": None}
    assert_in_line()


def test_after_a_change_of_fields_what_differs_is_embedded(
    project: Project, script: Script
) -> None:
    make_articles(ROWS)
    marked = Article.objects.create(title="marked", status="published")
    Article.objects.exclude(pk=marked.pk).update(status="")
    run()
    script.clear()
    project.article("title", "body", "status")
    assert counts(run()) == (1, ROWS, 0, 0)
    assert script.texts == ["title: marked\nstatus: published"]
    assert_in_line()


def test_after_a_change_of_template_what_differs_is_embedded(
    project: Project, script: Script
) -> None:
    make_articles(ROWS)
    Article.objects.filter(title__in=["Title 1", "Title 2"]).update(status="draft")
    run()
    script.clear()
    same = "title: {{ title }}\nbody: {{ body }}"
    project.article(template=f"{same}{{% if status == 'draft' %}} (draft){{% endif %}}")
    assert counts(run()) == (2, ROWS - 2, 0, 0)
    assert len(script.texts) == 2
    assert all(text.endswith("(draft)") for text in script.texts)
    assert_in_line()


def test_a_change_that_concerns_no_text_embeds_nothing(project: Project, script: Script) -> None:
    make_articles(ROWS)
    run()
    script.clear()
    project.article(features=["search"], batch_size=9)
    assert counts(run()) == (0, ROWS, 0, 0)
    project.article(filterable_fields=["status"])  # it is in the payload, by an older name
    assert counts(run()) == (ROWS, 0, 0, 0)
    project.article(metadata_fields=["status"])
    assert counts(run()) == (0, ROWS, 0, 0)
    assert script.asked == 0


# The dry run


@pytest.mark.parametrize("mode", ["missing", "changed", "all"])
def test_the_plan_is_what_happens(project: Project, mode: str) -> None:
    script = project.embedder(max_batch_size=5)
    make_articles(ROWS)
    Article.objects.create(title="", body="")
    project.article(metadata_fields=["status"])
    run()
    change_some()
    Article.objects.filter(title="Title 20").update(status="draft")
    script.clear()
    plan = migration_service.plan(MigrationRequest("article", mode=mode))
    assert script.asked == 0
    assert MigrationJob.objects.count() == 1
    ended = run(mode=mode)
    assert (plan.to_embed + plan.to_update_metadata, plan.to_skip, plan.to_remove) == (
        ended.indexed,
        ended.skipped,
        ended.removed,
    )
    assert plan.texts == len(script.texts)
    assert plan.requests == script.asked
    assert plan.total == ended.total
    assert plan.rows == plan.total - plan.to_remove
    assert not plan.is_estimate


def test_a_plan_says_how_long_the_limit_makes_it(project: Project) -> None:
    project.embedder(max_batch_size=5)
    make_articles(ROWS)
    plan = migration_service.plan(MigrationRequest("article", rate_limit=2))
    assert plan.requests == 6
    assert plan.duration_at_rate_limit is not None
    assert plan.duration_at_rate_limit.total_seconds() == 180


# Rebuilding


def test_a_lost_store_is_refused_and_rebuilt(project: Project, script: Script) -> None:
    make_articles(ROWS)
    run()
    lost = collection()
    stores["default"].drop_collection(lost.ref)
    script.clear()
    with pytest.raises(AIMigrationError, match=r"gone from store.*--rebuild"):
        start()
    assert MigrationJob.objects.count() == 1
    assert counts(run(rebuild=True)) == (ROWS, 0, 0, 0)
    assert len(script.texts) == ROWS
    assert collection().pk != lost.pk
    assert_in_line()
    assert search("article", script.texts[0], limit=1)[0].text == script.texts[0]
    lost.refresh_from_db()
    assert lost.status == CollectionStatus.RETIRED
    assert counts(run()) == (0, ROWS, 0, 0)


def test_a_lost_store_stops_a_running_job_with_advice(project: Project) -> None:
    make_articles(ROWS)
    run()
    change_some()
    job = start()
    stores["default"].drop_collection(collection().ref)
    ended = finish(job)
    assert ended.status == JobStatus.FAILED
    assert "--rebuild" in ended.error_message
    assert counts(run(rebuild=True))[0] == ROWS + 2
    assert_in_line()


def test_a_rebuild_is_built_beside_what_serves_searches(project: Project) -> None:
    script = project.embedder(max_batch_size=4)
    make_articles(ROWS)
    run()
    old = collection()
    before = stored(old)
    script.clear()
    job = start(rebuild=True)
    run_slice(should_stop=lambda: len(script.texts) >= 10)
    building = Collection.objects.get(status=CollectionStatus.BUILDING)
    assert collection() == old
    assert stored(old) == before
    assert 0 < len(stored(building)) < ROWS
    assert len(search("article", "x", limit=100)) == ROWS, "the old one answers, whole"
    with pytest.raises(ConflictingJobError):
        start(rebuild=True)
    assert counts(finish(job)) == (ROWS, 0, 0, 0)
    old.refresh_from_db()
    assert old.status == CollectionStatus.RETIRED
    assert old.retired_at is not None
    assert collection() == building
    assert_in_line()
    assert not script.paid_twice


@pytest.mark.parametrize("backend", ["sqlite_vec.SqliteVecStore", "qdrant.QdrantStore"])
@pytest.mark.vendors("sqlite")
def test_moving_the_vectors_to_another_store_embeds_nothing(
    project: Project, script: Script, tmp_path: Path, backend: str
) -> None:
    """As docs/howto/stores.md has it."""
    pytest.importorskip("apsw" if "sqlite" in backend else "qdrant_client")
    new = {"BACKEND": f"ai_migration.stores.{backend}", "OPTIONS": {"path": tmp_path / "vectors"}}
    make_articles(ROWS)
    run()
    before = stored(collection())
    project.set(STORES={"default": {"BACKEND": DATABASE_STORE}, "new": new})
    guide = blocks_of(ROOT / "docs" / "howto" / "stores.md")
    [copying] = [block.body for block in guide if "old.scroll" in block.body]
    exec(copying, {})
    project.set(STORES={"default": new})
    after = stored(collection())
    assert after.keys() == before.keys()
    script.clear()
    change_some()
    assert counts(run()) == (7, ROWS - 5, 2, 0)
    assert len(script.texts) == 7
    assert stores["default"].count(collection().ref) == ROWS + 2
    assert len(search("article", "x", limit=100)) == ROWS + 2


class ToldStore(MemoryStore):
    """Writes down which collections became active; ``refuses`` instead."""

    def __init__(self, refuses: bool = False) -> None:
        super().__init__()
        self.told: list[tuple[int, int]] = []
        self._refuses = refuses

    def activated(self, collection: CollectionRef) -> None:
        if self._refuses:
            raise StoreError("no alias today", transient=True)
        assert Collection.objects.get(pk=collection.id).status == CollectionStatus.ACTIVE
        self.told.append((collection.id, self.count(collection)))


@pytest.mark.vendors("sqlite")
def test_a_store_is_told_which_collection_is_active(project: Project) -> None:
    """When it is whole, and no sooner."""
    project.store(f"{__name__}.ToldStore")
    store = stores["default"]
    assert isinstance(store, ToldStore)
    make_articles(ROWS)
    run()
    first = collection().pk
    assert store.told == [(first, ROWS)]
    job = start(rebuild=True)
    run_slice(should_stop=lambda: store.count(Collection.objects.latest("pk").ref) > 0)
    assert len(store.told) == 1
    finish(job)
    assert store.told == [(first, ROWS), (collection().pk, ROWS)]
    assert collection().pk != first


@pytest.mark.vendors("sqlite")
def test_a_store_that_cannot_be_told_spoils_no_job(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project.store(f"{__name__}.ToldStore", refuses=True)
    make_articles(ROWS)
    assert counts(run()) == (ROWS, 0, 0, 0)
    assert "no alias today" in caplog.text
    assert_in_line()


def test_live_changes_go_to_both_generations(project: Project) -> None:
    from ai_migration import enqueue

    script = project.embedder(max_batch_size=4)
    make_articles(ROWS)
    run()
    old = collection()
    job = start(rebuild=True, batch_size=5)
    run_slice(should_stop=lambda: len(script.texts) >= ROWS + 20)
    early, late = Article.objects.order_by("pk")[0], Article.objects.order_by("-pk")[0]
    Article.objects.filter(pk__in=[early.pk, late.pk]).update(body="Changed meanwhile.")
    gone = Article.objects.order_by("pk")[1].pk
    Article.objects.filter(pk=gone).delete()
    enqueue("article", [early.pk, late.pk, gone])
    building = Collection.objects.get(status=CollectionStatus.BUILDING)
    run_slice(should_stop=lambda: "Changed meanwhile." in str(script.texts))
    work()
    assert progress(job).status == JobStatus.COMPLETED
    assert collection() == building
    assert_in_line()
    old.refresh_from_db()
    assert str(gone) not in stored(old)
    assert stored(old)[str(early.pk)] == stored(building)[str(early.pk)]


@pytest.mark.parametrize("alias", ["default", "newer"])
def test_another_embedder_is_refused_until_the_index_is_rebuilt(
    project: Project, alias: str
) -> None:
    """Whether the alias means another model now, or the config names another alias."""
    script = project.embedder(dimensions=32)
    make_articles(ROWS)
    run()
    old = collection()
    newer = project.embedder(alias=alias, dimensions=16, max_batch_size=4)
    if alias != "default":
        project.article(embedder=alias)
    script.clear()
    for request in ({}, {"reindex_existing": True}, {"mode": "missing"}):
        with pytest.raises(RebuildRequiredError, match="--rebuild"):
            start(**request)
    plan = migration_service.plan(MigrationRequest("article"))
    assert "config: dimensions 32, now 16" in plan.rebuild_required
    assert plan.to_embed == ROWS
    job = start(rebuild=True)
    run_slice(should_stop=lambda: len(newer.texts) >= 10)
    assert len(search("article", "x", limit=100)) == ROWS, "by the embedder that made it"
    assert counts(finish(job)) == (ROWS, 0, 0, 0)
    assert (collection().dimensions, collection().embedder) == (16, alias)
    assert_in_line()
    assert search("article", newer.texts[0], limit=1)[0].text == newer.texts[0]
    old.refresh_from_db()
    assert old.status == CollectionStatus.RETIRED
    dimensions = {
        batch.vectors.shape[1]
        for each in (old, collection())
        for batch in stores["default"].scroll(each.ref)
    }
    assert dimensions == {32, 16}


def test_an_embedder_that_changes_under_a_job_stops_it(project: Project) -> None:
    script = project.embedder(max_batch_size=4)
    make_articles(ROWS)
    job = start(batch_size=5)
    run_slice(should_stop=lambda: len(script.texts) >= 10)
    before = stored(collection())
    newer = project.embedder(dimensions=16)
    ended = finish(job)
    assert ended.status == JobStatus.FAILED
    assert "--rebuild" in ended.error_message
    assert newer.asked == 0
    assert stored(collection()) == before
    with pytest.raises(RebuildRequiredError):
        migration_service.resume_migration(job.pk)
    with pytest.raises(RebuildRequiredError):
        start()
    assert counts(run(rebuild=True)) == (ROWS, 0, 0, 0)
    assert_in_line()


def test_a_rebuild_that_is_cancelled_changes_nothing_and_can_be_started_again(
    project: Project,
) -> None:
    script = project.embedder(max_batch_size=4)
    make_articles(ROWS)
    run()
    old = collection()
    job = start(rebuild=True)
    run_slice(should_stop=lambda: len(script.texts) >= ROWS + 10)
    migration_service.cancel_migration(job.pk)
    work()
    assert collection() == old
    assert_in_line()
    assert counts(run(rebuild=True)) == (ROWS, 0, 0, 0)
    assert collection() != old
    assert_in_line()
    abandoned = Collection.objects.exclude(pk__in=[old.pk, collection().pk]).get()
    assert (abandoned.status, abandoned.activated_at) == (CollectionStatus.RETIRED, None)
    project.set(KEEP_RETIRED_DAYS=0)
    clean_up()
    for retired in (old, abandoned):
        retired.refresh_from_db()
        assert retired.dropped_at is not None
        assert not stores["default"].exists(retired.ref)
    assert_in_line()
    assert not SearchableEntity.objects.filter(collection=abandoned).exists()


def test_a_rebuild_with_too_many_failures_is_not_activated(project: Project) -> None:
    make_articles(20)
    run()
    old = collection()
    script = project.embedder()
    bad = True

    def refuse_most(texts: Any) -> None:
        if bad and any(int(text.split()[2]) >= 5 for text in texts):
            raise ValueError("not this one")

    script.react = refuse_most
    job = start(rebuild=True)
    ended = finish(job)
    assert (ended.status, ended.failed) == (JobStatus.FAILED, 15)
    assert "not activated" in ended.error_message
    assert collection() == old
    bad = False
    assert migration_service.retry_failed(job.pk).status == JobStatus.RUNNING
    ended = finish(job)
    assert (ended.status, counts(ended)) == (JobStatus.COMPLETED, (20, 0, 0, 0))
    assert collection() != old
    assert_in_line()


def test_resuming_a_rebuild_that_was_not_activated_says_so_again(project: Project) -> None:
    make_articles(20)
    run()
    script = project.embedder()

    def refuse(texts: Any) -> None:
        raise ValueError("never")

    script.react = refuse
    job = start(rebuild=True)
    assert finish(job).status == JobStatus.FAILED
    migration_service.resume_migration(job.pk)
    ended = finish(job)
    assert ended.status == JobStatus.FAILED, "not RUNNING for ever"
    assert "not activated" in ended.error_message


def test_a_rebuild_takes_no_filters(project: Project) -> None:
    with pytest.raises(InvalidRequestError, match="no filters") as caught:
        start(rebuild=True, filters=MigrationFilters(lookups={"status": "draft"}))
    assert caught.value.field == "filters"


def test_the_first_rebuild_is_a_backfill(project: Project) -> None:
    make_articles(3)
    with pytest.raises(NotIndexedError):
        search("article", "x")
    assert counts(run(rebuild=True)) == (3, 0, 0, 0)
    assert_in_line()


def test_generations_of_two_entity_types_do_not_meet(project: Project) -> None:
    make_articles(3)
    project.config(
        GLOBAL
        + """
ai-entities:
  article: {model: testapp.Article, embeddable-fields: [title]}
  other: {model: testapp.Article, embeddable-fields: [body]}
"""
    )
    run("article")
    run("other")
    Article.objects.all()[0].delete()
    run("article")
    assert (len(stored(collection("article"))), len(stored(collection("other")))) == (2, 3)
