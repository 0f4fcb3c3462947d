"""What Model2VecEmbedder and SentenceTransformerEmbedder promise beyond the contract."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_migration.embedders._local_models import sorted_slices
from ai_migration.embedders.base import Embedder
from ai_migration.embedders.chunking import chunk_text
from ai_migration.embedders.model2vec import Model2VecEmbedder
from ai_migration.embedders.sentence_transformers import SentenceTransformerEmbedder
from ai_migration.exceptions import FatalEmbedderError, MissingDependencyError, SettingsError
from tests import tiny_models

BACKENDS = [
    pytest.param(Model2VecEmbedder, "model2vec", "model2vec", id="model2vec"),
    pytest.param(
        SentenceTransformerEmbedder,
        "sentence_transformers",
        "sentence-transformers",
        id="sentence-transformers",
    ),
]
EMBEDDERS = pytest.mark.parametrize(
    "backend", [Model2VecEmbedder, SentenceTransformerEmbedder], ids=lambda each: each.__name__
)


# Slices


@given(st.lists(st.text("aé日", min_size=1, max_size=9), max_size=40))
def test_slices_have_each_text_once_and_are_bounded(texts: list[str]) -> None:
    slices = sorted_slices(texts, texts_at_once=4, bytes_at_once=30)
    assert sorted(position for some in slices for position in some) == list(range(len(texts)))
    sizes = [[len(texts[position].encode()) for position in some] for some in slices]
    assert all(1 <= len(some) <= 4 for some in sizes)
    assert all(len(some) == 1 or len(some) * max(some) <= 30 for some in sizes)
    flat = [size for some in sizes for size in some]
    assert flat == sorted(flat)


# Both


@EMBEDDERS
def test_the_fingerprint_knows_no_folder_above_the_model(backend: type[Any]) -> None:
    def fingerprint(model: str | Path, **options: Any) -> str:
        made: Embedder = backend(model, **{"dimensions": 8, **options})
        return made.fingerprint

    assert fingerprint("/srv/models/tiny") == fingerprint(Path("/app/tiny"))
    known = [
        fingerprint("/srv/tiny"),
        fingerprint("org/tiny"),
        fingerprint("other/tiny"),
        fingerprint("org/tiny", dimensions=9),
        fingerprint("org/tiny", normalize=False),
    ]
    assert len(set(known)) == len(known)


@EMBEDDERS
@pytest.mark.parametrize(
    "options", [{"dimensions": 0}, {"max_input_tokens": 0}, {"model": ""}, {"model": " "}]
)
def test_wrong_options_are_refused(backend: type[Any], options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=f"{backend.__name__}: "):
        backend(**{"model": "org/tiny", **options})


@pytest.mark.parametrize(("backend", "library", "extra"), BACKENDS)
def test_a_missing_library_is_a_check_and_a_clear_error(
    backend: type[Any], library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    [error] = backend("org/tiny").check()
    assert error.id == "ai_migration.E101"
    assert f"django-ai-migration[{extra}]" in error.msg
    with pytest.raises(MissingDependencyError, match=extra):
        backend("org/tiny").embed(["text"])


@EMBEDDERS
def test_a_folder_that_is_missing_is_a_check(backend: type[Any], tmp_path: Path) -> None:
    if importlib.util.find_spec(backend.__module__.rpartition(".")[2]) is None:
        pytest.skip("the library is not installed")
    assert backend(tmp_path).check() == backend("org/tiny").check() == []
    [error] = backend(tmp_path / "absent").check()
    assert error.id == "ai_migration.E151"
    assert "absent" in error.msg


@EMBEDDERS
def test_a_folder_without_a_model_is_fatal(backend: type[Any], tmp_path: Path) -> None:
    pytest.importorskip(backend.__module__.rpartition(".")[2], reason="needs an extra")
    with pytest.raises(FatalEmbedderError, match="cannot load"):
        backend(tmp_path).embed(["text"])


def run(code: str, *arguments: str | Path) -> None:
    """In a process of its own: here, other tests have loaded everything already."""
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "%|" not in done.stderr  # progress bars


LATE = """
import sys
from ai_migration.embedders.{module} import {name} as Embedder
assert repr(Embedder("org/tiny")) == "<{name} org/tiny>"
embedder = Embedder(sys.argv[1], dimensions=8, max_input_tokens=32)
assert embedder.dimensions == 8 and embedder.model_id and embedder.fingerprint
assert embedder.max_input_tokens == 32 and embedder.check() == []
assert "{module}" not in sys.modules and "torch" not in sys.modules
assert embedder.embed(["text"]).shape == (1, 8)
assert "{module}" in sys.modules
"""


# model2vec


@pytest.fixture(scope="module")
def static_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_static_model(
        tmp_path_factory.mktemp("static"), max_length=8, normalize=True
    )


def test_a_static_model_is_loaded_at_first_use(static_model: Path) -> None:
    run(LATE.format(module="model2vec", name="Model2VecEmbedder"), static_model)


def test_a_static_model_cuts_nothing(static_model: Path) -> None:
    """Though its own limit is 8 tokens."""
    embedder = Model2VecEmbedder(static_model, normalize=False)
    for text in ("ab" * 2000, "日本" * 500):
        vector = embedder.embed([text])[0]
        np.testing.assert_allclose(vector, embedder.embed([text[:2]])[0], atol=1e-4)
        assert not np.allclose(vector, embedder.embed([text[:1]])[0], atol=1e-2)
    assert embedder.count_tokens(["ab" * 2000]) == [4000]


def test_normalized_or_as_the_model_has_them(
    static_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = ["one", "another text"]
    with caplog.at_level(logging.WARNING):
        unit = Model2VecEmbedder(static_model).embed(texts)
        whole = Model2VecEmbedder(static_model, normalize=False).embed(texts)
    assert not caplog.records
    lengths = np.linalg.norm(whole, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, whole / lengths, atol=1e-6)
    assert not np.allclose(lengths, 1, atol=0.1)


def test_more_dimensions_than_a_static_model_has_are_fatal(static_model: Path) -> None:
    embedder = Model2VecEmbedder(static_model, dimensions=tiny_models.DIMENSIONS + 1)
    with pytest.raises(FatalEmbedderError, match="dimension"):
        embedder.embed_query("text")


# sentence-transformers


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_bert(tmp_path_factory.mktemp("bert"))


def transformer(folder: Path, **options: Any) -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(folder, device="cpu", **options)


def test_a_transformer_is_loaded_at_first_use(bert: Path) -> None:
    run(LATE.format(module="sentence_transformers", name="SentenceTransformerEmbedder"), bert)


def test_a_process_that_was_forked_embeds_too(bert: Path) -> None:
    """Without further ado, torch waits there for threads that stayed in the parent."""
    code = """
