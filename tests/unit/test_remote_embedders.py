"""What the embedders that call an API promise beyond their contract."""

from __future__ import annotations

import base64
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from django.core.checks import CheckMessage

from ai_migration.embedders import Embedder
from ai_migration.embedders._headers import duration, headroom, retry_after
from ai_migration.embedders._tokens import openai_encoding
from ai_migration.embedders._too_long import is_too_long
from ai_migration.embedders.mistral import MistralEmbedder
from ai_migration.embedders.openai import AzureOpenAIEmbedder, OpenAIEmbedder
from ai_migration.embedders.remote import RemoteEmbedder
from ai_migration.embedders.voyage import VoyageEmbedder
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
from ai_migration.types import Headroom
from tests.unit.test_packaging import PROJECT
from tests.vendors.openai import OpenAIVendor
from tests.vendors.protocol import Asked, Fault, Kind, Reply
from tests.vendors.server import VendorServer, serving

pytest.importorskip("openai", reason="needs the library openai")

KINDS: list[type[RemoteEmbedder]] = [
    OpenAIEmbedder,
    AzureOpenAIEmbedder,
    VoyageEmbedder,
    MistralEmbedder,
]


class Odd(OpenAIVendor):
    """OpenAI, but for what a test puts in its mouth."""

    reply: Reply | None = None

    def refusal(self, asked: Asked, kind: Kind) -> Reply:
        return self.reply or super().refusal(asked, kind)


@pytest.fixture
def server() -> Iterator[VendorServer]:
    with serving(Odd(), dimensions=8) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("OPENAI", "AZURE_OPENAI"))]:
        monkeypatch.delenv(name)
    for kind in KINDS:
        monkeypatch.delenv(kind.key_variable, raising=False)


def compatible(server: VendorServer, **options: Any) -> OpenAIEmbedder:
    return OpenAIEmbedder("ours", 8, base_url=f"{server.url}/v1", **options)


# What is sent


def body_of(server: VendorServer) -> Asked:
    return server.seen.requests[-1].asked


def test_dimensions_are_sent_only_to_who_understands_them(server: VendorServer) -> None:
    url = f"{server.url}/v1"
    compatible(server).embed(["a"])
    assert body_of(server).dimensions is None
    compatible(server, send_dimensions=True).embed(["a"])
    assert body_of(server).dimensions == 8
    OpenAIEmbedder("text-embedding-3-large", 12, base_url=url).embed(["a"])
    assert body_of(server).dimensions == 12
    OpenAIEmbedder("text-embedding-3-large", base_url=url).embed(["a"])
    assert body_of(server).dimensions is None


def test_a_server_of_ones_own_needs_no_key(server: VendorServer) -> None:
    embedder = compatible(server)
    assert embedder.check() == []
    assert embedder.embed(["a"]).shape == (1, 8)


