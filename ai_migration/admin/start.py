"""The form that starts a migration, with a preview before the start."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django import forms
from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ai_migration.admin import display
from ai_migration.admin.pace import PaceForm
from ai_migration.conf import MAX_BATCH_SIZE
from ai_migration.entities import registry
from ai_migration.entities.entity import Entity
from ai_migration.entities.fields import ResolvedField
from ai_migration.types import MigrationFilters, MigrationMode, MigrationPlan, MigrationRequest

EXAMINED = 10_000
"""Rows that a preview examines, at most; beyond that it extrapolates."""

_MODES = {
    MigrationMode.CHANGED: gettext_lazy("changed: missing entities, and those whose text differs"),
    MigrationMode.MISSING: gettext_lazy("missing: only entities that the index does not have"),
    MigrationMode.ALL: gettext_lazy("all: embed everything again, at full cost"),
}
_YES_NO = [
    ("", gettext_lazy("either")),
    ("true", gettext_lazy("yes")),
    ("false", gettext_lazy("no")),
]
_DATES = ("created_after", "created_before")
_ORDERED = (models.DateField, models.IntegerField, models.DecimalField, models.FloatField)


@dataclass(frozen=True)
class Filter:
    """One input of the form and the look-up it stands for."""

    lookup: str
    field: forms.Field


class StartForm(PaceForm):
    """A :class:`~ai_migration.types.MigrationRequest` of one entity type.

    Args:
        data: The submitted data, if any.
        entity: The entity type.
    """

    mode = forms.ChoiceField(
        label=gettext_lazy("Which entities"),
        choices=list(_MODES.items()),
        initial=MigrationMode.CHANGED,
        widget=forms.RadioSelect,
    )
    rebuild = forms.BooleanField(
        label=gettext_lazy("Rebuild"),
        required=False,
        help_text=gettext_lazy(
            "Fill a new index; searches use the present one until it is complete."
        ),
    )
    entity_ids = forms.CharField(
        label=gettext_lazy("Only these"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "class": "vLargeTextField"}),
        help_text=gettext_lazy("Primary keys, separated by spaces or line breaks."),
    )
    created_after = forms.DateField(label=gettext_lazy("Created since"), required=False)
    created_before = forms.DateField(label=gettext_lazy("Created before"), required=False)
    batch_size = forms.IntegerField(
        label=gettext_lazy("Batch size"),
        required=False,
        min_value=1,
        max_value=MAX_BATCH_SIZE,
        help_text=gettext_lazy("Rows in one batch. Empty: as configured."),
    )
    note = forms.CharField(
        label=gettext_lazy("Why"),
        required=False,
        max_length=500,
        help_text=gettext_lazy("For the audit trail."),
    )
    key = forms.CharField(widget=forms.HiddenInput, max_length=64)

    def __init__(self, data: Any, entity: Entity) -> None:
        super().__init__(data, initial={"key": secrets.token_hex(16)})
        self.order_fields(["mode", "rebuild", "entity_ids", *_DATES, "batch_size"])
        self.entity = entity
        if entity.created_at is None:
            for name in _DATES:
                del self.fields[name]
        self._filters = {
            f"where-{each.lookup}": each
            for field in entity.filterable_fields
            for each in _of(field)
        }
        for name, each in self._filters.items():
            self.fields[name] = each.field
        for field in self.fields.values():
            _dress(field)

    @property
    def what(self) -> list[forms.BoundField]:
        """The fields that choose mode and index."""
        return [self["mode"], self["rebuild"]]

    @property
    def which(self) -> list[forms.BoundField]:
        """The fields that choose rows."""
        dates = [name for name in _DATES if name in self.fields]
        return [self[name] for name in (*self._filters, *dates, "entity_ids")]

    @property
    def how(self) -> list[forms.BoundField]:
        """The fields for pace and budget."""
        return [self[name] for name in ("batch_size", *PaceForm.base_fields, "note")]

    def request(self, created_by: str) -> MigrationRequest:
        """Return the request of a valid form."""
        given = self.cleaned_data
        return MigrationRequest(
            self.entity.name,
            mode=given["mode"],
            batch_size=given["batch_size"],
            rate_limit=given["rate_limit"],
            max_tokens=given["max_tokens"],
            max_cost=given["max_cost"],
            filters=MigrationFilters(
                created_after=given.get("created_after"),
                created_before=given.get("created_before"),
                entity_ids=[item for item in re.split(r"[\s,]+", given["entity_ids"]) if item],
                lookups={
                    each.lookup: given[name]
                    for name, each in self._filters.items()
                    if given[name] not in ("", None)
                },
            ),
            rebuild=given["rebuild"],
            allow_removals=given["allow_removals"],
            created_by=created_by,
            idempotency_key=given["key"],
            note=given["note"],
        )


def entity_of(request: HttpRequest) -> Entity | None:
    """Return the chosen entity type, if there is one.

    Raises:
        AIMigrationError: It does not exist, or its config is wrong.
    """
    name = request.POST.get("entity_type") or request.GET.get("entity_type")
    return registry.get(name) if name else None


def numbers_of(plan: MigrationPlan) -> list[tuple[str, str]]:
    """Return a preview as tiles: label and number."""
    about = _("about") + " " if plan.is_estimate else ""
    numbers = [
        (_("rows"), plan.rows),
        (_("to embed"), plan.to_embed),
        (_("to update without embedding"), plan.to_update_metadata),
        (_("to skip"), plan.to_skip),
        (_("to remove"), plan.to_remove),
        (_("requests"), plan.requests),
        (_("tokens"), plan.tokens),
    ]
    cost = (
        _("no price is set") if plan.cost is None else about + display.number(float(plan.cost), 2)
    )
    time = _("no limit is set")
    if plan.duration_at_rate_limit is not None:
        time = _("at least %(time)s") % {"time": display.length(plan.duration_at_rate_limit)}
    return [
        *((word, about + display.number(count)) for word, count in numbers),
        (_("cost"), cost),
        (_("time"), time),
    ]


def _of(field: ResolvedField) -> Iterator[Filter]:
    """The inputs of one of the ``filterable-fields``."""
    column, label = field.field, field.name.replace("__", " ").replace("_", " ")
    if isinstance(column, models.BooleanField):
        yield Filter(field.name, forms.ChoiceField(label=label, choices=_YES_NO, required=False))
    elif isinstance(column, _ORDERED) and not column.choices:
        since, until = _("%(field)s from"), _("%(field)s to")
        kind = forms.DateField if isinstance(column, models.DateField) else forms.CharField
        for lookup, words in (("gte", since), ("lte", until)):
            made = kind(label=words % {"field": label}, required=False)
            yield Filter(f"{field.name}__{lookup}", made)
    elif column is not None and column.choices:
        choices = [("", _("any")), *column.flatchoices]
        yield Filter(field.name, forms.ChoiceField(label=label, choices=choices, required=False))
    else:
        yield Filter(field.name, forms.CharField(label=label, required=False, max_length=500))


def _dress(field: forms.Field) -> None:
    """Style an input as the admin's own, with the browser's calendar."""
    if isinstance(field, forms.DateField):
        field.widget.input_type = "date"
        field.widget.format = "%Y-%m-%d"
    elif isinstance(field, forms.IntegerField):
        field.widget.attrs.setdefault("class", "vIntegerField")
    elif isinstance(field, forms.CharField):
        field.widget.attrs.setdefault("class", "vTextField")
