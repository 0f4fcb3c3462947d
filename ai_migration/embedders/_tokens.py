"""Tokens of a text, without and with the tokenizer of OpenAI."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from typing import Any

logger = logging.getLogger(__name__)


def estimated_tokens(texts: Sequence[str]) -> list[int]:
    """Rather too many than too few: a token for every three ASCII characters, and for every
    two bytes of other scripts, which tokenizers cut finer."""
    return [_estimated(text) for text in texts]


def _estimated(text: str) -> int:
    if text.isascii():
        return (len(text) + 2) // 3
    plain = len(text.encode("ascii", "ignore"))
    other = len(text.encode("utf-8", "replace")) - plain
    return (plain + 2) // 3 + (other + 1) // 2


@cache
def openai_encoding(model: str) -> Any:
    """tiktoken's encoding of a model; None where there is none.

    tiktoken loads its tables from the network at first use, or from
    ``TIKTOKEN_CACHE_DIR``. Where it cannot, that is said once, and no second attempt is
    made in this process.
    """
    try:
        import tiktoken

        return tiktoken.encoding_for_model(model)
    except (ImportError, KeyError):  # not installed; no model of OpenAI
        return None
    except Exception as error:  # whatever a download can end in
        logger.warning(
            "tiktoken cannot load the tokenizer of %s (%s): tokens are estimated",
            model,
            type(error).__name__,
        )
        return None
