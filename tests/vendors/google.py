"""The protocol of Google's Gemini API, and of Vertex AI.

https://ai.google.dev/api/embeddings
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api
https://ai.google.dev/gemini-api/docs/troubleshooting
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ai_migration.types import Vectors
from tests.vendors.protocol import Asked, Kind, Reply

_RPC = "type.googleapis.com/google.rpc."


def _quota(quota_id: str) -> dict[str, Any]:
    return {"@type": f"{_RPC}QuotaFailure", "violations": [{"quotaId": quota_id}]}


_QUOTA = "You exceeded your current quota, please check your plan and billing details."
_REFUSALS: dict[Kind, tuple[int, str, str, list[dict[str, Any]]]] = {
    Kind.THROTTLED: (
        429,
        "RESOURCE_EXHAUSTED",
        _QUOTA,
        [_quota("EmbedContentRequestsPerMinutePerUserPerProjectPerModel-FreeTier")],
    ),
    Kind.NO_QUOTA: (
        429,
        "RESOURCE_EXHAUSTED",
        _QUOTA,
        [
            _quota("EmbedContentRequestsPerDayPerUserPerProjectPerModel-FreeTier"),
            {"@type": f"{_RPC}RetryInfo", "retryDelay": "51s"},
        ],
    ),
    Kind.SERVER_ERROR: (500, "INTERNAL", "An internal error has occurred.", []),
    Kind.UNAVAILABLE: (503, "UNAVAILABLE", "The model is overloaded. Try again later.", []),
    Kind.WRONG_KEY: (
        400,
        "INVALID_ARGUMENT",
        "API key not valid: {key}. Please pass a valid API key.",
        [{"@type": f"{_RPC}ErrorInfo", "reason": "API_KEY_INVALID"}],
    ),
    Kind.UNKNOWN_MODEL: (
        404,
        "NOT_FOUND",
        "{model} is not found for API version v1beta, or is not supported for embedContent.",
        [],
    ),
    Kind.TOO_LONG: (
        400,
        "INVALID_ARGUMENT",
        "The input token count (2500) exceeds the maximum number of tokens allowed (2048).",
        [],
    ),
    Kind.REFUSED: (400, "INVALID_ARGUMENT", "The content {text!r} is not supported.", []),
}


class GoogleVendor:
    """``:batchEmbedContents`` of both, ``:embedContent`` and ``:predict`` of Vertex AI."""

    name = "google"

    def asked(self, path: str, headers: Mapping[str, str], body: Any) -> Asked | None:
        match = re.search(r"models/([^/:]+):(batchEmbedContents|embedContent|predict)$", path)
        if not match:
            return None
        model, method = match.groups()
        parameters = body.get("parameters", {})
        if method == "predict":
            texts = [item["content"] for item in body["instances"]]
            first = {**body["instances"][0], **parameters}
        else:
            requests = body.get("requests") or [body]
            texts = [part["text"] for item in requests for part in item["content"]["parts"]]
            first = {**requests[0], **requests[0].get("embedContentConfig", {})}
        return Asked(
            texts=texts,
            model=model,
            dimensions=first.get("outputDimensionality"),
            input_type=first.get("taskType") or first.get("task_type") or "",
            key=headers.get("x-goog-api-key", ""),
            encoding=method,
            other=first,
        )

    def answer(self, asked: Asked, vectors: Vectors, order: Sequence[int], tokens: int) -> Reply:
        rows = vectors.tolist()
        usage = {"promptTokenCount": tokens}
        if asked.encoding == "predict":
            each = {"truncated": False, "token_count": tokens / max(1, len(rows))}
            found = [{"embeddings": {"values": row, "statistics": each}} for row in rows]
            return Reply(200, {"predictions": found})
        if asked.encoding == "embedContent":
            return Reply(200, {"embedding": {"values": rows[0]}, "usageMetadata": usage})
        found = [{"values": row} for row in rows]
        return Reply(200, {"embeddings": found, "usageMetadata": usage})

    def refusal(self, asked: Asked, kind: Kind) -> Reply:
        code, status, words, details = _REFUSALS[kind]
        message = words.format(model=asked.model, key=asked.key, text=asked.texts[0])
        error = {"code": code, "message": message, "status": status, "details": details}
        return Reply(code, {"error": error})
