"""Google: the Gemini API, and Vertex AI."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ai_migration.embedders._answers import is_connection_error, reading, stacked
from ai_migration.embedders._headers import duration
from ai_migration.embedders._tokens import estimated_tokens
from ai_migration.embedders.remote import Model, Refusal, RemoteEmbedder
from ai_migration.exceptions import (
    EmbedderError,
    FatalEmbedderError,
    SettingsError,
    TransientEmbedderError,
)
from ai_migration.types import EmbedAnswer

if TYPE_CHECKING:
    from google.genai import Client

_PREFIXES = {
    "RETRIEVAL_DOCUMENT": "title: none | text: ",
    "RETRIEVAL_QUERY": "task: search result | query: ",
}
"""The second generation's prefixes, instead of a task type."""
_NEW = Model(3072, range(128, 3073), max_input_tokens=8_160)  # 8,192 with the prefix
_ONLY_IN_VERTEX = frozenset({"text-embedding-005", "text-multilingual-embedding-002"})
_ABOUT_THE_OPTIONS = ("output_dimensionality", "outputDimensionality", "task_type", "taskType")


class GoogleEmbedder(RemoteEmbedder):
    """Google's Gemini API, or Vertex AI. Needs the extra ``google``.

    Texts are embedded as documents, searches as queries. Vectors are scaled to length 1,
    which Google does for some dimensions only. Tokens are estimated.
    https://ai.google.dev/gemini-api/docs/embeddings

    Args:
        model: A model of Google.
        dimensions: Length of each vector: 128 to 3072 with Gemini's models. Default: the
            model's.
        vertex: Call Vertex AI, with the application default credentials, or with a key of
            its express mode.
        project: The Google Cloud project, for Vertex AI. Default: the environment variable
            ``GOOGLE_CLOUD_PROJECT``, else that of the credentials.
        location: The location of Vertex AI. Default: ``GOOGLE_CLOUD_LOCATION``, else ``global``.
        options: As for :class:`RemoteEmbedder`. The key is in ``GEMINI_API_KEY``, or
            in ``GOOGLE_API_KEY``. In Vertex AI, Gemini's models are documented to take one
            text a request: ``max_batch_size`` is 1 there by default.
    """

    provider = "google"
    kept_options: Sequence[str] = (*RemoteEmbedder.kept_options, "vertex", "project", "location")
    max_batch_size = 100
    max_input_tokens = 2_048
    input_type = "RETRIEVAL_DOCUMENT"
    query_type = "RETRIEVAL_QUERY"

    vendor = "Google"
    library = "google.genai"
    extra = "google"
    key_variable = "GEMINI_API_KEY"
    models = {
        "gemini-embedding-001": Model(3072, range(128, 3073)),
        "gemini-embedding-2": _NEW,
        "gemini-embedding-2-preview": _NEW,
        "text-embedding-005": Model(768, range(1, 769), max_batch_tokens=20_000),
        "text-multilingual-embedding-002": Model(768, range(1, 769), max_batch_tokens=20_000),
    }

    def __init__(
        self,
        model: str,
        dimensions: int | None = None,
        *,
        vertex: bool = False,
        project: str | None = None,
        location: str | None = None,
        **options: Any,
    ) -> None:
        if model in _ONLY_IN_VERTEX and not vertex:
            raise SettingsError(f"GoogleEmbedder: {model} needs the option 'vertex': True")
        if vertex and model not in _ONLY_IN_VERTEX:
            options.setdefault("max_batch_size", 1)
        super().__init__(model, dimensions, **options)
        self.vertex = vertex
        self.project = project
        self.location = location

    @property
    def key(self) -> str:
        return super().key or ("" if self.vertex else os.environ.get("GOOGLE_API_KEY", "").strip())

    @property
    def needs_key(self) -> bool:
        return super().needs_key and not self.vertex

    def secrets(self) -> Iterator[str]:
        yield from super().secrets()
        inner = getattr(self._clients.get(os.getpid()), "_api_client", None)
        yield getattr(getattr(inner, "_credentials", None), "token", None) or ""

    def connect(self) -> Client:
        from google.genai import Client
        from google.genai.types import HttpOptions, HttpRetryOptions

        return Client(
            vertexai=self.vertex,
            api_key=self.key or (None if self.vertex else "none"),
            project=self.project,
            location=self.location,
            http_options=HttpOptions(
                base_url=self.base_url,
                headers=self.headers or None,
                timeout=int(self.timeout * 1000),
                retry_options=HttpRetryOptions(attempts=1),
            ),
        )

    def send(self, client: Client, texts: Sequence[str], input_type: str) -> EmbedAnswer:
        from google.genai.types import Content, EmbedContentConfig, Part

        is_new = self.models.get(self.model_id) is _NEW
        prefix = _PREFIXES[input_type] if is_new else ""
        with reading(self.vendor):
            answer = client.models.embed_content(
                model=self.model_id,
                # The new models make a single vector of several bare texts.
                contents=[Content(parts=[Part(text=prefix + text)]) for text in texts],
                config=EmbedContentConfig(
                    task_type=None if is_new else input_type,
                    output_dimensionality=self.dimensions,
                    auto_truncate=False if self.vertex else None,
                ),
            )
            vectors = stacked(self.vendor, [found.values for found in answer.embeddings or ()])
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        np.divide(vectors, norms, out=vectors, where=norms > 0)
        return EmbedAnswer(vectors, _tokens(answer))

    def refusal(self, error: Exception) -> Refusal | None:
        from google.auth.exceptions import GoogleAuthError, TransportError
        from google.genai.errors import APIError

        if isinstance(error, APIError):
            return _refusal(error)
        if isinstance(error, TransportError) or is_connection_error(error):
            return Refusal(str(error))
        if isinstance(error, GoogleAuthError):
            return Refusal(str(error), kind=FatalEmbedderError)
        return None

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return estimated_tokens(texts)


