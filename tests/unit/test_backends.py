"""Aliases become backends; whatever is wrong with one is a SettingsError, without secrets.
And the dispatcher, the other thing a setting names."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ai_migration.backends import (
    BackendImportError,
    BackendOptionsError,
    BackendTypeError,
)
from ai_migration.dispatch import Dispatcher, get_dispatcher, wake
from ai_migration.embedders import Embedder, embedders
from ai_migration.embedders.hash import HashEmbedder
from ai_migration.exceptions import MissingDependencyError, SettingsError
from ai_migration.stores import stores
from ai_migration.types import Vectors

HERE = __name__
SECRET = "sk-very-secret"


class Picky(HashEmbedder):
    """Refuses its options in the way it is told."""

    def __init__(self, api_key: str, how: str = "value", nested: object = None) -> None:
        if how == "missing":
            raise MissingDependencyError("openai", "openai", "Picky")
        if how == "exit":
            raise RuntimeError(f"bad key {api_key}")
        raise ValueError(f"bad key {api_key}, {nested}")


class Half(Embedder):
    """Implements one of three."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        raise NotImplementedError


class Wrapper(HashEmbedder):
    """Made of another alias."""

    def __init__(self) -> None:
        super().__init__(dimensions=embedders["inner"].dimensions)


class Waker(Dispatcher):
    """A dispatcher that says when it was asked."""

    calls = 0

    def wake(self) -> None:
        type(self).calls += 1


class BrokenWaker(Dispatcher):
    def wake(self) -> None:
        raise ConnectionError("no broker")


class NeedsArguments(Dispatcher):
    def __init__(self, broker: str) -> None: ...

    def wake(self) -> None: ...


def use(settings: Any, backend: str, kind: str = "EMBEDDERS", **options: Any) -> None:
    backends = {"default": {"BACKEND": backend, "OPTIONS": options}}
    settings.AI_MIGRATION = {**settings.AI_MIGRATION, kind: backends}


def test_an_alias_is_made_once_and_anew_after_a_change(settings: Any) -> None:
    use(settings, "ai_migration.embedders.hash.HashEmbedder", dimensions=8)
    first = embedders["default"]
    assert first is embedders["default"]
    assert first.dimensions == 8
    use(settings, "ai_migration.embedders.hash.HashEmbedder", dimensions=16)
    assert embedders["default"].dimensions == 16


def test_an_unknown_alias_names_the_known_ones() -> None:
    assert "nope" not in embedders
    assert list(embedders) == ["default"]
    with pytest.raises(SettingsError, match=r"\['nope'\] does not exist. Known aliases: default"):
        embedders["nope"]


@pytest.mark.parametrize("path", ["nope", "nope.Nope", "ai_migration.embedders.hash.Nope", ""])
def test_a_backend_that_cannot_be_imported(settings: Any, path: str) -> None:
    use(settings, path)
    with pytest.raises(BackendImportError, match=r"\['BACKEND'\] is .* cannot be imported: "):
        embedders["default"]


@pytest.mark.parametrize("source", ["def (", "1 / 0", "raise OSError('no disk')"])
def test_a_module_that_fails_to_import(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    (tmp_path / "broken_backend.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_backend", raising=False)
    use(settings, "broken_backend.Embedder")
    with pytest.raises(BackendImportError, match="broken_backend"):
        embedders["default"]


def test_what_a_module_raises_is_told_without_secrets(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "import os\nraise RuntimeError(f'no {os.environ[\"OURS\"]}')"
    (tmp_path / "broken_backend.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_backend", raising=False)
    monkeypatch.setenv("OURS", SECRET)
    use(settings, "broken_backend.Embedder", api_key=SECRET)
    with pytest.raises(BackendImportError, match=r"no \*\*\*") as raised:
        embedders["default"]
    assert SECRET not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    "path", ["collections.OrderedDict", "os.path.join", "ai_migration.stores.memory.MemoryStore"]
)
def test_a_class_that_is_no_embedder(settings: Any, path: str) -> None:
    use(settings, path)
    with pytest.raises(BackendTypeError, match="which is not a subclass of Embedder"):
        embedders["default"]


def test_a_class_that_is_no_store(settings: Any) -> None:
    use(settings, "ai_migration.embedders.hash.HashEmbedder", "STORES")
    with pytest.raises(BackendTypeError, match="which is not a subclass of VectorStore"):
        stores["default"]


def test_an_abstract_class_names_what_it_lacks(settings: Any) -> None:
    use(settings, f"{HERE}.Half")
    with pytest.raises(BackendTypeError, match="does not implement: dimensions, model_id"):
        embedders["default"]


def test_options_that_do_not_fit(settings: Any) -> None:
    use(settings, "ai_migration.embedders.hash.HashEmbedder", dimensons=8)
    with pytest.raises(BackendOptionsError, match="unexpected keyword argument 'dimensons'"):
        embedders["default"]


@pytest.mark.parametrize("how", ["value", "exit"])
def test_what_a_constructor_raises_is_told_without_its_options(settings: Any, how: str) -> None:
    use(settings, f"{HERE}.Picky", api_key=SECRET, how=how, nested={"keys": [SECRET]})
    with pytest.raises(BackendOptionsError, match=r"bad key \*\*\*") as raised:
        embedders["default"]
    logged = "".join(traceback.format_exception(raised.value))
    assert SECRET not in logged


def test_a_missing_library_stays_what_it_is(settings: Any) -> None:
    use(settings, f"{HERE}.Picky", api_key=SECRET, how="missing")
    with pytest.raises(MissingDependencyError, match=r"django-ai-migration\[openai\]"):
        embedders["default"]


def test_a_backend_may_be_made_of_another(settings: Any) -> None:
    settings.AI_MIGRATION = {
        "EMBEDDERS": {
            "default": {"BACKEND": f"{HERE}.Wrapper"},
            "inner": {
                "BACKEND": "ai_migration.embedders.hash.HashEmbedder",
                "OPTIONS": {"dimensions": 24},
            },
        }
    }
    assert embedders["default"].dimensions == 24


def test_waking_calls_the_dispatcher(settings: Any) -> None:
    settings.AI_MIGRATION = {"DISPATCHER": f"{HERE}.Waker"}
    before = Waker.calls
    wake()
    assert Waker.calls == before + 1


@pytest.mark.parametrize("dispatcher", [f"{HERE}.BrokenWaker", "nope.Nope"])
def test_waking_never_raises(
    settings: Any, dispatcher: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings.AI_MIGRATION = {"DISPATCHER": dispatcher}
    with caplog.at_level(logging.ERROR, "ai_migration.dispatch"):
        wake()
    assert "could not be woken" in caplog.text


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nope.Nope", "cannot be imported"),
        ("nope", "cannot be imported"),
        (f"{HERE}.NeedsArguments", "cannot be made"),
        (f"{HERE}.SECRET", "not a subclass"),
        ("collections.OrderedDict", "not a subclass"),
    ],
)
def test_a_wrong_dispatcher(settings: Any, path: str, words: str) -> None:
    settings.AI_MIGRATION = {"DISPATCHER": path}
    with pytest.raises(SettingsError, match=words):
        get_dispatcher()
