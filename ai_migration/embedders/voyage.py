"""Voyage AI."""

from __future__ import annotations

from typing import Any

from ai_migration.embedders.openai import OpenAICompatibleEmbedder
from ai_migration.embedders.remote import Model

_SIZES = (256, 512, 1024, 2048)


class VoyageEmbedder(OpenAICompatibleEmbedder):
    """Voyage AI, through the library ``openai``. Needs the extra ``voyage``.

    Texts are embedded as documents, searches as queries. Tokens are estimated.
    https://docs.voyageai.com/reference/embeddings-api

    Args:
        model: A model of Voyage AI.
        dimensions: 256, 512, 1024 or 2048, where the model can. Default: the model's.
        options: As for :class:`RemoteEmbedder`.
    """

    provider = "voyage"
    max_batch_size = 1000
    max_batch_tokens = 120_000
    max_input_tokens = 32_000
    input_type = "document"
    query_type = "query"

    vendor = "Voyage AI"
    extra = "voyage"
    key_variable = "VOYAGE_API_KEY"
    default_url = "https://api.voyageai.com/v1"
    models = {
        "voyage-4-large": Model(1024, _SIZES),
        "voyage-4": Model(1024, _SIZES, max_batch_tokens=320_000),
        "voyage-4-lite": Model(1024, _SIZES, max_batch_tokens=1_000_000),
        "voyage-3-large": Model(1024, _SIZES),
        "voyage-3.5": Model(1024, _SIZES, max_batch_tokens=320_000),
        "voyage-3.5-lite": Model(1024, _SIZES, max_batch_tokens=1_000_000),
        "voyage-code-3": Model(1024, _SIZES),
        "voyage-finance-2": Model(1024),
        "voyage-law-2": Model(1024, max_input_tokens=16_000),
    }

    def __init__(self, model: str, dimensions: int | None = None, **options: Any) -> None:
        # The API takes base64 or nothing.
        super().__init__(model, dimensions, encoding_format="base64", **options)

    def parameters(self, input_type: str) -> dict[str, Any]:
        # By default, texts that are too long are cut silently.
        said: dict[str, Any] = {"input_type": input_type, "truncation": False}
        known = self.models.get(self.model_id)
        if known is not None and known.others:
            said["output_dimension"] = self.dimensions
        return said
