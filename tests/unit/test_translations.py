"""The catalogues of translations are complete, and compiled."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from babel.messages.catalog import Message
from django.template.base import Lexer, TokenType

from tests.translations import PACKAGE, catalogues, compiled, messages, read

MARKUP = re.compile(r"<[^>]*>|&[#\w]+;")
CLASSES = re.compile(r"{% block (?:bodyclass|coltype) %}.*?{% endblock %}")
PLACEHOLDER = re.compile(r"%\((\w+)\)[sd]")


def forms(message: Message) -> list[tuple[str, str]]:
    """Each form of a message beside what it is translated from."""
    if not isinstance(message.id, (list, tuple)):
        return [(message.id, str(message.string))]
    one, many = message.id
    strings = list(message.string or ())
    return [(one, strings[0]), *((many, string) for string in strings[1:])]


@pytest.mark.parametrize("path", catalogues(), ids=lambda path: path.parts[-3])
def test_a_catalogue_is_complete(path: Path) -> None:
    catalogue = read(path)
    found = {(each.context, each.id) for each in catalogue if each.id}
    wanted = {(each.context, each.id) for each in messages() if each.id}
    assert found == wanted, "run: python -m tests.translations"
    for message in catalogue:
        for source, translation in forms(message) if message.id else ():
            assert translation.strip(), source
            assert not message.fuzzy, source
            assert {*PLACEHOLDER.findall(source)} == {*PLACEHOLDER.findall(translation)}, source
            assert (source[:1].isspace(), source[-1:].isspace()) == (
                translation[:1].isspace(),
                translation[-1:].isspace(),
            )
    assert path.with_suffix(".mo").read_bytes() == compiled(catalogue), "compile it again"


def test_there_is_german() -> None:
    assert [path.parts[-3] for path in catalogues()] == ["de"]


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.html")), ids=lambda path: path.relative_to(PACKAGE).name
)
def test_every_word_of_a_template_can_be_translated(path: Path) -> None:
    """What is between tags and variables has no letter, but for the names of classes."""
    inside, bare = 0, ""
    source = CLASSES.sub("", path.read_text(encoding="utf-8"))
    for token in Lexer(source).tokenize():
        if token.token_type is TokenType.BLOCK:
            inside += token.contents.startswith("blocktrans")
            inside -= token.contents.startswith("endblocktrans")
        elif token.token_type is TokenType.TEXT and not inside:
            bare += token.contents
    assert not re.search(r"[^\W\d_]", MARKUP.sub("", bare)), path
