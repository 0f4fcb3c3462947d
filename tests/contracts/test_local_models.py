"""The contract suite over the embedders whose model runs in this process."""

from __future__ import annotations

from typing import Any

import pytest

from ai_migration.embedders import Embedder
from ai_migration.embedders.model2vec import Model2VecEmbedder
from ai_migration.embedders.sentence_transformers import SentenceTransformerEmbedder
from ai_migration.testing import EmbedderContract
from tests import tiny_models


class TestModel2VecEmbedder(EmbedderContract):
    @pytest.fixture(params=[{}, {"dimensions": 8, "normalize": False}], ids=["whole", "cut"])
    def embedder(
        self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> Embedder:
        options: dict[str, Any] = request.param
        folder = tiny_models.save_static_model(tmp_path_factory.mktemp("static"))
        return Model2VecEmbedder(folder, **options)


@pytest.fixture(scope="module", params=["bert", "bert in 8 dimensions", "static"])
def sentence_transformer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Embedder:
    folder = tmp_path_factory.mktemp("model")
    if request.param == "static":
        folder = tiny_models.save_static_sentence_transformer(folder)
    else:
        folder = tiny_models.save_bert(folder)
    return SentenceTransformerEmbedder(
        folder,
        dimensions=8 if "8" in request.param else None,
        query_prompt="",  # to a model that learnt nothing, a prompt is the better part of a text
        device="cpu",
    )


class TestSentenceTransformerEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self, sentence_transformer: Embedder) -> Embedder:
        return sentence_transformer
