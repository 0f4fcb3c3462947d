"""What a row's values become: every kind of relation, JSON, binary, files, languages, filters."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import OperationalError, connection, models, transaction
from django.db.models.functions import Cast, Concat
from django.test.utils import CaptureQueriesContext
from django.utils import translation
from django.utils.functional import cached_property
from django.utils.timezone import override as time_zone
from django.utils.translation import gettext_lazy

from ai_migration.checks.databases import check_indexes
from ai_migration.checks.entities import check_entities
from ai_migration.entities import registry
from ai_migration.entities.filtering.filters import apply_filters, dump_filters, load_filters
from ai_migration.entities.rows.reader import EntityReader, SourceRow
from ai_migration.exceptions import EntityConfigError, InvalidRequestError
from ai_migration.types import MigrationFilters
from tests.integration.odd_models import table_of
from tests.integration.support import Project, run
from tests.testapp.models import Article, TenantNote

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])

NOTHING = models.DO_NOTHING


class Remark(models.Model):  # noqa: DJ008
    """Points at a row of any model."""

    content_type = models.ForeignKey(ContentType, NOTHING, related_name="+")
    object_id = models.PositiveIntegerField()
    target = GenericForeignKey()
    words = models.CharField(max_length=50)

    objects: ClassVar[models.Manager[Any]] = models.Manager()

    class Meta:
        app_label = "testapp"
        managed = False
        db_table = "odd_remark"


class Writer(models.Model):  # noqa: DJ008
    full_name = models.CharField(max_length=50)
    photo = models.BinaryField(null=True)
    portrait = models.FileField(null=True)
    born = models.DateField(null=True)
    extra = models.JSONField(default=dict)
    remarks = GenericRelation(Remark)

    objects: ClassVar[models.Manager[Any]] = models.Manager()

    class Meta:
        app_label = "testapp"
        managed = False
        db_table = "odd_writer"

    @property
    def shouted(self) -> str:
        return self.full_name.upper()


class Page(models.Model):  # noqa: DJ008
    """One-to-one, and each of its three names is another."""

    writer = models.OneToOneField(
        Writer, NOTHING, related_name="home_page", related_query_name="homepage"
    )
    motto = models.CharField(max_length=50)

    objects: ClassVar[models.Manager[Any]] = models.Manager()

    class Meta:
        app_label = "testapp"
        managed = False
        db_table = "odd_page"


class Story(models.Model):  # noqa: DJ008
    class Mood(models.TextChoices):
        GLAD = "g", gettext_lazy("Yes")
        SAD = "s", gettext_lazy("No")

    writer_id: int
    writer = models.ForeignKey(Writer, NOTHING, null=True)
    title = models.CharField(max_length=50)
    mood = models.CharField(max_length=1, choices=Mood, default=Mood.GLAD)
    told = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager[Any]] = models.Manager()

    class Meta:
        app_label = "testapp"
        managed = False
        db_table = "odd_story"

    @property
    def by(self) -> str:
        return f"by {self.writer.full_name if self.writer else 'nobody'}"

    @property
    def page(self) -> str:
        return self.writer.home_page.motto if self.writer else ""

    @cached_property
    def words(self) -> set[str]:
        return set(self.title.split())

    @property
    def thing(self) -> object:
        return object()

    @property
    def letters(self) -> Iterator[str]:
        return iter(self.title[:2])

    @property
    def siblings(self) -> models.QuerySet[Story, str]:
        return Story.objects.order_by("title").values_list("title", flat=True)

    @property
    def lost(self) -> str:
        raise OperationalError("the connection is gone")

    @staticmethod
    def house() -> str:
        return "house"

    @classmethod
    def kind(cls) -> str:
        return cls.__name__

    def told_to(self, whom: str) -> str:
        return whom

    async def later(self) -> str:
        return "later"

    def burn(self) -> None:
        raise AssertionError("a method that changes data was called")

    burn.alters_data = True  # type: ignore[attr-defined]


class Shelf(models.Model):  # noqa: DJ008
    pk = models.CompositePrimaryKey("writer_id", "number")
    writer = models.ForeignKey(Writer, NOTHING)
    number = models.IntegerField()

    objects: ClassVar[models.Manager[Any]] = models.Manager()

    class Meta:
        app_label = "testapp"
        managed = False
        db_table = "odd_shelf"


class Clue(models.Model):  # noqa: DJ008
    writer = models.ForeignKey(Writer, NOTHING)
    said = models.JSONField(default=dict)

    objects: ClassVar[models.Manager[Any]] = models.Manager()

    class Meta:
        app_label = "testapp"
        managed = False
        db_table = "odd_clue"


@pytest.fixture
def tables(project: Project) -> Iterator[Callable[..., None]]:
    """The tables, and `read(model, *fields)` on them."""

    def configure(*fields: str, model: str = "testapp.Story", **more: Any) -> None:
        fields = fields or ("pk",)
        project.article(*fields, name="odd", model=model, **more)

    with table_of(Remark, Writer, Page, Story, Shelf):
        yield configure


def read() -> list[SourceRow]:
    entity = registry.get("odd")
    return sorted(EntityReader(entity).read(entity.rows()), key=lambda row: row.entity_id)


def text() -> str:
    [row] = read()
    assert row.error == ""
    return row.text


def make_story(**values: Any) -> Story:
    writer = Writer.objects.create(full_name="Ada", born=date(1815, 12, 10))
    Page.objects.create(writer=writer, motto="Numbers")
    story: Story = Story.objects.create(writer=writer, title="One Two", **values)
    return story


# Relations


@pytest.mark.parametrize("also", [[], ["by"]], ids=["values", "instances"])
@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("writer__full_name", "Ada"),
        ("writer.fullName", "Ada"),
        ("writer__home_page__motto", "Numbers"),
        ("writer__homepage__motto", "Numbers"),
        ("writer__homePage__motto", "Numbers"),
        ("writer_id__full_name", "Ada"),
        ("writer__born", "1815-12-10"),
    ],
)
def test_a_relation_reads_the_same_as_values_and_from_instances(
    tables: Callable[..., None], field: str, said: str, also: list[str]
) -> None:
    make_story()
    tables(field, *also)
    assert text().splitlines()[0].endswith(f": {said}")


@pytest.mark.parametrize("also", [[], ["shouted"]], ids=["values", "instances"])
def test_a_relation_at_the_end_is_its_key(tables: Callable[..., None], also: list[str]) -> None:
    story = make_story()
    page = Page.objects.get()
    tables("shouted", *also, model="testapp.Writer", metadata_fields=["home_page"])
    assert read()[0].metadata == {"home_page": page.pk}
    tables("title", *(["by"] if also else []), tenant_field="writer")
    assert read()[0].metadata == {"writer": story.writer_id}


@pytest.mark.parametrize("also", [[], ["shouted"]], ids=["values", "instances"])
def test_a_one_to_one_relation_that_nobody_points_back_with(
    tables: Callable[..., None], also: list[str]
) -> None:
    Writer.objects.create(full_name="Ada")
    tables("full_name", "home_page__motto", *also, model="testapp.Writer")
    assert text().splitlines()[0] == "full name: Ada"
    assert "motto" not in text()


@pytest.mark.parametrize("also", [[], ["shouted"]], ids=["values", "instances"])
@pytest.mark.parametrize("field", ["story__title", "story_set__title", "storySet.title"])
def test_a_relation_to_many_by_both_its_names(
    tables: Callable[..., None], field: str, also: list[str]
) -> None:
    make_story()
    Story.objects.create(writer=Writer.objects.get(), title="Alpha")
    tables("full_name", field, *also, model="testapp.Writer")
    assert text().splitlines()[1].endswith(": Alpha, One Two")


def test_values_of_many_are_not_filtered_by_what_the_rows_are(
    tables: Callable[..., None],
) -> None:
    make_story()
    Story.objects.create(writer=Writer.objects.get(), title="Alpha")
    tables(
        "full_name", "story__title", model="testapp.Writer", queryset=f"{__name__}.writers_of_one"
    )
    assert text().splitlines()[1] == "story title: Alpha, One Two"


def test_many_of_a_row_with_a_composite_key(tables: Callable[..., None]) -> None:
    story = make_story()
    Shelf.objects.create(writer_id=story.writer_id, number=7)
    Shelf.objects.create(writer=Writer.objects.create(full_name="Bob"), number=7)
    tables("number", "writer__story__title", model="testapp.Shelf")
    rows = read()
    assert [row.entity_id for row in rows] == [
        f"[{story.writer_id},7]",
        f"[{story.writer_id + 1},7]",
    ]
    assert [row.text.splitlines()[1:] for row in rows] == [["writer story title: One Two"], []]


def writers_of_one() -> models.QuerySet[Writer]:
    return Writer.objects.filter(story__title="One Two")


def test_what_properties_fetch_is_fetched_for_all_at_once(tables: Callable[..., None]) -> None:
    for number in range(12):
        writer = Writer.objects.create(full_name=f"w{number}")
        Page.objects.create(writer=writer, motto=f"m{number}")
        Story.objects.create(writer=writer, title=f"t{number}")
    Story.objects.create(title="alone")
    tables("title", "by")
    with CaptureQueriesContext(connection) as queries:
        rows = read()
    assert len(rows) == 13
    assert {row.error for row in rows} == {""}
    assert len(queries) <= 3
    assert "title: t7\nby: by w7" in [row.text for row in rows]


def test_a_queryset_that_defers_costs_no_query_a_row(tables: Callable[..., None]) -> None:
    for number in range(9):
        Story.objects.create(title=f"t{number}")
    tables("words", queryset=f"{__name__}.deferred")
    with CaptureQueriesContext(connection) as queries:
        assert len(read()) == 9
    assert len(queries) == 1


def deferred() -> models.QuerySet[Story]:
    return Story.objects.only("mood")


# Generic relations


def test_a_generic_foreign_key(tables: Callable[..., None]) -> None:
    story = make_story()
    for target in (story, story.writer):
        Remark.objects.create(target=target, words="so it is")
    Remark.objects.create(
        content_type=ContentType.objects.get_for_model(Story), object_id=99, words="lost"
    )
    tables("words", "target__title", model="testapp.Remark")
    rows = read()
    assert [row.text for row in rows][::2] == [
        "words: so it is\ntarget title: One Two",
        "words: lost",
    ]
    assert rows[1].error == "its text cannot be made: AttributeError", "a writer has no title"
    with CaptureQueriesContext(connection) as queries:
        read()
    assert len(queries) <= 3
    tables("words", "remarks__words", model="testapp.Writer")
    tables("remarks__words", model="testapp.Writer")
    assert text() == "remarks words: so it is"


# Attributes


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("words", "One, Two"),
        ("letters", "O, n"),
        ("siblings", "One Two"),
        ("house", "house"),
        ("kind", "Story"),
        ("get_mood_display", "Yes"),
        ("getMoodDisplay", "Yes"),
        ("writer__shouted", "ADA"),
    ],
)
@pytest.mark.vendors("sqlite")
def test_attributes(tables: Callable[..., None], field: str, said: str) -> None:
    make_story()
    tables(field)
    assert text().partition(": ")[2] == said


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("delete", "never called"),
        ("save", "never called"),
        ("writer__delete", "never called"),
        ("burn", "changes data"),
        ("told_to", "needs arguments: whom"),
        ("later", "coroutine"),
        ("objects", "manager"),
        ("DoesNotExist", "a class"),
        ("_state", "no field"),
        ("by__upper", "nothing can follow"),
        ("title__upper", "'title' is not a relation"),
        ("writer__fullname", "Did you mean 'writer__full_name'"),
        ("writer__qqq", "testapp.Writer has: "),
    ],
)
@pytest.mark.vendors("sqlite")
def test_what_is_no_value_is_refused(tables: Callable[..., None], field: str, words: str) -> None:
    tables(field)
    with pytest.raises(EntityConfigError, match=words):
        registry.get("odd")


@pytest.mark.vendors("sqlite")
def test_a_property_of_many_rows_is_refused(tables: Callable[..., None]) -> None:
    tables("story__by", model="testapp.Writer")
    with pytest.raises(EntityConfigError, match="of many related rows"):
        registry.get("odd")


@pytest.mark.parametrize("template", ["{{ delete }}", "{{ burn }}", "{% if save %}x{% endif %}"])
@pytest.mark.vendors("sqlite")
def test_a_template_calls_nothing_that_changes_data(
    tables: Callable[..., None], template: str
) -> None:
    tables(template=template)
    with pytest.raises(EntityConfigError, match="never called"):
        registry.get("odd")


@pytest.mark.vendors("sqlite")
def test_an_object_without_text_is_the_rows_error(tables: Callable[..., None]) -> None:
    """Its address in memory would be another text in each process."""
    make_story()
    tables("title", "thing")
    assert read()[0].error == "its text cannot be made: TypeError"
    tables("title", metadata_fields=["thing"])
    assert read()[0].error == "its text cannot be made: TypeError"


def test_a_connection_that_breaks_is_not_the_rows_error(tables: Callable[..., None]) -> None:
    make_story()
    tables("lost")
    with pytest.raises(OperationalError):
        read()


# Values


@pytest.mark.parametrize("also", [[], ["shouted"]], ids=["values", "instances"])
def test_binary_and_files(tables: Callable[..., None], also: list[str]) -> None:
    Writer.objects.create(full_name="Ada", photo="Grüße".encode(), portrait="ada.png")
    fields = ["photo", "portrait", *also]
    tables(*fields, model="testapp.Writer", metadata_fields=["photo", "portrait"])
    [row] = read()
    assert row.error == ""
    assert row.text.splitlines()[:2] == ["photo: Grüße", "portrait: ada.png"]
    assert row.metadata == {"photo": "R3LDvMOfZQ==", "portrait": "ada.png"}
    Writer.objects.update(photo=b"\xff\xd8\xff")
    assert text().splitlines()[0] == "portrait: ada.png"


@pytest.mark.parametrize("also", [[], ["shouted"]], ids=["values", "instances"])
@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("extra__shoeSize", "42"),
        ("extra__list__1", "two"),
        ("extra__list__7", ""),
        ("extra__list__one", ""),
        ("extra__deep__er", "yes"),
        ("extra__word__upper", ""),
        ("extra__nope__nope", ""),
        ("extra__none", ""),
        ("extra__flag", "True"),
        ("extra__deep", "er: yes"),
        ("extra__word", "Wort"),
    ],
)
def test_keys_of_json_read_the_same_as_values_and_from_instances(
    tables: Callable[..., None], field: str, said: str, also: list[str]
) -> None:
    extra = {
        "shoeSize": 42,
        "list": ["one", "two"],
        "deep": {"er": "yes"},
        "word": "Wort",
        "none": None,
        "flag": True,
    }
    Writer.objects.create(full_name="Ada", extra=extra)
    tables(field, "full_name", *also, model="testapp.Writer")
    first = text().splitlines()[0]
    assert first == "full name: Ada" if not said else first.partition(": ")[2] == said


ODD_KEYS = [
    "it's", 'in"side', "semi;colon", "da--sh", "br[0]ack", "#", "/*x*/", "`",
    "ünï", "100%", "%s", "(", ":", "{}", "back\\slash", "shoe-size",
]  # fmt: skip


@pytest.mark.parametrize("also", [[], ["shouted"]], ids=["values", "instances"])
def test_any_key_of_json_is_read(
    tables: Callable[..., None], project: Project, also: list[str]
) -> None:
    """Some, Django takes for no name of a column, and some, SQLite does not find."""
    extra: dict[str, Any] = {key: f"value {i}" for i, key in enumerate(ODD_KEYS)}
    writer = Writer.objects.create(full_name="Ada", extra={**extra, "deep;er": extra})
    paths = [f"extra__{way}{key}" for way in ("", "deep;er__") for key in ODD_KEYS]
    tables(
        *paths,
        *also,
        model="testapp.Writer",
        metadata_fields=[paths[0], "extra"],
        filterable_fields=[path for path in paths if '"' not in path],
    )
    assert check_entities() == []
    assert matching(lookups={paths[0]: "value 0", f"{paths[2]}__startswith": "value"}) == ["Ada"]
    assert run("odd").indexed == 1
    [row] = read()
    lines = [line.rpartition(": ")[2] for line in row.text.splitlines()]
    assert lines[: len(paths)] == [*extra.values()] * 2
    assert row.metadata is not None
    assert row.metadata["extra"] == {**extra, "deep;er": extra}
    assert [row.metadata[path] for path in paths if '"' not in path] == [
        value for _ in range(2) for key, value in extra.items() if '"' not in key
    ]
    Story.objects.create(title="x", writer=writer)
    tables("title", f"writer__extra__{ODD_KEYS[1]}")
    assert text() == 'title: x\nwriter extra in"side: value 1'
    tables(*[f"writer__{path}" for path in paths[:2]], model="testapp.Shelf")
    Shelf.objects.create(writer=writer, number=7)
    assert text().endswith("value 1")
    tables("pk", model="testapp.Writer", filterable_fields=paths[1:2])
    assert [message.id for message in check_entities()] == ["ai_migration.E026"]


@pytest.mark.parametrize("also", [[], ["shouted"]], ids=["values", "instances"])
def test_odd_keys_of_many_rows(tables: Callable[..., None], also: list[str]) -> None:
    with table_of(Clue):
        writer = Writer.objects.create(full_name="Ada")
        for said in ({"it's": "me"}, {"it's": None}, {}, {"it's": "us"}):
            Clue.objects.create(writer=writer, said=said)
        tables("clue__said__it's", *also, model="testapp.Writer")
        assert text().splitlines()[0].endswith(": me, us")


def test_one_column_under_two_names(tables: Callable[..., None]) -> None:
    make_story()
    tables("writer__full_name", "writer.fullName", "title")
    assert [line.rpartition(": ")[2] for line in text().splitlines()] == ["Ada", "Ada", "One Two"]


def test_json_of_a_related_row_costs_no_query_a_row(tables: Callable[..., None]) -> None:
    for number in range(9):
        Story.objects.create(title="x", writer=Writer.objects.create(extra={"n": number}))
    tables("writer__extra__n", "house")
    with CaptureQueriesContext(connection) as queries:
        assert read()[4].text == "writer extra n: 4\nhouse: house"
    assert len(queries) == 1


@pytest.mark.vendors("sqlite")
def test_a_value_that_cannot_be_read_costs_its_own_row(tables: Callable[..., None]) -> None:
    for number in range(20):
        Writer.objects.create(full_name=f"w{number}")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE odd_writer SET born = '2024-13-45' WHERE full_name = 'w7'")
    tables("full_name", "born", model="testapp.Writer")
    rows = {row.text: row.error for row in read()}
    assert len(rows) == 20
    assert rows.pop("") == "its field 'born' cannot be read: ValueError"
    assert set(rows.values()) == {""}


@pytest.mark.parametrize("use_tz", [True, False])
def test_moments_are_iso_and_nobodys_time_zone(
    tables: Callable[..., None], settings: Any, use_tz: bool
) -> None:
    if connection.vendor == "postgresql" and not use_tz:
        pytest.skip("the connection was opened with time zones")
    settings.USE_TZ = use_tz
    noon = datetime(2024, 6, 1, 12, tzinfo=UTC if use_tz else None)
    make_story(told=noon)
    tables("told", metadata_fields=["told"], template="{{ told|date:'H:i e' }}")
    with time_zone("Asia/Tokyo"):
        [row] = read()
    assert row.text.startswith("12:00")
    assert row.metadata == {"told": noon.isoformat()}
    tables("told", "by")
    with time_zone("Asia/Tokyo"):
        assert text().splitlines()[0] == f"told: {noon.isoformat()}"


@pytest.mark.vendors("sqlite")
def test_a_text_is_in_nobodys_language(tables: Callable[..., None]) -> None:
    make_story()
    for configured in ({}, {"template": "{{ get_mood_display }}"}):
        tables("get_mood_display", **configured)
        before = read()
        with translation.override("de"):
            assert read() == before
        assert "Yes" in before[0].text


# Templates


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ writer.home_page.motto }}", "Numbers"),
        ("{{ writer__home_page__motto }}", "Numbers"),
        ("{% if writer.home_page %}{{ writer.home_page.motto }}{% endif %}", "Numbers"),
        ("{{ writer.full_name.upper }}", "ADA"),
        ("{{ told }}|", "|"),
        ("{{ told|default:title }}", "One Two"),
        ("{% filter upper %}{{ title }}{% endfilter %}", "ONE TWO"),
        ("{% if title and not told %}{{ writer.extra.k }}{% endif %}", "v"),
        ("{% for key, value in writer.extra.items %}{{ key }}={{ value }}{% endfor %}", "k=v"),
        ("{% for word in words %}{% if word == title %}{% else %}.{% endif %}{% endfor %}", ".."),
        ("{% firstof told title as x %}{{ x }}", "One Two"),
        ("{% if title == 'One Two' and True %}yes{% endif %}", "yes"),
        ("{{ title|cut:mood }}", "One Two"),
        ("{{ writer }}", "{key}"),
    ],
)
@pytest.mark.vendors("sqlite")
def test_templates(tables: Callable[..., None], template: str, said: str) -> None:
    story = make_story()
    Writer.objects.update(extra={"k": "v"})
    tables(template=template)
    assert text() == said.replace("{key}", str(story.writer_id))


@pytest.mark.vendors("sqlite")
def test_a_template_prints_many_with_commas(tables: Callable[..., None]) -> None:
    make_story()
    Story.objects.create(writer=Writer.objects.get(), title="Alpha")
    tables(template="{{ story.title }}/{{ story.title.0 }}", model="testapp.Writer")
    assert text() == "Alpha, One Two/Alpha"


# Querysets


def annotated() -> Any:
    return Writer.objects.annotate(
        stories=models.Count("story"),
        long_name=Concat("full_name", models.Value(" the Great")),
    )


@pytest.mark.parametrize("also", [[], ["shouted"]], ids=["values", "instances"])
def test_an_annotation_is_a_field(tables: Callable[..., None], also: list[str]) -> None:
    make_story()
    Writer.objects.create(full_name="Bob")
    tables(
        "longName",
        *also,
        model="testapp.Writer",
        queryset=f"{__name__}.annotated",
        metadata_fields=["stories"],
        filterable_fields=["stories", "long_name"],
        template="{{ long_name.upper }}: {{ stories }}",
    )
    assert check_entities() == []
    assert check_indexes(databases=["default"]) == []
    assert [row.text for row in read()] == ["ADA THE GREAT: 1", "BOB THE GREAT: 0"]
    assert [row.metadata for row in read()] == [
        {"stories": 1, "long_name": "Ada the Great"},
        {"stories": 0, "long_name": "Bob the Great"},
    ]
    assert matching(lookups={"stories__gte": "1"}) == ["Ada"]
    assert matching(lookups={"long_name": "Bob the Great"}) == ["Bob"]
    with pytest.raises(InvalidRequestError, match="stories"):
        matching(lookups={"stories": "many"})
    ended = run("odd", batch_size=1)
    assert (ended.indexed, ended.failed) == (2, 0)


def test_a_name_that_is_no_annotation_either(tables: Callable[..., None]) -> None:
    tables("full_name", "storys", model="testapp.Writer", queryset=f"{__name__}.annotated")
    assert check_entities() == [], "the queryset is not called without a database"
    [message] = check_indexes(databases=["default"])
    assert (message.id, "'storys'" in message.msg) == ("ai_migration.E023", True)
    with pytest.raises(EntityConfigError, match="storys"):
        registry.get("odd")
    tables("storys", model="testapp.Writer", queryset="objects")
    assert [message.id for message in check_entities()] == ["ai_migration.E023"]
    tables("story__nope", model="testapp.Writer", queryset=f"{__name__}.annotated")
    assert [message.id for message in check_entities()] == ["ai_migration.E023"]


@pytest.mark.vendors("postgresql")
def test_a_statement_that_fails_for_one_row_costs_that_row(tables: Callable[..., None]) -> None:
    """The server's own error, within a transaction that goes on."""
    for number in range(5):
        Writer.objects.create(full_name=f"w{number}", extra={"n": number - 2})
    tables("full_name", "share", model="testapp.Writer", queryset=f"{__name__}.shares")
    for surroundings in (nullcontext, transaction.atomic):
        with surroundings():
            rows = read()
            assert [row.error for row in rows] == [
                "" if row.text else "its field 'share' cannot be read: DataError" for row in rows
            ]
            assert [bool(row.text) for row in rows] == [True, True, False, True, True]


