"""Models only some tests have; their tables are made by the tests that need them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import ClassVar

from django.db import connection, models

from tests.testapp.models import Category


class Dated(models.Model):
    """A date without a time."""

    title = models.CharField(max_length=50)
    made_on = models.DateField()

    objects: ClassVar[models.Manager[Dated]] = models.Manager()

    class Meta:
        app_label = "testapp"
        managed = False
        db_table = "odd_dated"

    def __str__(self) -> str:
        return self.title


class Logged(models.Model):
    """A primary key that is a moment."""

    at = models.DateTimeField(primary_key=True)
    title = models.CharField(max_length=50)

    objects: ClassVar[models.Manager[Logged]] = models.Manager()

    class Meta:
        app_label = "testapp"
        managed = False
        db_table = "odd_logged"

    def __str__(self) -> str:
        return self.title


class Slow(models.Model):
    """A primary key that is also a relation."""

    dated = models.OneToOneField(Dated, on_delete=models.CASCADE, primary_key=True)
    title = models.CharField(max_length=50)

    objects: ClassVar[models.Manager[Slow]] = models.Manager()

    class Meta:
        app_label = "testapp"
        managed = False
        db_table = "odd_slow"

    def __str__(self) -> str:
        return self.title


class Measured(models.Model):  # noqa: DJ008
    """Columns of the types whose values a driver may be unable to read."""

    title = models.CharField(max_length=50)
    at = models.DateTimeField(null=True)
    day = models.DateField(null=True)
    hour = models.TimeField(null=True)
    span = models.DurationField(null=True)
    amount = models.DecimalField(max_digits=10, decimal_places=4, null=True)
    extra = models.JSONField(default=dict)

    objects: ClassVar[models.Manager[Measured]] = models.Manager()

    class Meta:
        app_label = "testapp"
        managed = False
        db_table = "odd_measured"

    @property
    def shouted(self) -> str:
        return self.title.upper()


class Typed(models.Model):
    """A field of each type."""

    title = models.CharField(max_length=50, default="title")
    small = models.SmallIntegerField(default=1)
    integer = models.IntegerField(default=1)
    weight = models.FloatField(default=1.5)
    price = models.DecimalField(max_digits=6, decimal_places=2, default=1)
    flag = models.BooleanField(default=True)
    day = models.DateField(default=date(2024, 1, 1))
    at = models.DateTimeField(default=datetime(2024, 1, 1, tzinfo=UTC))
    clock = models.TimeField(default=time(12))
    span = models.DurationField(default=timedelta(days=1))
    uid = models.UUIDField(default=uuid.UUID(int=1))
    attrs = models.JSONField(default=dict)
    data = models.BinaryField(default=b"x")
    ip = models.GenericIPAddressField(default="127.0.0.1")
    # No deletion of a category asks for its table, which only some tests have.
    category = models.ForeignKey(Category, on_delete=models.DO_NOTHING, null=True)

    objects: ClassVar[models.Manager[Typed]] = models.Manager()

    class Meta:
        app_label = "testapp"
        managed = False
        db_table = "odd_typed"

    def __str__(self) -> str:
        return self.title


class Composed(models.Model):  # noqa: DJ008
    """A key of a text, a UUID and a number."""

    pk = models.CompositePrimaryKey("name", "uid", "number")
    name = models.CharField(max_length=50)
    uid = models.UUIDField()
    number = models.IntegerField()
    text = models.CharField(max_length=50)

    objects: ClassVar[models.Manager[Composed]] = models.Manager()

    class Meta:
        app_label = "testapp"
        managed = False
        db_table = "odd_composed"


class RichTextField(models.TextField):  # type: ignore[type-arg]
    """Has the name of a field that holds HTML."""


class RichPage(models.Model):  # noqa: DJ008
    """Rich text, as editors write it."""

    title = models.CharField(max_length=50)
    body = RichTextField()
    note = models.TextField(default="")

    objects: ClassVar[models.Manager[RichPage]] = models.Manager()

    class Meta:
        app_label = "testapp"
        managed = False
        db_table = "odd_page"


@contextmanager
def table_of(*made: type[models.Model]) -> Iterator[None]:
    """The tables of these models, as long as the test needs them."""
    with connection.schema_editor() as editor:
        for model in made:
            editor.create_model(model)
    yield


def drop_table(model: type[models.Model]) -> None:
    """Lose a table."""
    with connection.schema_editor() as editor:
        editor.delete_model(model)
