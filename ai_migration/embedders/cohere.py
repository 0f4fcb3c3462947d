"""Cohere."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ai_migration.embedders._answers import is_connection_error, reading, stacked
from ai_migration.embedders._headers import headroom
from ai_migration.embedders._tokens import estimated_tokens
from ai_migration.embedders.remote import Model, Refusal, RemoteEmbedder
from ai_migration.exceptions import (
    EmbedderError,
    FatalEmbedderError,
    InputRefusedError,
    TransientEmbedderError,
)
from ai_migration.types import EmbedAnswer

if TYPE_CHECKING:
    from cohere import ClientV2

ENCODING_FORMATS = ("float", "base64")

_KINDS: dict[int, type[EmbedderError]] = {
    200: TransientEmbedderError,  # with something that is not JSON
    498: InputRefusedError,  # blocked for its content
    499: TransientEmbedderError,
}
_ABOUT_THE_OPTIONS = ("input_type", "output_dimension", "embedding_types")


class CohereEmbedder(RemoteEmbedder):
    """Cohere. Needs the extra ``cohere``.

    Texts are embedded as documents, searches as queries. Tokens are estimated.
    https://docs.cohere.com/reference/embed

    Args:
        model: A model of Cohere.
        dimensions: 256, 512, 1024 or 1536 with ``embed-v4.0``. Default: the model's.
        encoding_format: The format of the vectors: ``"float"``, or ``"base64"``, which takes
            a fraction of the time to read.
        options: As for :class:`RemoteEmbedder`.
    """

    provider = "cohere"
    kept_options: Sequence[str] = (*RemoteEmbedder.kept_options, "encoding_format")
    max_batch_size = 96
    max_input_tokens = 512
    input_type = "search_document"
    query_type = "search_query"

    vendor = "Cohere"
    library = "cohere"
    extra = "cohere"
    key_variable = "CO_API_KEY"
    models = {
        "embed-v4.0": Model(1536, (256, 512, 1024), max_input_tokens=128_000),
        "embed-english-v3.0": Model(1024),
        "embed-english-light-v3.0": Model(384),
        "embed-multilingual-v3.0": Model(1024),
        "embed-multilingual-light-v3.0": Model(384),
    }

    def __init__(
        self,
        model: str,
        dimensions: int | None = None,
        *,
        encoding_format: str = "float",
        **options: Any,
    ) -> None:
        super().__init__(model, dimensions, **options)
        self.encoding_format = self._one_of("encoding_format", encoding_format, ENCODING_FORMATS)

    def connect(self) -> ClientV2:
        from cohere import ClientV2

        return ClientV2(
            self.key or "none",
            base_url=self.base_url,
            timeout=self.timeout,
            log_warning_experimental_features=False,
        )

    def close(self) -> None:
        client = self._clients.pop(os.getpid(), None)
        if client is not None:
            client.__exit__(None, None, None)  # it has no close()

    def send(self, client: ClientV2, texts: Sequence[str], input_type: str) -> EmbedAnswer:
        known = self.models.get(self.model_id)
        said: dict[str, Any] = {}
        if known is None or known.others:
            said["output_dimension"] = self.dimensions
        with reading(self.vendor):
            answer = client.with_raw_response.embed(
                model=self.model_id,
                input_type=input_type,
                texts=list(texts),
                embedding_types=[self.encoding_format],
                truncate="NONE",  # by default, texts that are too long are cut silently
                request_options={"max_retries": 0, "additional_headers": self.headers},
                **said,
            )
            found, meta = answer.data.embeddings, answer.data.meta
            rows: Any = found.float_
            if self.encoding_format == "base64":
                rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in found.base64 or ()]
            vectors = stacked(self.vendor, rows)
            tokens = meta.billed_units.input_tokens if meta and meta.billed_units else None
        return EmbedAnswer(
            vectors, None if tokens is None else int(tokens), headroom(answer.headers)
        )

    def refusal(self, error: Exception) -> Refusal | None:
        from cohere.core.api_error import ApiError

        if isinstance(error, ApiError):
            words = _words(error.body)
            return Refusal(
                words, error.status_code, error.headers or {}, _kind(error.status_code, words)
            )
        return Refusal(str(error)) if is_connection_error(error) else None

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return estimated_tokens(texts)


def _kind(status: int | None, words: str) -> type[EmbedderError] | None:
    """Return the kind of an error where its status does not say it.
    https://docs.cohere.com/reference/errors"""
    if status == 429 and "/ month" in words:
        return FatalEmbedderError  # of a trial key, for which waiting does not help
    if status == 400 and any(option in words for option in _ABOUT_THE_OPTIONS):
        return FatalEmbedderError
    return _KINDS.get(status or 0)


def _words(body: Any) -> str:
    if isinstance(body, dict):
        return str(body.get("message") or body.get("detail") or "no reason given")
    return str(body or "no reason given")