def shares() -> Any:
    number = Cast(models.F("extra__n"), models.IntegerField())
    return Writer.objects.annotate(share=models.Value(12) / number)


def sliced() -> Any:
    return Story.objects.all()[:5]


def united() -> Any:
    return Story.objects.all().union(Story.objects.all())


def as_values() -> Any:
    return Story.objects.values("pk")


def of_others() -> Any:
    return Writer.objects.all()


def broken() -> Any:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("queryset", "words"),
    [
        ("sliced", "sliced"),
        ("united", "combined"),
        ("as_values", r"values\(\)"),
        ("of_others", "testapp.Writer"),
        ("broken", "ZeroDivisionError"),
    ],
)
@pytest.mark.vendors("sqlite")
def test_a_queryset_a_job_cannot_page_through_is_refused(
    tables: Callable[..., None], queryset: str, words: str
) -> None:
    tables("title", queryset=f"{__name__}.{queryset}")
    with pytest.raises(EntityConfigError, match=words):
        registry.get("odd")


@pytest.mark.vendors("sqlite")
def test_rows_are_read_where_they_are_written(
    project: Project, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica lags, and what is stale would win over what is new."""
    from django.db import router

    monkeypatch.setattr(router, "db_for_read", lambda model, **hints: "replica")
    monkeypatch.setattr(router, "db_for_write", lambda model, **hints: "default")
    assert registry.get("article").rows().db == "default"


# Filters


def matching(**filters: Any) -> list[str]:
    entity = registry.get("odd")
    given = MigrationFilters(**filters)
    found = apply_filters(entity, entity.rows(), given)
    stored = load_filters(json.loads(json.dumps(dump_filters(given))))
    again = apply_filters(entity, entity.rows(), stored)
    assert set(found) == set(again), "a filter means the same once it was stored"
    field = "full_name" if entity.model is Writer else "title"
    return sorted(found.values_list(field, flat=True))


def test_a_day_begins_in_the_time_zone_of_the_settings(
    tables: Callable[..., None], settings: Any
) -> None:
    tables("title", created_at_field="told")
    settings.TIME_ZONE = "America/New_York"
    early = datetime(2024, 1, 1, 4, 59, tzinfo=UTC)
    Story.objects.create(title="old", told=early)
    Story.objects.create(title="new", told=early + timedelta(minutes=1))
    day = date(2024, 1, 1)
    with time_zone("Asia/Tokyo"):
        assert matching(created_before=day) == ["old"]
        assert matching(created_after=day) == ["new"]
        assert matching(created_before=datetime(2024, 1, 1)) == ["old"]  # noqa: DTZ001
        assert matching(created_before=early.astimezone(timezone(timedelta(hours=9)))) == []


def test_a_moment_against_a_field_without_time(tables: Callable[..., None]) -> None:
    for name, born in (("a", date(2024, 1, 1)), ("b", date(2024, 1, 2))):
        Writer.objects.create(full_name=name, born=born)
    tables("full_name", model="testapp.Writer", created_at_field="born")
    noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
    assert matching(created_before=noon) == ["a"]
    assert matching(created_after=noon) == ["b"]
    assert matching(created_before=noon.replace(hour=0)) == []
    assert matching(created_after=noon.replace(hour=0)) == ["a", "b"]


def test_a_moment_out_of_range_is_refused(tables: Callable[..., None]) -> None:
    tables("title", created_at_field="told")
    moment = datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))
    Story.objects.count()
    tables("full_name", model="testapp.Writer", created_at_field="born")
    with pytest.raises(InvalidRequestError, match="out of range"):
        matching(created_before=moment)


@pytest.mark.vendors("sqlite")
def test_a_date_of_many_rows_is_refused(tables: Callable[..., None]) -> None:
    tables("full_name", model="testapp.Writer", created_at_field="story__told")
    with pytest.raises(EntityConfigError, match="not a date field"):
        registry.get("odd")


@pytest.mark.parametrize(
    ("lookup", "value", "found"),
    [
        ("price", Decimal("12.50"), ["a"]),
        ("price__gt", Decimal("12.50"), ["b"]),
        ("price__in", {Decimal("12.50"), Decimal("99")}, ["a"]),
        ("price__range", "1, 13", ["a"]),
        ("price__range", (1, 13), ["a"]),
        ("price__isnull", "true", ["c"]),
        ("price", None, ["c"]),
        ("created_at__gte", "2024-06-01", ["b"]),
        ("created_at__lt", date(2024, 6, 1), ["a", "c"]),
        ("created_at__range", "2024-01-01,2024-02-01", ["a", "c"]),
        ("created_at__year", "2025", ["b"]),
        ("attributes__size", "42", ["a", "b"]),
        ("attributes__size", 42, ["a"]),
        ("attributes__color", "red", ["a"]),
        ("attributes__color__icontains", "RE", ["a"]),
        ("status__in", "draft, gone", ["b"]),
        ("status__in", [], []),
        ("tags__name", "sport", []),
    ],
)
def test_lookups(project: Project, lookup: str, value: object, found: list[str]) -> None:
    fields = [
        "price",
        "created_at",
        "attributes__size",
        "attributes__color",
        "status",
        "tags__name",
    ]
    project.article("title", name="odd", filterable_fields=[*fields, "id"])
    for title, price, size, status in (
        ("a", Decimal("12.50"), 42, "published"),
        ("b", Decimal("20"), "42", "draft"),
        ("c", None, None, "published"),
    ):
        attributes = {"size": size, "color": "red" if title == "a" else "blue"}
        Article.objects.create(title=title, price=price, attributes=attributes, status=status)
    Article.objects.update(created_at=datetime(2024, 1, 15, tzinfo=UTC))
    Article.objects.filter(title="b").update(created_at=datetime(2025, 1, 15, tzinfo=UTC))
    if connection.vendor == "mysql" and value == 42:
        found = ["a", "b"]  # MariaDB compares what JSON values look like
    assert matching(lookups={lookup: value}) == found


@pytest.mark.parametrize(
    ("lookup", "value"),
    [
        ("price", "cheap"),
        ("price", "NaN"),
        ("price__gt", None),
        ("price__range", "1"),
        ("price__range", [1, 2, 3]),
        ("price__in", 5),
        ("price__isnull", "perhaps"),
        ("price__isnull", 5),
        ("created_at__gte", "yesterday"),
        ("created_at__date", "2024-13-45"),
        ("created_at__year", "many"),
        ("id__in", [10**30]),
        ("id", str(10**30)),
        ("category__in", [10**30]),
        ("status", "a\0b"),
        ("status", "\ud800"),
        ("status__in", ["a\0b"]),
        ("body", "x"),
        ("status__regex", "("),
        ("category__name", "x"),
    ],
)
def test_lookups_that_do_not_fit_are_refused_at_once(
    project: Project, lookup: str, value: object
) -> None:
    project.article("title", name="odd", filterable_fields=ALLOWED)
    entity = registry.get("odd")
    with pytest.raises(InvalidRequestError) as raised:
        apply_filters(entity, entity.rows(), MigrationFilters(lookups={lookup: value}))
    assert raised.value.field == "filters"
    assert lookup in raised.value.message


ALLOWED = ["price", "created_at", "status", "id", "category"]


def test_a_lookup_that_cannot_be_stored_is_refused() -> None:
    key = uuid4()
    stored = dump_filters(MigrationFilters(lookups={"id": key, "n": (1, None)}))
    assert stored == {"lookups": {"id": str(key), "n": [1, None]}}
    for value in (object(), b"x", {"a": 1}):
        with pytest.raises(InvalidRequestError, match="cannot be stored"):
            dump_filters(MigrationFilters(lookups={"x": value}))


# Keys


@pytest.mark.parametrize("key", ["x", "1.5", "", 10**30, "9" * 5000, None, "1\0"])
@pytest.mark.vendors("sqlite")
def test_what_is_no_integer_key(project: Project, key: object) -> None:
    codec = registry.get("article").key
    with pytest.raises(InvalidRequestError, match="not a primary key of testapp.Article"):
        codec.from_json(key)


@pytest.mark.parametrize("key", [1.5, True])
@pytest.mark.vendors("sqlite")
def test_a_number_is_not_rounded_to_a_key(project: Project, key: object) -> None:
    with pytest.raises(InvalidRequestError):
        registry.get("article").key.from_json(key)


@pytest.mark.parametrize("key", ["1", "[1]", "[1,2,3]", '{"a":1}', "[null,1]", "[", '["x",1]'])
@pytest.mark.vendors("sqlite")
def test_what_is_no_composite_key(project: Project, key: str) -> None:
    project.article("text", name="odd", model="testapp.TenantNote")
    with pytest.raises(InvalidRequestError, match="tenant_id"):
        registry.get("odd").key.from_entity_id(key)


def test_rows_with_a_composite_key(project: Project) -> None:
    TenantNote.objects.create(tenant_id=1, number=2, text="a")
    project.article("text", "pk", name="odd", model="testapp.TenantNote", tenant_field="tenant_id")
    [row] = read()
    assert (row.entity_id, row.metadata) == ("[1,2]", {"tenant_id": 1})
    assert row.text == "text: a\npk: 1, 2"
