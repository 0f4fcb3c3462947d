"""The embedders that call a vendor's API, against a server that plays the vendor."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from ai_migration.embedders import Embedder
from ai_migration.embedders.mistral import MistralEmbedder
from ai_migration.embedders.openai import AzureOpenAIEmbedder, OpenAIEmbedder
from ai_migration.embedders.voyage import VoyageEmbedder
from ai_migration.testing import RemoteEmbedderContract
from tests.vendors.openai import OpenAIVendor
from tests.vendors.server import VendorServer, serving

pytest.importorskip("openai", reason="needs the library openai")


@pytest.fixture(scope="module")
def server() -> Iterator[VendorServer]:
    """Of 1024 dimensions where the request does not say, as mistral-embed."""
    with serving(OpenAIVendor(), dimensions=1024) as server:
        yield server
        embedder_of.cache_clear()


@cache
def embedder_of(kind: type[Embedder], url: str, timeout: float, **options: Any) -> Embedder:
    """One client for many tests: making one takes longer than a test."""
    at = {"endpoint": url} if kind is AzureOpenAIEmbedder else {"base_url": f"{url}/v1"}
    return kind(**at, api_key=VendorServer.key, timeout=timeout, **options)  # type: ignore[call-arg]


class OpenAIProtocol(RemoteEmbedderContract):
    kind: type[Embedder]
    options: dict[str, Any]
    tolerance = 0

    @pytest.fixture
    def vendor(self, server: VendorServer) -> VendorServer:
        server.reset()
        return server

    @pytest.fixture
    def embedder(self, vendor: VendorServer) -> Embedder:
        return embedder_of(self.kind, vendor.url, 60.0, **self.options)

    @pytest.fixture
    def impatient(self, vendor: VendorServer) -> Embedder:
        return embedder_of(self.kind, vendor.url, 0.2, **self.options)


class TestOpenAI(OpenAIProtocol):
    kind = OpenAIEmbedder
    options = {"model": "text-embedding-3-small", "dimensions": 16}


class TestOpenAIWithNumbers(OpenAIProtocol):
    kind = OpenAIEmbedder
    options = {**TestOpenAI.options, "encoding_format": "float"}


class TestAzure(OpenAIProtocol):
    kind = AzureOpenAIEmbedder
    options = {**TestOpenAI.options, "deployment": "ours"}


class TestVoyage(OpenAIProtocol):
    kind = VoyageEmbedder
    options = {"model": "voyage-4", "dimensions": 256}


class TestMistral(OpenAIProtocol):
    kind = MistralEmbedder
    options = {"model": "mistral-embed"}
