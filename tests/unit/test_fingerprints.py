"""The fingerprint says whose vectors they are, and not where the class is."""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

import pytest

from ai_migration.embedders.base import Embedder
from ai_migration.embedders.bedrock import BedrockEmbedder
from ai_migration.embedders.cohere import CohereEmbedder
from ai_migration.embedders.google import GoogleEmbedder
from ai_migration.embedders.hash import HashEmbedder
from ai_migration.embedders.local import LocalEmbedder
from ai_migration.embedders.mistral import MistralEmbedder
from ai_migration.embedders.model2vec import Model2VecEmbedder
from ai_migration.embedders.openai import AzureOpenAIEmbedder, OpenAIEmbedder
from ai_migration.embedders.sentence_transformers import SentenceTransformerEmbedder
from ai_migration.embedders.voyage import VoyageEmbedder

OWN: list[tuple[str, type[Embedder], dict[str, Any]]] = [
    ("bedrock", BedrockEmbedder, {"model": "cohere.embed-v4:0"}),
    ("cohere", CohereEmbedder, {"model": "embed-v4.0"}),
    ("google", GoogleEmbedder, {"model": "gemini-embedding-001"}),
    ("hash", HashEmbedder, {}),
    ("wordllama", LocalEmbedder, {}),
    ("mistral", MistralEmbedder, {"model": "mistral-embed"}),
    ("model2vec", Model2VecEmbedder, {"model": "m", "dimensions": 8, "normalize": False}),
    ("openai", OpenAIEmbedder, {"model": "text-embedding-3-small"}),
    (
        "sentence-transformers",
        SentenceTransformerEmbedder,
        {"model": "m", "dimensions": 8, "document_prompt": "passage: "},
    ),
    ("voyage", VoyageEmbedder, {"model": "voyage-4"}),
]


def by_path(embedder: Embedder, path: str = "") -> str:
    """The fingerprint as it was when the class's path was a part of it."""
    path = path or f"{type(embedder).__module__}.{type(embedder).__qualname__}"
    parts = (path, embedder.model_id, str(embedder.dimensions), embedder.input_type)
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


@pytest.mark.parametrize(("name", "kind", "options"), OWN)
def test_our_own_classes_have_a_name_and_know_what_they_made_before(
    name: str, kind: type[Embedder], options: dict[str, Any]
) -> None:
    embedder = kind(**options)
    assert embedder.provider == name
    assert embedder.fingerprint == by_path(embedder, name)
    assert embedder.made(embedder.fingerprint)
    assert embedder.made(by_path(embedder))
    assert not embedder.made(by_path(embedder, "elsewhere.Class"))
    assert not embedder.made("")


def test_no_two_of_them_make_the_same_vectors() -> None:
    assert len({name for name, _, _ in OWN}) == len(OWN)


def test_azure_makes_the_vectors_of_openai() -> None:
    at_openai = OpenAIEmbedder("text-embedding-3-small", 8)
    at_azure = AzureOpenAIEmbedder("text-embedding-3-small", 8, endpoint="https://x.example")
    assert at_azure.fingerprint == at_openai.fingerprint
    assert at_azure.made(by_path(at_openai))

    class Subclass(AzureOpenAIEmbedder):
        pass

    subclass = Subclass("text-embedding-3-small", 8, endpoint="https://x.example")
    assert subclass.made(by_path(at_openai)), "its name was OpenAI's"


class Prompted(HashEmbedder):
    """Makes other vectors than its base, with the same model and dimensions."""

    def embed(self, texts: Any) -> Any:
        return super().embed([f"prompt {text}" for text in texts])


class Prompted2(Prompted):
    pass


def test_a_class_without_a_name_is_known_by_its_path_and_inherits_none() -> None:
    plain, prompted, other = HashEmbedder(8), Prompted(8), Prompted2(8)
    assert prompted.provider == f"{__name__}.Prompted"
    assert prompted.fingerprint == by_path(prompted), "as it always was"
    made = [plain.fingerprint, prompted.fingerprint, other.fingerprint, by_path(plain)]
    assert [prompted.made(each) for each in made] == [False, True, False, False]
    assert [plain.made(each) for each in made] == [True, False, False, True]


def test_a_class_that_gives_itself_a_name_can_be_moved() -> None:
    before = Prompted(8).fingerprint

    class Named(HashEmbedder):
        provider = "acme"

    unnamed = by_path(Named(8))
    assert Named(8).made(unnamed), "what it made before it had a name"

    class Moved(HashEmbedder):
        provider = "acme"
        former_providers = (f"{__name__}.Prompted",)

    assert Moved(8).fingerprint == Named(8).fingerprint
    assert Moved(8).made(before)
    assert not Moved(16).made(before)
    assert not Moved(8).made(unnamed)

    class Subclass(Moved):
        pass

    assert not Subclass(8).made(before), "names are not inherited"
    assert not Subclass(8).made(Moved(8).fingerprint)


def test_a_name_that_is_worked_out_is_inherited_like_any_property() -> None:
    class Worked(HashEmbedder):
        @property
        def provider(self) -> str:  # type: ignore[override]
            return "acme"

    class Subclass(Worked):
        pass

    assert Subclass(8).fingerprint == Worked(8).fingerprint == by_path(Worked(8), "acme")


AZURE: tuple[str, type[Embedder], dict[str, Any]] = ("openai", AzureOpenAIEmbedder, {})
SECRETIVE = {"api_key", "token_provider", "load_options"}


@pytest.mark.parametrize(("name", "kind", "options"), [*OWN, AZURE])
def test_an_index_keeps_all_options_but_those_that_may_hold_a_secret(
    name: str, kind: type[Embedder], options: dict[str, Any]
) -> None:
    taken = {
        parameter.name
        for each in kind.__mro__
        if issubclass(each, Embedder) and "__init__" in vars(each)
        for parameter in inspect.signature(each).parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD
    }
    assert taken - SECRETIVE <= {*kind.kept_options}
    assert not SECRETIVE & {*kind.kept_options}
