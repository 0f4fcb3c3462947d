"""What the embedders of Cohere, Google and Amazon Bedrock promise beyond their contract."""

from __future__ import annotations

import base64
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from ai_migration.embedders.bedrock import BedrockEmbedder
from ai_migration.embedders.cohere import CohereEmbedder
from ai_migration.embedders.google import GoogleEmbedder
from ai_migration.embedders.remote import RemoteEmbedder
from ai_migration.exceptions import (
    EmbedderError,
    FatalEmbedderError,
    InputRefusedError,
    MissingDependencyError,
    SettingsError,
    TextTooLongError,
    ThrottledError,
    TransientEmbedderError,
)
from ai_migration.types import Vectors
from tests.vendors.bedrock import BedrockVendor
from tests.vendors.cohere import CohereVendor
from tests.vendors.google import GoogleVendor
from tests.vendors.protocol import Asked, Fault, Kind, Reply
from tests.vendors.server import VendorServer, serving

pytestmark = pytest.mark.gate

KINDS: list[type[RemoteEmbedder]] = [CohereEmbedder, GoogleEmbedder, BedrockEmbedder]
VENDORS = {
    CohereEmbedder: CohereVendor,
    GoogleEmbedder: GoogleVendor,
    BedrockEmbedder: BedrockVendor,
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "CO_API", "GOOGLE_", "GEMINI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", VendorServer.key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")


class Says:
    """A vendor, but for what a test puts in its mouth."""

    reply: Reply | None = None
    length = 1.0

    def answer(self, asked: Asked, vectors: Vectors, order: Sequence[int], tokens: int) -> Reply:
        answer: Reply = super().answer(asked, vectors * self.length, order, tokens)  # type: ignore[misc]
        return self.reply or answer


class SaysCohere(Says, CohereVendor):
    pass


class SaysGoogle(Says, GoogleVendor):
    pass


class SaysBedrock(Says, BedrockVendor):
    pass


@pytest.fixture
def cohere() -> Iterator[VendorServer]:
    pytest.importorskip("cohere", reason="needs the extra cohere")
    with serving(SaysCohere(), dimensions=1024) as server:
        yield server


@pytest.fixture
def google() -> Iterator[VendorServer]:
    pytest.importorskip("google.genai", reason="needs the extra google")
    with serving(SaysGoogle(), dimensions=3072) as server:
        yield server


@pytest.fixture
def bedrock(aws: None) -> Iterator[VendorServer]:
    pytest.importorskip("boto3", reason="needs the extra bedrock")
    with serving(SaysBedrock(), dimensions=1024) as server:
        yield server


def last(server: VendorServer) -> Asked:
    return server.seen.requests[-1].asked


def error_of(embedder: RemoteEmbedder, server: VendorServer, reply: Reply) -> EmbedderError:
    server.vendor.reply = reply  # type: ignore[attr-defined]
    with pytest.raises(EmbedderError) as caught:
        embedder.embed(["a text that fails"])
    server.vendor.reply = None  # type: ignore[attr-defined]
    return caught.value


# Cohere


def at_cohere(server: VendorServer, model: str = "embed-v4.0", **options: Any) -> CohereEmbedder:
    return CohereEmbedder(model, base_url=server.url, **options)


def test_cohere_is_asked_for_what_it_can_do(cohere: VendorServer) -> None:
    at_cohere(cohere, dimensions=512).embed(["a"])
    assert last(cohere).dimensions == 512
    at_cohere(cohere, model="embed-english-v3.0").embed(["a"])
    assert last(cohere).dimensions is None
    at_cohere(cohere, model="embed-v9", dimensions=640).embed(["a"])
    assert last(cohere).dimensions == 640


def test_cohere_cuts_nothing_and_tells_documents_from_queries(cohere: VendorServer) -> None:
    embedder = at_cohere(cohere)
    embedder.embed(["a"])
    assert last(cohere).input_type == "search_document"
    assert last(cohere).other["truncate"] == "NONE"
    assert last(cohere).encoding == "float"
    embedder.embed_query("a")
    assert last(cohere).input_type == "search_query"


def test_the_key_of_cohere_stands_in_the_environment(
    cohere: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CO_API_KEY", cohere.key)
    at_cohere(cohere).embed(["a"])
    assert last(cohere).key == cohere.key


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (402, "Please add or update your payment method to continue", FatalEmbedderError),
        (498, "blocked input", InputRefusedError),
        (499, "request cancelled by user", TransientEmbedderError),
        (400, "invalid request: valid input_type must be provided", FatalEmbedderError),
        (400, "too many tokens: the maximum for this model - received 600", TextTooLongError),
        (429, "You are past the per minute request limit, please wait", ThrottledError),
        (418, "I am a teapot", FatalEmbedderError),
    ],
)
def test_errors_of_cohere(
    status: int, words: str, kind: type[EmbedderError], cohere: VendorServer
) -> None:
    error = error_of(at_cohere(cohere), cohere, Reply(status, {"message": words}))
    assert type(error) is kind
    assert words in error.message


