"""The embedder of an index changes: what is the same stays, and what differs is told."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from django.core.checks import CheckMessage, Error

from ai_migration import migration_service, search
from ai_migration.admin import coverage
from ai_migration.engine.insight.diagnosis import Indexes
from ai_migration.exceptions import AIMigrationError, RebuildRequiredError
from ai_migration.indexing.queue import enqueue
from ai_migration.indexing.targets import outage
from ai_migration.jobs.report.overview import list_entities
from ai_migration.models import Collection
from ai_migration.types import Vectors
from tests.integration.embedders import Script, ScriptedEmbedder
from tests.integration.support import (
    Project,
    assert_in_line,
    collection,
    counts,
    expected,
    make_articles,
    run,
    start,
    stored,
    work,
)
from tests.integration.test_checks import found
from tests.testapp.models import Article
from tests.unit.test_fingerprints import by_path

pytestmark = pytest.mark.vendors("sqlite")


class Named(ScriptedEmbedder):
    """One that says whose vectors it makes."""

    provider = "acme"


class Moved(ScriptedEmbedder):
    """The same under another path."""

    provider = "acme"
    former_providers = (f"{__name__}.Named",)


def use(project: Project, kind: str, alias: str = "default", **options: Any) -> Script:
    """Configure an embedder of this module."""
    script = Script()
    made = {"BACKEND": f"{__name__}.{kind}", "OPTIONS": {"script": script, **options}}
    project.set(EMBEDDERS={**project.get("EMBEDDERS"), alias: made})
    return script


# The same vectors under another name


@pytest.mark.parametrize("kind", ["Named", "Moved"])
def test_an_index_from_before_the_class_had_a_name_is_kept(project: Project, kind: str) -> None:
    """Nothing is paid for twice: not by a run, a search, or a live change."""
    use(project, "Named")
    make_articles(5)
    run()
    before = by_path(Named(Script()))
    Collection.objects.update(fingerprint=before)
    script = use(project, kind)
    assert found() == []
    assert len(search("article", "Title 3")) == 5
    script.clear()
    assert counts(run()) == (0, 5, 0, 0)
    assert script.asked == 0
    Article.objects.filter(title="Title 3").update(body="Changed.")
    enqueue("article", [Article.objects.get(title="Title 3").pk])
    work()
    assert script.asked == 1
    assert_in_line()
    assert collection().fingerprint == before


# Another embedder: searches go on with the old one, if that can be made


class WithKey(ScriptedEmbedder):
    """One with an address and a key, and the script that its server follows."""

    provider = "vendor"
    kept_options: Sequence[str] = ("model", "dimensions", "base_url", "license")

    def __init__(
        self,
        model: str = "small",
        dimensions: int = 32,
        base_url: str = "",
        api_key: str = "",
        license: str = "",
        mood: str = "",
    ) -> None:
        super().__init__(SERVERS.setdefault((model, base_url), Script()), dimensions)
        self._model, self._key, self.input_type = model, api_key, mood
        self.key = api_key or os.environ.get("VENDOR_KEY", "")

    @property
    def model_id(self) -> str:
        return self._model

    def embed(self, texts: Sequence[str]) -> Vectors:
        KEYS.append(self.key)
        return super().embed(texts) * (1 if self._model == "small" else -1)

    def check(self) -> list[CheckMessage]:
        return [] if self.key else [Error("no key", id="x.E1")]


SERVERS: dict[tuple[str, str], Script] = {}
KEYS: list[str] = []


@pytest.fixture(autouse=True)
def no_servers() -> None:
    SERVERS.clear()
    KEYS.clear()


def vendor(project: Project, **options: Any) -> None:
    made = {"BACKEND": f"{__name__}.WithKey", "OPTIONS": options}
    project.set(EMBEDDERS={"default": made})


def said_by_all() -> tuple[str, str, str]:
    """What the check, the doctor and the dashboard say of searches."""
    [checked] = [message for message in found() if "W050" in message]
    [overview] = list_entities()
    [finding] = list(Indexes().run())
    return checked, finding.fact, "; ".join(coverage.Covered(overview, 0).notes)


def assert_searches_go_on() -> None:
    for said in said_by_all():
        assert "searches use the old index" in said
    hits = search("article", "title: Title 2\nbody: Body of number 2.", limit=1)
    assert Article.objects.get(pk=hits[0].id).title == "Title 2"
    assert hits[0].score == pytest.approx(1, abs=1e-5), "the query was embedded by the same model"


def assert_searches_are_down() -> None:
    for said in said_by_all():
        assert "searches are refused" in said
    with pytest.raises(AIMigrationError) as caught:
        search("article", "x")
    assert outage(collection()) == caught.value.message


def test_searches_go_on_with_the_embedder_that_made_the_index(project: Project) -> None:
    vendor(project, model="small", api_key="sk-one")
    make_articles(5)
    run()
    vendor(project, model="large", api_key="sk-two", dimensions=16)
    assert_searches_go_on()
    assert KEYS[-1] == "sk-two", "the key is that of the present settings"
    with pytest.raises(RebuildRequiredError, match="model small, now large; dimensions 32, now 16"):
        start()
    run(rebuild=True)
    assert found() == []
    assert collection().model_id == "large"


def test_another_class_takes_its_place(project: Project, monkeypatch: Any) -> None:
    monkeypatch.setenv("VENDOR_KEY", "sk-of-the-host")
    vendor(project, api_key="sk-one")
    make_articles(5)
    run()
    project.embedder()
    assert_searches_go_on()
    assert KEYS[-1] == "sk-of-the-host"
    [said] = [message for message in found() if "W050" in message]
    assert "model small, now blake2b-64; provider vendor, now tests." in said


def test_without_its_key_searches_are_down_and_all_say_so(project: Project) -> None:
    vendor(project, api_key="sk-one")
    make_articles(5)
    run()
    project.embedder()
    assert_searches_are_down()
    project.set(EMBEDDERS={**project.get("EMBEDDERS"), "default": {"BACKEND": "no.No"}})
    with pytest.raises(AIMigrationError, match=r"no\.No"):
        search("article", "x")


def test_a_key_is_sent_only_where_it_was_meant_for(project: Project, monkeypatch: Any) -> None:
    """Not that of the new server to the old one, and not the host's to any that is named."""
    monkeypatch.setenv("VENDOR_KEY", "sk-of-the-host")
    vendor(project, api_key="sk-one", base_url="https://one.example/v1")
    make_articles(5)
    run()
    vendor(project, api_key="sk-two", base_url="https://two.example/v1", model="large")
    assert_searches_are_down()
    vendor(project, api_key="sk-two", model="large")
    assert_searches_are_down()
    assert set(KEYS) == {"sk-one"}
    vendor(project, api_key="sk-new", base_url="https://one.example/v1", model="large")
    assert_searches_go_on()
    assert KEYS[-1] == "sk-new"


