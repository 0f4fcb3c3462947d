"""The pace, budget and removals of a job: inputs to start a job with, and to adjust it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminBigIntegerFieldWidget
from django.utils.translation import gettext_lazy

from ai_migration.admin.rebuilds import reason_of
from ai_migration.exceptions import AIMigrationError
from ai_migration.jobs.values import MAX_COST
from ai_migration.models import MigrationJob
from ai_migration.types import MAX_RATE_LIMIT, MAX_TOKENS, JobChanges


class PaceForm(forms.Form):
    """The inputs for pace, budget and removals."""

    rate_limit = forms.IntegerField(
        label=gettext_lazy("Requests a minute"),
        required=False,
        widget=AdminBigIntegerFieldWidget,
        min_value=1,
        max_value=MAX_RATE_LIMIT,
        help_text=gettext_lazy("To the embedder, at most. Empty: as configured."),
    )
    max_tokens = forms.IntegerField(
        label=gettext_lazy("Budget in tokens"),
        required=False,
        widget=AdminBigIntegerFieldWidget,
        min_value=1,
        max_value=MAX_TOKENS,
        help_text=gettext_lazy("The job pauses before it uses more. Empty: no limit."),
    )
    max_cost = forms.DecimalField(
        label=gettext_lazy("Budget in money"),
        required=False,
        widget=AdminBigIntegerFieldWidget,
        min_value=Decimal("0.01"),
        max_value=MAX_COST,
        decimal_places=2,
        help_text=gettext_lazy("If the embedder has a price. Empty: no limit."),
    )

    allow_removals = forms.BooleanField(
        label=gettext_lazy("Allow removals"),
        required=False,
        help_text=gettext_lazy(
            "Remove even more than half of a large index, if that many rows are gone."
        ),
    )

    def refuse(self, error: AIMigrationError) -> None:
        """Show an error of the service at the field it is about."""
        self.add_error(error.field if error.field in self.fields else None, reason_of(error))


class AdjustForm(PaceForm):
    """Adjusts a job; empty inputs change nothing.

    Args:
        job: The job.
        data: The submitted data, if any.
    """

    def __init__(self, job: MigrationJob, data: Any = None) -> None:
        now = {name: getattr(job, name) for name in PaceForm.base_fields}
        super().__init__(data, initial=now)
        for field in self.fields.values():
            field.help_text = ""

    @property
    def changes(self) -> JobChanges:
        """Return the adjustments of a valid form."""
        return JobChanges(**{name: self.cleaned_data[name] for name in self.changed_data})