@pytest.mark.parametrize("body", ["no object", {}, {"id": "0", "embeddings": {"int8": [[1]]}}])
def test_an_answer_of_cohere_without_vectors_is_transient(body: Any, cohere: VendorServer) -> None:
    error = error_of(at_cohere(cohere), cohere, Reply(200, body))
    assert type(error) is TransientEmbedderError


def test_a_text_that_cannot_be_sent_is_its_own_fault(cohere: VendorServer) -> None:
    with pytest.raises(UnicodeEncodeError):  # which the pipeline bisects
        at_cohere(cohere).embed(["\ud800"])
    assert cohere.received == []


def test_cohere_refuses_other_formats() -> None:
    with pytest.raises(SettingsError, match="float, base64"):
        CohereEmbedder("embed-v4.0", encoding_format="int8")


# Google


def at_google(
    server: VendorServer, model: str = "gemini-embedding-001", **options: Any
) -> GoogleEmbedder:
    return GoogleEmbedder(model, base_url=server.url, **options)


def test_google_tells_documents_from_queries(google: VendorServer) -> None:
    embedder = at_google(google, dimensions=256)
    embedder.embed(["a", "b"])
    assert last(google).input_type == "RETRIEVAL_DOCUMENT"
    assert (last(google).dimensions, last(google).texts) == (256, ["a", "b"])
    embedder.embed_query("a")
    assert last(google).input_type == "RETRIEVAL_QUERY"


def test_the_second_generation_has_prefixes_and_a_vector_for_each_text(
    google: VendorServer,
) -> None:
    embedder = at_google(google, model="gemini-embedding-2", dimensions=256)
    assert embedder.embed(["a", "b"]).shape == (2, 256)
    assert last(google).texts == ["title: none | text: a", "title: none | text: b"]
    embedder.embed_query("a")
    assert last(google).texts == ["task: search result | query: a"]
    assert last(google).input_type == ""


