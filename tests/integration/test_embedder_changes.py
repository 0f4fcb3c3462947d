"""The embedder of an index changes: what is the same stays, and what differs is told."""

from __future__ import annotations

from typing import Any

import pytest

from ai_migration import search
from ai_migration.indexing.queue import enqueue
from ai_migration.models import Collection
from tests.integration.embedders import Script, ScriptedEmbedder
from tests.integration.support import (
    Project,
    assert_in_line,
    collection,
    counts,
    make_articles,
    run,
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
