"""What a job may do: its pace, its budget and removals; inputs to start with, and to change it
by."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminBigIntegerFieldWidget
from django.utils.translation import gettext_lazy

from ai_migration.exceptions import AIMigrationError
from ai_migration.jobs.values import MAX_COST
from ai_migration.models import MigrationJob
from ai_migration.types import MAX_RATE_LIMIT, MAX_TOKENS, JobChanges


class PaceForm(forms.Form):
    """How fast, and how much at most."""

    rate_limit = forms.IntegerField(
        label=gettext_lazy("Requests a minute"),
        required=False,
        widget=AdminBigIntegerFieldWidget,
        min_value=1,
        max_value=MAX_RATE_LIMIT,
        help_text=gettext_lazy("At most, to the embedder. Empty: as configured."),
    )
    max_tokens = forms.IntegerField(
        label=gettext_lazy("Budget in tokens"),
        required=False,
        widget=AdminBigIntegerFieldWidget,
        min_value=1,
        max_value=MAX_TOKENS,
        help_text=gettext_lazy("It pauses before it embeds more. Empty: any number."),
    )
    max_cost = forms.DecimalField(
        label=gettext_lazy("Budget in money"),
        required=False,
        widget=AdminBigIntegerFieldWidget,
        min_value=Decimal("0.01"),
        max_value=MAX_COST,
        decimal_places=2,
        help_text=gettext_lazy("Where the embedder has a price. Empty: any amount."),
    )

    allow_removals = forms.BooleanField(
        label=gettext_lazy("Allow removals"),
        required=False,
        help_text=gettext_lazy(
            "Let more than half of a large index go, if that many rows are gone."
        ),
    )

    def refuse(self, error: AIMigrationError) -> None:
        """Show what the service said, at the field it is about."""
        self.add_error(error.field if error.field in self.fields else None, error.message)


class AdjustForm(PaceForm):
    """What of a job can be changed; what is left empty stays as it is.

    Args:
        job: The job.
        data: What was sent; None: nothing yet.
    """

    def __init__(self, job: MigrationJob, data: Any = None) -> None:
        now = {name: getattr(job, name) for name in PaceForm.base_fields}
        super().__init__(data, initial=now)
        for field in self.fields.values():
            field.help_text = ""

    @property
    def changes(self) -> JobChanges:
        """What was changed; the form is valid."""
        return JobChanges(**{name: self.cleaned_data[name] for name in self.changed_data})
