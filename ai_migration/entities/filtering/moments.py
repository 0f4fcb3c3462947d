"""Dates and times as users write them, in the type a column compares."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.db.models import DateTimeField, Field
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from ai_migration.exceptions import InvalidRequestError, shown


def parse_moment(value: object, field: str) -> date | datetime | None:
    """Return a date or a date with time, from ISO 8601.

    Raises:
        InvalidRequestError: It is neither.
    """
    if value is None or isinstance(value, date):
        return value
    written = shown(value)
    try:
        parsed = parse_date(str(value)) or parse_datetime(str(value))
    except ValueError:
        parsed = None
    if parsed is None:
        raise InvalidRequestError(
            f"{field}: {written} is not a date. Write it like 2024-01-31 or "
            f"2024-01-31T12:00:00+00:00.",
            field=field,
        )
    return parsed


def instant_of(moment: date | datetime, field: Field[Any, Any], name: str) -> date | datetime:
    """Return a bound in the type of the field: an aware instant, or a date. Without a time zone it
    is in that of the settings, so that it is the same in every process."""
    zone = timezone.get_default_timezone()
    try:
        if not isinstance(field, DateTimeField):
            if not isinstance(moment, datetime):
                return moment
            local = moment.astimezone(zone) if timezone.is_aware(moment) else moment
            # A day counts as its first instant: before noon it is "before", not "after".
            return local.date() + timedelta(days=local.time() > time.min)
        instant = moment if isinstance(moment, datetime) else datetime.combine(moment, time.min)
        if timezone.is_aware(instant):
            instant = instant.astimezone(UTC)  # raises at either end of time, as a database would
        if timezone.is_aware(instant) == settings.USE_TZ:
            return instant
        convert = timezone.make_aware if settings.USE_TZ else timezone.make_naive
        return convert(instant, zone)
    except (OverflowError, ValueError) as error:
        raise InvalidRequestError(
            f"{name}: {moment.isoformat()} is out of range", field=name
        ) from error