def test_the_server_can_stand_in_the_environment(
    server: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
    assert OpenAIEmbedder("ours", 8).embed(["a"]).shape == (1, 8)


def test_the_key_can_stand_in_the_environment(
    server: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{server.key}\n")
    server.plan(Fault(Kind.ANSWER), Fault(Kind.WRONG_KEY))
    embedder = compatible(server)
    embedder.embed(["a"])
    assert body_of(server).key == server.key
    with pytest.raises(FatalEmbedderError) as caught:
        embedder.embed(["a"])
    assert server.key not in caught.value.message


@pytest.mark.parametrize("kind", KINDS)
def test_credentials_in_an_address_are_sent_as_a_header(
    kind: type[RemoteEmbedder],
    server: VendorServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("ai_migration.embedders.remote.guard_loggers", lambda: None)
    monkeypatch.setattr(logging.getLogger("httpx2"), "filters", [])
    caplog.set_level(logging.INFO)
    address = f"{server.url.replace('://', '://an%20operator:p%40ss@')}/v1"
    place = "endpoint" if kind is AzureOpenAIEmbedder else "base_url"
    options: dict[str, Any] = {place: address, "api_key": server.key}
    embedder = kind(next(iter(kind.models)), **options)
    embedder.embed(["a"])
    login = base64.b64encode(b"an operator:p@ss").decode()
    assert server.seen.requests[-1].headers["authorization"] == f"Basic {login}"
    assert f"{server.url}/v1" in caplog.text, "the library says where it asks, and nothing else"
    assert "p%40ss" not in caplog.text
    assert embedder.base_url == f"{server.url}/v1"
    assert {"an operator:p@ss", "p@ss", server.key} <= set(embedder.secrets())


def test_who_asks_openai_is_told_to_openai_alone(
    server: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "our-organization")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "our-project")
    url = f"{server.url}/v1"
    compatible(server).embed(["a"])
    assert server.seen.requests[-1].headers["openai-organization"] == "our-organization"
    VoyageEmbedder("voyage-4", 256, base_url=url, api_key=server.key).embed(["a"])
    assert not [name for name in server.seen.requests[-1].headers if name.startswith("openai")]


def test_azure_is_called_by_deployment(server: VendorServer) -> None:
    embedder = AzureOpenAIEmbedder(
        "text-embedding-3-small", 8, endpoint=server.url, deployment="ours", api_key=server.key
    )
    embedder.embed(["a"])
    request = server.seen.requests[-1]
    assert request.path == "/openai/deployments/ours/embeddings?api-version=2024-10-21"
    assert request.headers["api-key"] == server.key
    assert embedder.model_id == "text-embedding-3-small"
    assert embedder.fingerprint == OpenAIEmbedder("text-embedding-3-small", 8).fingerprint


def test_azure_takes_tokens_of_entra(server: VendorServer) -> None:
    embedder = AzureOpenAIEmbedder(
        "text-embedding-3-small", 8, endpoint=server.url, token_provider=lambda: "of-entra"
    )
    assert embedder.check() == []
    embedder.embed(["a"])
    assert body_of(server).key == "of-entra"
    assert "of-entra" in set(embedder.secrets())


def test_a_token_that_is_not_given_is_no_fault_of_the_texts(server: VendorServer) -> None:
    embedder = AzureOpenAIEmbedder(
        "text-embedding-3-small", 8, endpoint=server.url, token_provider=lambda: str(1 / 0)
    )
    with pytest.raises(TransientEmbedderError, match="ZeroDivisionError"):
        embedder.embed(["a"])
    assert server.received == []


def test_azure_needs_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="AZURE_OPENAI_ENDPOINT"):
        AzureOpenAIEmbedder("text-embedding-3-small")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://ours.openai.azure.com")
    assert AzureOpenAIEmbedder("text-embedding-3-small").dimensions == 1536


def test_voyage_tells_documents_from_queries(server: VendorServer) -> None:
    embedder = VoyageEmbedder("voyage-4", 256, base_url=f"{server.url}/v1")
    embedder.embed(["a"])
    asked = body_of(server)
    assert (asked.input_type, asked.dimensions, asked.encoding) == ("document", 256, "base64")
    assert asked.other["truncation"] is False
    embedder.embed_query("a")
    assert body_of(server).input_type == "query"


def test_mistral_is_asked_for_dimensions_only_where_it_has_them(server: VendorServer) -> None:
    MistralEmbedder("codestral-embed", 8, base_url=f"{server.url}/v1").embed(["a"])
    assert (body_of(server).dimensions, body_of(server).encoding) == (8, "float")
    MistralEmbedder("mistral-embed", base_url=f"{server.url}/v1").embed(["a"])
    assert body_of(server).dimensions is None


# What is answered


def test_headroom_is_told(server: VendorServer) -> None:
    headers = {
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    server.plan(Fault(Kind.ANSWER, headers=headers))
    assert compatible(server).request(["a"]).headroom == Headroom(59, 1.0, 149_984, 360.0)
    assert compatible(server).request(["a"]).headroom is None


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        ((429, {"type": "insufficient_quota", "code": "project_spend_limit_exceeded"}),
         FatalEmbedderError, ""),
        ((429, {"code": "billing_not_active", "message": "no"}), FatalEmbedderError, "no"),
        ((429, {"message": "Request too large for it: Limit 5", "type": "tokens"}),
         InputRefusedError, "Request too large"),
        ((400, {"message": "no such option", "param": "dimensions"}), FatalEmbedderError, "no"),
        ((400, {"message": "too long", "param": "input"}), TextTooLongError, "too long"),
        ((400, {"code": "context_length_exceeded", "message": "no"}), TextTooLongError, "no"),
        ((500, {"message": "input is too large to process"}), TextTooLongError, "too large"),
        ((400, {"message": "no: a text that is too long"}), InputRefusedError, "no"),
        ((504, {"message": "it took too long"}), TransientEmbedderError, "took"),
        ((400, {"code": "content_filter", "message": "filtered"}), InputRefusedError, "filtered"),
        ((413, {"message": "batch size 64 > 32"}), InputRefusedError, "64 > 32"),
        ((422, {"detail": [{"msg": "too many", "input": "x"}]}), InputRefusedError, "too many"),
        ((400, {"detail": "of Voyage"}), InputRefusedError, "of Voyage"),
        ((402, {"message": "pay"}), FatalEmbedderError, "pay"),
        ((403, {"message": "not here"}), FatalEmbedderError, "not here"),
        ((408, {"message": "late"}), TransientEmbedderError, "late"),
        ((409, {"message": "locked"}), TransientEmbedderError, "locked"),
        ((529, {"message": "overloaded"}), TransientEmbedderError, "overloaded"),
        ((502, "<html>"), TransientEmbedderError, "502"),
        ((200, "<html>"), TransientEmbedderError, "not an embedding"),
        ((200, {"data": [{"embedding": [1.0]}]}), TransientEmbedderError, "not an embedding"),
        ((200, {"data": [{"embedding": [1.0], "index": 0}, {"embedding": [], "index": 1}]}),
         FatalEmbedderError, "different lengths"),
        ((200, {"data": [{"embedding": [1.0], "index": 0}] * 2}), InputRefusedError, "2 vectors"),
    ],
)  # fmt: skip
def test_what_servers_say(
    reply: tuple[int, Any], kind: type[EmbedderError], words: str, server: VendorServer
) -> None:
    status, body = reply
    is_openai = status >= 400 and isinstance(body, dict) and "detail" not in body
    server.vendor.reply = Reply(status, {"error": body} if is_openai else body)  # type: ignore[attr-defined]
    server.plan(Fault(Kind.REFUSED))
    with pytest.raises(EmbedderError) as caught:
        compatible(server).embed(["a", "a text that is too long"])
    assert type(caught.value) is kind
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("words", "is_it"),
    [
        ("This model's maximum context length is 8192 tokens, however you requested 8610", True),
        ("Invalid 'input[0]': maximum input length is 8192 tokens.", True),
        ("Input contains at least 513 tokens. This model's maximum context length is 512", True),
        ("Input validation error: `inputs` must have less than 512 tokens. Given: 534", True),
        ("the input length exceeds the context length", True),
        ("Illegal param: prefill 744 tokens exceed n_ctx_per_seq", True),
        ("input is too large to process, please increase the physical batch size", True),
        ("Input length of input_ids is `4498` and exceed max_sequence_length: `4096`", True),
        ("The example at index 0 in your batch has too many tokens and does not fit", True),
        ("Too many tokens in batch. Max is 16384 got 17555", True),
        ("too many tokens: total number of tokens cannot exceed 512 - received 600", True),
        ("The input token count (2500) exceeds the maximum number of tokens allowed", True),
        ("the input token count is 2050 but the model only supports up to 2048", True),
        ("400 Bad Request: Too many input tokens. Max input tokens: 8192", True),
        ("#/texts/0: expected maxLength: 2048, actual: 19882, please reformat", True),
        ("Requested 319487 tokens, max 300000 tokens per request", True),
        ("'$.input' is invalid: against our usage policies", False),
        ("Too many inputs in request, split into more batches.", False),
        ("batch size 64 > maximum allowed batch size 32", False),
        ("Unrecognized request argument supplied: max_length_of_it", False),
        ("Your request took too long", False),
    ],
)
def test_what_is_said_of_texts_that_are_too_long(words: str, is_it: bool) -> None:
    assert is_too_long(words) == is_it