def test_an_index_from_before_settings_were_kept(project: Project) -> None:
    vendor(project, api_key="sk-one")
    make_articles(5)
    run()
    Collection.objects.update(made_by=None)
    vendor(project, model="large", api_key="sk-two")
    assert_searches_go_on()
    project.embedder()
    assert_searches_are_down()


def test_the_old_embedder_may_be_there_under_another_alias(project: Project) -> None:
    script = project.embedder()
    make_articles(5)
    run()
    Collection.objects.update(made_by=None)
    project.set(EMBEDDERS={"default": {"BACKEND": "ai_migration.embedders.local.LocalEmbedder"}})
    assert_searches_are_down()
    project.embedder(alias="kept", script=script)
    assert_searches_go_on()


def test_an_alias_that_was_renamed_needs_no_rebuild(project: Project) -> None:
    script = project.embedder(alias="old")
    project.article(embedder="old")
    make_articles(5)
    run()
    configured = project.get("EMBEDDERS")
    project.set(EMBEDDERS={"default": configured["default"], "new": configured["old"]})
    project.article(embedder="new")
    script.clear()
    assert found() == []
    assert len(search("article", "x")) == 5
    script.clear()
    assert counts(run()) == (0, 5, 0, 0)
    assert script.asked == 0
    assert collection().embedder == "new"


def test_an_option_that_makes_the_vectors_differ_is_named(project: Project) -> None:
    vendor(project, api_key="sk-one", mood="glad")
    make_articles(1)
    run()
    vendor(project, api_key="sk-one")
    with pytest.raises(RebuildRequiredError, match=r"config: input type glad, now none\. Rebuild"):
        start()
    Collection.objects.update(made_by=None)
    with pytest.raises(RebuildRequiredError, match="the same model with another class or another"):
        start()


def kept() -> Any:
    made_by = collection().made_by
    assert made_by is not None
    return made_by["options"]


def test_no_secret_is_kept(project: Project) -> None:
    secrets = {
        "api_key": "sk-one-two-three",
        "license": "Bearer abcdefgh",
        "base_url": "https://user:hunter22@one.example/v1",
    }
    vendor(project, **secrets, mood="not-listed")
    make_articles(1)
    run()
    assert collection().made_by == {
        "backend": f"{__name__}.WithKey",
        "options": {},
        "withheld": ["api_key", "base_url", "license", "mood"],
        "provider": "vendor",
        "input_type": "not-listed",
    }
    for address in ("https://one.example/v1?code=abc", "https://one.example/#abc"):
        vendor(project, api_key="k", base_url=address, mood="not-listed")
        run()
        assert kept() == {}
    vendor(project, api_key="k", base_url="https://one.example", mood="not-listed")
    run()
    assert kept() == {"base_url": "https://one.example"}


# Live changes meanwhile


def test_live_changes_go_to_both_indexes_each_by_its_own_embedder(project: Project) -> None:
    """Never mixed, although both have the same alias, model length and store."""
    vendor(project, api_key="sk-one")
    make_articles(5)
    run()
    old = collection()
    vendor(project, model="large", api_key="sk-two")
    Article.objects.filter(title="Title 3").update(body="Changed once.")
    enqueue("article", [Article.objects.get(title="Title 3").pk])
    work()
    assert_in_line()
    job = start(rebuild=True)
    migration_service.pause_migration(job.pk)
    Article.objects.filter(title="Title 3").update(body="Changed twice.")
    enqueue("article", [Article.objects.get(title="Title 3").pk])
    work()
    new = Collection.objects.get(status="BUILDING")
    wanted, pk = expected(old), str(Article.objects.get(title="Title 3").pk)
    assert stored(old) == wanted
    [vector] = stored(new)[pk].values()
    assert np.array_equal(np.frombuffer(vector, "f4"), -np.frombuffer(wanted[pk][0], "f4"))


def test_live_changes_wait_for_the_rebuild_where_the_embedder_is_gone(project: Project) -> None:
    vendor(project, api_key="sk-one")
    make_articles(3)
    run()
    before = stored(collection())
    script = project.embedder(dimensions=32)
    Article.objects.update(body="Changed.")
    enqueue("article", list(Article.objects.values_list("pk", flat=True)))
    work()
    assert script.asked == 0
    assert stored(collection()) == before
