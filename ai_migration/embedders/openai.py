"""OpenAI's API, and every server that speaks it."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ai_migration.embedders._headers import headroom
from ai_migration.embedders._tokens import estimated_tokens, openai_encoding
from ai_migration.embedders.remote import Model, Refusal, RemoteEmbedder
from ai_migration.exceptions import (
    EmbedderError,
    FatalEmbedderError,
    InputRefusedError,
    SettingsError,
    TextTooLongError,
    TransientEmbedderError,
)
from ai_migration.redaction import Address
from ai_migration.types import EmbedAnswer, Vectors
from ai_migration.words import counted

if TYPE_CHECKING:
    from openai import OpenAI

ENCODING_FORMATS = ("base64", "float")

_NO_MONEY = frozenset(
    {
        "insufficient_quota",
        "billing_not_active",
        "billing_hard_limit_reached",
        "account_deactivated",
        "access_terminated",
    }
)
"""Codes and types of errors, some of them with the status 429, that waiting does not cure.
https://platform.openai.com/docs/guides/error-codes"""
_FORMER_PROVIDER = "ai_migration.embedders.openai.OpenAIEmbedder"
"""The name of OpenAI's vectors in older indexes."""
_ABOUT_THE_LENGTH = frozenset({"context_length_exceeded", "string_above_max_length"})
_ABOUT_THE_OPTIONS = frozenset({"model", "dimensions", "encoding_format"})
"""Parameters that are wrong for every text, when a 400 is about one of them."""


class OpenAICompatibleEmbedder(RemoteEmbedder):
    """Base of embedders that speak OpenAI's protocol, through the library ``openai``.

    Args:
        encoding_format: The format of the vectors: ``"base64"``, a quarter of the size, or
            ``"float"`` for servers that know nothing else.
        options: As for :class:`RemoteEmbedder`.
    """

    kept_options: Sequence[str] = (*RemoteEmbedder.kept_options, "encoding_format")
    library = "openai"
    default_url: str | None = None

    def __init__(
        self,
        model: str,
        dimensions: int | None = None,
        *,
        encoding_format: str = "base64",
        **options: Any,
    ) -> None:
        super().__init__(model, dimensions, **options)
        self.encoding_format = self._one_of("encoding_format", encoding_format, ENCODING_FORMATS)

    def connect(self) -> OpenAI:
        from openai import OpenAI

        client = OpenAI(
            # The library wants one, also where the server does not.
            api_key=self.key or "none",
            base_url=self.base_url or self.default_url,
            default_headers=self.headers,
            timeout=self.timeout,
            max_retries=0,
        )
        if self.default_url:  # the library reads both from OPENAI_…: not for others
            client.organization = client.project = None
        return client

    def parameters(self, input_type: str) -> dict[str, Any]:
        """Return the parameters of a request besides model, texts and format."""
        return {}

    @property
    def requested_model(self) -> str:
        """The name of the model in requests."""
        return self.model_id

    def send(self, client: OpenAI, texts: Sequence[str], input_type: str) -> EmbedAnswer:
        answer = client.embeddings.with_raw_response.create(
            model=self.requested_model,
            input=[],
            encoding_format=self.encoding_format,  # type: ignore[arg-type]
            # Replaces `input`: the library would look into each text.
            extra_body={"input": list(texts), **self.parameters(input_type)},
        )
        # Not parse(): it makes an object of each number.
        response = answer.http_response
        try:
            body = response.json()
            vectors = self._vectors(body["data"], len(texts))
            tokens = (body.get("usage") or {}).get("total_tokens")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise TransientEmbedderError(
                f"{self.vendor} answered {response.status_code} with something that is not an "
                f"embedding ({type(error).__name__})"
            ) from None
        return EmbedAnswer(vectors, tokens, headroom(response.headers))

    def refusal(self, error: Exception) -> Refusal | None:
        import openai

        if isinstance(error, openai.APIStatusError):
            return Refusal(_words(error), error.status_code, error.response.headers, _kind(error))
        if isinstance(error, openai.APIConnectionError):
            return Refusal(f"{error.message} {error.__cause__ or ''}".strip())
        return None

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return estimated_tokens(texts)

    def _vectors(self, data: Sequence[Any], count: int) -> Vectors:
        """Return the vectors in the order of the texts, whatever their order in the answer.

        Raises:
            InputRefusedError: They are not one for each text.
            FatalEmbedderError: They are not of one length.
        """
        ordered = sorted(data, key=lambda item: item["index"])
        if [item["index"] for item in ordered] != list(range(count)):
            raise InputRefusedError(
                f"{self.vendor} answered {counted(len(ordered), 'vector')} for "
                f"{counted(count, 'text')}, or not one each"
            )
        rows = [_row(item["embedding"]) for item in ordered]
        if len({len(row) for row in rows}) > 1:
            raise FatalEmbedderError(f"{self.vendor} answered vectors of different lengths")
        return np.stack(rows).astype(np.float32, copy=False)


