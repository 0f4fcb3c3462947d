"""The system checks that need no database: each fault has its code, and nothing else does."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from django.apps import apps
from django.core import checks
from django.core.checks.registry import registry as check_registry
from django.db import connections
from django.db.models import QuerySet

from ai_migration.checks import TAG
from ai_migration.checks import codes as all_codes
from ai_migration.checks.codes import CODES
from ai_migration.checks.databases import check_databases
from ai_migration.dispatch import Dispatcher
from ai_migration.embedders.hash import HashEmbedder
from ai_migration.entities import registry
from ai_migration.exceptions import MissingDependencyError
from tests.testapp.models import Article, Category

ROOT = Path(__file__).resolve().parents[2]
HERE = __name__
HASH = "ai_migration.embedders.hash.HashEmbedder"
SECRET = "sk-very-secret"


class Fussy(HashEmbedder):
    """Has checks of its own."""

    max_input_tokens = 100

    def __init__(self, how: str = "") -> None:
        super().__init__(dimensions=8)
        self.how = how

    def check(self) -> list[checks.CheckMessage]:
        if self.how == "raise":
            raise RuntimeError(f"no {SECRET}")
        if self.how == "words":
            return ["wrong"]  # type: ignore[list-item]
        if self.how == "none":
            return None  # type: ignore[return-value]
        return [checks.Warning("fussy", id="fussy.W001")] if self.how else []


class Slow(HashEmbedder):
    """Loads a model to know its limit."""

    was_asked = False

    @property
    def max_input_tokens(self) -> int | None:  # type: ignore[override]
        Slow.was_asked = True
        return 100


class Unknowable(HashEmbedder):
    """Its properties fail."""

    @property
    def model_id(self) -> str:
        raise RuntimeError("no model")


class Unread(HashEmbedder):
    def __init__(self) -> None:
        raise MissingDependencyError("openai", "openai", "Unread")


class Waker(Dispatcher):
    def wake(self) -> None:
        """Nobody needs to be told."""


class Sender(Waker):
    supports_messages = True


class NoWaker:
    """No dispatcher."""


def all_articles() -> QuerySet[Article]:
    raise AssertionError("a queryset is not made without a database")


@pytest.fixture
def use(settings: Any, tmp_path: Path) -> Callable[..., None]:
    """Sets keys of AI_MIGRATION, and writes ``yaml`` as the entity config."""

    def set_keys(yaml: str = "", **keys: Any) -> None:
        path = tmp_path / "ai-entity-config.yml"
        path.write_text(dedent(yaml) or ENTITY.format(""))
        settings.AI_MIGRATION = {**settings.AI_MIGRATION, "ENTITY_CONFIG": path, **keys}

    set_keys()
    return set_keys


ENTITY = """
ai-entities:
  article:
    model: testapp.Article
    embeddable-fields: [title]
    {}