def test_a_server_that_is_away_and_says_for_how_long_asks_for_patience(
    server: VendorServer,
) -> None:
    server.plan(Fault(Kind.UNAVAILABLE, retry_after="9"))
    with pytest.raises(ThrottledError) as caught:
        compatible(server).embed(["a"])
    assert caught.value.retry_after == 9


def test_no_server_is_transient_and_says_why() -> None:
    embedder = OpenAIEmbedder("ours", 8, base_url="http://127.0.0.1:9/v1")
    with pytest.raises(TransientEmbedderError, match="did not answer.*refused"):
        embedder.embed(["a"])


# Headers


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360), ("20ms", 0.02), ("1h2m3.5s", 3723.5), ("1d", 86_400), ("0s", 0),
        ("12", 12), ("1.5", 1.5), ("", None), (None, None), ("soon", None), ("-1", None),
    ],
)  # fmt: skip
def test_durations(text: str | None, seconds: float | None) -> None:
    assert duration(text) == (seconds if seconds is None else pytest.approx(seconds))


def test_a_date_is_meant_by_the_clock_of_the_server() -> None:
    headers = {
        "date": "Wed, 01 Jan 2020 00:00:00 GMT",
        "retry-after": "Wed, 01 Jan 2020 00:05:00 GMT",
    }
    assert retry_after(headers) == 300
    assert retry_after({"retry-after": headers["retry-after"]}) == 0


