"""The contract suite over our embedders."""

from __future__ import annotations

from functools import cache

import pytest

from ai_migration.embedders import Embedder
from ai_migration.embedders.hash import HashEmbedder
from ai_migration.embedders.local import LocalEmbedder
from ai_migration.testing import EmbedderContract

local_embedder = cache(LocalEmbedder)


class TestHashEmbedder(EmbedderContract):
    tolerance = 0

    @pytest.fixture(params=[7, 256])
    def embedder(self, request: pytest.FixtureRequest) -> Embedder:
        return HashEmbedder(dimensions=request.param)


class TestLocalEmbedder(EmbedderContract):
    tolerance = 0

    @pytest.fixture(params=[64, 256])
    def embedder(self, request: pytest.FixtureRequest) -> Embedder:
        return local_embedder(dimensions=request.param)
