"""Amazon Bedrock: models of Amazon and of Cohere."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ai_migration.embedders._answers import reading, stacked
from ai_migration.embedders._tokens import estimated_tokens
from ai_migration.embedders.remote import Model, Refusal, RemoteEmbedder
from ai_migration.exceptions import (
    EmbedderError,
    FatalEmbedderError,
    SettingsError,
    ThrottledError,
    TransientEmbedderError,
)
from ai_migration.types import EmbedAnswer

_KINDS: dict[str, type[EmbedderError]] = {
    "ModelErrorException": TransientEmbedderError,
    "ModelNotReadyException": ThrottledError,
    "ServiceQuotaExceededException": FatalEmbedderError,
}
"""https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html#API_runtime_InvokeModel_Errors"""
_ABOUT_THE_OPTIONS = (
    "model identifier",
    "model ID",
    "on-demand throughput",
    "inference profile",
    "dimension",
    "extraneous key",
)
"""Parts of the message of a ValidationException that is about every text alike."""


class BedrockEmbedder(RemoteEmbedder):
    """Amazon Bedrock. Needs the extra ``bedrock``.

    The models of Cohere embed texts as documents and searches as queries; those of Amazon
    make no difference, and take one text a request. Tokens are estimated. Credentials are
    found where boto3 looks for them: the environment, profiles, the role of the host.
    https://docs.aws.amazon.com/bedrock/latest/userguide/titan-embedding-models.html
    https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html

    Args:
        model: A model of Amazon or of Cohere, as Bedrock names it.
        dimensions: 256, 512 or 1024 with Titan; 256, 512, 1024 or 1536 with Cohere's v4.
            Default: the model's.
        region: The AWS region. Default: that of the environment or the profile.
        profile: A profile of the AWS configuration.
        inference_profile: Called instead of the model: the id or ARN of an inference
            profile, or of provisioned throughput.
        options: As for :class:`RemoteEmbedder`; there is no ``api_key``: a key of Bedrock is in
            ``AWS_BEARER_TOKEN_BEDROCK``.
    """

    provider = "bedrock"
    kept_options: Sequence[str] = (
        *RemoteEmbedder.kept_options,
        "region",
        "profile",
        "inference_profile",
    )
    max_input_tokens = 8_192

    vendor = "Amazon Bedrock"
    library = "boto3"
    extra = "bedrock"
    key_variable = "AWS_BEARER_TOKEN_BEDROCK"
    models = {
        "amazon.titan-embed-text-v2:0": Model(1024, (256, 512)),
        "amazon.titan-embed-text-v1": Model(1536),
        "cohere.embed-v4:0": Model(1536, (256, 512, 1024), max_input_tokens=128_000),
        "cohere.embed-english-v3": Model(1024, max_input_tokens=512),
        "cohere.embed-multilingual-v3": Model(1024, max_input_tokens=512),
    }

    def __init__(
        self,
        model: str,
        dimensions: int | None = None,
        *,
        region: str | None = None,
        profile: str | None = None,
        inference_profile: str = "",
        **options: Any,
    ) -> None:
        if model not in self.models:
            raise SettingsError(
                f"BedrockEmbedder: the model {model!r} is not one of {', '.join(self.models)}; "
                f"an inference profile of one of them goes into the option 'inference_profile'"
            )
        if options.get("api_key"):
            raise SettingsError(
                f"BedrockEmbedder takes no 'api_key': set the environment variable "
                f"{self.key_variable}, or give the host AWS credentials"
            )
        self._is_cohere = model.startswith("cohere.")
        if self._is_cohere:
            self.input_type, self.query_type = "search_document", "search_query"
        options.setdefault("max_batch_size", 96 if self._is_cohere else 1)
        super().__init__(model, dimensions, **options)
        if self.headers:
            raise SettingsError(
                "BedrockEmbedder: there are a user and a password in 'base_url', but requests "
                "are signed with AWS credentials, and cannot carry others"
            )
        self.region = region
        self.profile = profile
        self.inference_profile = inference_profile

    @property
    def needs_key(self) -> bool:
        return False

    def secrets(self) -> Iterator[str]:
        yield from super().secrets()
        signer = getattr(self._clients.get(os.getpid()), "_request_signer", None)
        for name, value in getattr(getattr(signer, "_credentials", None), "__dict__", {}).items():
            # Not the properties of those names, which may ask the network for new ones.
            if name.lstrip("_") in ("secret_key", "token") and value:
                yield value

    def connect(self) -> Any:
        import boto3
        from botocore.config import Config

        session = boto3.Session(profile_name=self.profile, region_name=self.region)
        return session.client(
            "bedrock-runtime",
            endpoint_url=self.base_url,
            config=Config(
                connect_timeout=self.timeout,
                read_timeout=self.timeout,
                max_pool_connections=self.concurrency,
                retries={"total_max_attempts": 1},
            ),
        )

    def send(self, client: Any, texts: Sequence[str], input_type: str) -> EmbedAnswer:
        answer = client.invoke_model(
            modelId=self.inference_profile or self.model_id,
            body=json.dumps(self._body(texts, input_type)),
            contentType="application/json",
            accept="application/json",
        )
        said = answer["body"].read()
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        with reading(self.vendor):
            body = json.loads(said)
            rows = body["embeddings"]["float"] if self._is_cohere else [body["embedding"]]
            counted = headers.get("x-amzn-bedrock-input-token-count", "")
            tokens = int(counted) if counted else body.get("inputTextTokenCount")
            vectors = stacked(self.vendor, rows)
        return EmbedAnswer(vectors, tokens)

    def refusal(self, error: Exception) -> Refusal | None:
        from botocore import exceptions

        if isinstance(error, exceptions.ClientError):
            return _refusal(error.response)
        if isinstance(error, (exceptions.HTTPClientError, exceptions.IncompleteReadError)):
            return Refusal(str(error))
        if isinstance(error, exceptions.BotoCoreError):  # no credentials, no region
            return Refusal(str(error), kind=FatalEmbedderError)
        return None

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return estimated_tokens(texts)

    def _body(self, texts: Sequence[str], input_type: str) -> dict[str, Any]:
        other = {"dimensions": self.dimensions} if self.models[self.model_id].others else {}
        if not self._is_cohere:
            [text] = texts
            return {"inputText": text, **other}
        if other:
            other = {"output_dimension": self.dimensions}
        return {
            "texts": list(texts),
            "input_type": input_type,
            "embedding_types": ["float"],
            "truncate": "NONE",
            **other,
        }


def _refusal(response: Mapping[str, Any]) -> Refusal:
    code, words = response["Error"].get("Code", ""), response["Error"].get("Message", "")
    answer = response["ResponseMetadata"]
    status, kind = answer["HTTPStatusCode"], _KINDS.get(code)
    if code == "ThrottlingException" and "per day" in words:
        kind = FatalEmbedderError
    elif status == 400 and kind is None:
        is_option = any(option in words for option in _ABOUT_THE_OPTIONS)
        # The other codes of a 400 are about signatures and rights.
        if is_option or code != "ValidationException":
            kind = FatalEmbedderError
    return Refusal(f"{code}: {words}", status, answer.get("HTTPHeaders") or {}, kind)
