"""The errors of django-ai-migration: one root, and a message that says what to do.

Shells (commands, REST, admin) catch :class:`AIMigrationError` and translate it;
``code`` is stable and machine readable, ``field`` names the request field at fault.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class ShortRepr(reprlib.Repr):
    """A ``repr`` of bounded length, also for integers too long for Python to convert."""

    def repr_int(self, x: int, level: int) -> str:
        try:
            return super().repr_int(x, level)
        except ValueError:  # it has more than 4,300 digits
            return f"a number of {x.bit_length():,} bits"


def shown(value: object, most: int = 50) -> str:
    """Return a value as messages show it: quoted and short. Never raises.

    Args:
        value: Any value.
        most: The number of characters to show, at most.
    """
    try:
        text = str(value)
    except ValueError:
        text = _short.repr(value)
    return repr(text[:most])


_short = ShortRepr()


def nearest(asked: object, known: Iterable[str]) -> str | None:
    """Return the known name closest to the one asked for, ignoring case and dashes."""
    spelled = {_spelled(name): name for name in sorted(known)}
    close = get_close_matches(_spelled(str(asked)[:100]), spelled, n=1)
    return spelled[close[0]] if close else None


def nearest_key(asked: object, known: Iterable[str]) -> str:
    """Return ``Did you mean 'x'?``, or all known keys if none is close."""
    names = list(known)
    close = nearest(asked, names)
    return f"Did you mean {close!r}?" if close else f"Known keys: {', '.join(names)}."


def _spelled(name: str) -> str:
    return name.lower().replace("_", "-")


class AIMigrationError(Exception):
    """Root of every error this package raises on purpose.

    Args:
        message: What happened, to what, and what to do about it.
        field: The request field at fault, if one is.
    """

    code = "ai_migration_error"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class SettingsError(AIMigrationError):
    """``AI_MIGRATION`` in the Django settings is wrong."""

    code = "invalid_settings"


class MissingDependencyError(SettingsError):
    """An optional library is not installed."""

    code = "missing_dependency"

    def __init__(self, library: str, extra: str, needed_by: str) -> None:
        super().__init__(
            f"{needed_by} needs the library {library!r}, which is not installed. "
            f"Install it with: pip install 'django-ai-migration[{extra}]'"
        )
        self.library = library
        self.extra = extra


class TenantError(AIMigrationError):
    """The connection is in a schema that our tables are not in."""

    code = "wrong_tenant"


class EntityConfigError(AIMigrationError):
    """``ai-entity-config.yml`` or an ``@ai_capable`` declaration is wrong."""

    code = "invalid_entity_config"


class QuerysetError(EntityConfigError):
    """An entity type's ``queryset`` raised an error, as it may until its data exists."""


class UnknownEntityTypeError(AIMigrationError):
    """No entity type of that name exists."""

    code = "unknown_entity_type"

    def __init__(self, entity_type: str, known: Iterable[str]) -> None:
        names = sorted(known)
        listed = ", ".join(names) if names else "none are configured"
        close = nearest(entity_type, names)
        hint = f" Did you mean {close!r}?" if close else ""
        super().__init__(
            f"Unknown entity type {entity_type!r}. Known entity types: {listed}.{hint}",
            field="entity_type",
        )
        self.entity_type = entity_type
        self.known = names


class InvalidRequestError(AIMigrationError):
    """A value of a request is not acceptable."""

    code = "invalid_request"


class UnknownJobError(AIMigrationError):
    """No job has that id."""

    code = "unknown_job"

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"No job has the id {job_id!r}. List the jobs with: manage.py ai_migration jobs",
            field="job_id",
        )


class AmbiguousJobError(AIMigrationError):
    """Several jobs have an id that begins so."""

    code = "ambiguous_job"

    def __init__(self, beginning: str, candidates: Sequence[str], *, more: bool = False) -> None:
        listed = ", ".join(candidates) + (", and others" if more else "")
        super().__init__(
            f"The ids of several jobs begin with {beginning!r}: {listed}. Use more of the id.",
            field="job_id",
        )
        self.candidates = candidates


class InvalidTransitionError(AIMigrationError):
    """The job cannot move from its state to the requested one."""

    code = "invalid_transition"

    def __init__(self, job_id: str, current: str, target: str, advice: str) -> None:
        super().__init__(f"{job_id} is {current}: it cannot become {target}. {advice}")
        self.job_id = job_id
        self.current = current
        self.target = target


