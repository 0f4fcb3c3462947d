"""The state of rate limits, shared by all processes and hosts."""

from __future__ import annotations

from django.db import models


class RateLimitState(models.Model):
    """What is known of one embedder's provider; changed under the row's lock by
    ``indexing.limit_states``, and read as ``indexing.pacing.ProviderState``."""

    key = models.CharField(primary_key=True, max_length=255)
    state = models.JSONField(default=dict)

    class Meta:
        db_table = "ai_rate_limits"

    def __str__(self) -> str:
        return self.key