class OpenAIEmbedder(OpenAICompatibleEmbedder):
    """OpenAI, or by ``base_url`` a server that speaks its protocol: vLLM, Ollama, TEI,
    LiteLLM and many more. Needs the extra ``openai``.

    Texts are counted by ``tiktoken`` where it is installed and knows the model.
    Limits: https://platform.openai.com/docs/api-reference/embeddings/create

    Args:
        model: A model of OpenAI, or of the server.
        dimensions: Length of each vector. A known model is asked for vectors of that
            length; needed for other models.
        send_dimensions: Ask a model that is not known for vectors of that length too.
            Default: such a model is taken to have only one.
        base_url: The server, with ``/v1``. Default: the environment variable
            ``OPENAI_BASE_URL``, else OpenAI.
        options: As for :class:`OpenAICompatibleEmbedder`.
    """

    provider = "openai"
    kept_options: Sequence[str] = (*OpenAICompatibleEmbedder.kept_options, "send_dimensions")
    max_batch_size = 2048
    max_batch_tokens = 300_000
    max_input_tokens = 8_192

    vendor = "OpenAI"
    extra = "openai"
    key_variable = "OPENAI_API_KEY"
    models = {
        "text-embedding-3-small": Model(1536, range(1, 1537)),
        "text-embedding-3-large": Model(3072, range(1, 3073)),
        "text-embedding-ada-002": Model(1536),
    }

    def __init__(
        self,
        model: str,
        dimensions: int | None = None,
        *,
        send_dimensions: bool = False,
        base_url: str | None = None,
        **options: Any,
    ) -> None:
        base_url = base_url or os.environ.get("OPENAI_BASE_URL")
        super().__init__(model, dimensions, base_url=base_url, **options)
        known = self.models.get(model)
        is_other = known is not None and self.dimensions != known.dimensions
        self._sends_dimensions = is_other or send_dimensions

    def parameters(self, input_type: str) -> dict[str, Any]:
        return {"dimensions": self.dimensions} if self._sends_dimensions else {}

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        encoding = openai_encoding(self.model_id)
        if encoding is None:
            return estimated_tokens(texts)
        return [len(tokens) for tokens in encoding.encode_ordinary_batch(list(texts))]


class AzureOpenAIEmbedder(OpenAIEmbedder):
    """OpenAI's models in Azure. Needs the extra ``openai``.

    Its vectors are those of OpenAI: an index made with one can be kept with the other.
    https://learn.microsoft.com/azure/ai-services/openai/reference

    Args:
        model: The model that is deployed.
        dimensions: Length of each vector. Default: the model's.
        deployment: The deployment's name. Default: the model's.
        endpoint: ``https://RESOURCE.openai.azure.com``. Default: the environment variable
            ``AZURE_OPENAI_ENDPOINT``.
        api_version: Version of the API.
        token_provider: Called for a token of Microsoft Entra ID before each request,
            instead of a key; ``azure.identity.get_bearer_token_provider`` makes one.
        options: As for :class:`OpenAIEmbedder`.
    """

    provider = "openai"
    former_providers: Sequence[str] = (_FORMER_PROVIDER,)
    kept_options: Sequence[str] = (
        *OpenAIEmbedder.kept_options,
        "deployment",
        "endpoint",
        "api_version",
    )
    vendor = "Azure OpenAI"
    key_variable = "AZURE_OPENAI_API_KEY"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Keep the indexes of subclasses, which inherited that name."""
        super().__init_subclass__(**kwargs)
        cls.former_providers = (*cls.former_providers, _FORMER_PROVIDER)

    def __init__(
        self,
        model: str,
        dimensions: int | None = None,
        *,
        deployment: str = "",
        endpoint: str = "",
        api_version: str = "2024-10-21",
        token_provider: Callable[[], str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, dimensions, **options)
        self._address = Address.parse(endpoint or os.environ.get("AZURE_OPENAI_ENDPOINT", ""))
        if not self.base_url:
            raise SettingsError(
                "AzureOpenAIEmbedder: there is no endpoint. Set the option 'endpoint', or the "
                "environment variable AZURE_OPENAI_ENDPOINT."
            )
        self.deployment = deployment or model
        self.api_version = api_version
        self._token_provider = token_provider
        self._last_token = ""

    @property
    def needs_key(self) -> bool:
        return self._token_provider is None

    @property
    def requested_model(self) -> str:
        return self.deployment

    def secrets(self) -> Iterator[str]:
        yield from super().secrets()
        yield self._last_token

    def connect(self) -> OpenAI:
        from openai import AzureOpenAI

        return AzureOpenAI(
            azure_endpoint=self.base_url or "",
            api_version=self.api_version,
            api_key=None if self._token_provider else self.key,
            azure_ad_token_provider=self._token if self._token_provider else None,
            default_headers=self.headers,
            timeout=self.timeout,
            max_retries=0,
        )

    def _token(self) -> str:
        assert self._token_provider is not None
        try:
            self._last_token = self._token_provider()
            return self._last_token
        except Exception as error:  # whatever it is, no text causes it
            raise TransientEmbedderError(
                f"{self.vendor}: the token provider raised {type(error).__name__}"
            ) from None


def _row(embedding: str | list[float]) -> Vectors:
    """Return one vector: servers that do not know base64 answer numbers in any case."""
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding), dtype="<f4")
    return np.asarray(embedding, dtype=np.float32)


def _kind(error: Any) -> type[EmbedderError] | None:
    """Return the kind of an error where its status does not say it."""
    if _NO_MONEY & {str(error.code), str(error.type)}:
        return FatalEmbedderError
    if error.status_code == 400 and error.param in _ABOUT_THE_OPTIONS:
        return FatalEmbedderError
    if error.status_code == 400 and error.code in _ABOUT_THE_LENGTH:
        return TextTooLongError
    # More tokens than the limit of a minute: waiting does not help, fewer texts do.
    if error.status_code == 429 and _words(error).startswith("Request too large"):
        return InputRefusedError
    return None


def _words(error: Any) -> str:
    """Return the server's message: ``message`` of OpenAI, ``detail`` of FastAPI and of Voyage."""
    body = error.body
    if isinstance(body, dict):
        said = body.get("message") or body.get("detail") or body.get("error")
        if isinstance(said, dict):  # Mistral has FastAPI's list inside
            said = said.get("detail")
        if isinstance(said, list):
            said = "; ".join(str(item.get("msg", "")) for item in said if isinstance(item, dict))
        if said:
            return str(said)
    return str(error.message)
