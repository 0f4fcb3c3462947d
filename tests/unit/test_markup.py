"""HTML becomes the text that a reader sees, whatever it is like."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ai_migration.entities.markup import html_as_text

pytest.importorskip("lxml")


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p><p>Two</p>", "One\n\nTwo"),
        ("<div>One</div><div>Two</div>", "One\nTwo"),
        ("One<br>Two<br/>Three", "One\nTwo\nThree"),
        ("<h1>Title</h1>Text", "Title\n\nText"),
        ("<ul><li>a<li>b</li></ul>c", "a\nb\n\nc"),
        ("wo<b>r</b>d and <a href='/secret'>a link</a>", "word and a link"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("<div><p>a</p></div><br><br><br>b", "a\n\nb"),
        ("&lt;b&gt; &amp;amp; &hellip; &#x1F600; &#8364; &copy 2024", "<b> &amp; … 😀 € © 2024"),
        ("a&nbsp;b&nbsp; c hy&shy;phen", "a b c hyphen"),
        ("a\n   b <p>\n c\n</p>", "a b\n\nc"),
        ("<pre>if x:\n    y()\n</pre>z", "if x:\ny()\n\nz"),
        ("<script>let a = '</p><p>b'</script><style>p {color: red}</style>c", "c"),
        ("<style>never closed", ""),
        ("<template><p>t</p></template>a<!-- note -->b", "ab"),
        ('<img src="data:image/png;base64,AAAA" alt="x">a', "a"),
        ("a < b & c <3", "a < b & c <3"),
        ("<p>not <b>closed", "not closed"),
        ("<p>a</p", "a"),
        ('<?xml version="1.0" encoding="latin-1"?><meta charset="latin-1"><p>ä€</p>', "ä€"),
        ("<o:p>Word</o:p>", "Word"),
        ("plain text\n\nin   two lines", "plain text\n\nin   two lines"),
        (None, ""),
        (" ", ""),
        ("<p> </p>", ""),
        (["<b>a</b>", None, "<p>b</p>"], "a, b"),
        (b"<p>bytes</p>", "bytes"),
        ("<p>nul\0 and \ud800</p>", "nul and ?"),
    ],
)
def test_html_as_a_reader_sees_it(html: object, text: str) -> None:
    assert html_as_text(html) == text


def test_what_was_converted_is_not_converted_again() -> None:
    once = html_as_text("<p>Write &lt;b&gt;bold&lt;/b&gt;</p>")
    assert once == "Write <b>bold</b>"
    assert html_as_text(once) == once


words = st.text("abäß日 ", max_size=5)
tags = st.sampled_from(
    ["<p>", "<p>x</p>", "<b>", "</b>", "<br>", "<li>", "<td>", "<!-- c -->", "&amp;", "< "]
)


@given(st.lists(words | tags).map("".join))
@example("<p>a<p>b")
def test_no_word_is_lost_and_none_is_joined_across_blocks(html: str) -> None:
    text = html_as_text(html)
    parts = re.split(r"<br>|<li>|<td>|</?p>", re.sub(r"<!-- c -->|</?b>", "", html))
    assert text.split() == " ".join(parts).replace("&amp;", "&").split()


@given(st.text("<>/!-?[]&;#xp \t\n='\"bä1", max_size=60) | st.text())
def test_no_text_is_refused(html: str) -> None:
    assert isinstance(html_as_text(html), str)


SIZE = 1_000_000


@pytest.mark.gate
@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 100_000 + "x" + "</div>" * 100_000,
        "<b>" * SIZE + "x",
        "".join(f"<b id={number}>" for number in range(100_000)) + "<p>x" * 1_000,
        "<p>x y</p>" * (SIZE // 10),
        "<p>" + "x" * 10 * SIZE,
        "<" * SIZE,
        "<a" * (SIZE // 2),
        "<!--" * (SIZE // 4),
        "&" * SIZE,
        "&#" * (SIZE // 2),
        '<a x="' * (SIZE // 6),
        "<select>" + "<option>x" * (SIZE // 8),
        "<p>" + " " * SIZE + "x",
        "<p>" + "\n \t" * (SIZE // 3) + "x",
    ],
    ids=lambda html: html[:12],
)
def test_hostile_input_ends(html: str) -> None:
    """A quadratic parser would take hours for these, and a recursive one fail."""
    assert len(html_as_text(html)) <= len(html)
