"""What HashEmbedder and LocalEmbedder promise beyond the contract."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import subprocess
import sys

import numpy as np
import pytest

from ai_migration.embedders.hash import HashEmbedder
from ai_migration.embedders.local import LocalEmbedder
from ai_migration.exceptions import MissingDependencyError, SettingsError


def test_hash_vectors_are_the_same_bits_for_ever() -> None:
    vectors = HashEmbedder(5).embed(["red shoes", "é", ""])
    assert vectors.dtype == np.float32
    assert hashlib.sha256(vectors.astype("<f4").tobytes()).hexdigest() == (
        "19c8635672600c8f6866fe1152358e71f835ea11300fda873c86367d94414169"
    )


def test_hash_vectors_point_everywhere() -> None:
    vectors = HashEmbedder(256).embed([f"text {number}" for number in range(1000)])
    cosines = vectors @ vectors.T - np.eye(1000, dtype=np.float32)
    assert np.abs(cosines).max() < 0.5
    assert np.abs(vectors.mean(axis=0)).max() < 0.02


@pytest.mark.parametrize("options", [{"dimensions": 0}, {"dimensions": 10**9}, {"concurrency": 0}])
def test_hash_embedder_refuses_wrong_options(options: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match="HashEmbedder: "):
        HashEmbedder(**options)


def test_local_embedder_refuses_wrong_dimensions() -> None:
    with pytest.raises(SettingsError, match="64, 128, 256"):
        LocalEmbedder(dimensions=100)


def test_the_local_model_finds_meaning() -> None:
    embedder = LocalEmbedder()
    texts = ["zip archives", "open a network socket", "the sine of an angle"]
    scores = embedder.embed(texts) @ embedder.embed_query("compress a file")
    assert scores.argmax() == 0


def test_a_text_without_a_token_is_the_zero_vector() -> None:
    assert not LocalEmbedder(64).embed(["", "a"])[0].any()


def test_the_local_embedder_counts_the_tokens_of_its_model() -> None:
    assert LocalEmbedder(64).count_tokens(["", "hello world", "x" * 400]) == [0, 2, 101]


def test_the_model_is_loaded_at_first_use_and_leaves_logging_alone() -> None:
    code = """
import logging, sys
from ai_migration.embedders.local import LocalEmbedder
embedder = LocalEmbedder()
assert embedder.dimensions == 256 and embedder.model_id and embedder.fingerprint
assert embedder.check() == []
assert "wordllama" not in sys.modules
embedder.embed(["text"])
assert "wordllama" in sys.modules
assert logging.getLogger().handlers == []
assert logging.getLogger().level == logging.WARNING
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_library_is_a_check_and_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wordllama", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    handlers = list(logging.getLogger().handlers)

    [error] = LocalEmbedder().check()
    assert error.id == "ai_migration.E101"
    assert "django-ai-migration[local]" in error.msg
    with pytest.raises(MissingDependencyError, match=r"django-ai-migration\[local\]"):
        LocalEmbedder().embed(["text"])
    assert logging.getLogger().handlers == handlers
