"""``ai-entity-config.yml``: what loads, and what each fault is called."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml.scanner import RoundTripScanner

from ai_migration.entities.config import file as config_file
from ai_migration.entities.config.file import ConfigFile, load_config
from ai_migration.entities.config.schema import GlobalConfig, inert_keys
from ai_migration.exceptions import EntityConfigError

SAMPLE = Path(__file__).parents[1] / "data" / "ai-entity-config.sample.yml"

EVERY_KEY = """\
ai-config:
  default-embedding-model: m
  default-search-limit: 7
  batch-size: 250
  timeout-seconds: 2.5
  retry-attempts: 0
  retry-delay-ms: 100
  max-concurrent-requests: 4
  enable-embedding-generation: false
  enable-cleanup: false
  enable-something-else: true
ai-entities:
  product:
    entity-type: product
    features: [embedding]
    auto-process: false
    enable-search: true
    enable-recommendations: true
    auto-embedding: true
    indexable: true
    searchable-fields:
      - {name: a, include-in-rag: true, enable-semantic-search: true, weight: 2, label: A}
      - b
    embeddable-fields:
      - {name: c, model: m, auto-generate: true, include-in-similarity: true, label: C}
      - d
    metadata-fields:
      - {name: e, type: NUMERIC, include-in-search: false}
      - f
    crud-operations:
      create: {enabled: true, generate-embedding: true, index-for-search: true,
               enable-analysis: true}
      UPDATE: {auto-embedding: true, auto-indexing: true, ai-processing: true}
      Delete: {remove-from-search: true, cleanup-embeddings: true}
      search:
      ANALYZE: {enabled: false}
    model: shop.Product
    embedder: default
    store: default
    template: "{a}"
    chunking: {size: 200, overlap: 20}
    created-at-field: created
    updated-at-field: updated
    reindex-on: [brand]
    tenant-field: tenant_id
    filterable-fields: [g, {name: h}]
    queryset: live
    filter: {live: true}
    using: other
    batch-size: 10
  nothing:
"""

DIFFERS = "index-for-search: 0}}}}"

Load = Callable[[str | bytes], ConfigFile]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a text as the file ``c.yml``."""

    def load_text(content: str | bytes) -> ConfigFile:
        path = tmp_path / "c.yml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return load_config(path)

    return load_text


def faults(load: Load, content: str | bytes) -> list[str]:
    """The lines of the error, from the name of the file on."""
    with pytest.raises(EntityConfigError) as caught:
        load(content)
    lines = str(caught.value).splitlines()
    return [line[line.index("c.yml:") :] if "c.yml:" in line else line for line in lines]


def test_a_file_of_a_system_in_use_loads_unchanged() -> None:
    config = load_config(SAMPLE)
    assert list(config.entities) == [
        "ai_profile",
        "behavior",
        "behavior-insight",
        "product",
        "order",
        "user",
    ]
    assert config.global_config == GlobalConfig.model_validate(
        {"default-embedding-model": "text-embedding-3-small", "default-search-limit": 10}
    )
    assert config.source("behavior-insight") == "ai-entity-config.sample.yml:18"
    assert inert_keys(config.document) == [
        "ai-config.default-embedding-model",
        "crud-operations.enable-analysis",
        "embeddable-fields.model",
        "enable-recommendations",
        "features",
        "searchable-fields.include-in-rag",
        "searchable-fields.weight",
    ]


def test_every_key_of_the_format_loads(load: Load) -> None:
    config = load(EVERY_KEY)
    assert config.global_config.model_dump() == {
        "default_embedding_model": "m",
        "default_search_limit": 7,
        "batch_size": 250,
        "timeout_seconds": 2.5,
        "retry_attempts": 0,
        "retry_delay_ms": 100,
        "max_concurrent_requests": 4,
        "enable_embedding_generation": False,
        "enable_cleanup": False,
        "enable-something-else": True,
    }
    product = config.entities["product"]
    unset = type(product).model_fields.keys() - product.model_fields_set
    assert not unset
    assert [field.name for field in product.metadata_fields] == ["e", "f"]
    assert [field.name for field in product.filterable_fields] == ["g", "h"]
    assert list(product.crud_operations) == ["create", "update", "delete", "search", "analyze"]
    assert config.entities["nothing"].model_fields_set == set()


