"""Estimated tokens against what real tokenizers make of the same texts, kind by kind."""

from __future__ import annotations

import base64
import random
import string
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from ai_migration.embedders._tokens import estimated_tokens

ENCODINGS = ("cl100k_base", "o200k_base", "voyage3_base")
ROOM = 1.07
"""Voyage takes digits one by one: of hexadecimal digits with blanks, it makes a little more."""


@cache
def encoding(name: str) -> Any:
    bpe_openai = pytest.importorskip("bpe_openai", reason="needs the tables of bpe-openai")
    return bpe_openai.get_encoding(name)


def by_chance(alphabet: str, *, blanks: bool = False) -> str:
    chance = random.Random(alphabet)
    characters = (chance.choice(alphabet) for _ in range(2_000))
    return "".join(c + " " * (blanks and chance.random() < 0.15) for c in characters)


def script(first: int, last: int) -> Callable[[], str]:
    """Characters of a script by chance, in words."""

    def text() -> str:
        every = map(chr, range(first, last + 1))
        return by_chance("".join(c for c in every if unicodedata.category(c) != "Cn"), blanks=True)

    return text


def octets() -> bytes:
    return random.Random(0).randbytes(2_000)


DENSE: dict[str, Callable[[], str]] = {
    "hex": lambda: octets().hex(),
    "hex in capitals": lambda: octets().hex().upper(),
    "hex with blanks": lambda: octets().hex(" "),
    "hex with colons": lambda: octets().hex(":"),
    "hex in C": lambda: " ".join(f"0x{byte:02x}," for byte in octets()),
    "escapes": lambda: "".join(f"\\x{byte:02x}" for byte in octets()),
    "base64": lambda: base64.b64encode(octets()).decode(),
    "base64 in lines": lambda: base64.encodebytes(octets()).decode(),
    "base32": lambda: base64.b32encode(octets()).decode(),
    "base85": lambda: base64.b85encode(octets()).decode(),
    "punctuation": lambda: by_chance(string.punctuation),
    "digits": lambda: by_chance(string.digits),
    "letters": lambda: by_chance(string.ascii_letters),
    "small letters": lambda: by_chance(string.ascii_lowercase),
    "DNA": lambda: by_chance("ACGT"),
    "numbers": lambda: "\n".join(f"{byte / 7:.2f},{byte}" for byte in octets()),
    "UUIDs": lambda: "\n".join(octets()[at : at + 16].hex("-", 4) for at in range(0, 2_000, 16)),
    "control characters": lambda: by_chance("".join(map(chr, range(32)))),
}
SCRIPTS = {
    "Amharic": (0x1200, 0x1357),
    "Sinhala": (0x0D85, 0x0DC6),
    "Tibetan": (0x0F40, 0x0FBC),
    "Burmese": (0x1000, 0x104F),
    "Georgian": (0x10D0, 0x10FA),
    "Khmer": (0x1780, 0x17D2),
    "emoji": (0x1F300, 0x1F64F),
    "later emoji": (0x1F900, 0x1F9FF),
    "Lao": (0x0E81, 0x0ECD),
    "Thai": (0x0E01, 0x0E4E),
    "Devanagari": (0x0904, 0x094D),
    "Tamil": (0x0B85, 0x0BCD),
    "Telugu": (0x0C05, 0x0C4D),
    "Malayalam": (0x0D05, 0x0D4D),
    "Armenian": (0x0561, 0x0587),
    "Hebrew": (0x05D0, 0x05EA),
    "Arabic": (0x0621, 0x064A),
    "Cyrillic": (0x0410, 0x044F),
    "Cyrillic beyond Russian": (0x0450, 0x052F),
    "Greek": (0x03B1, 0x03C9),
    "Greek with all accents": (0x1F00, 0x1FFF),
    "kana": (0x3041, 0x30FA),
    "Latin with accents": (0x00C0, 0x00FF),
    "more Latin": (0x0100, 0x024F),
    "Vietnamese": (0x1EA0, 0x1EF9),
    "symbols": (0x2190, 0x22FF),
    "Cherokee": (0x13A0, 0x13F5),
    "private use": (0xE000, 0xF8FF),
    "old scripts": (0x10300, 0x10FFF),
}
KINDS = {**DENSE, **{name: script(*ends) for name, ends in SCRIPTS.items()}}


@pytest.mark.parametrize("tokenizer", ENCODINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_character_has_more_tokens_than_are_estimated(kind: str, tokenizer: str) -> None:
    text = KINDS[kind]()
    [estimate] = estimated_tokens([text])
    room = ROOM if tokenizer == "voyage3_base" else 1.0
    assert len(encoding(tokenizer).encode(text)) <= estimate * room


PROSE = (
    "The committee met on Tuesday to discuss whether the old bridge should be repaired or "
    "replaced. Most of those who spoke wanted to keep it, although nobody knew what that would "
    "cost. In the end they agreed to ask an engineer, and to meet again in March. "
) * 20
OTHERS = {
    "Japanese": "この製品は防水仕様で、屋外でも安心して使えます。色は三種類から選べます。",
    "Chinese": "本产品采用防水设计，适合户外使用。共有三种颜色可供选择。",
    "Korean": "이 제품은 방수 설계로 야외에서도 안심하고 사용할 수 있습니다.",
    "German": "Die Jacke ist wasserdicht, leicht und in drei verschiedenen Farben erhältlich.",
    "Czech": "Bunda je nepromokavá, lehká a je k dispozici ve třech různých barvách.",
    "Russian": "Куртка водонепроницаемая, лёгкая и доступна в трёх различных цветах.",
    "Hindi": "यह जैकेट जलरोधक है, हल्की है और तीन अलग-अलग रंगों में उपलब्ध है।",
    "Turkish": "Ceket su geçirmez, hafif ve üç farklı renkte mevcuttur.",
}


def test_prose_is_not_estimated_much_higher() -> None:
    """Else requests are half empty, and budgets and limits half used."""
    [estimate] = estimated_tokens([PROSE])
    assert estimate <= 1.8 * len(encoding("cl100k_base").encode(PROSE))


@pytest.mark.parametrize("language", OTHERS)
def test_running_text_is_bounded_too(language: str) -> None:
    text = OTHERS[language]
    real = len(encoding("cl100k_base").encode(text))
    assert real <= estimated_tokens([text])[0] <= 2.6 * real


def test_anything_can_be_estimated() -> None:
    found = estimated_tokens(["", "a", "\ud83d", "\0", "x" * 10**6])
    assert found == [0, 1, 4, 1, 645_834]