def test_vectors_of_google_are_of_length_one(google: VendorServer) -> None:
    google.vendor.length = 0.25  # type: ignore[attr-defined]
    vectors = at_google(google, dimensions=256).embed(["a", "b"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    google.vendor.length = 0.0  # type: ignore[attr-defined]
    assert not at_google(google, dimensions=256).embed(["a"]).any()


def test_the_key_of_google_stands_in_the_environment(
    google: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")  # only the option counts
    monkeypatch.setenv("GOOGLE_API_KEY", "of-google")
    at_google(google).embed(["a"])
    assert last(google).key == "of-google"
    monkeypatch.setenv("GEMINI_API_KEY", google.key)
    at_google(google).embed(["a"])
    assert last(google).key == google.key
    assert "/models/gemini-embedding-001:batchEmbedContents" in google.seen.requests[-1].path


def test_google_names_the_token_it_was_given(
    google: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Credentials:
        token = "of-google"

    embedder = at_google(google, dimensions=256)
    embedder.embed(["a"])
    monkeypatch.setattr(embedder._client()._api_client, "_credentials", Credentials())
    assert "of-google" in set(embedder.secrets())


@pytest.mark.parametrize("name", ["cohere", "google"])
def test_credentials_in_an_address_are_sent_as_a_header(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
) -> None:
    server: VendorServer = request.getfixturevalue(name)
    monkeypatch.setattr("ai_migration.embedders.remote.guard_loggers", lambda: None)
    for library in ("httpx", "httpx2"):
        monkeypatch.setattr(logging.getLogger(library), "filters", [])
    caplog.set_level(logging.INFO)
    kind = CohereEmbedder if name == "cohere" else GoogleEmbedder
    address = server.url.replace("://", "://an%20operator:p%40ss@")
    made(kind, base_url=address, dimensions=256, api_key=server.key).embed(["a"])
    login = base64.b64encode(b"an operator:p@ss").decode()
    assert server.seen.requests[-1].headers["authorization"] == f"Basic {login}"
    assert server.url in caplog.text, "the library says where it asks, and nothing else"
    assert "p%40ss" not in caplog.text


def google_error(code: int, status: str, words: str, *details: Any) -> Reply:
    error = {"code": code, "status": status, "message": words, "details": list(details)}
    return Reply(code, {"error": error})


def test_how_long_google_asks_to_wait_stands_in_the_body(google: VendorServer) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
    error = error_of(at_google(google), google, google_error(429, "X", "Slow down.", info))
    assert isinstance(error, ThrottledError)
    assert error.retry_after == 34.5


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (google_error(400, "FAILED_PRECONDITION", "Location not supported."), FatalEmbedderError),
        (google_error(400, "INVALID_ARGUMENT", "Wrong outputDimensionality."), FatalEmbedderError),
        (google_error(400, "INVALID_ARGUMENT", "Payload size exceeds."), InputRefusedError),
        (
            google_error(429, "X", "Quota exceeded: a_metric, limit: 0, model: m"),
            FatalEmbedderError,
        ),
        (google_error(403, "PERMISSION_DENIED", "Not enabled."), FatalEmbedderError),
        (google_error(504, "DEADLINE_EXCEEDED", "Too slow."), TransientEmbedderError),
        (Reply(502, "no object"), TransientEmbedderError),
        (Reply(200, {"embeddings": [{"values": 3}]}), TransientEmbedderError),
    ],
)
def test_errors_of_google(reply: Reply, kind: type[EmbedderError], google: VendorServer) -> None:
    assert type(error_of(at_google(google), google, reply)) is kind


def test_gemini_in_vertex_takes_one_text_unless_told_otherwise(google: VendorServer) -> None:
    options: dict[str, Any] = {"vertex": True, "api_key": google.key, "dimensions": 256}
    embedder = at_google(google, **options)
    assert embedder.max_batch_size == 1
    assert embedder.request(["a"]).tokens
    assert last(google).encoding == "embedContent"
    assert last(google).dimensions == 256
    assert embedder.fingerprint == at_google(google, dimensions=256).fingerprint
    several = at_google(google, **options, max_batch_size=5)
    assert several.embed(["a", "b"]).shape == (2, 256)
    assert last(google).encoding == "batchEmbedContents"


def test_models_of_vertex_need_vertex() -> None:
    with pytest.raises(SettingsError, match="vertex"):
        GoogleEmbedder("text-embedding-005")
    assert GoogleEmbedder("text-embedding-005", vertex=True).check() == []


def test_no_credentials_for_vertex_are_fatal(
    google: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    embedder = at_google(google, vertex=True, project="shop", location="europe-west1")
    with pytest.raises(FatalEmbedderError, match=r"key\.json"):
        embedder.embed(["a"])


# Bedrock


TITAN, COHERE = "amazon.titan-embed-text-v2:0", "cohere.embed-multilingual-v3"


def at_bedrock(server: VendorServer, model: str = TITAN, **options: Any) -> BedrockEmbedder:
    return BedrockEmbedder(model, base_url=server.url, **options)


def test_titan_takes_one_text_and_knows_no_queries(bedrock: VendorServer) -> None:
    embedder = at_bedrock(bedrock, dimensions=512)
    assert embedder.max_batch_size == 1
    embedder.embed_query("a")
    assert last(bedrock).other == {"dimensions": 512}
    assert last(bedrock).model == TITAN
    assert last(bedrock).key == "AKIAIOSFODNN7EXAMPLE"


def test_cohere_in_bedrock_tells_documents_from_queries(bedrock: VendorServer) -> None:
    embedder = at_bedrock(bedrock, model=COHERE)
    assert embedder.max_batch_size == 96
    embedder.embed(["a", "b"])
    assert last(bedrock).other == {
        "input_type": "search_document",
        "embedding_types": ["float"],
        "truncate": "NONE",
    }
    embedder.embed_query("a")
    assert last(bedrock).input_type == "search_query"
    at_bedrock(bedrock, model="cohere.embed-v4:0", dimensions=256).embed(["a"])
    assert last(bedrock).dimensions == 256


def test_an_inference_profile_is_called_in_place_of_the_model(bedrock: VendorServer) -> None:
    embedder = at_bedrock(bedrock, inference_profile="eu.amazon.titan-embed-text-v2:0")
    embedder.embed(["a"])
    assert last(bedrock).model == "eu.amazon.titan-embed-text-v2:0"
    assert embedder.fingerprint == at_bedrock(bedrock).fingerprint


@pytest.mark.parametrize(
    ("status", "code", "words", "kind"),
    [
        (400, "ServiceQuotaExceededException", "Over the quota.", FatalEmbedderError),
        (400, "IncompleteSignature", "No standard.", FatalEmbedderError),
        (400, "ValidationException", "Malformed: extraneous key [x]", FatalEmbedderError),
        (400, "ValidationException", "expected maxLength: 50000", TextTooLongError),
        (403, "ExpiredTokenException", "The token is expired.", FatalEmbedderError),
        (404, "ResourceNotFoundException", "No such profile.", FatalEmbedderError),
        (408, "ModelTimeoutException", "Took too long.", TransientEmbedderError),
        (424, "ModelErrorException", "It broke.", TransientEmbedderError),
        (429, "ModelNotReadyException", "Not ready.", ThrottledError),
    ],
)
def test_errors_of_bedrock(
    status: int, code: str, words: str, kind: type[EmbedderError], bedrock: VendorServer
) -> None:
    reply = Reply(status, {"message": words}, {"x-amzn-ErrorType": code})
    error = error_of(at_bedrock(bedrock), bedrock, reply)
    assert type(error) is kind
    assert f"{code}: {words}" in error.message


@pytest.mark.parametrize("body", ["no object", {"embeddings": []}])
def test_an_answer_of_bedrock_without_vectors_is_transient(
    body: Any, bedrock: VendorServer
) -> None:
    error = error_of(at_bedrock(bedrock), bedrock, Reply(200, body))
    assert type(error) is TransientEmbedderError


def test_no_credentials_and_no_region_are_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("boto3", reason="needs the extra bedrock")
    with pytest.raises(FatalEmbedderError, match="Bedrock cannot be asked: .* region"):
        BedrockEmbedder(TITAN).embed(["a"])
    with pytest.raises(FatalEmbedderError, match="credentials"):
        BedrockEmbedder(TITAN, region="eu-west-1").embed(["a"])
    with pytest.raises(FatalEmbedderError, match="profile"):
        BedrockEmbedder(TITAN, profile="absent").embed(["a"])


def test_bedrock_refuses_what_it_cannot_use() -> None:
    with pytest.raises(SettingsError, match="AWS_BEARER_TOKEN_BEDROCK"):
        BedrockEmbedder(TITAN, api_key="secret")
    with pytest.raises(SettingsError, match="inference_profile"):
        BedrockEmbedder("eu.cohere.embed-v4:0")
    with pytest.raises(SettingsError, match="256, 512, 1024"):
        BedrockEmbedder(TITAN, 100)
    with pytest.raises(SettingsError, match="signed") as caught:
        BedrockEmbedder(TITAN, base_url="https://user:password@proxy")
    assert "user:" not in caught.value.message


def test_bedrock_names_the_credentials_it_was_given(
    bedrock: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-a-session")
    embedder = at_bedrock(bedrock, dimensions=256)
    assert "of-a-session" not in set(embedder.secrets())
    embedder.embed(["a"])
    assert {"of-a-session", bedrock.key} <= set(embedder.secrets())


# All


def made(kind: type[RemoteEmbedder], **options: Any) -> RemoteEmbedder:
    return kind(next(iter(kind.models)), **options)


@pytest.mark.parametrize("kind", [CohereEmbedder, GoogleEmbedder])
def test_no_key_is_a_check_and_fatal(
    kind: type[RemoteEmbedder], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(kind.library, reason=f"needs the extra {kind.extra}")
    embedder = made(kind)
    assert [message.id for message in embedder.check()] == ["ai_migration.E142"]
    with pytest.raises(FatalEmbedderError, match=kind.key_variable):
        embedder.embed(["a"])
    monkeypatch.setenv(kind.key_variable, "key")
    assert embedder.check() == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_library_is_a_check_and_a_clear_error(
    kind: type[RemoteEmbedder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(kind.key_variable, "key")
    monkeypatch.setitem(sys.modules, kind.library, None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    embedder = made(kind)
    assert [message.id for message in embedder.check()] == ["ai_migration.E141"]
    with pytest.raises(MissingDependencyError, match=rf"django-ai-migration\[{kind.extra}\]"):
        embedder.embed(["a"])


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_never_too_few_to_chunk_by(kind: type[RemoteEmbedder]) -> None:
    assert made(kind).count_tokens(["", "x" * 300, "日" * 100]) == [0, 190, 150]


def test_what_is_planned_reaches_the_vendor_once(cohere: VendorServer) -> None:
    """The library's own retries are off."""
    cohere.always(Fault(Kind.UNAVAILABLE))
    with pytest.raises(TransientEmbedderError):
        at_cohere(cohere).embed(["a"])
    assert len(cohere.received) == 1