"""


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ("{statsu: new}", "no field, property or method 'statsu'. Did you mean 'status'?"),
        ("{statsu__in: [new]}", "'statsu'. Did you mean 'status'?"),
        ("{category__slog: x}", "Did you mean 'category__slug'?"),
        ("{status__foo: x}", "'status' is not a relation"),
        ("{headline: x}", "'headline' is a property or a method"),
        ("{price__gt: cheap}", "The filter price__gt='cheap' does not fit"),
        ("{price: .nan}", "not a finite number"),
        ("{status__in: new, created_at__gte: soon}", "'soon' is not a date"),
        ("{status: [new, old]}", "write one value"),
    ],
)
def test_a_filter_that_does_not_fit_is_a_fault_with_its_place(
    use: Callable[..., None], filters: str, words: str
) -> None:
    use(ENTITY.format(f"filter: {filters}"))
    said = only("E049").msg
    assert words in said
    assert "'article' (ai-entity-config.yml:3): 'filter': " in said


def test_a_filter_takes_dates_and_nothing(use: Callable[..., None]) -> None:
    values = "created_at__gte: 2024-01-01, updated_at__lt: 2024-01-01T10:00:00+02:00, price: null"
    use(ENTITY.format(f"filter: {{{values}}}"))
    assert codes() == []
    assert registry.get("article").snapshot["filter"] == {
        "created_at__gte": "2024-01-01",
        "updated_at__lt": "2024-01-01T10:00:00+02:00",
        "price": None,
    }


def test_a_filter_by_an_annotation_is_no_fault_without_a_database(
    use: Callable[..., None],
) -> None:
    use(ENTITY.format(f"queryset: {HERE}.all_articles\n    filter: {{stars__gte: 3}}"))
    assert codes() == []


@pytest.mark.parametrize("value", ["{a: 1}", "[[1]]"])
def test_a_filter_compares_with_values(use: Callable[..., None], value: str) -> None:
    use(ENTITY.format(f"filter: {{status: {value}}}"))
    said = only("E021").msg
    assert "ai-entity-config.yml:6: ai-entities.article.filter.status" in said
    assert "should be a value, or a list of values" in said


@pytest.mark.parametrize(
    ("keys", "needs_it"),
    [
        ("{embeddable-fields: [{name: body, html: true}]", True),
        ("{embeddable-fields: [{name: body, html: false}]", False),
        ('{template: "{{ body|html_text }}"', True),
        ("{chunking: {context: [{name: status, html: true}]}, embeddable-fields: [body]", True),
    ],
)
def test_html_needs_its_extra(
    use: Callable[..., None], monkeypatch: pytest.MonkeyPatch, keys: str, needs_it: bool
) -> None:
    use(f"ai-entities:\n  article: {keys}, model: testapp.Article}}")
    assert codes() == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None)
    if not needs_it:
        assert codes() == []
        return
    said = only("E048").msg
    assert "'django-ai-migration[html]'" in said
    assert "'html: false'" in said
    assert "ai-entity-config.yml:2" in said


def our_checks() -> list[Any]:
    registered: list[Any] = check_registry.get_checks()
    return [check for check in registered if TAG in check.tags]


def found() -> list[checks.CheckMessage]:
    """What `manage.py check` says of us: without what needs a database."""
    return [
        message
        for check in our_checks()
        if checks.Tags.database not in check.tags
        for message in check(app_configs=None, databases=None)
    ]


def codes() -> list[str]:
    return [str(message.id).removeprefix("ai_migration.") for message in found()]


def only(code: str) -> checks.CheckMessage:
    messages = found()
    assert [message.id for message in messages] == [f"ai_migration.{code}"], messages
    [message] = messages
    assert message.hint
    assert SECRET not in str(message)
    return message


@pytest.mark.usefixtures("use")
def test_a_right_config_is_silent() -> None:
    assert found() == []


def test_the_checks_have_their_tag() -> None:
    assert checks.tag_exists(TAG)
    assert len(our_checks()) == 9
    assert all(check.__module__.startswith("ai_migration.checks.") for check in our_checks())


# Settings


@pytest.mark.parametrize(
    ("raw", "code", "words"),
    [
        (None, "E001", "not a dict"),
        ({"DEFAULT_BATCHSIZE": 1}, "E002", "Did you mean 'DEFAULT_BATCH_SIZE'"),
        ({"DEFAULT_BATCH_SIZE": 0}, "E003", "is 0"),
        ({"EMBEDDERS": SECRET}, "E003", "is a str"),
        ({"STORES": {"other": {"BACKEND": "x"}}}, "E004", "'default'"),
    ],
)
def test_settings(settings: Any, raw: object, code: str, words: str) -> None:
    settings.AI_MIGRATION = raw
    assert words in str(only(code))


def test_every_fault_of_the_settings_has_a_message(settings: Any) -> None:
    settings.AI_MIGRATION = {"NOPE": 1, "QUEUE_WINDOW": 0}
    assert sorted(codes()) == ["E002", "E003"]


@pytest.mark.parametrize("dispatcher", ["nope.Nope", f"{HERE}.NoWaker"])
def test_a_dispatcher_that_is_none(use: Callable[..., None], dispatcher: str) -> None:
    use(DISPATCHER=dispatcher)
    assert dispatcher in only("E005").msg


def quiet() -> str | None:
    return None


GIVEN = "ai_migration.throttles"


def test_throttles_that_are_right(use: Callable[..., None]) -> None:
    hours = {"BACKEND": f"{GIVEN}.HoursOfDay", "OPTIONS": {"start": "22:00", "end": "06:00"}}
    use(THROTTLE=[f"{HERE}.quiet", {"BACKEND": f"{HERE}.quiet"}, hours])
    assert found() == []


@pytest.mark.parametrize(
    ("throttle", "words"),
    [
        ("nope.nope", "cannot be imported"),
        (f"{HERE}.GIVEN", "cannot be called"),
        (f"{HERE}.NoWaker", "cannot be called"),
        (f"{GIVEN}.HoursOfDay", "missing 2 required positional arguments"),
        ({"BACKEND": f"{GIVEN}.HoursOfDay", "OPTIONS": {"start": SECRET, "end": "6"}}, "'***'"),
        ({"BACKEND": f"{HERE}.quiet", "OPTIONS": {"token": SECRET}}, "not a class"),
        (f"{GIVEN}.ReplicationLag", "'default' is sqlite, not PostgreSQL"),
        ({"BACKEND": f"{GIVEN}.Connections", "OPTIONS": {"max_share": 0}}, "must be above 0"),
    ],
)
def test_a_throttle_that_is_none(use: Callable[..., None], throttle: Any, words: str) -> None:
    use(THROTTLE=[f"{HERE}.quiet", throttle])
    message = only("E006")
    assert "AI_MIGRATION['THROTTLE'][1]" in message.msg
    assert words in message.msg


def searches(user: object, entity_type: str) -> bool:
    return True


async def searches_later(user: object, entity_type: str) -> bool:
    return True


def test_a_permission_to_search_that_is_right(use: Callable[..., None]) -> None:
    use(SEARCH_PERMISSION=f"{HERE}.searches")
    assert found() == []


@pytest.mark.parametrize(
    ("permission", "words"),
    [
        ("nope.nope", "cannot be imported"),
        (f"{HERE}.GIVEN", "cannot be called"),
        (f"{HERE}.quiet", "does not take a user and an entity type"),
        (f"{HERE}.searches_later", "is a coroutine"),
    ],
)
def test_a_permission_to_search_that_is_none(
    use: Callable[..., None], permission: str, words: str
) -> None:
    use(SEARCH_PERMISSION=permission)
    assert words in only("E008").msg


# Backends


def embedder(path: str, **options: Any) -> dict[str, Any]:
    return {"default": {"BACKEND": path, "OPTIONS": options}}


@pytest.mark.parametrize(
    ("backend", "code"),
    [
        (embedder("nope.Nope"), "E010"),
        (embedder("collections.OrderedDict"), "E011"),
        (embedder("ai_migration.embedders.Embedder"), "E011"),
        (embedder(HASH, dimensons=8), "E012"),
        (embedder(HASH, dimensions=0), "E012"),
        (embedder(HASH, dimensions=SECRET), "E012"),
        (embedder(f"{HERE}.Unread"), "E013"),
        (embedder(f"{HERE}.Fussy", how="raise"), "E014"),
        (embedder(f"{HERE}.Fussy", how="words"), "E014"),
        (embedder(f"{HERE}.Fussy", how="none"), "E014"),
    ],
)
def test_backends(use: Callable[..., None], backend: dict[str, Any], code: str) -> None:
    use(EMBEDDERS=backend)
    assert str(only(code).obj) == "AI_MIGRATION['EMBEDDERS']['default']"


def test_stores_and_each_alias_are_checked(use: Callable[..., None]) -> None:
    use(STORES={**embedder("ai_migration.stores.memory.MemoryStore"), "b": {"BACKEND": HASH}})
    message = only("E011")
    assert "not a subclass of VectorStore" in message.msg
    assert message.obj == "AI_MIGRATION['STORES']['b']"


def test_a_backend_says_what_it_knows_of_itself(use: Callable[..., None]) -> None:
    use(EMBEDDERS=embedder(f"{HERE}.Fussy", how="warn"))
    [message] = found()
    assert (message.id, message.msg) == ("fussy.W001", "fussy")
    assert message.obj == "AI_MIGRATION['EMBEDDERS']['default']"


def test_an_extra_that_is_missing(
    use: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(EMBEDDERS=embedder("ai_migration.embedders.local.LocalEmbedder"))
    assert found() == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    [message] = found()
    assert message.id == "ai_migration.E101"
    assert "pip install" in message.msg


@pytest.mark.usefixtures("use")
def test_pgvector_on_a_database_that_is_no_postgresql(use: Callable[..., None]) -> None:
    use(STORES=embedder("ai_migration.stores.pgvector.PgVectorStore"))
    assert [message.id for message in found()] == ["ai_migration.E112"]


# The file


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "\ud800"])
def test_a_name_that_no_file_can_have(use: Callable[..., None], tmp_path: Path, name: str) -> None:
    use(ENTITY_CONFIG=tmp_path / name)
    assert "cannot be read" in only("E020").msg


def test_a_file_that_was_named_and_is_missing(use: Callable[..., None], tmp_path: Path) -> None:
    use(ENTITY_CONFIG=tmp_path / "nope.yml")
    assert "nope.yml" in only("E020").msg


def test_a_file_that_nobody_named_may_be_missing(settings: Any, tmp_path: Path) -> None:
    settings.BASE_DIR = tmp_path
    settings.AI_MIGRATION = {"EMBEDDERS": settings.AI_MIGRATION["EMBEDDERS"]}
    only("I004")


@pytest.mark.parametrize(
    ("yaml", "words"),
    [
        ("ai-entities:\n\tarticle: {}", ":2: "),
        ("ai-entities: [", ":1: "),
        ("ai-entities:\n  a: {}\n  a: {}", ":3: "),
        (ENTITY.format("storre: x"), "Did you mean 'store'?"),
        (ENTITY.format("batch-size: many"), "batch-size"),
    ],
)
def test_a_file_that_is_wrong(use: Callable[..., None], yaml: str, words: str) -> None:
    use(yaml)
    message = only("E021")
    assert "ai-entity-config.yml:" in message.msg
    assert words in message.msg


def test_each_fault_of_the_file_has_a_message(use: Callable[..., None]) -> None:
    use(ENTITY.format("storre: x\n    embeder: y"))
    assert codes() == ["E021", "E021"]


# Entity types


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("metadata-fields: [{name: titel}]", "E023", "Did you mean 'title'?"),
        ("tenant-field: tenant", "E023", "'tenant'"),
        ("template: '{% if %}'", "E025", "does not compile"),
        ("template: '{{ titel }}'", "E025", "'titel'"),
        ("template: \"{% include 'x' %}\"", "E025", "include"),
        ("filterable-fields: [stattus]", "E026", "'status'"),
        ("filterable-fields: [headline]", "E026", "property"),
        ("created-at-field: title", "E027", "not a date field"),
        ("created-at-field: nope", "E027", "'nope'"),
        ("queryset: nobody", "E028", "no manager 'nobody'"),
        ("queryset: nope.rows", "E028", "cannot be imported"),
        (f"queryset: {HERE}.ROOT", "E028", "not callable"),
        ("using: replica", "E029", "'replica'"),
        ("embedder: fast", "E030", "no alias 'fast'"),
        ("store: fast", "E031", "no alias 'fast'"),
    ],
)
def test_an_entity_type(use: Callable[..., None], line: str, code: str, words: str) -> None:
    use(ENTITY.format(line))
    message = only(code)
    assert words in message.msg
    assert message.obj == "ai-entity-config.yml:3"


@pytest.mark.parametrize(
    ("entity", "code", "words"),
    [
        ("{model: testapp.Artikle, embeddable-fields: [a]}", "E022", "Did you mean 'testapp.Art"),
        ("{model: nope.Nope, embeddable-fields: [a]}", "E022", "nope"),
        ("{model: testapp.Article}", "E024", "title, body"),
        ("{model: testapp.Article, embeddable-fields: [titel]}", "E023", "titel"),
        ("{model: testapp.Article, embeddable-fields: [delete]}", "E023", "never called"),
        ("{model: testapp.Article, embeddable-fields: [objects]}", "E023", "manager"),
    ],
)
def test_an_entity_types_model_and_text(
    use: Callable[..., None], entity: str, code: str, words: str
) -> None:
    use(f"ai-entities: {{a: {entity}}}")
    assert words in only(code).msg


def test_every_fault_of_an_entity_type_has_a_message(use: Callable[..., None]) -> None:
    use(
        """
        ai-entities:
          article:
            model: testapp.Article
            embeddable-fields: [titel, boddy]
            created-at-field: title
            embedder: fast
        """
    )
    assert codes() == ["E023", "E023", "E027", "E030"]


def test_a_binary_key_cannot_be_written_as_text(
    use: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ai_migration.entities.resolving.BinaryField", type(Category._meta.pk))
    use("ai-entities: {c: {model: testapp.Category, embeddable-fields: [name]}}")
    assert "testapp.Category" in only("E032").msg


def test_a_queryset_is_not_called_without_a_database(use: Callable[..., None]) -> None:
    use(ENTITY.format(f"queryset: {HERE}.all_articles"))
    assert found() == []


@pytest.mark.parametrize(
    ("chunking", "words"),
    [
        ("{size: 200}", "takes 100 tokens"),
        ("{overlap: 60}", "only 50 are repeated"),
        ("{size: 80, overlap: 50}", "only 40 are repeated"),
    ],
)
def test_chunking_that_does_not_fit(use: Callable[..., None], chunking: str, words: str) -> None:
    use(ENTITY.format(f"chunking: {chunking}"), EMBEDDERS=embedder(f"{HERE}.Fussy"))
    assert words in only("W020").msg


def test_chunking_that_fits(use: Callable[..., None]) -> None:
    use(ENTITY.format("chunking: {size: 100, overlap: 50}"), EMBEDDERS=embedder(f"{HERE}.Fussy"))
    assert found() == []
    use(ENTITY.format("chunking: {overlap: 50}"), EMBEDDERS=embedder(f"{HERE}.Unknowable"))
    assert found() == []


def test_no_model_is_loaded_for_a_limit_nobody_needs(use: Callable[..., None]) -> None:
    Slow.was_asked = False
    use(ENTITY.format("indexable: true"), EMBEDDERS=embedder(f"{HERE}.Slow"))
    assert found() == []
    assert not Slow.was_asked
    use(ENTITY.format("chunking: {size: 200}"), EMBEDDERS=embedder(f"{HERE}.Slow"))
    assert "takes 100 tokens" in only("W020").msg


# Information


def test_entity_types_without_a_model_are_named_once(use: Callable[..., None]) -> None:
    use(ENTITY.format("") + "  b: {indexable: true}\n  c: {}\n")
    assert "b, c" in only("I001").msg


def test_inert_keys_are_named_once(use: Callable[..., None]) -> None:
    use(ENTITY.format("enable-recommendations: true") + "ai-config: {enable-magic: true}\n")
    assert "ai-config.enable-magic, enable-recommendations" in only("I002").msg


def test_a_key_without_effect_is_looked_at_all_the_same(use: Callable[..., None]) -> None:
    use(ENTITY.format("updated-at-field: title\n    features: [x]"))
    assert codes() == ["E027", "I002"]


def test_a_model_that_embeds_nothing_here(use: Callable[..., None]) -> None:
    use(
        """
        ai-config: {default-embedding-model: text-embedding-3-small}
        ai-entities:
          article:
            model: testapp.Article
            embeddable-fields: [{name: title, model: text-embedding-3-large}]
        """
    )
    message = only("I003")
    assert "text-embedding-3-large, text-embedding-3-small" in message.msg
    assert "'embedder'" in str(message.hint)


@pytest.mark.parametrize("name", ["default", "hash-blake2b"])
def test_a_model_that_is_what_embeds_is_no_news(use: Callable[..., None], name: str) -> None:
    if name != "default":
        name = HashEmbedder(dimensions=32).model_id
    use(ENTITY.format("") + f"ai-config: {{default-embedding-model: '{name}'}}\n")
    assert found() == []


def test_the_sample_of_a_system_in_use_gives_information_only(use: Callable[..., None]) -> None:
    use((ROOT / "tests" / "data" / "ai-entity-config.sample.yml").read_text())
    assert {message.level for message in found()} == {checks.INFO}


# Databases, without a query


class Connection:
    """As much of a connection as the checks look at."""

    alias = "default"

    def __init__(self, vendor: str = "sqlite", **settings: Any) -> None:
        self.vendor = vendor
        self.settings_dict = {"NAME": "/nowhere/db.sqlite3", **settings}


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    def run(**settings: Any) -> list[str]:
        made = Connection(**settings)
        monkeypatch.setattr("ai_migration.checks.databases.connections", {"default": made})
        return [f"{message.id} {message.msg}" for message in check_databases()]

    return run


IMMEDIATE = {"transaction_mode": "IMMEDIATE"}
WAL = {"init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous=NORMAL;"}


@pytest.mark.parametrize(
    ("options", "lacks"),
    [
        ({}, ["transaction_mode", "write-ahead"]),
        (IMMEDIATE, ["write-ahead"]),
        (WAL, ["transaction_mode"]),
        ({**IMMEDIATE, **WAL}, []),
    ],
)
def test_sqlite_for_several_writers(
    connect: Callable[..., list[str]], options: dict[str, str], lacks: Sequence[str]
) -> None:
    messages = connect(OPTIONS=options)
    assert len(messages) == bool(lacks)
    for words in ("transaction_mode", "write-ahead"):
        assert (words in "".join(messages)) == (words in lacks)
        assert all(message.startswith("ai_migration.W040 ") for message in messages)


def test_a_sqlite_file_that_has_its_log_for_good(
    connect: Callable[..., list[str]], tmp_path: Path
) -> None:
    path = tmp_path / "db.sqlite3"
    path.write_bytes(b"SQLite format 3\0\x10\x00\x02\x02")
    assert connect(NAME=path, OPTIONS=IMMEDIATE) == []
    path.write_bytes(b"SQLite format 3\0\x10\x00\x01\x01")
    assert len(connect(NAME=path, OPTIONS=IMMEDIATE)) == 1


@pytest.mark.parametrize("name", [":memory:", "file:x?mode=memory&cache=shared", ""])
def test_sqlite_in_memory_has_one_process(connect: Callable[..., list[str]], name: str) -> None:
    assert connect(NAME=name, OPTIONS={}) == []


@pytest.mark.parametrize("is_psycopg3", [True, False])
def test_postgresql_needs_psycopg_3(
    connect: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, is_psycopg3: bool
) -> None:
    monkeypatch.setattr("django.db.backends.postgresql.psycopg_any.is_psycopg3", is_psycopg3)
    messages = connect(vendor="postgresql")
    assert [message[:17] for message in messages] == ([] if is_psycopg3 else ["ai_migration.E040"])


@pytest.mark.parametrize(
    ("pool", "size"),
    [
        ({}, None),
        (True, None),
        ({"min_size": 3}, None),
        ({"min_size": 1, "max_size": 3}, None),
        ({"min_size": 2}, 2),
        ({"min_size": 0, "max_size": 1}, 1),
    ],
)
def test_a_pool_gives_a_worker_enough_connections(
    monkeypatch: pytest.MonkeyPatch, pool: Any, size: int | None
) -> None:
    monkeypatch.setitem(connections["default"].settings_dict["OPTIONS"], "pool", pool)
    messages = [f"{message.id} {message.msg}" for message in check_databases()]
    found = [message for message in messages if message.startswith("ai_migration.E045")]
    assert len(found) == (size is not None)
    assert not found or f"gives {size} connections at most, and a worker needs 3" in found[0]


@pytest.fixture
def tenants(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Callable[..., None]:
    """As if tenants had tables of these apps."""

    def have(*tenant_apps: str) -> None:
        settings.TENANT_APPS = tenant_apps
        monkeypatch.setattr(connections["default"], "schema_name", "public", raising=False)

    return have


@pytest.mark.parametrize(
    ("tenant_apps", "is_wrong"),
    [
        ((), False),
        (("tests.testapp",), True),
        (("tests.testapp", "ai_migration"), False),
        (("tests.testapp", "ai_migration.apps.AIMigrationConfig"), False),
        (("ai_migration",), False),
    ],
)
def test_whose_rows_they_are(
    tenants: Callable[..., None],
    use: Callable[..., None],
    tenant_apps: Sequence[str],
    is_wrong: bool,
) -> None:
    tenants(*tenant_apps)
    assert codes() == (["E046"] if is_wrong else [])


@pytest.mark.parametrize("is_wrong", [True, False])
def test_messages_that_do_not_say_for_which_tenant_to_work(
    tenants: Callable[..., None], use: Callable[..., None], is_wrong: bool
) -> None:
    tenants("ai_migration")
    use(DISPATCHER=f"{HERE}.{'Sender' if is_wrong else 'Waker'}")
    assert codes() == (["E047"] if is_wrong else [])


def test_the_databases_of_the_tests_are_as_they_should_be() -> None:
    assert connections["default"].vendor == "sqlite"
    assert check_databases() == []


# The REST API


@pytest.mark.usefixtures("use")
def test_the_apps_that_the_rest_api_needs(settings: Any) -> None:
    pytest.importorskip("rest_framework")
    settings.ROOT_URLCONF = "tests.rest_urls"
    message = only("W171")
    assert "needs drf_spectacular, drf_spectacular_sidecar" in message.msg
    is_installed = apps.is_installed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apps, "is_installed", lambda name: "staticfiles" in name or "drf" in name)
        assert "django.contrib.auth, django.contrib.contenttypes" in only("E172").msg
    assert apps.is_installed == is_installed


@pytest.mark.usefixtures("use")
def test_a_library_of_the_rest_api_that_is_missing(settings: Any, tmp_path: Path) -> None:
    settings.ROOT_URLCONF = type(
        "Urls", (), {"urlpatterns": property(lambda self: missing_library())}
    )()
    assert "django-ai-migration[rest]" in only("E171").msg
    settings.ROOT_URLCONF = "no.such.module"  # Django's own checks say so
    assert found() == []


def missing_library() -> None:
    raise MissingDependencyError("drf_spectacular", "rest", "The REST API (ai_migration.rest)")


# The codes


def ids_in_sources() -> Iterator[str]:
    for source in (ROOT / "ai_migration").rglob("*.py"):
        yield from re.findall(r"id=\"(ai_migration\.[EWI]\d{3})\"", source.read_text())
    yield from (code.id for code in CODES.values())


def test_codes_are_unique_and_complete() -> None:
    made = [value for value in vars(all_codes).values() if isinstance(value, all_codes.Code)]
    assert len(made) == len(CODES)
    assert all(re.fullmatch(r"[EWI]\d{3}", number) for number in CODES)
    assert len({number[1:] + number[0] for number in CODES}) == len(CODES)


def test_every_code_is_documented_and_no_other() -> None:
    text = (ROOT / "docs/reference/checks.md").read_text()
    documented = re.findall(r"^### (ai_migration\.[EWI]\d{3})$", text, re.MULTILINE)
    assert sorted(documented) == sorted(set(ids_in_sources()))
    assert documented == list(dict.fromkeys(documented))


def test_every_message_says_what_to_do() -> None:
    for code in CODES.values():
        message = code.message("x")
        assert message.hint == code.hint
        assert message.hint.endswith(".")
        assert (
            message.level
            == {"E": checks.ERROR, "W": checks.WARNING, "I": checks.INFO}[code.number[0]]
        )


def test_a_published_page_is_linked_to_at_the_anchor_of_the_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(all_codes, "DOCUMENTATION", "https://example.com/checks.html")
    message = all_codes.NO_DICT.message("x", hint="Do it.")
    assert message.hint == "Do it. See https://example.com/checks.html#ai_migratione001."


def test_no_message_names_a_file_that_is_not_installed() -> None:
    for source in (ROOT / "ai_migration").rglob("*.py"):
        tree = ast.parse(source.read_text())
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
        nodes = [node for node in ast.walk(tree) if isinstance(node, documented)]
        prose = {ast.get_docstring(node, clean=False) for node in nodes}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named = re.search(r"(?<!/)\bdocs/(reference|howto|explanation)", node.value)
                assert node.value in prose or not named, f"{source.name}:{node.lineno}"


def test_every_code_is_tested() -> None:
    """Each code stands in this file or in one of the tests with a database."""
    files = (Path(__file__), *(ROOT / "tests" / "integration").glob("test_*.py"))
    tests = "".join(file.read_text() for file in files)
    assert {number for number in CODES if number not in tests} == set()
