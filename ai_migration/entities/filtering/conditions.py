"""The conditions of an entity type's ``filter``: checked like the filters of a job."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.db.models import Model, QuerySet

from ai_migration.entities.fields import FieldKind, ResolvedField
from ai_migration.entities.filtering.filters import UNFIT, compile_only, unfit_filter
from ai_migration.entities.filtering.lookups import LOOKUPS, condition, require_storable
from ai_migration.entities.sources import RowCondition, matching
from ai_migration.exceptions import EntityConfigError


def row_condition(
    model: type[Model],
    name: str,
    value: Any,
    resolve: Callable[[str], ResolvedField],
    rows: QuerySet[Any] | None,
) -> RowCondition:
    """Return a condition for the rows of an entity type.

    Args:
        model: Its model.
        name: A field, or a field and a look-up: ``status__in``.
        value: The value, or the values, to compare with.
        resolve: Returns the field of a name.
        rows: The rows, if they are known: some values are refused only for a database.

    Raises:
        EntityConfigError: There is no such field, or only on instances.
        InvalidRequestError: The value does not fit.
    """
    field, lookup = _compared(name, resolve)
    if field.kind is FieldKind.ATTRIBUTE:
        raise EntityConfigError(
            f"{name!r} is a property or a method of {model._meta.label}; only database fields can "
            f"be compared"
        )
    try:
        require_storable(value)
        wanted = condition(model, field, lookup, value)
        if rows is not None:
            compile_only(matching(rows, field, wanted))
        elif not field.is_annotation:
            model._base_manager.filter(wanted)
    except UNFIT as error:
        raise unfit_filter(name, value, error) from error
    return RowCondition(name, field, wanted)


def _compared(name: str, resolve: Callable[[str], ResolvedField]) -> tuple[ResolvedField, str]:
    """Return the field and the look-up of a name."""
    head, _, last = name.rpartition("__")
    if not head or last not in LOOKUPS:
        return resolve(name), "exact"
    with suppress(EntityConfigError):
        field = resolve(name)
        if not field.keys:  # a field of a relation that is called like a look-up
            return field, "exact"
    return resolve(head), last
