"""Mistral AI."""

from __future__ import annotations

from typing import Any

from ai_migration.embedders.openai import OpenAICompatibleEmbedder
from ai_migration.embedders.remote import Model


class MistralEmbedder(OpenAICompatibleEmbedder):
    """Mistral AI, through the library ``openai``. Needs the extra ``mistral``.

    Tokens are estimated. https://docs.mistral.ai/api/endpoint/embeddings; the limits of a
    request are those of its refusals: "Too many inputs in request" above 256 texts, "Too
    many tokens in batch. Max is 16384".

    Args:
        model: ``mistral-embed``, or ``codestral-embed`` for code.
        dimensions: 1 to 3072 with ``codestral-embed``. Default: the model's.
        options: As for :class:`RemoteEmbedder`.
    """

    provider = "mistral"
    max_batch_size = 256
    max_batch_tokens = 16_384
    max_input_tokens = 8_192

    vendor = "Mistral AI"
    extra = "mistral"
    key_variable = "MISTRAL_API_KEY"
    default_url = "https://api.mistral.ai/v1"
    models = {"mistral-embed": Model(1024), "codestral-embed": Model(1536, range(1, 3073))}

    def __init__(self, model: str, dimensions: int | None = None, **options: Any) -> None:
        super().__init__(model, dimensions, encoding_format="float", **options)

    def parameters(self, input_type: str) -> dict[str, Any]:
        known = self.models.get(self.model_id)
        if known is not None and self.dimensions != known.dimensions:
            return {"output_dimension": self.dimensions}
        return {}