def test_inert_keys_are_only_those_that_mean_nothing(load: Load) -> None:
    assert inert_keys(load(EVERY_KEY).document) == [
        "ai-config.default-embedding-model",
        "ai-config.enable-cleanup",
        "ai-config.enable-something-else",
        "ai-config.timeout-seconds",
        "crud-operations.ai-processing",
        "crud-operations.analyze",
        "crud-operations.enable-analysis",
        "crud-operations.search",
        "embeddable-fields.model",
        "enable-recommendations",
        "features",
        "metadata-fields.include-in-search",
        "searchable-fields.include-in-rag",
        "searchable-fields.weight",
    ]
    assert inert_keys(load("ai-entities: {a: {model: x.Y}}").document) == []


@pytest.mark.parametrize(
    "content",
    ["", "\n\n", "# nothing\n", "---\n...\n", "\ufeff", "ai-entities:\n", "ai-config:\n", "{}"],
)
def test_a_file_without_content_has_no_entities(load: Load, content: str) -> None:
    config = load(content)
    assert config.entities == {}
    assert config.global_config == GlobalConfig()


@pytest.mark.parametrize(
    ("written", "meant"),
    [("yes", True), ("on", True), ("True", True), ("no", False), ("OFF", False), ("'true'", True)],
)
def test_switches_as_yaml_1_1_writes_them(load: Load, written: str, meant: bool) -> None:
    config = load(f"ai-entities: {{on: {{indexable: {written}}}}}")
    assert config.entities["on"].indexable is meant


def test_anchors_and_merge_keys(load: Load) -> None:
    config = load(
        "ai-entities:\n"
        "  a: &defaults\n"
        "    indexable: &flag true\n"
        "    features: [x]\n"
        "  b:\n"
        "    <<: *defaults\n"
        "    auto-embedding: *flag\n"
        "    features: [y]\n"
        "  c: &defaults {}\n"
    )
    merged = config.entities["b"]
    assert (merged.indexable, merged.auto_embedding, merged.features) == (True, True, ("y",))


