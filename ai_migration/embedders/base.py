"""The base class of embedders: texts in, float32 vectors out."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from django.core.checks import CheckMessage

from ai_migration.exceptions import FatalEmbedderError, InputRefusedError
from ai_migration.types import EmbedAnswer, Vectors
from ai_migration.words import counted


class Embedder(ABC):
    """Turns texts into vectors. Subclass it, name it in ``AI_MIGRATION["EMBEDDERS"]``.

    ``OPTIONS`` of the alias are the keyword arguments of ``__init__``. One instance
    serves a whole process and ``embed`` is called from several threads at once.

    Attributes:
        model_id: The model, as the provider names it.
        dimensions: Length of each vector.
        max_batch_size: Texts in one request, at most.
        max_batch_tokens: Tokens in one request, at most; None: no limit.
        max_input_tokens: Tokens in one text, at most; longer texts are chunked.
            None: no limit.
        concurrency: Requests in flight at once, at most.
        is_remote: Whether a rate limit must protect a provider.
        input_type: The purpose of the vectors, where the provider distinguishes
            documents from queries, and whatever else makes them differ: a prompt, their
            length. Part of the fingerprint.
        query_type: What makes the vectors of queries differ, such as a prompt. Not part of the
            fingerprint: it changes no vector of an index.
        provider: A stable name of what makes the vectors, such as ``"openai"``. Part of the
            fingerprint. A class without one has its dotted path, and needs a rebuild when it
            is moved or renamed. Not inherited: a subclass may make other vectors.
        former_providers: Earlier names of it, or earlier dotted paths of the class: what was
            indexed under them is kept. Not inherited. The class's present path is one of them.
        kept_options: The options that an index keeps, to go on with its own embedder after the
            settings have changed: those that the vectors depend on, and no secrets.
    """

    max_batch_size: int = 256
    max_batch_tokens: int | None = None
    max_input_tokens: int | None = None
    concurrency: int = 1
    is_remote: bool = False
    input_type: str = ""
    query_type: str = ""
    provider: str = ""
    former_providers: Sequence[str] = ()
    kept_options: Sequence[str] = ("model", "dimensions")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give a class that does not say whose vectors it makes a name of its own."""
        super().__init_subclass__(**kwargs)
        own = vars(cls)
        if not own.get("provider") and isinstance(cls.provider, str):
            cls.provider = _path(cls)
        if "former_providers" not in own:
            cls.former_providers = ()

    @property
    @abstractmethod
    def model_id(self) -> str:
        """The model, as the provider names it."""

    @property
    @abstractmethod
    def dimensions(self) -> int:
        """Length of each vector."""

    @abstractmethod
    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed documents.

        Args:
            texts: 1 to ``max_batch_size`` texts, none of them empty.

        Returns:
            float32, shape ``(len(texts), dimensions)``, in the order of the texts.

        Raises:
            TransientEmbedderError: Trying again can help.
            ThrottledError: The provider asks to wait.
            InputRefusedError: At least one of these texts is refused.
            TextTooLongError: It is refused because it is too long: it is split and sent again.
            FatalEmbedderError: No text will be embedded until the cause is corrected.
        """

    def request(self, texts: Sequence[str]) -> EmbedAnswer:
        """Embed documents for the pipeline: :meth:`embed`, with what the provider reports of tokens
        and limits. Override it where it reports any.

        Raises:
            EmbedderError: As :meth:`embed`.
        """
        return EmbedAnswer(self.embed(texts))

    def embed_query(self, query: str) -> Vectors:
        """Embed a query; override it where queries differ from documents.

        Returns:
            float32, shape ``(dimensions,)``.
        """
        vector: Vectors = self.validated(self.embed([query]), 1)[0]
        return vector

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text. The default is the usual estimate of a token for every
        four UTF-8 bytes, rounded up."""
        return [(len(text.encode("utf-8", "replace")) + 3) // 4 for text in texts]

    @property
    def fingerprint(self) -> str:
        """A hash of provider, model, dimensions and input type, 32 hex digits. Vectors with
        different fingerprints are never compared nor mixed."""
        return self._fingerprint_of(self.provider)

    def made(self, fingerprint: str) -> bool:
        """Return whether vectors with this fingerprint are this embedder's, be it under a former
        name."""
        former = (_path(type(self)), *self.former_providers)
        return fingerprint == self.fingerprint or fingerprint in map(self._fingerprint_of, former)

    def _fingerprint_of(self, provider: str) -> str:
        parts = (provider, self.model_id, str(self.dimensions), self.input_type)
        return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()

    def validated(self, vectors: Vectors, count: int) -> Vectors:
        """Return the vectors as float32, after the checks every answer has to pass.

        Args:
            vectors: The result of ``embed``.
            count: Number of texts that were sent.

        Raises:
            FatalEmbedderError: The vectors have another length than ``dimensions``.
            InputRefusedError: Fewer or more vectors than texts, NaN or infinity.
        """
        array = np.asarray(vectors, dtype=np.float32)
        if array.ndim != 2 or (len(array) and array.shape[1] != self.dimensions):
            raise FatalEmbedderError(
                f"{self.model_id} answered vectors of shape {array.shape}; "
                f"{self.dimensions} dimensions were expected. Correct the embedder's "
                f"options, or rebuild the index with the new dimensions."
            )
        if len(array) != count:
            raise InputRefusedError(
                f"{self.model_id} answered {counted(len(array), 'vector')} for "
                f"{counted(count, 'text')}"
            )
        if not np.isfinite(array).all():
            raise InputRefusedError(f"{self.model_id} answered NaN or infinity in a vector")
        return array

    def check(self) -> list[CheckMessage]:
        """Return system checks of this embedder; must not call the network."""
        return []

    def secrets(self) -> Iterable[str]:
        """Return what to cut out of errors and logs besides the secrets in ``OPTIONS``: keys read
        from the environment, tokens that were fetched. Called while an error is being handled: must
        not call the network."""
        return ()

    def __repr__(self) -> str:
        """Name only the model: options can hold secrets."""
        return f"<{type(self).__name__} {self.model_id} {self.dimensions}d>"


def _path(embedder: type[Embedder]) -> str:
    return f"{embedder.__module__}.{embedder.__qualname__}"
