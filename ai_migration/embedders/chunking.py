"""Long texts in chunks an embedder accepts. Linear in the length of the text.

Own code, for lack of a library that is linear: the best-known splitter took 236 s for
10 MB without a boundary.
"""

from __future__ import annotations

import re

from ai_migration.embedders.base import Embedder

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE = re.compile(r"[.!?…][\"'”’)\]]*\s+|[。！？；]\s*|\n\s*")
_SPACE = re.compile(r"\s*")

_CHARS_PER_TOKEN = 4.0
_FULL = 0.85
"""A chunk filled to this share is full enough to stop looking for a longer one."""
_TRIES = 6
_HEAD_SHARE = 4
"""A head takes at most this part of a chunk: a quarter."""
_LEAST_HEAD = 8
"""Tokens in which a head can say something: smaller chunks have none."""


def chunk_text(
    text: str, embedder: Embedder, size: int | None, overlap: int = 0, head: str = ""
) -> list[str]:
    """Split a text that is too long for its embedder, or for the size asked for.

    Chunks end at the end of a paragraph, else of a sentence, else of a word, and in the
    middle of a word only where it is longer than a whole chunk. Every character but white
    space is in at least one chunk, and the chunks are in the order of the text.

    Args:
        text: The text.
        embedder: Counts the tokens; no chunk exceeds its ``max_input_tokens`` either.
        size: Tokens in a chunk, at most; None: the embedder's limit. A single character
            that alone has more tokens is a chunk all the same.
        overlap: Tokens of the end of a chunk that the next one repeats, at most; never
            more than half of the size.
        head: Lines to put before each chunk of a text that is cut, such as its title; the
            first chunk of a text that begins with them has them already. A head of more than
            a quarter of a chunk is cut; chunks of less than 32 tokens have none.

    Returns:
        The text as it is where it fits, else its chunks without white space around them.
        Nothing for a text of white space.
    """
    splitter = _splitter(text, embedder, size, overlap, head)
    spans = _spans(text, splitter)
    if splitter is None or len(spans) < 2:
        return [text[start:end] for start, end in spans]
    return [splitter.chunk(start, end) for start, end in spans]


def chunk_spans(
    text: str, embedder: Embedder, size: int | None, overlap: int = 0, head: str = ""
) -> list[tuple[int, int]]:
    """Return the start and end of each chunk of :func:`chunk_text` in the text, in characters."""
    return _spans(text, _splitter(text, embedder, size, overlap, head))


