"""Models only some tests have; their tables are made by the tests that need them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from django.db import connection, models


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
