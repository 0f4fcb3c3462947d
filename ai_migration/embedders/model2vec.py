"""Static models of model2vec: small and fast, in many languages, without torch."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from django.core.checks import CheckMessage, Error

from ai_migration.embedders import _local_models
from ai_migration.embedders.base import Embedder
from ai_migration.exceptions import MissingDependencyError, SettingsError
from ai_migration.types import Vectors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_TEXTS_AT_ONCE = 256
_BYTES_AT_ONCE = 1 << 16
"""The vectors of all tokens of a slice are in memory at once: 16 MB at 256 dimensions and
four bytes a token."""


class Model2VecEmbedder(Embedder):
    """The mean of the vectors of a text's tokens: https://github.com/MinishLab/model2vec.

    The model is loaded at the first use; a model of the hub is fetched once and kept by
    the hub's library. Texts are not truncated. Needs the extra ``model2vec``.

    Args:
        model: A folder, or a name on the Hugging Face hub: ``minishlab/potion-base-8M``.
            A folder's name is part of the fingerprint: another model needs another name.
        dimensions: Keep only the first of the model's dimensions, where it is trained so
            that these matter most. Default: all, known when the model is loaded.
        normalize: Whether vectors are scaled to length 1.
        max_input_tokens: Tokens of a chunk, at most. The models take any length; the
            longer a text, the less its mean says.

    System checks:
        ``ai_migration.E101``: the library is not installed.
        ``ai_migration.E151``: the folder does not exist.
    """

    provider = "model2vec"
    kept_options: Sequence[str] = ("model", "dimensions", "normalize", "max_input_tokens")
    max_batch_size = 512

    def __init__(
        self,
        model: str | Path,
        dimensions: int | None = None,
        normalize: bool = True,
        max_input_tokens: int = 512,
    ) -> None:
        if dimensions is not None and dimensions < 1:
            raise SettingsError(f"Model2VecEmbedder: dimensions is {dimensions}; use 1 or more")
        if max_input_tokens < 1:
            raise SettingsError(
                f"Model2VecEmbedder: max_input_tokens is {max_input_tokens}; use 1 or more"
            )
        self._model_id = _local_models.model_name(type(self).__name__, model)
        self._path = model
        self._dimensions = dimensions
        self._normalize = normalize
        self.max_input_tokens = max_input_tokens
        self.input_type = "" if normalize else "not normalized"
        self._lock = threading.Lock()
        self._model: tuple[Any, Tokenizer] | None = None

    @property
    def model_id(self) -> str:
        return self._model_id

    @property
    def dimensions(self) -> int:
        return self._dimensions or int(self._loaded()[0].dim)

    def embed(self, texts: Sequence[str]) -> Vectors:
        model, _ = self._loaded()
        vectors: Vectors = np.empty((len(texts), model.dim), dtype=np.float32)
        for positions in _local_models.sorted_slices(
            texts, texts_at_once=_TEXTS_AT_ONCE, bytes_at_once=_BYTES_AT_ONCE
        ):
            some = [_local_models.clean(texts[position]) for position in positions]
            with self._lock:  # each call changes the model's tokenizer
                vectors[positions] = model.encode(
                    some, max_length=None, normalize=self._normalize, use_multiprocessing=False
                )
        return vectors

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, by the model's own tokenizer."""
        return list(_local_models.count_tokens(self._loaded()[1], texts))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.model_id}>"  # the dimensions may not be known yet

    def check(self) -> list[CheckMessage]:
        if importlib.util.find_spec("model2vec") is None:
            return [Error(_missing().message, id="ai_migration.E101")]
        return _local_models.model_messages(type(self).__name__, self._path)

    def _loaded(self) -> tuple[Any, Tokenizer]:
        if self._model is None:
            with self._lock:
                if self._model is None:
                    self._model = self._load()
        return self._model

    def _load(self) -> tuple[Any, Tokenizer]:
        try:
            from model2vec import StaticModel
        except ImportError as error:
            raise _missing() from error
        try:
            model = StaticModel.from_pretrained(
                self._path, dimensionality=self._dimensions, force_download=False
            )
        except Exception as error:  # the hub's library raises all sorts
            raise _local_models.cannot_load(type(self).__name__, self._path, error) from error
        return model, _local_models.counting(model.tokenizer)


def _missing() -> MissingDependencyError:
    return MissingDependencyError("model2vec", "model2vec", "Model2VecEmbedder")
