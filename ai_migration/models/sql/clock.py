"""The database's clock, by which leases and versions are measured.

A moment of our tables is one instant, whatever the host's ``USE_TZ`` and ``TIME_ZONE`` say: with
a time zone in Python, in UTC in the database. Moments without a time zone would be wrong by
the hours between host and server, and by one more whenever the clocks are changed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import ExpressionWrapper, Value, functions
from django.db.models.expressions import Combinable
from django.db.models.sql.compiler import SQLCompiler
from django.utils import timezone

from ai_migration.models.sql.dialects import dialect, dialect_of

if TYPE_CHECKING:
    _DateTimeField = models.DateTimeField[Any, Any]
else:
    _DateTimeField = models.DateTimeField

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MomentField(_DateTimeField):
    """A datetime column: always aware, always UTC. A naive value is taken in the time zone of the
    settings. In migrations it is Django's ``DateTimeField``."""

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.DateTimeField", args, kwargs

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """Return the value to write, and set it on the instance."""
        value = _aware(super().pre_save(model_instance, add))
        setattr(model_instance, self.attname, value)
        return value

    def get_prep_value(self, value: Any) -> Any:
        return super().get_prep_value(_aware(value))

    def get_db_prep_value(
        self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False
    ) -> Any:
        moment = value if prepared else self.get_prep_value(value)
        if isinstance(moment, datetime) and not dialect_of(connection).keeps_zones:
            moment = _aware(moment).astimezone(UTC).replace(tzinfo=None)
        return super().get_db_prep_value(moment, connection, prepared=True)

    def from_db_value(
        self, value: datetime | None, expression: object, connection: BaseDatabaseWrapper
    ) -> datetime | None:
        """Restore the time zone, which Django cuts off without ``USE_TZ``."""
        if value is None:
            return None
        if not dialect_of(connection).keeps_zones:
            return value.replace(tzinfo=UTC)
        if timezone.is_naive(value):
            value = value.replace(tzinfo=ZoneInfo(connection.timezone_name))
        return value.astimezone(UTC)


class Now(functions.Now):  # noqa: TID251
    """Django's ``Now``, in UTC on MySQL and MariaDB too, where it is in the server's time zone."""

    output_field = MomentField()

    def as_mysql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra_context: Any
    ) -> tuple[str, Any]:
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **extra_context)


def now_microseconds(using: str) -> int:
    """Return the microseconds since 1970 by a database's clock, which advances within a
    transaction."""
    return dialect(using).now_microseconds()


def now(using: str) -> datetime:
    """Return the time by the same clock."""
    return _EPOCH + timedelta(microseconds=now_microseconds(using))


def after(seconds: float) -> Combinable:
    """Return an expression for the time that many seconds from now; negative: in the past."""
    return ExpressionWrapper(Now() + Value(timedelta(seconds=seconds)), output_field=MomentField())


def _aware(value: Any) -> Any:
    if isinstance(value, datetime) and timezone.is_naive(value):
        return timezone.make_aware(value, timezone.get_default_timezone())
    return value
