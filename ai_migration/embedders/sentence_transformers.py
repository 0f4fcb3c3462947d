"""Models of sentence-transformers, on this machine's processors or graphics cards."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from django.core.checks import CheckMessage, Error

from ai_migration.embedders import _local_models
from ai_migration.embedders.base import Embedder
from ai_migration.exceptions import FatalEmbedderError, MissingDependencyError, SettingsError
from ai_migration.types import Vectors

_TEXTS_AT_ONCE = 64
_BYTES_AT_ONCE = 1 << 16
"""Bytes of a padded slice: 32 texts of 512 tokens, at four bytes a token."""
_NO_LIMIT = 1_000_000
"""Models without a limit say so with a number far above this one."""


@dataclass(frozen=True)
class _Loaded:
    """A loaded model, and its properties.

    Attributes:
        model: The ``SentenceTransformer``.
        count: Tokens of each text, from any thread.
        limit: Tokens it takes of a document, beside prompt and marks; None: any number.
        pid: The process that loaded it.
    """

    model: Any
    count: Callable[[Sequence[str]], Iterable[int]]
    limit: int | None
    pid: int


class SentenceTransformerEmbedder(Embedder):
    """A model of sentence-transformers: https://sbert.net.

    Texts go through the model in slices of bounded size, sorted by length, so memory does
    not grow with the batch. The model is loaded at the first use in each process, and no
    earlier: torch hangs in a process that was forked from one in which it has computed.
    Needs the extra ``sentence-transformers``.

    Args:
        model: A folder, or a name on the Hugging Face hub: ``BAAI/bge-small-en-v1.5``. A
            folder's name is part of the fingerprint: another model needs another name.
        dimensions: Keep only the first of the model's dimensions, where it is trained so
            that these matter most. Default: all, known when the model is loaded.
        max_input_tokens: Tokens of a text, at most; more than that is chunked. Default: what
            the model takes beside the prompt, known when the model is loaded.
        normalize: Whether vectors are scaled to length 1.
        document_prompt: Put in front of what is indexed: ``"passage: "``. Default: the
            model's own prompt for documents, if it has one; ``""``: none.
        query_prompt: Put in front of queries, likewise.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``. Default: the best there is.
        revision: The revision of a model of the hub: a tag, a branch or a commit.
        load_options: Further arguments of ``SentenceTransformer``: ``trust_remote_code``,
            ``backend``, ``model_kwargs``. They are not part of the fingerprint.

    System checks:
        ``ai_migration.E101``: the library is not installed.
        ``ai_migration.E151``: the folder does not exist.
    """

    provider = "sentence-transformers"
    kept_options: Sequence[str] = (
        *("model", "dimensions", "max_input_tokens", "normalize"),
        *("document_prompt", "query_prompt", "device", "revision"),
    )
    max_batch_size = 256

    def __init__(
        self,
        model: str | Path,
        *,
        dimensions: int | None = None,
        max_input_tokens: int | None = None,
        normalize: bool = True,
        document_prompt: str | None = None,
        query_prompt: str | None = None,
        device: str | None = None,
        revision: str | None = None,
        load_options: Mapping[str, Any] | None = None,
    ) -> None:
        for name, number in (("dimensions", dimensions), ("max_input_tokens", max_input_tokens)):
            if number is not None and number < 1:
                raise SettingsError(f"{type(self).__name__}: {name} is {number}; use 1 or more")
        self._model_id = _local_models.model_name(type(self).__name__, model)
        if revision:
            self._model_id += f"@{revision}"
        self._path = model
        self._dimensions = dimensions
        self._max_input_tokens = max_input_tokens
        self._normalize = normalize
        self._document_prompt = document_prompt
        self._query_prompt = query_prompt
        self._load_options = {"device": device, "revision": revision, **(load_options or {})}
        self.input_type = f"prompt={document_prompt!r} normalize={normalize}"
        self.query_type = f"prompt={query_prompt!r}"
        self._lock = threading.Lock()
        self._model: _Loaded | None = None

    @property
    def model_id(self) -> str:
        return self._model_id

    @property
    def dimensions(self) -> int:
        if self._dimensions is None:
            model = self._loaded().model  # which says so without computing anything
            said = getattr(model, "get_embedding_dimension", None)
            length = (said or model.get_sentence_embedding_dimension)()  # in older versions
            if length is None:
                raise FatalEmbedderError(
                    f"{self.model_id} does not say how long its vectors are: set the option "
                    f"'dimensions'."
                )
            self._dimensions = int(length)
        return self._dimensions

    @property
    def max_input_tokens(self) -> int | None:  # type: ignore[override]
        return self._max_input_tokens or self._loaded().limit

    def embed(self, texts: Sequence[str]) -> Vectors:
        model = self._loaded().model
        return self._encode(model.encode_document, texts, self._document_prompt)

    def embed_query(self, query: str) -> Vectors:
        model = self._loaded().model
        vectors = self._encode(model.encode_query, [query], self._query_prompt)
        vector: Vectors = self.validated(vectors, 1)[0]
        return vector

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, by the model's own tokenizer."""
        return list(self._loaded().count(texts))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.model_id}>"  # the dimensions may not be known yet

    def check(self) -> list[CheckMessage]:
        if importlib.util.find_spec("sentence_transformers") is None:
            return [Error(_missing().message, id="ai_migration.E101")]
        return _local_models.model_messages(type(self).__name__, self._path)

    def _encode(
        self, encode: Callable[..., Vectors], texts: Sequence[str], prompt: str | None
    ) -> Vectors:
        slices = _local_models.sorted_slices(
            texts, texts_at_once=_TEXTS_AT_ONCE, bytes_at_once=_BYTES_AT_ONCE
        )
        parts = []
        for positions in slices:
            some = [_local_models.clean(texts[position]) for position in positions]
            with self._lock:  # each call changes the model's tokenizer
                parts.append(
                    encode(
                        some,
                        prompt=prompt,
                        batch_size=len(some),
                        normalize_embeddings=self._normalize,
                        show_progress_bar=False,
                    )
                )
        found = np.concatenate(parts)
        vectors: Vectors = np.empty(found.shape, dtype=np.float32)
        vectors[np.concatenate(slices)] = found
        return vectors

    def _loaded(self) -> _Loaded:
        if self._model is None or self._model.pid != os.getpid():
            with self._lock:
                if self._model is None or self._model.pid != os.getpid():
                    self._model = self._load(is_forked=self._model is not None)
        return self._model

    def _load(self, *, is_forked: bool) -> _Loaded:
        try:
            import torch
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise _missing() from error
        if is_forked:
            torch.set_num_threads(1)  # the threads stayed in the parent: torch waits for ever
        try:
            with _no_progress_bars():
                model = SentenceTransformer(
                    str(self._path), truncate_dim=self._dimensions, **self._load_options
                )
        except Exception as error:  # a folder or the hub can raise anything
            raise _local_models.cannot_load(type(self).__name__, self._path, error) from error
        limit = self._limit(model)
        if limit is None and hasattr(model.tokenizer, "no_truncation"):
            model.tokenizer.no_truncation()  # of a static model, which takes any length
        return _Loaded(model, _counter(model.tokenizer), limit, os.getpid())

    def _limit(self, model: Any) -> int | None:
        longest = model.max_seq_length
        if longest is None or longest > _NO_LIMIT:
            return None
        prompt = self._document_prompt
        if prompt is None:
            names = ("document", "passage", "corpus", model.default_prompt_name)
            prompt = next((model.prompts[name] for name in names if name in model.prompts), None)
        limit = int(longest) - len(model.tokenizer(prompt or "")["input_ids"])
        if limit < (self._max_input_tokens or 1):
            raise FatalEmbedderError(
                f"{self.model_id} takes {limit} tokens of a text beside its prompt, and would "
                f"cut longer texts. Set the option 'max_input_tokens' to no more, or shorten "
                f"the prompt."
            )
        return limit


def _counter(tokenizer: Any) -> Callable[[Sequence[str]], Iterable[int]]:
    fast = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if hasattr(fast, "encode_batch_fast"):
        return partial(_local_models.count_tokens, _local_models.counting(fast))

    def count(texts: Sequence[str]) -> Iterator[int]:  # the few that are written in Python
        for text in texts:
            text = _local_models.clean(text)
            yield len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    return count


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Hide progress bars, which do not belong in a worker's log; then restore the host's choice."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def _missing() -> MissingDependencyError:
    return MissingDependencyError(
        "sentence-transformers", "sentence-transformers", "SentenceTransformerEmbedder"
    )
