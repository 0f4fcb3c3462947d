"""Tokens of a text, without and with the tokenizer of OpenAI."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)

_BLANK, _SMALL, _LARGE, _DIGIT, _OTHER, _NONE = b" aA0.~"
_ASCII = {_BLANK: 1 / 3, _SMALL: 1 / 3, _LARGE: 2 / 3, _DIGIT: 1.0, _OTHER: 1.0}
"""Tokens of an ASCII character of each kind. English has 0.2 a character, Swahili and Welsh
0.4; some tokenizers take digits and punctuation one by one."""
_BREAKS = (b"0a", b"0A", b"aA", b" 0")
"""Pairs at which a token begins in the middle of a word, as in ``3f`` and ``aB``, or a blank is one
of its own: another ``_BREAK``."""
_BREAK = 2 / 3
_NO_WORD = b"a" * 16
"""No word that is one token has this many small letters in a row: another ``_RUN``."""
_RUN = 5
_UNITS: tuple[tuple[int, float], ...] = (
    (0x0000, 0.0),  # counted by their kinds
    (0x0080, 2.15),
    (0x00A0, 1.1),
    (0x00C0, 1.35),  # Latin letters with accents
    (0x0100, 1.8),
    (0x0180, 2.15),
    (0x0370, 1.2),  # Greek
    (0x0400, 1.2),  # Cyrillic
    (0x0450, 2.15),  # its extensions, Armenian
    (0x0590, 1.5),  # Hebrew
    (0x0600, 1.3),  # Arabic
    (0x0700, 2.15),
    (0x0900, 1.8),  # Devanagari
    (0x0980, 2.0),  # Bengali
    (0x0A00, 2.15),  # Gurmukhi, Gujarati, Odia
    (0x0B80, 2.0),  # Tamil
    (0x0C00, 2.2),  # Telugu, Kannada, Malayalam, Sinhala
    (0x0E00, 1.65),  # Thai
    (0x0E80, 2.4),  # Lao
    (0x0F00, 2.85),  # Tibetan
    (0x1000, 2.4),  # Burmese
    (0x10A0, 2.2),  # Georgian
    (0x1100, 3.15),  # Amharic, Cherokee
    (0x1780, 2.2),  # Khmer
    (0x1800, 3.15),
    (0x1E00, 1.85),  # Vietnamese
    (0x1F00, 3.15),
    (0x2000, 1.85),  # dashes, quotes
    (0x2070, 2.5),  # symbols
    (0x2500, 2.0),
    (0x2580, 2.5),
    (0x2800, 3.15),
    (0x3000, 1.8),  # punctuation of Chinese and Japanese
    (0x3040, 1.55),  # kana
    (0x3100, 3.15),
    (0x4E00, 1.5),  # Chinese, as texts have it: rare characters have 3
    (0xA000, 3.15),
    (0xAC00, 1.5),  # Korean, likewise
    (0xD7B0, 3.15),
    (0xD800, 4.1),  # beyond 0xFFFF: the first half of two
    (0xD83C, 3.15),  # emoji
    (0xD83F, 4.1),
    (0xDC00, 0.0),  # the second half
    (0xE000, 3.15),
    (0xFE00, 2.0),
    (0xFF00, 1.85),  # full width
)
"""From this UTF-16 unit on, a character has this many tokens, at most: measured on running text and
on random characters, with ``cl100k_base`` and ``o200k_base`` of OpenAI and the tokenizer of
Voyage."""


def _kind(byte: int) -> int:
    character = chr(byte)
    if byte > 0x7F:
        return _NONE
    if character == " ":
        return _BLANK
    if character.isdigit():
        return _DIGIT
    if not character.isalpha():
        return _OTHER
    return _SMALL if character.islower() else _LARGE


def _table() -> np.ndarray[Any, np.dtype[np.float32]]:
    starts = [start for start, _ in _UNITS]
    tokens = np.array([each for _, each in _UNITS], dtype=np.float32)
    return np.repeat(tokens, np.diff([*starts, 0x10000]))


_KIND_OF_BYTE = bytes(map(_kind, range(256)))
_TOKENS_OF_UNIT = _table()


def estimated_tokens(texts: Sequence[str]) -> list[int]:
    """Estimate the tokens of each text, rather too high than too low: an upper bound for each kind
    of character, and for what is not words (hexadecimal digits, base64). Only nonsense that looks
    like words has more."""
    return [_estimated(text) for text in texts]


def _estimated(text: str) -> int:
    kinds = text.encode("utf-8", "surrogatepass").translate(_KIND_OF_BYTE)
    tokens = sum(each * kinds.count(kind) for kind, each in _ASCII.items())
    tokens += _BREAK * sum(map(kinds.count, _BREAKS)) + _RUN * kinds.count(_NO_WORD)
    if not text.isascii():
        units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), dtype=np.uint16)
        tokens += float(_TOKENS_OF_UNIT[units].sum(dtype=np.float64))
    return math.ceil(tokens)


@cache
def openai_encoding(model: str) -> Any:
    """Return tiktoken's encoding of a model; None where there is none.

    tiktoken loads its tables from the network at first use, or from
    ``TIKTOKEN_CACHE_DIR``. If it cannot, that is logged once, and not tried again in this process.
    """
    try:
        import tiktoken

        return tiktoken.encoding_for_model(model)
    except (ImportError, KeyError):  # not installed; not a model of OpenAI
        return None
    except Exception as error:  # a download can raise anything
        logger.warning(
            "tiktoken cannot load the tokenizer of %s (%s): tokens are estimated",
            model,
            type(error).__name__,
        )
        return None