def _splitter(
    text: str, embedder: Embedder, size: int | None, overlap: int, head: str
) -> _Splitter | None:
    """Return what cuts the text; None where it surely fits."""
    limits = [limit for limit in (size, embedder.max_input_tokens) if limit is not None]
    limit = max(1, min(limits)) if limits else None
    if limit is None or _surely_fits(text, limit):
        return None
    fitting = _fitting_head(head, embedder, limit // _HEAD_SHARE)
    return _Splitter(text, embedder, limit, min(overlap, limit // 2), fitting)


def _spans(text: str, splitter: _Splitter | None) -> list[tuple[int, int]]:
    if splitter is not None:
        return splitter.split()
    return [(0, len(text))] if text and not text.isspace() else []


def _fitting_head(head: str, embedder: Embedder, share: int) -> str:
    """Return the head with a line break, cut to a number of tokens; empty where too few fit to say
    anything."""
    if share < _LEAST_HEAD:
        return ""
    pieces = chunk_text(head[: share * 8], embedder, share)  # the whole may be as long as a text
    fits = pieces and embedder.count_tokens(pieces[:1])[0] <= share
    return f"{pieces[0]}\n" if fits else ""


def _surely_fits(text: str, limit: int) -> bool:
    """Return whether a text fits without a count of its tokens: a token is at least one byte, apart
    from one that some tokenizers put in front."""
    if len(text) >= limit:
        return False
    return text.isascii() or len(text.encode("utf-8", "replace")) < limit


class _Splitter:
    """One text on its way into chunks.

    Each chunk is found by guess and check: a stretch as long as the density of tokens
    so far suggests is counted, then made longer or shorter a bounded number of times.
    """

    def __init__(self, text: str, embedder: Embedder, limit: int, overlap: int, head: str) -> None:
        self.text = text
        self.limit = limit
        self.overlap = overlap
        self.head = head
        self.first = self.after_space(0)
        self.begins_with_head = text.startswith(head.rstrip(), self.first)
        self.density = _CHARS_PER_TOKEN
        self._count = embedder.count_tokens

    def split(self) -> list[tuple[int, int]]:
        text = self.text
        start = done = self.first
        if start == len(text):
            return []
        if len(text) <= 8 * self.limit and self._count([text])[0] <= self.limit:
            return [(0, len(text))]
        spans = []
        while done < len(text):
            end = self.chunk_end(start, done)
            if end is None:  # the repeated part leaves no room for more
                start = done
                continue
            spans.append((start, start + len(text[start:end].rstrip())))
            # White space between two chunks may be longer than a chunk: skip it at once.
            done = self.after_space(end)
            start = self.repeated_from(*spans[-1], done) if done < len(text) else done
        return spans

    def chunk_end(self, start: int, done: int) -> int | None:
        """Return the end, beyond ``done``, of the chunk that begins at ``start``, if there is
        one."""
        hard = self.longest(start)
        if hard <= done:
            if start < done:
                return None
            hard = done + 1
        if hard == len(self.text):
            return hard
        end = self.boundary(start, done, hard)
        # A tokenizer can make more tokens of less text.
        while end > done + 1 and self.tokens(start, end) > self.limit:
            end = max(done + 1, start + (end - start) * 3 // 4)
        if start < done and self.tokens(start, end) > self.limit:
            return None
        return end

    def longest(self, start: int) -> int:
        """Return an end such that the tokens from ``start`` fit and nearly fill a chunk;
        ``start`` where not even a character fits."""
        size = len(self.text)
        fits, too_long = start, size + 1
        span = max(1, int(self.limit * self.density))
        tries = 0
        while True:
            end = min(start + span, size, too_long - 1)
            if end <= fits:
                return fits
            tokens = self.tokens(start, end)
            if tokens <= self.limit:
                fits = end
                self.density = max(0.25, (end - start) / max(1, tokens))
                if end == size or tokens >= self.limit * _FULL or tries >= _TRIES:
                    return fits
                span = min(4 * span, int(self.limit * self.density * 0.97) or 1)
                span = max(span, end - start + 1)
            else:
                too_long = end
                if fits > start and tries >= _TRIES:
                    return fits
                # In proportion, and by half at least once the guesses went wrong.
                ratio = min(self.limit / tokens * 0.95, 0.5 if tries >= _TRIES else 0.95)
                span = max(1, int((end - start) * ratio))
            tries += 1

    def boundary(self, start: int, done: int, hard: int) -> int:
        """Return the best place to end a chunk, at most at ``hard`` and beyond ``done``."""
        text = self.text
        late = max(done, start + (hard - start) // 2)
        for pattern in (_PARAGRAPH, _SENTENCE):
            end = -1
            for match in pattern.finditer(text, late, hard):
                end = match.end()
            if end > late:
                return end
        if text[hard].isspace() or text[hard - 1].isspace():
            return hard
        words = text[done:hard].rsplit(None, 1)
        if len(words) == 2:
            return hard - len(words[1])
        return hard

    def repeated_from(self, start: int, end: int, done: int) -> int:
        """Return the start of the next chunk so that it repeats the end of this one, whose last
        character is not white space; ``done`` where nothing is repeated."""
        span = min(int(self.overlap * self.density), (end - start) // 2)
        while span > 0:
            tail = self.text[end - span : end].lstrip()
            words = tail.split(None, 1)
            if len(words) == 2 and not self.text[end - len(tail) - 1].isspace():
                tail = words[1]  # begin with a whole word
            if self._count([tail])[0] <= self.overlap:
                return end - len(tail)
            span = span * 3 // 4
        return done

    def chunk(self, start: int, end: int) -> str:
        """Return a chunk with its head; a character that leaves no room for it stays alone."""
        chunk = self.headed(start, end)
        if end - start == 1 and self._count([chunk])[0] > self.limit:
            return self.text[start:end]
        return chunk

    def headed(self, start: int, end: int) -> str:
        chunk = self.text[start:end].rstrip()
        return chunk if start == self.first and self.begins_with_head else self.head + chunk

    def tokens(self, start: int, end: int) -> int:
        return self._count([self.headed(start, end)])[0]

    def after_space(self, position: int) -> int:
        match = _SPACE.match(self.text, position)
        return match.end() if match else position