class ConflictingJobError(AIMigrationError):
    """Another open job of this kind writes, or verifies, the same collection."""

    code = "conflicting_job"

    def __init__(
        self, entity_type: str, other_job_id: str, status: str, does: str = "writes"
    ) -> None:
        super().__init__(
            f"{other_job_id} ({status}) already {does} the index of {entity_type!r}. "
            f"Wait for it, resume it, or cancel it with: "
            f"manage.py ai_migration cancel {other_job_id}",
            field="entity_type",
        )
        self.other_job_id = other_job_id


class IdempotencyConflictError(AIMigrationError):
    """The idempotency key was used for another request."""

    code = "idempotency_conflict"

    def __init__(self, key: str, job_id: str) -> None:
        super().__init__(
            f"The idempotency key {key[:50]!r} was used before, for another request: it started "
            f"{job_id}. Send that request again, or this one with a new key.",
            field="idempotency_key",
        )
        self.job_id = job_id


class UnusableKeyError(AIMigrationError):
    """A primary key cannot be read, or the database does not find its row under it."""

    code = "unusable_key"


class RebuildRequiredError(AIMigrationError):
    """The embedder or the store is not the one of the index any more.

    Args:
        fact: What differs.
        entity_type: The entity type to rebuild.
    """

    code = "rebuild_required"

    def __init__(self, fact: str, entity_type: str) -> None:
        super().__init__(
            f"{fact} Rebuild the index with: manage.py migrate_ai_entities {entity_type} --rebuild"
        )
        self.fact = fact
        self.entity_type = entity_type


class RemovalsRefusedError(AIMigrationError):
    """More than half of an index would be removed, which was not allowed explicitly."""

    code = "removals_refused"


class NotIndexedError(AIMigrationError):
    """There is no index to search yet."""

    code = "not_indexed"


class OwnershipLostError(AIMigrationError):
    """A lease ran out and another worker owns the work now; the result is dropped."""

    code = "ownership_lost"


class ReplicaBehindError(AIMigrationError):
    """A standby has not replayed yet what was committed when the job began: the job waits."""

    code = "replica_behind"


class TriggersRefusedError(AIMigrationError):
    """Database triggers cannot be created or removed.

    Args:
        entity_type: The entity type; empty: whatever it is.
        reason: Why not.
        advice: What to do; default: nothing, since signals do it.
    """

    code = "triggers_refused"

    def __init__(self, entity_type: str, reason: str, advice: str = "") -> None:
        which = f" for entity type {entity_type!r}" if entity_type else ""
        what_to_do = advice or "Signals and IndexedManager still put its changes in the queue."
        super().__init__(f"No triggers{which}: {reason}. {what_to_do}")
        self.entity_type = entity_type
        self.reason = reason


class UnsettledError(AIMigrationError):
    """Transactions that began before an index was created are still open: its first job waits.

    Args:
        message: What happened.
        horizon: The transactions it waits for are older than this one.
    """

    code = "unsettled"

    def __init__(self, message: str, horizon: int) -> None:
        super().__init__(message)
        self.horizon = horizon


class StoreError(AIMigrationError):
    """The vector store refused or failed.

    Args:
        message: What happened.
        transient: Whether trying again later can help (a lost connection), or not
            (a full disk, a wrong dimension).
    """

    code = "store_error"

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class EmbedderError(AIMigrationError):
    """Root of the errors an embedder can raise."""

    code = "embedder_error"


class TransientEmbedderError(EmbedderError):
    """A time-out, a 5xx, a lost connection: trying again can help."""

    code = "embedder_transient"


class ThrottledError(EmbedderError):
    """The provider asks to wait (429). Does not count as a failed attempt.

    Args:
        message: The provider's message.
        retry_after: Seconds to wait, if the provider says so.
    """

    code = "embedder_throttled"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InputRefusedError(EmbedderError):
    """These texts are refused; others may be accepted. The batch is split down to the row."""

    code = "embedder_input"


class TextTooLongError(InputRefusedError):
    """One of these texts has more tokens than the model takes: cut smaller, it may be accepted."""

    code = "embedder_too_long"


class FatalEmbedderError(EmbedderError):
    """No request succeeds until the cause is removed: a bad key, an unknown model, no quota."""

    code = "embedder_fatal"
