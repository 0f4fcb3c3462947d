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
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ai_migration.admin import display
from ai_migration.admin.pace import PaceForm
from ai_migration.conf import MAX_BATCH_SIZE
from ai_migration.entities import registry
from ai_migration.entities.entity import Entity
from ai_migration.entities.fields import ResolvedField
from ai_migration.types import (
    DurationBasis,
    MigrationFilters,
    MigrationMode,
    MigrationPlan,
    MigrationRequest,
)

EXAMINED = 10_000
"""Rows that a preview examines, at most; beyond that it extrapolates."""

_MODES = {
    MigrationMode.CHANGED: gettext_lazy(
        "Changed: rows that are missing from the index, and rows that now read differently than "
        "when they were indexed"
    ),
    MigrationMode.MISSING: gettext_lazy("Missing: only rows that are missing from the index"),
    MigrationMode.ALL: gettext_lazy("All: every row is embedded again, at full cost"),
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
        rebuild: Whether a rebuild is proposed.
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
            "Fill a new index. Searches use the present one until it is complete, if its embedder "
            "can still be used."
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
        label=gettext_lazy("Reason"),
        required=False,
        max_length=500,
        help_text=gettext_lazy("For the audit log."),
    )
    key = forms.CharField(widget=forms.HiddenInput, max_length=64)

    def __init__(self, data: Any, entity: Entity, *, rebuild: bool = False) -> None:
        super().__init__(data, initial={"key": secrets.token_hex(16), "rebuild": rebuild})
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

    @property
    def chosen(self) -> list[tuple[str, str]]:
        """The fields that were filled in, each with its value as the user chose it."""
        shown = []
        for bound in self.visible_fields():
            value = self.cleaned_data.get(bound.name)
            if value in (None, "", False):
                continue
            if isinstance(bound.field, forms.ChoiceField):
                choices: Any = bound.field.choices
                value = dict(choices).get(value, value)
            elif value is True:
                value = _("yes")
            shown.append((str(bound.label), str(value)))
        return shown

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


def matching(plan: MigrationPlan) -> str:
    """Return how many rows a migration would look at, in words."""
    words = ngettext("%(count)s row matches.", "%(count)s rows match.", plan.rows)
    if plan.is_estimate:
        words = ngettext("About %(count)s row matches.", "About %(count)s rows match.", plan.rows)
    return words % {"count": display.number(plan.rows)}


def numbers_of(plan: MigrationPlan) -> list[tuple[str, str, str]]:
    """Return a preview as tiles, label, number and note: always eight, which fill their rows."""
    counts = [
        (_("to embed"), plan.to_embed, ""),
        (_("to update"), plan.to_update_metadata, _("metadata only, nothing is embedded")),
        (_("to skip"), plan.to_skip, _("as they are indexed")),
        (_("to remove"), plan.to_remove, _("their rows are gone")),
        (_("requests"), plan.requests, ""),
        (_("tokens"), plan.tokens, ""),
    ]
    return [
        *((word, display.about(count, plan.is_estimate), note) for word, count, note in counts),
        display.cost(plan.cost, plan.is_estimate),
        _duration(plan),
    ]


_BASES = {
    DurationBasis.EARLIER_JOB: gettext_lazy("at the pace of the last migration"),
    DurationBasis.SAMPLE: gettext_lazy("as measured on a sample, with one worker"),
    DurationBasis.LIMIT: gettext_lazy("at least, because of the rate limit"),
    DurationBasis.NOTHING: gettext_lazy("nothing has to be embedded"),
}


def _duration(plan: MigrationPlan) -> tuple[str, str, str]:
    if plan.duration is None:
        note = _("not known before the first migration")
        return _("time"), display.NOTHING, note
    shown = display.roughly(plan.duration.time)
    if plan.duration.basis is not DurationBasis.LIMIT:
        shown = _("about %(time)s") % {"time": shown}
    return _("time"), shown, str(_BASES[plan.duration.basis])


def _of(field: ResolvedField) -> Iterator[Filter]:
    """The inputs of one of the fields to filter by."""
    column, label = field.field, capfirst(field.name.replace("__", " ").replace("_", " "))
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
