"""HTML as the text that a reader sees. Needs the extra ``html``."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from typing import Any

from ai_migration.entities.text import as_text, clean
from ai_migration.exceptions import MissingDependencyError

_HIDDEN = frozenset({"script", "style", "template"})
# fmt: off
_PARAGRAPHS = frozenset((
    "address", "article", "aside", "blockquote", "body", "details", "dialog", "dl", "fieldset",
    "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header",
    "hgroup", "hr", "main", "nav", "ol", "p", "pre", "section", "table", "ul",
))
_LINES = frozenset((
    "caption", "dd", "div", "dt", "legend", "li", "optgroup", "option", "select", "summary",
    "tbody", "textarea", "tfoot", "thead", "title", "tr",
))
# fmt: on
_CELLS = frozenset({"td", "th"})

_BLANKS = re.compile(r"[^\S\n]+")
_LINE_END = re.compile(r" ?\n ?")
_GAP = re.compile(r"\n{3,}")
_SPACE = re.compile(r"\s+")


class PlainText(str):
    """Text that was HTML: it is not converted again."""

    __slots__ = ()


def html_as_text(value: Any) -> str:
    """Return a value that holds HTML as text, in time linear to its length.

    Block elements stand on lines of their own, white space is as a browser shows it, entities are
    characters; comments, scripts and styles vanish. A text without any markup stays as it is. Of
    several values each is converted.

    Raises:
        MissingDependencyError: The extra ``html`` is not installed.
        TypeError: As :func:`as_text`.
    """
    if isinstance(value, PlainText):
        return value
    if isinstance(value, list | tuple):
        return PlainText(as_text([html_as_text(item) for item in value]))
    text = clean(as_text(value))
    return PlainText(_converted(text) if "<" in text or "&" in text else text)


def require_library(needed_by: str) -> None:
    """Refuse HTML where the library for it is missing.

    Raises:
        MissingDependencyError: Names the extra.
    """
    if importlib.util.find_spec("lxml") is None:
        raise MissingDependencyError("lxml", "html", needed_by)


def _converted(html: str) -> str:
    try:
        from lxml import etree
    except ImportError as error:
        raise MissingDependencyError("lxml", "html", "HTML") from error
    # Events instead of a tree: HTML's rules for a tree are quadratic for some inputs, and a tree
    # can be deep. In bytes, because of what a text may say about its own encoding.
    parser = etree.HTMLParser(target=_Reader(), huge_tree=True, encoding="utf-8")
    parser.feed(html.encode())
    text: str = parser.close()
    return text


class _Reader:
    """Collects the text of the events of a parser."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._break = 0
        """Line breaks before the next text: as margins do, those of neighbours collapse."""
        self._hidden = self._preformatted = 0

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._count(tag, 1)
        if tag == "br":
            self._break = min(2, self._break + 1)
        else:
            self._part(tag)

    def end(self, tag: str) -> None:
        self._count(tag, -1)
        self._part(tag)

    def data(self, text: str) -> None:
        if self._hidden or (self._break and text.isspace()):
            return
        if self._break:
            self._parts.append("\n" * self._break)
            self._break = 0
        self._parts.append(text if self._preformatted else _SPACE.sub(" ", text))

    def close(self) -> str:
        text = "".join(self._parts).replace("\xad", "")  # where a word may be hyphenated
        text = _LINE_END.sub("\n", _BLANKS.sub(" ", text))
        return _GAP.sub("\n\n", text).strip()

    def _count(self, tag: str, change: int) -> None:
        if tag in _HIDDEN:
            self._hidden += change
        elif tag == "pre":
            self._preformatted += change

    def _part(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            self._break = 2
        elif tag in _LINES:
            self._break = max(1, self._break)
        elif tag in _CELLS:
            self._parts.append(" ")
