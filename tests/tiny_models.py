"""Embedding models of a few kilobytes, made here: no model hub is asked.

Their tokenizer has a token for each byte, so any text has tokens, and their number is known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

DIMENSIONS = 16
LONGEST = 64
QUERY_PROMPT = "query: "


def byte_tokenizer() -> Any:
    tokenizers = pytest.importorskip("tokenizers", reason="needs the extra model2vec")
    marks = ["[PAD]", "[CLS]", "[SEP]"]
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(marks + alphabet)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, merges=[]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return tokenizer


def weights(tokenizer: Any) -> Any:
    shape = (tokenizer.get_vocab_size(), DIMENSIONS)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def save_static_model(folder: Path, **options: Any) -> Path:
    """A model of model2vec."""
    model2vec = pytest.importorskip("model2vec", reason="needs the extra model2vec")
    tokenizer = byte_tokenizer()
    model2vec.StaticModel(weights(tokenizer), tokenizer, **options).save_pretrained(folder)
    return folder


def save_bert(folder: Path) -> Path:
    """A model of sentence-transformers with a limit and a prompt for queries."""
    library = pytest.importorskip(
        "sentence_transformers", reason="needs the extra sentence-transformers"
    )
    transformers = pytest.importorskip("transformers")
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    tokenizer = byte_tokenizer()
    bert = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=DIMENSIONS,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=2 * DIMENSIONS,
            max_position_embeddings=LONGEST,
            initializer_range=1.0,
        )
    )
    bert.save_pretrained(folder / "bert")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder / "bert")
    parts = [modules.Transformer(str(folder / "bert")), modules.Pooling(DIMENSIONS)]
    library.SentenceTransformer(modules=parts, prompts={"query": QUERY_PROMPT}, device="cpu").save(
        str(folder / "model")
    )
    return folder / "model"


def save_static_sentence_transformer(folder: Path) -> Path:
    """A model of sentence-transformers without a limit, whose tokenizer has one."""
    library = pytest.importorskip(
        "sentence_transformers", reason="needs the extra sentence-transformers"
    )
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    tokenizer = byte_tokenizer()
    tokenizer.enable_truncation(8)
    static = modules.StaticEmbedding(tokenizer, embedding_weights=weights(tokenizer))
    library.SentenceTransformer(modules=[static], device="cpu").save(str(folder))
    return folder
