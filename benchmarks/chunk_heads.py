"""Measures what the heads of chunks do for search: hit@5 with and without them.

    python benchmarks/chunk_heads.py

The documents are those of Python's standard library, one for each module: a title, and the
docstrings of everything public in it, as `help()` shows them. The title is the module's name
alone, or its name and the first sentence of its docstring, as on a page of the manual. The embedder
is the real one of the extra `local`. A question is answered if its module is among the first five
that a search finds, each with its best chunk.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT), str(ROOT / "example_project")]

from pydocs.introspect import STANDARD_LIBRARY, Doc, read_docs  # noqa: E402

from ai_migration.embedders import Embedder  # noqa: E402
from ai_migration.embedders.chunking import chunk_text  # noqa: E402
from ai_migration.embedders.local import LocalEmbedder  # noqa: E402
from ai_migration.types import Vectors  # noqa: E402

SIZES = (128, 256, 512)
SAMPLE = 1000
WORDS_OF_A_SENTENCE = 6
QUESTIONS = ROOT / "benchmarks" / "chunk_heads.txt"
"""Questions written by hand, each with its module."""


@dataclass
class Document:
    """One module: its name, its title, its text, and the sentences to search for."""

    name: str
    title: str
    parts: list[str] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)

    @property
    def head(self) -> str:
        """What `chunking.context` makes of its title."""
        return f"title: {self.title}"

    @property
    def text(self) -> str:
        """As it is indexed: two fields, the title and the docstrings."""
        return "\n".join([self.head, "body: " + "\n\n".join(self.parts)])


def documents(docs: Sequence[Doc], *, with_sentence: bool) -> list[Document]:
    """Return the modules with what belongs to each.

    Args:
        docs: The docstrings.
        with_sentence: Whether a title has more than the name.
    """
    titles = {
        doc.qualified_name: f"{doc.qualified_name}: {doc.summary.partition('. ')[0]}"[:255]
        for doc in docs
        if doc.kind == "module" and with_sentence
    }
    found: dict[str, Document] = {}
    for doc in docs:
        title = titles.get(doc.module, doc.module)
        document = found.setdefault(doc.module, Document(doc.module, title))
        member = doc.qualified_name.removeprefix(doc.module).lstrip(".")
        document.parts.append(f"{member}{doc.signature}\n{doc.docstring}".strip())
        sentence = doc.summary.partition(". ")[0]
        if member and len(sentence.split()) >= WORDS_OF_A_SENTENCE:
            document.sentences.append(sentence)
    return list(found.values())


def by_hand(found: Sequence[Document]) -> list[tuple[str, str]]:
    """Return the questions of the file, each with its module; with its package where the members
    of a module are documented there."""
    names = {document.name for document in found}
    questions = []
    for line in QUESTIONS.read_text().splitlines():
        module, _, question = line.partition(": ")
        while module and module not in names:
            module = module.rpartition(".")[0]
        if module and not line.startswith("#"):
            questions.append((question, module))
    return questions


def generated(found: Sequence[Document]) -> list[tuple[str, str]]:
    """Return sentences, each with its module, of those that stand in one module only."""
    owners: dict[str, set[str]] = defaultdict(set)
    for document in found:
        for sentence in document.sentences:
            owners[sentence].add(document.name)
    unique = sorted((text, *names) for text, names in owners.items() if len(names) == 1)
    sampled = random.Random(1).sample(unique, min(SAMPLE, len(unique)))
    return [(text, name) for text, name in sampled]


class Index:
    """The chunks of all documents.

    Args:
        found: The documents.
        embedder: The embedder.
        size: Tokens of a chunk.
        with_heads: Whether each chunk has the name of its document.
    """

    def __init__(
        self, found: Sequence[Document], embedder: Embedder, size: int, *, with_heads: bool
    ) -> None:
        self._embedder = embedder
        self.chunks: list[str] = []
        self.owners: list[str] = []
        for document in found:
            head = document.head if with_heads else ""
            chunks = chunk_text(document.text, embedder, size, 0, head)
            self.chunks += chunks
            self.owners += [document.name] * len(chunks)
        self._vectors = self._embed(self.chunks)

    def ranks(self, questions: Sequence[tuple[str, str]]) -> Iterator[int]:
        """Yield the place of each question's module, from 1."""
        queries = self._embed([question for question, _ in questions])
        for scores, (_, module) in zip(queries @ self._vectors.T, questions, strict=True):
            best = dict.fromkeys(self.owners[index] for index in np.argsort(-scores))
            yield list(best).index(module) + 1

    def _embed(self, texts: Sequence[str]) -> Vectors:
        size = self._embedder.max_batch_size
        parts = [self._embedder.embed(texts[at : at + size]) for at in range(0, len(texts), size)]
        return np.concatenate(parts)


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--misses", action="store_true", help="list the questions without a hit")
    options = parser.parse_args()
    docs = read_docs(STANDARD_LIBRARY)
    embedder = LocalEmbedder()
    print(f"Python {sys.version.split()[0]}, {embedder.model_id}")
    for title in ("the name", "the name and a sentence"):
        found = documents(docs, with_sentence=title != "the name")
        print(f"\n{len(found)} documents, whose title is {title}\n")
        measure(found, embedder, show_misses=options.misses)


def measure(found: Sequence[Document], embedder: Embedder, *, show_misses: bool) -> None:
    """Print the table of one kind of title."""
    sentences = generated(found)
    sets = {
        "questions by hand": by_hand(found),
        "a sentence": sentences,
        "name and sentence": [(f"{module}: {text}", module) for text, module in sentences],
    }
    print("| size | searched for | questions | hit@5 without heads | with heads | hit@1 | with |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for size in SIZES:
        indexes = [Index(found, embedder, size, with_heads=heads) for heads in (False, True)]
        for name, questions in sets.items():
            ranks = [list(index.ranks(questions)) for index in indexes]
            figures = [
                f"{sum(rank <= limit for rank in each) / len(questions):.1%}"
                for limit in (5, 1)
                for each in ranks
            ]
            print(f"| {size} | {name} | {len(questions)} | {' | '.join(figures)} |")
            if show_misses:
                for (question, module), rank in zip(questions, ranks[1], strict=True):
                    if rank > 5 and name == "questions by hand":
                        print(f"    {rank:>3} {module}: {question}")
        print(f"| | chunks: {', '.join(str(len(index.chunks)) for index in indexes)} | | | | | |")


if __name__ == "__main__":
    main()