def _tokens(answer: Any) -> int | None:
    """Return the tokens that are charged for, where Google reports them."""
    usage = getattr(answer, "usage_metadata", None)  # older versions of the library drop it
    if usage is not None:
        tokens: int | None = usage.prompt_token_count
        return tokens
    counts = [found.statistics and found.statistics.token_count for found in answer.embeddings]
    return int(sum(counts)) if counts and all(count is not None for count in counts) else None


def _refusal(error: Any) -> Refusal:
    """https://ai.google.dev/gemini-api/docs/troubleshooting"""
    words = str(error.message or error.status or "no reason given")
    headers = {
        name.lower(): value for name, value in getattr(error.response, "headers", {}).items()
    }
    details = _details(error.details)
    delay = next((duration(str(item["retryDelay"])) for item in details if "retryDelay" in item), 0)
    if delay and "retry-after" not in headers:
        headers["retry-after"] = str(delay)
    return Refusal(words, error.code, headers, _kind(error, words, details))


def _kind(
    error: Any, words: str, details: Sequence[Mapping[str, Any]]
) -> type[EmbedderError] | None:
    """Return the kind of an error where its status does not say it."""
    if error.code == 200:  # with something that is not JSON
        return TransientEmbedderError
    if error.code == 429:
        # Per day: used up until midnight in California. A limit of 0: the plan lacks this model.
        violations = [each for item in details for each in item.get("violations", ())]
        is_of_a_day = any("PerDay" in str(each.get("quotaId")) for each in violations)
        return FatalEmbedderError if is_of_a_day or "limit: 0," in words else None
    if error.code == 400:
        # So are a wrong key, and a country that is not served.
        is_key = any(item.get("reason") == "API_KEY_INVALID" for item in details)
        is_option = any(option in words for option in _ABOUT_THE_OPTIONS)
        if is_key or is_option or error.status == "FAILED_PRECONDITION":
            return FatalEmbedderError
    return None


def _details(body: Any) -> list[Mapping[str, Any]]:
    """Return ``error.details`` of an answer: objects of google.rpc."""
    inner = body.get("error", body) if isinstance(body, dict) else {}
    listed = inner.get("details") if isinstance(inner, dict) else None
    return [item for item in listed or () if isinstance(item, dict)]