def test_milliseconds_are_more_exact() -> None:
    assert retry_after({"retry-after-ms": "1500", "retry-after": "2"}) == 1.5


def test_without_retry_after_the_limit_that_is_used_up_says_when() -> None:
    headers = {
        "x-ratelimit-remaining-requests": "5",
        "x-ratelimit-reset-requests": "1h",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "8s",
    }
    assert retry_after(headers) == 8


def test_headroom_by_the_names_of_mistral() -> None:
    headers = {
        "x-ratelimit-remaining-req-minute": "4",
        "x-ratelimit-remaining-tokens-minute": "9000",
    }
    assert headroom(headers) == Headroom(requests=4, tokens=9000)
    assert headroom({"x-ratelimit-remaining-requests": "-1"}) is None


# Options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "ours"}, "option 'dimensions'"),
        ({"model": "text-embedding-3-small", "dimensions": 1537}, "1 to 1536"),
        ({"model": "text-embedding-3-small", "dimensions": 0}, "1 to 1536"),
        ({"model": "text-embedding-ada-002", "dimensions": 8}, "1536"),
        ({"model": "ours", "dimensions": -1}, "positive"),
        ({"model": "ours", "dimensions": True}, "positive"),
        ({"model": "ours", "dimensions": 8, "concurrency": 0}, "concurrency"),
        ({"model": "ours", "dimensions": 8, "timeout": "60"}, "timeout"),
        ({"model": "ours", "dimensions": 8, "max_batch_size": 0}, "max_batch_size"),
        ({"model": "ours", "dimensions": 8, "max_batch_tokens": 0}, "max_batch_tokens"),
        ({"model": "ours", "dimensions": 8, "encoding_format": "int8"}, "base64, float"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=f"OpenAIEmbedder: .*{words}"):
        OpenAIEmbedder(**options)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="retries"):
        OpenAIEmbedder("text-embedding-3-small", retries=3)
    with pytest.raises(TypeError, match="model"):
        OpenAIEmbedder()  # type: ignore[call-arg]


def test_voyage_has_four_lengths() -> None:
    with pytest.raises(SettingsError, match="256, 512, 1024, 2048"):
        VoyageEmbedder("voyage-4", 300)


def test_limits_are_the_models_unless_asked_otherwise() -> None:
    assert VoyageEmbedder("voyage-4").max_batch_tokens == 320_000
    assert VoyageEmbedder("voyage-4-large").max_batch_tokens == 120_000
    assert VoyageEmbedder("voyage-law-2").max_input_tokens == 16_000
    asked = VoyageEmbedder(
        "voyage-4", max_batch_tokens=9, max_input_tokens=8, max_batch_size=7, concurrency=6
    )
    limits = (asked.max_batch_tokens, asked.max_input_tokens, asked.max_batch_size)
    assert (*limits, asked.concurrency) == (9, 8, 7, 6)


