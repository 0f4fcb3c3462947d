"""`ai_migration init`: from the models to a first config that works as it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core import checks
from django.db import models

from ai_migration import search
from ai_migration.checks import TAG
from ai_migration.entities import registry
from ai_migration.entities.config.decorator import ai_capable
from ai_migration.entities.config.file import load_config
from ai_migration.entities.drafting.draft import draft_config
from ai_migration.exceptions import InvalidRequestError
from tests.commands import ROOT, ManageHere
from tests.integration.odd_models import RichPage, table_of
from tests.integration.support import Project, make_articles, run
from tests.testapp.models import Article, Category

pytestmark = pytest.mark.vendors("sqlite")


def faults() -> list[checks.CheckMessage]:
    """What `manage.py check --database default` says of the entity types."""
    found = checks.run_checks(tags=[TAG], databases=["default"])
    return [message for message in found if message.obj and "ai-entity-config" in str(message.obj)]


@pytest.fixture
def config(project: Project, tmp_path: Path) -> Path:
    """Where the config is, once there is one."""
    path = tmp_path / "ai-entity-config.yml"
    project.set(ENTITY_CONFIG=path)
    return path


def test_the_file_passes_the_checks_and_indexes_and_finds(config: Path) -> None:
    make_articles(3)
    with table_of(RichPage):
        RichPage.objects.create(
            title="Care", body="<p>Never iron.</p>", note="<p>by <b>hand</b></p>"
        )
        draft = draft_config(["testapp"])
        config.write_text(draft.text)
        registry.reset()
        assert {"article", "document", "rich_page", "child_thing"} <= {*draft.entity_types}
        assert faults() == []
        assert run("article").indexed == 3
        assert run("rich_page").indexed == 1
        [hit] = search("rich_page", "iron")
        assert hit.text == "title: Care\nbody: Never iron.\nnote: by hand"
        assert hit.metadata == {"title": "Care"}


def test_every_entity_type_resolves(config: Path) -> None:
    config.write_text(draft_config(["testapp", "auth", "contenttypes"]).text)
    registry.reset()
    assert len(registry.names()) > 10
    for name in registry.names():
        registry.get(name)


class Author(models.Model):  # noqa: DJ008
    """Text, and what does not belong in an index. It has no table, so a deletion must not look into
    it."""

    slug = models.SlugField()
    biography = models.TextField()
    api_token = models.CharField(max_length=50)
    email = models.EmailField()
    title = models.CharField(max_length=50)
    status = models.CharField(max_length=9, choices=[("draft", "Draft"), ("published", "Out")])
    rating = models.DecimalField(max_digits=3, decimal_places=1)
    article = models.ForeignKey(Article, on_delete=models.DO_NOTHING)
    category = models.ForeignKey(Category, on_delete=models.DO_NOTHING)
    created = models.DateTimeField(auto_now_add=True)
    friends = models.ManyToManyField("self")

    class Meta:
        app_label = "testapp"
        managed = False


class Null(models.Model):  # noqa: DJ008
    """Its name means something in YAML."""

    title = models.CharField(max_length=50)

    class Meta:
        app_label = "testapp"
        managed = False


def test_what_is_in_a_draft(config: Path) -> None:
    config.write_text(draft_config(["testapp"]).text)
    drafted = load_config(config).entities
    author = drafted["author"]
    assert [(field.name, field.words) for field in author.embeddable_fields] == [
        ("title", "title"),
        ("article__title", "article"),
        ("category__name", "category"),
        ("biography", "biography"),
    ]
    names = ["title", "status", "rating", "article", "category__slug"]
    assert [field.name for field in author.metadata_fields] == names
    assert author.created_at_field == "created"
    assert author.filter is None, "only suggested"
    assert '    # filter: {status: "published"}' in config.read_text()
    assert "null" in drafted


def test_names_are_unique_and_what_is_declared_is_left_alone() -> None:
    try:
        ai_capable(entity_type="category")(Author)
        draft = draft_config(["testapp"])
    finally:
        del Author.__ai_capable__  # type: ignore[attr-defined]
    assert draft.declared == ("category",)
    assert "author" not in draft.entity_types
    assert "testapp_category" in draft.entity_types
    assert "# Declared with @ai_capable: category." in draft.text


def test_without_the_library_for_html_it_is_written_as_it_is(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with table_of(RichPage):
        RichPage.objects.create(title="Care", body="plain", note="<p>by hand</p>")
        monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None)
        draft = draft_config(["testapp"])
    assert {*draft.raw_html} == {"testapp.RichPage.body", "testapp.RichPage.note"}
    config.write_text(draft.text)
    registry.reset()
    assert faults() == []
    assert "pip install 'django-ai-migration[html]'" in draft.text


def test_only_apps_of_the_project_unless_others_are_named() -> None:
    apps = {line.split()[1] for line in draft_config().text.splitlines() if "    model: " in line}
    assert {label.split(".")[0] for label in apps} == {"testapp"}
    assert "user" in draft_config(["auth"]).entity_types
    with pytest.raises(InvalidRequestError, match="'testap'. Did you mean 'testapp'"):
        draft_config(["testap"])
    with pytest.raises(InvalidRequestError, match="No model with text.*sessions.*testapp"):
        draft_config(["sessions"])


def test_the_command_writes_the_file_once(manage_here: ManageHere, tmp_path: Path) -> None:
    path = tmp_path / "first.yml"
    settings = {"ENTITY_CONFIG": str(path)}
    printed = manage_here("ai_migration", "init", "testapp", "--stdout", ai_migration=settings)
    assert not path.exists()
    done = manage_here("ai_migration", "init", "testapp", ai_migration=settings)
    assert done.returncode == 0
    assert path.read_text() == printed.stdout
    assert f"Wrote {path}, with the entity types " in done.stdout
    path.write_text("# mine")
    again = manage_here("ai_migration", "init", ai_migration=settings)
    assert again.returncode == 1
    assert f"{path} exists, and is not overwritten" in again.stderr
    assert path.read_text() == "# mine"


def test_the_command_as_json_and_its_errors(manage_here: ManageHere, tmp_path: Path) -> None:
    def answer(*arguments: str, path: Path | None) -> tuple[int, Any]:
        settings = {"ENTITY_CONFIG": path and str(path)}
        done = manage_here("ai_migration", "init", "--json", *arguments, ai_migration=settings)
        return done.returncode, json.loads(done.stdout)

    path = tmp_path / "first.yml"
    code, said = answer("auth", path=path)
    assert (code, said) == (0, {"path": str(path), "entityTypes": ["user"]})
    code, said = answer("auht", path=tmp_path / "other.yml")
    assert (code, said["error"]["field"]) == (2, "apps")
    assert "Did you mean 'auth'" in said["error"]["message"]
    code, said = answer("auth", path=tmp_path / "no" / "folder.yml")
    assert (code, said["error"]["code"]) == (1, "invalid_entity_config")
    code, said = answer("auth", path=None)
    assert code == 1
    assert "--stdout" in said["error"]["message"]
    code, said = answer("auth", "--stdout", path=None)
    assert (code, "model: auth.User" in said["config"]) == (0, True)


@pytest.mark.gate
def test_the_example_project_is_adopted_with_it(tmp_path: Path) -> None:
    """Install, init, migrate, search."""
    pytest.importorskip("wordllama")
    site = tmp_path / "site"
    shutil.copytree(ROOT / "example_project", site, ignore=shutil.ignore_patterns("*.sqlite3"))
    (site / "ai-entity-config.yml").unlink()

    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name in ("DJANGO_SETTINGS_MODULE", "DATABASE_URL"):
        environ.pop(name, None)

    def manage(*arguments: str) -> str:
        command = [sys.executable, str(site / "manage.py"), *arguments]
        done = subprocess.run(
            command, cwd=site, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "doc_entry, category, product" in manage("ai_migration", "init")
    manage("migrate")
    manage("seed_catalog", "--products", "200")
    assert "no issues" in manage("check", "--database", "default")
    assert "200 indexed of 200" in manage("migrate_ai_entities", "product")
    assert "name: " in manage("ai_migration", "search", "product", "footwear for a marathon")
