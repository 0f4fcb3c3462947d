"""The embedders of Cohere, Google and Amazon Bedrock, against a server that plays the vendor."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from ai_migration.embedders import Embedder
from ai_migration.embedders.bedrock import BedrockEmbedder
from ai_migration.embedders.cohere import CohereEmbedder
from ai_migration.embedders.google import GoogleEmbedder
from ai_migration.embedders.remote import RemoteEmbedder
from ai_migration.testing import RemoteEmbedderContract
from ai_migration.testing.faults import Kind
from tests.vendors.bedrock import BedrockVendor
from tests.vendors.cohere import CohereVendor
from tests.vendors.google import GoogleVendor
from tests.vendors.server import VendorServer, serving

pytestmark = pytest.mark.gate


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[type[RemoteEmbedder], VendorServer]]:
    """One each, of 1024 dimensions where the request does not say."""
    with (
        pytest.MonkeyPatch.context() as patch,
        serving(CohereVendor(), dimensions=1024) as cohere,
        serving(GoogleVendor(), dimensions=1024) as google,
        serving(BedrockVendor(), dimensions=1024) as bedrock,
    ):
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", VendorServer.key)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield {CohereEmbedder: cohere, GoogleEmbedder: google, BedrockEmbedder: bedrock}
        embedder_of.cache_clear()


@cache
def embedder_of(kind: type[RemoteEmbedder], url: str, timeout: float, **options: Any) -> Embedder:
    """One client for many tests: making one takes longer than a test."""
    return kind(base_url=url, timeout=timeout, **options)


class Protocol(RemoteEmbedderContract):
    kind: type[RemoteEmbedder]
    options: dict[str, Any]
    absent = frozenset({Kind.OUT_OF_ORDER})
    tolerance = 1e-6

    @pytest.fixture
    def vendor(self, servers: dict[type[RemoteEmbedder], VendorServer]) -> VendorServer:
        pytest.importorskip(self.kind.library, reason=f"needs the extra {self.kind.extra}")
        servers[self.kind].reset()
        return servers[self.kind]

    @pytest.fixture
    def embedder(self, vendor: VendorServer) -> Embedder:
        return embedder_of(self.kind, vendor.url, 60.0, **self.options)

    @pytest.fixture
    def impatient(self, vendor: VendorServer) -> Embedder:
        return embedder_of(self.kind, vendor.url, 0.2, **self.options)


class TestCohere(Protocol):
    kind = CohereEmbedder
    options = {"model": "embed-v4.0", "dimensions": 256, "api_key": VendorServer.key}


class TestCohereInBase64(Protocol):
    kind = CohereEmbedder
    options = {
        "model": "embed-multilingual-v3.0",
        "encoding_format": "base64",
        "api_key": VendorServer.key,
    }


class TestGemini(Protocol):
    kind = GoogleEmbedder
    options = {"model": "gemini-embedding-001", "dimensions": 128, "api_key": VendorServer.key}


class TestVertex(Protocol):
    kind = GoogleEmbedder
    options = {
        "model": "text-embedding-005",
        "dimensions": 128,
        "vertex": True,
        "api_key": VendorServer.key,
    }


class TestTitan(Protocol):
    kind = BedrockEmbedder
    options = {"model": "amazon.titan-embed-text-v2:0", "dimensions": 256, "region": "eu-west-1"}
    absent = frozenset({Kind.OUT_OF_ORDER, Kind.FEWER})


class TestCohereInBedrock(Protocol):
    kind = BedrockEmbedder
    options = {"model": "cohere.embed-v4:0", "dimensions": 256, "region": "eu-west-1"}
