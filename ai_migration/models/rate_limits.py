"""The state of rate limits, shared by all processes and hosts."""

from __future__ import annotations

from django.db import models


class RateLimitState(models.Model):
    """What a token bucket remembers; ``indexing.rate_limits`` steps it under the row's lock."""

    key = models.CharField(primary_key=True, max_length=255)
    state = models.JSONField(default=list)

    class Meta:
        db_table = "ai_rate_limits"

    def __str__(self) -> str:
        return self.key