import os, signal, sys, warnings
import numpy as np
from ai_migration.embedders.sentence_transformers import SentenceTransformerEmbedder
texts = [f"text number {number}" for number in range(300)]
embedder = SentenceTransformerEmbedder(sys.argv[1], device="cpu")
before = embedder.embed(texts)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of forks of processes with threads
    pid = os.fork()
if not pid:
    signal.alarm(60)
    os._exit(0 if np.allclose(embedder.embed(texts), before, atol=1e-5) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
    run(code, bert)


def test_a_query_has_the_prompt_of_the_model_or_the_one_asked_for(bert: Path) -> None:
    prompted = transformer(bert).embed_query("shoes")
    by_hand = transformer(bert, query_prompt="").embed_query(tiny_models.QUERY_PROMPT + "shoes")
    other = transformer(bert, query_prompt="find: ").embed_query("shoes")
    loaded = transformer(bert, load_options={"prompts": {"query": "find: "}}).embed_query("shoes")
    np.testing.assert_allclose(prompted, by_hand, atol=1e-6)
    np.testing.assert_allclose(other, loaded, atol=1e-6)
    assert not np.allclose(prompted, other, atol=1e-3)


def test_a_document_has_the_prompt_asked_for(bert: Path) -> None:
    prompted = transformer(bert, document_prompt="passage: ").embed(["shoes"])
    np.testing.assert_allclose(prompted, transformer(bert).embed(["passage: shoes"]), atol=1e-6)


def test_only_what_changes_stored_vectors_changes_the_fingerprint() -> None:
    plain = SentenceTransformerEmbedder("org/tiny", dimensions=8)

    def same(**options: Any) -> bool:
        other = SentenceTransformerEmbedder("org/tiny", dimensions=8, **options)
        return other.fingerprint == plain.fingerprint

    assert same(query_prompt="query: ", device="cpu", max_input_tokens=9)
    assert not same(document_prompt="passage: ")
    assert not same(document_prompt="")  # the model's own may be another
    assert not same(revision="v2")


@pytest.mark.parametrize("prompt", [None, "passage: "])
def test_no_chunk_is_longer_than_the_model_reads(bert: Path, prompt: str | None) -> None:
    embedder = transformer(bert, document_prompt=prompt)
    limit = embedder.max_input_tokens
    assert limit == tiny_models.LONGEST - len(prompt or "") - 2  # the marks of start and end
    text = "Ein längerer Text über Schuhe. " * 40
    for chunk in chunk_text(text, embedder, None):
        longer = embedder.embed([chunk, chunk + "!"])
        assert embedder.count_tokens([chunk])[0] <= limit
        if embedder.count_tokens([chunk])[0] < limit:
            assert not np.allclose(longer[0], longer[1], atol=1e-4)
    full = "x" * limit
    same = embedder.embed([full, full + "x"])
    np.testing.assert_allclose(same[0], same[1], atol=1e-5)  # so the limit is the real one


@pytest.mark.parametrize(
    "options", [{"max_input_tokens": 63}, {"document_prompt": "passage " * 10}]
)
def test_more_than_the_model_reads_is_fatal(bert: Path, options: dict[str, Any]) -> None:
    with pytest.raises(FatalEmbedderError, match="tokens of a text"):
        transformer(bert, **options).embed(["text"])


def test_the_dimensions_are_known_without_computing(bert: Path) -> None:
    assert transformer(bert).dimensions == tiny_models.DIMENSIONS
    embedder = transformer(bert, dimensions=tiny_models.DIMENSIONS + 1)
    with pytest.raises(FatalEmbedderError, match="17 dimensions were expected"):
        embedder.embed_query("text")


def test_vectors_are_normalized_after_they_are_cut(bert: Path) -> None:
    whole = transformer(bert, normalize=False).embed(["shoes"])[0]
    cut = transformer(bert, dimensions=8).embed(["shoes"])[0]
    np.testing.assert_allclose(cut, whole[:8] / np.linalg.norm(whole[:8]), atol=1e-5)


def test_a_static_sentence_transformer_cuts_nothing(tmp_path: Path) -> None:
    """Though its tokenizer would, at 8 tokens."""
    embedder = transformer(tiny_models.save_static_sentence_transformer(tmp_path), normalize=False)
    assert embedder.max_input_tokens is None
    vector = embedder.embed(["a" * 8 + "b" * 8])[0]
    np.testing.assert_allclose(vector, embedder.embed(["ab"])[0], atol=1e-4)


def test_tokenizers_written_in_python_count_too(bert: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs an extra")
    from ai_migration.embedders.sentence_transformers import _counter

    assert list(_counter(transformers.CanineTokenizer())(["", "abc", "\ud800" * 5000])) == [
        0,
        3,
        5000,
    ]