def test_each_fault_is_named_with_its_line_and_the_nearest_key(load: Load) -> None:
    content = """\
ai-config:
  btach-size: 5
  batch-size: true
  enable-foo: 3
ai-entities:
  product:
    enable-serach: true
    enable-search: maybe
    created_at_field: c
    model: shop
    searchable-fields:
      - title
      - name: 5
      - name: b
        wieght: 1
      - label: x
    metadata-fields: price
    chunking: {size: 5, overlap: 5}
    crud-operations:
      craete: {}
      CREATE:
        indx-for-search: 1
"""
    product = "ai-entities.product"
    operations = f"{product}.crud-operations"
    nearest = "Did you mean 'index-for-search'?"
    assert faults(load, content) == [
        "c.yml:2: unknown key 'btach-size' in ai-config. Did you mean 'batch-size'?",
        "c.yml:3: ai-config.batch-size should be a valid integer, not True",
        "c.yml:4: ai-config.enable-foo should be a valid boolean, not 3",
        f"c.yml:7: unknown key 'enable-serach' in {product}. Did you mean 'enable-search'?",
        f"c.yml:8: {product}.enable-search should be a valid boolean, not 'maybe'",
        f"c.yml:9: unknown key 'created_at_field' in {product}. Did you mean 'created-at-field'?",
        f"c.yml:10: {product}.model should be a model's label, like shop.Product, not 'shop'",
        f"c.yml:13: {product}.searchable-fields[1].name should be a valid string, not 5",
        f"c.yml:15: unknown key 'wieght' in {product}.searchable-fields[2]. Did you mean 'weight'?",
        f"c.yml:16: {product}.searchable-fields[3] lacks the key 'name'",
        f"c.yml:17: {product}.metadata-fields should be a list, not 'price'",
        f"c.yml:18: {product}.chunking is wrong: overlap (5) must be smaller than size (5)",
        f"c.yml:20: unknown key 'craete' in {product}.crud-operations. Did you mean 'create'?",
        f"c.yml:22: unknown key 'indx-for-search' in {operations}.CREATE. {nearest}",
    ]


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("ai-entites: {}", 1, "unknown key 'ai-entites'. Did you mean 'ai-entities'?"),
        ("\nspring:\n  x: 1", 2, "unknown key 'spring'. Known keys: ai-config, ai-entities."),
        ("- a", 1, "the file should be a mapping"),
        ("just text", 1, "the file should be a mapping"),
        ("ai-entities: []", 1, "ai-entities should be a mapping"),
        ("ai-entities:\n  a: 1", 2, "ai-entities.a should be a mapping"),
        ("ai-entities:\n  a: b", 2, "ai-entities.a should be a mapping"),
        ("ai-entities:\n  5: {}", 2, "the key 5 in ai-entities should be text; quote it"),
        ("ai-entities:\n  null: {}", 2, "should be text; quote it"),
        ("ai-entities:\n  [a]: {}", 2, "should be text; quote it"),
        ("ai-entities:\n  a:\n    1: x", 3, "the key 1 in ai-entities.a should be text"),
        ("ai-entities:\n  'a b': {}", 2, "should be a name without spaces and slashes"),
        ("ai-entities:\n  '': {}", 2, "should be a name without spaces"),
        (f"ai-entities:\n  ? {'x' * 256}\n  : {{}}", 2, "is longer than 255 characters"),
        (
            "ai-entities:\n  a:\n    entity-type: b",
            3,
            "ai-entities.a has entity-type 'b'. Write 'a' there, or remove the key.",
        ),
        ("ai-entities:\n  a:\n    features: !!set {x}", 3, "should be a list"),
        ("ai-entities:\n  a:\n    model: !tag x.Y", 3, "should be a valid string"),
        ("ai-entities:\n  a:\n    template: ''", 3, "at least 1 character"),
        ("ai-entities:\n  a:\n    using: a b", 3, "should be a name without spaces"),
        ("ai-entities:\n  a:\n    chunking: {size: 0}", 3, "greater than or equal to 1"),
        ("ai-entities:\n  a:\n    chunking: {overlap: -1}", 3, "greater than or equal to 0"),
        ("ai-entities:\n  a:\n    batch-size: 1000000000", 3, "less than or equal to 100000"),
        ("ai-config:\n  timeout-seconds: .inf", 2, "should be a finite number"),
        ("ai-config:\n  timeout-seconds: 0", 2, "greater than 0"),
        ("ai-config:\n  retry-attempts: '3'", 2, "should be a valid integer, not '3'"),
        (
            "ai-entities:\n  a:\n    crud-operations: {create: {}, CREATE: {}}",
            3,
            "the operation 'create' appears twice",
        ),
        (
            "ai-entities: {a: {\n\n\ncrud-operations: {create: {auto-indexing: 1, " + DIFFERS,
            4,
            "index-for-search and auto-indexing mean the same but differ",
        ),
        ("a:\n\tb: 1", 2, "YAML indents with spaces, not with tabs"),
        ("ai-config:\nai-entities:\nai-config:", 3, 'found duplicate key "ai-config"'),
        ("ai-entities:\n  a: {}\n  a: {}", 3, 'found duplicate key "a"'),
        ("a: 1\n---\nb: 1", 2, "found another document"),
        ("a: [1\n", 2, "expected ',' or ']'"),
        ("a: *b", 1, "found undefined alias 'b'"),
        ("# x\nai-config: \0", 2, "the character '\\x00' is not allowed in YAML"),
        ("a: 2024-13-45", 1, "month must be in 1..12"),
        ("a: " + "9" * 5000, 1, "a value cannot be read"),
        ("[" * 2000, 1, "values are nested too deeply"),
        ("a: " + "[\n" * 60, 51, "values are nested too deeply"),
        ("- " * 2000, 1, "values are nested too deeply"),
        (
            "ai-entities:\n  a:\n    batch-size: 0x" + "f" * 10_000,
            3,
            "a number has more than 64 bits",
        ),
        ("ai-config:\n  batch-size: 0o" + "7" * 10_000, 2, "a number has more than 64 bits"),
        ("? 0x" + "f" * 10_000 + "\n: 1", 1, "a number has more than 64 bits"),
        ("b: 1\n? 0x" + "f" * 10_000 + "\n: 0x" + "f" * 10_000, 1, "more than 64 bits"),
        (b"ai-config:\n  x: \xff", 2, "the byte 0xff is not UTF-8"),
        ("ai-config:".encode("utf-16"), 1, "is not UTF-8"),
        ('ai-entities:\n  "\\ud800": {}', 1, "is not valid Unicode"),
        ('ai-entities: {a: {template: "\\ud800"}}', 1, "template is not valid Unicode"),
        ('{"\\ud800": 1,\n"\\ud800": 1}', 2, 'found duplicate key "\\ud800"'),
        ("ai-config: {batch-size: &flag true}", 1, "a valid integer, not True"),
        ("ai-entities: {a: {AUTO_PROCESS: true}}", 1, "Did you mean 'auto-process'?"),
        ('"a\\0b": 1', 1, "unknown key 'a\\x00b'"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, int | str) else None,
)
def test_a_fault_has_its_line(load: Load, content: str | bytes, line: int, words: str) -> None:
    [fault] = faults(load, content)
    assert fault.startswith(f"c.yml:{line}: ")
    assert words in fault


