"""The state of rate limits, shared by all processes and hosts."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from ai_migration.models.base import OwnModel


class RateLimitState(OwnModel):
    """The shared state of one embedder's provider; changed under the row's lock by ``pace.states``,
    and read as ``pace.pacing.ProviderState``."""

    key = models.CharField(_("key"), primary_key=True, max_length=255)
    state = models.JSONField(default=dict)

    class Meta(OwnModel.Meta):
        db_table = "ai_rate_limits"
        verbose_name = _("rate limit state")
        verbose_name_plural = _("rate limit states")

    def __str__(self) -> str:
        return self.key
