"""The rest of a job's budget, reserved before each request so that no kill hides it."""

from __future__ import annotations

from django.db.models import F
from django.db.models.lookups import LessThanOrEqual

from ai_migration.models import MigrationJob


class Budget:
    """The account of one worker with the budget of one job.

    The tokens of a request are reserved on the job before it is sent, and settled when its batch is
    written. If the worker is killed in between, its reservation stays, so that what a provider may
    have charged for is never spent again. A job without a budget is not written to.

    Args:
        job_id: The job.
        using: Database alias of our tables.

    Attributes:
        limit: Tokens the job may embed in all; None: any number.
        committed: Tokens of requests in flight, as they were counted, and of answers of
            batches that are not written yet.
        reserved: Tokens this worker has reserved on the job.
    """

    def __init__(self, job_id: str, using: str) -> None:
        self.limit: int | None = None
        self.committed = 0
        self.reserved = 0
        self._jobs = MigrationJob.objects.using(using).filter(pk=job_id)

    @property
    def unused(self) -> int:
        """Tokens that are reserved, but not for any request."""
        return max(0, self.reserved - self.committed)

    def take(self, tokens: int) -> bool:
        """Reserve the tokens of a request before it is sent. Return whether the budget has them."""
        missing = self.committed + tokens - self.reserved
        if self.limit is not None and missing > 0:
            # Added up rather than subtracted: MySQL has no negative numbers here.
            spent = F("embedded_tokens") + F("reserved_tokens")
            affordable = self._jobs.filter(LessThanOrEqual(spent, self.limit - missing))
            if not affordable.update(reserved_tokens=F("reserved_tokens") + missing):
                return False
            self.reserved += missing
        self.committed += tokens
        return True

    def correct(self, tokens: int, actual: int) -> None:
        """Replace the tokens reserved for a request by what it cost, after it was answered or
        failed."""
        self.committed += actual - tokens

    def released_with(self, tokens: int) -> int:
        """Return the tokens that are no longer reserved once a batch of this cost is written."""
        return max(0, self.reserved - (self.committed - tokens))

    def settle(self, tokens: int, released: int) -> None:
        """Take note that a batch was written, and its cost settled on the job."""
        self.committed -= tokens
        self.reserved -= released

    def forfeit(self, tokens: int) -> None:
        """Take note that a batch was paid for and not written: the job stays charged for it."""
        self.committed -= tokens
        self.reserved = max(0, self.reserved - tokens)

    def close(self) -> None:
        """Release what was reserved and not used."""
        if unused := self.unused:
            self._jobs.update(reserved_tokens=F("reserved_tokens") - unused)
            self.reserved -= unused
