"""Code shared by embedders whose model runs in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from django.core.checks import CheckMessage, Error

from ai_migration.exceptions import FatalEmbedderError, SettingsError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_TEXTS_AT_ONCE = 64
"""Texts tokenised at once: a token's bookkeeping is far larger than the token."""


def sorted_slices(
    texts: Sequence[str], *, texts_at_once: int, bytes_at_once: int
) -> list[list[int]]:
    """Sort the texts from short to long, so that little is padded, into slices of bounded size.

    Args:
        texts: The texts.
        texts_at_once: Texts in a slice, at most.
        bytes_at_once: Bytes of a slice whose texts are all as long as its longest, at most.
            A text that is longer has a slice of its own.

    Returns:
        The positions of the texts, slice by slice.
    """
    sizes = [len(text.encode("utf-8", "replace")) for text in texts]
    slices: list[list[int]] = []
    for position in sorted(range(len(texts)), key=sizes.__getitem__):
        count = len(slices[-1]) + 1 if slices else 0
        if not 1 < count <= texts_at_once or count * sizes[position] > bytes_at_once:
            slices.append([])
        slices[-1].append(position)
    return slices


def clean(text: str) -> str:
    """Return the text without lone surrogates, which tokenizers refuse."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def counting(tokenizer: Tokenizer) -> Tokenizer:
    """Return a copy that neither cuts nor pads. Nothing changes it, so threads may share it; that
    of a model is changed by each batch."""
    copy: Tokenizer = type(tokenizer).from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def count_tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[int]:
    """Count the tokens of each text, without those that mark its start and end."""
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        some = [clean(text) for text in texts[start : start + _TEXTS_AT_ONCE]]
        for encoding in tokenizer.encode_batch_fast(some, add_special_tokens=False):
            yield len(encoding.ids)


def model_name(needed_by: str, model: str | Path) -> str:
    """Return a model's name in the fingerprint: without the folders above it, which differ from
    host to host.

    Raises:
        SettingsError: There is no name.
    """
    name = Path(model).name if Path(model).is_absolute() else str(model)
    if not name.strip():
        raise SettingsError(f"{needed_by}: model is {str(model)!r}; give a folder or a hub name")
    return name


def cannot_load(needed_by: str, model: str | Path, error: Exception) -> FatalEmbedderError:
    """Return the error of loading a model, in one sentence."""
    words = " ".join(str(error).split())[:300]
    return FatalEmbedderError(
        f"{needed_by} cannot load {str(model)!r}: {type(error).__name__}: {words}. Give a folder "
        f"with the whole model, or a name on the Hugging Face hub that this host can reach."
    )


def model_messages(needed_by: str, model: str | Path) -> list[CheckMessage]:
    """Return the system checks of a model, which do not load it."""
    if not Path(model).is_absolute() or Path(model).is_dir():
        return []
    text = f"{needed_by}: there is no folder {str(model)!r}."
    hint = "Correct the option 'model': a folder, or a name on the Hugging Face hub."
    return [Error(text, hint=hint, id="ai_migration.E151")]
