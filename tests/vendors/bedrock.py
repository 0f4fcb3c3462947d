"""The protocol of Amazon Bedrock's runtime, with models of Amazon and of Cohere.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from ai_migration.types import Vectors
from tests.vendors.protocol import Asked, Kind, Reply

_REFUSALS = {
    Kind.THROTTLED: (
        429,
        "ThrottlingException",
        "Too many requests, please wait before trying again.",
    ),
    Kind.NO_QUOTA: (
        429,
        "ThrottlingException",
        "Too many tokens per day, please wait before trying again.",
    ),
    Kind.SERVER_ERROR: (500, "InternalServerException", "The system encountered an error."),
    Kind.UNAVAILABLE: (503, "ServiceUnavailableException", "Bedrock is unable to process it."),
    Kind.WRONG_KEY: (403, "AccessDeniedException", "Authentication failed: {key} is not valid."),
    Kind.UNKNOWN_MODEL: (
        400,
        "ValidationException",
        "The provided model identifier is invalid.",
    ),
    Kind.TOO_LONG: (
        400,
        "ValidationException",
        "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token "
        "count: 9875",
    ),
    Kind.REFUSED: (
        400,
        "ValidationException",
        "Malformed input request: {text!r} is not valid, please reformat your input.",
    ),
}


class BedrockVendor:
    """``POST /model/{modelId}/invoke``."""

    name = "bedrock"

    def asked(self, path: str, headers: Mapping[str, str], body: Any) -> Asked | None:
        match = re.fullmatch(r"/model/([^/]+)/invoke", path)
        if not match:
            return None
        texts = body["texts"] if "texts" in body else [body["inputText"]]
        signed = re.search(r"Credential=([^/]+)/", headers.get("authorization", ""))
        return Asked(
            texts=texts,
            model=unquote(match[1]),
            dimensions=body.get("dimensions") or body.get("output_dimension"),
            input_type=body.get("input_type", ""),
            key=signed[1] if signed else "",
            encoding="cohere" if "texts" in body else "titan",
            other={key: value for key, value in body.items() if key not in ("texts", "inputText")},
        )

    def answer(self, asked: Asked, vectors: Vectors, order: Sequence[int], tokens: int) -> Reply:
        rows = vectors.tolist()
        headers = {"x-amzn-bedrock-input-token-count": str(tokens)}
        if asked.encoding == "titan":
            body = {
                "embedding": rows[0],
                "embeddingsByType": {"float": rows[0]},
                "inputTextTokenCount": tokens,
            }
        else:
            body = {
                "id": "0",
                "response_type": "embeddings_by_type",
                "embeddings": {"float": rows},
                "texts": list(asked.texts),
            }
        return Reply(200, body, headers)

    def refusal(self, asked: Asked, kind: Kind) -> Reply:
        status, code, words = _REFUSALS[kind]
        message = words.format(key=asked.key, text=asked.texts[0])
        return Reply(status, {"message": message}, {"x-amzn-ErrorType": code})