def test_a_file_of_10_mb(load: Load) -> None:
    [fault] = faults(load, b"# comment\n" * 1_000_000)
    assert fault.startswith("c.yml:1: the file is larger than 1024 KiB")


def test_brackets_are_not_read_to_their_end(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """20,000 of them took seconds."""
    opened = []
    real = RoundTripScanner.fetch_flow_collection_start

    def fetch(self: Any, *args: Any) -> None:
        opened.append(args)
        real(self, *args)

    monkeypatch.setattr(RoundTripScanner, "fetch_flow_collection_start", fetch)
    for bracket in ("[", "{", "{a: ["):
        opened.clear()
        [fault] = faults(load, bracket * 20_000)
        assert "nested too deeply" in fault
        assert len(opened) == config_file.MAX_DEPTH + 1


def test_the_number_of_values_is_limited_while_they_are_read(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_file, "MAX_WRITTEN", 20)
    [fault] = faults(load, "ai-entities:\n" + "  a: 1\n" * 100)
    assert fault == "c.yml:10: there are more than 20 values"


def test_aliases_cannot_make_a_bomb(load: Load) -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    [fault] = faults(load, "\n".join(lines))
    assert "aliases repeat too many" in fault


def test_many_faults_are_counted(load: Load) -> None:
    lines = faults(load, "".join(f"unknown{n}: 1\n" for n in range(30)))
    assert len(lines) == 21
    assert lines[-1] == "... and 10 more"


@pytest.mark.parametrize(
    "name", ["missing.yml", ".", "nul\0byte.yml", "x" * 300, "x" * 5000, os.devnull]
)
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(EntityConfigError, match=r":1: .*AI_MIGRATION\['ENTITY_CONFIG'\]") as caught:
        load_config(tmp_path / name)
    assert len(caught.value.message) < 500


def test_a_file_without_permission(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "c.yml"
    path.touch()
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(EntityConfigError, match="cannot be read: Permission denied"):
        load_config(path)


def test_the_bound_on_values_is_what_stops_a_bomb(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = "ai-entities: {a: {features: [x, y]}}"
    assert load(content).entities["a"].features == ("x", "y")
    monkeypatch.setattr(config_file, "MAX_NODES", 5)
    assert "too many" in faults(load, content)[0]