def test_the_input_type_is_part_of_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = VoyageEmbedder("voyage-4")
    before = embedder.fingerprint
    monkeypatch.setattr(embedder, "input_type", "query")
    assert embedder.fingerprint != before


@pytest.mark.parametrize("kind", KINDS)
def test_each_has_an_extra_that_installs_its_library(kind: type[RemoteEmbedder]) -> None:
    wanted = PROJECT["optional-dependencies"][kind.extra]
    assert [each for each in wanted if each.startswith(kind.library)]


# Checks


def made(kind: type[RemoteEmbedder], **options: Any) -> RemoteEmbedder:
    if kind is AzureOpenAIEmbedder:
        options["endpoint"] = "https://ours.openai.azure.com"
    return kind(next(iter(kind.models)), **options)


def ids(messages: list[CheckMessage]) -> list[str | None]:
    return [message.id for message in messages]


@pytest.mark.parametrize("kind", KINDS)
def test_no_key_is_a_check_and_fatal(
    kind: type[RemoteEmbedder], monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = made(kind)
    assert ids(embedder.check()) == ["ai_migration.E142"]
    with pytest.raises(FatalEmbedderError, match=kind.key_variable):
        embedder.embed(["a"])
    assert made(kind, api_key="sk-1").check() == []
    monkeypatch.setenv(kind.key_variable, "sk-2")
    assert embedder.check() == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_library_is_a_check_and_a_clear_error(
    kind: type[RemoteEmbedder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    embedder = made(kind, api_key="sk-1")
    assert ids(embedder.check()) == ["ai_migration.E141"]
    with pytest.raises(MissingDependencyError, match=rf"django-ai-migration\[{kind.extra}\]"):
        embedder.embed(["a"])


def test_a_library_inside_a_package_that_is_missing_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(OpenAIEmbedder, "library", "no_such_package.client")
    assert ids(made(OpenAIEmbedder, api_key="sk-1").check()) == ["ai_migration.E141"]


# Processes


def test_each_process_has_a_client_of_its_own(
    server: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = compatible(server)
    embedder.embed(["a"])
    embedder.embed(["a"])
    assert len(embedder._clients) == 1
    monkeypatch.setattr(os, "getpid", lambda: -1)
    np.testing.assert_array_equal(embedder.embed(["a"]), server.vectors(["a"]))
    [parent, child] = embedder._clients.values()
    assert parent is not child


def test_connections_are_closed_with_the_embedder(server: VendorServer) -> None:
    embedder = compatible(server)
    embedder.embed(["a"])
    [client] = embedder._clients.values()
    embedder.close()
    assert client.is_closed()
    embedder.embed(["a"])
    [client] = embedder._clients.values()
    del embedder
    assert client.is_closed()


# Tokens


@pytest.fixture
def tiktoken(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A stand-in: the library loads its tables from the network."""
    module = ModuleType("tiktoken")
    monkeypatch.setitem(sys.modules, "tiktoken", module)
    openai_encoding.cache_clear()
    yield module
    openai_encoding.cache_clear()


def test_tiktoken_counts_where_it_is_installed(tiktoken: ModuleType) -> None:
    encoding = SimpleNamespace(encode_ordinary_batch=lambda texts: [t.split() for t in texts])
    tiktoken.encoding_for_model = lambda model: encoding  # type: ignore[attr-defined]
    assert OpenAIEmbedder("text-embedding-3-small").count_tokens(("a b c", "")) == [3, 0]


@pytest.mark.parametrize(("error", "warnings"), [(OSError("no network"), 1), (KeyError("x"), 0)])
def test_tables_that_cannot_be_loaded_are_asked_for_once(
    error: Exception, warnings: int, tiktoken: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def encoding_for_model(model: str) -> None:
        calls.append(model)
        raise error

    tiktoken.encoding_for_model = encoding_for_model  # type: ignore[attr-defined]
    embedder: Embedder = OpenAIEmbedder("text-embedding-3-small")
    with caplog.at_level(logging.WARNING):
        assert embedder.count_tokens(["hello"]) == embedder.count_tokens(["hello"]) == [2]
    assert calls == ["text-embedding-3-small"]
    assert len(caplog.records) == warnings
