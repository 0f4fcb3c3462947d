"""The protocol of OpenAI, and of all who speak it.

https://platform.openai.com/docs/api-reference/embeddings
https://platform.openai.com/docs/guides/error-codes
https://platform.openai.com/docs/guides/rate-limits
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from ai_migration.types import Vectors
from tests.vendors.protocol import Asked, Kind, Reply

_REFUSALS = {
    Kind.THROTTLED: (
        429,
        "rate_limit_exceeded",
        "Rate limit reached for {model} in organization org-1 on requests per min (RPM): "
        "Limit 3, Used 3, Requested 1. Please try again in 20s.",
    ),
    Kind.NO_QUOTA: (
        429,
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    Kind.SERVER_ERROR: (500, None, "The server had an error while processing your request."),
    Kind.UNAVAILABLE: (503, None, "The engine is currently overloaded, please try again later."),
    Kind.WRONG_KEY: (401, "invalid_api_key", "Incorrect API key provided: {key}."),
    Kind.UNKNOWN_MODEL: (
        404,
        "model_not_found",
        "The model `{model}` does not exist or you do not have access to it.",
    ),
    Kind.TOO_LONG: (
        400,
        None,
        "This model's maximum context length is 8192 tokens, however you requested 17580 tokens "
        "(17580 in your prompt; 0 for the completion). Please reduce your prompt; or completion "
        "length.",
    ),
    Kind.REFUSED: (400, None, "'$.input' is invalid: {text!r} is against our usage policies."),
}
_TYPES = {
    Kind.THROTTLED: "requests",
    Kind.NO_QUOTA: "insufficient_quota",
    Kind.SERVER_ERROR: "server_error",
    Kind.UNAVAILABLE: "server_error",
}


class OpenAIVendor:
    """``POST /v1/embeddings``; Azure's path, Voyage's and Mistral's parameters too."""

    name = "openai"

    def asked(self, path: str, headers: Mapping[str, str], body: Any) -> Asked | None:
        if not path.partition("?")[0].endswith("/embeddings"):
            return None
        texts = body["input"]
        return Asked(
            texts=[texts] if isinstance(texts, str) else texts,
            model=body.get("model", ""),
            dimensions=body.get("dimensions") or body.get("output_dimension"),
            input_type=body.get("input_type", ""),
            key=headers.get("api-key") or headers.get("authorization", "").removeprefix("Bearer "),
            encoding=body.get("encoding_format", "float"),
            other={name: value for name, value in body.items() if name != "input"},
        )

    def answer(self, asked: Asked, vectors: Vectors, order: Sequence[int], tokens: int) -> Reply:
        def written(row: int) -> Any:
            if asked.encoding == "base64":
                return base64.b64encode(vectors[row].astype("<f4").tobytes()).decode()
            return vectors[row].tolist()

        data = [
            {"object": "embedding", "index": index, "embedding": written(row)}
            for row, index in enumerate(order)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return Reply(200, {"object": "list", "data": data, "model": asked.model, "usage": usage})

    def refusal(self, asked: Asked, kind: Kind) -> Reply:
        status, code, words = _REFUSALS[kind]
        message = words.format(model=asked.model, key=asked.key, text=asked.texts[0])
        error = {
            "message": message,
            "type": _TYPES.get(kind, "invalid_request_error"),
            "param": None,
            "code": code,
        }
        return Reply(status, {"error": error})
