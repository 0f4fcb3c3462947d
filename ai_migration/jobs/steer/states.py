"""The states of a job in one table: the transitions and actions of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from ai_migration.types import JobStatus

ENGINE = "engine"
"""Who moves a job, in the audit log, where nobody did."""


class Action(TextChoices):
    """The actions that can be asked of a job."""

    PAUSE = "pause", _("Pause")
    RESUME = "resume", _("Resume")
    RETRY = "retry", _("Retry failed")
    CANCEL = "cancel", _("Cancel")


@dataclass(frozen=True)
class State:
    """A state of a job.

    Attributes:
        edges: The states it leads to, each with the reason that the audit log gives.
        permits: The actions that change a job in this state.
        answers: The actions that come too late: they change nothing, and are not errors.
        advice: What to do, in a sentence for messages.
    """

    edges: Mapping[JobStatus, str]
    permits: tuple[Action, ...] = ()
    answers: tuple[Action, ...] = ()
    advice: str = ""


_S, _A = JobStatus, Action

STATES: Mapping[JobStatus, State] = {
    _S.PENDING: State(
        edges={
            _S.RUNNING: gettext_noop("a slot of MAX_CONCURRENT_JOBS is free"),
            _S.PAUSED: gettext_noop("paused before it began"),
            _S.CANCELLED: gettext_noop("cancelled before it began"),
        },
        permits=(_A.PAUSE, _A.RETRY, _A.CANCEL),
        answers=(_A.RESUME,),
        advice="It waits for a free slot: it can be paused or cancelled.",
    ),
    _S.RUNNING: State(
        edges={
            _S.PAUSED: gettext_noop("paused"),
            _S.COMPLETED: gettext_noop(
                "every entity is indexed, skipped, removed or listed as failed"
            ),
            _S.FAILED: gettext_noop("it cannot go on until its cause is removed"),
            _S.CANCELLED: gettext_noop("cancelled"),
        },
        permits=(_A.PAUSE, _A.RETRY, _A.CANCEL),
        answers=(_A.RESUME,),
        advice="It can be paused or cancelled.",
    ),
    _S.PAUSED: State(
        edges={
            _S.RUNNING: gettext_noop("resumed"),
            _S.PENDING: gettext_noop("resumed, and no slot is free"),
            _S.CANCELLED: gettext_noop("cancelled"),
        },
        permits=(_A.RESUME, _A.RETRY, _A.CANCEL),
        answers=(_A.PAUSE,),
        advice="It can be resumed or cancelled.",
    ),
    _S.COMPLETED: State(
        edges={
            _S.RUNNING: gettext_noop("failed entities are tried again"),
            _S.PENDING: gettext_noop("failed entities are tried again, and no slot is free"),
        },
        permits=(_A.RETRY,),
        advice="It is done; start a new migration, or retry its failed entities.",
    ),
    _S.FAILED: State(
        edges={
            _S.RUNNING: gettext_noop("resumed after the cause was removed"),
            _S.PENDING: gettext_noop("resumed, and no slot is free"),
            _S.CANCELLED: gettext_noop("cancelled after it failed"),
        },
        permits=(_A.RESUME, _A.RETRY, _A.CANCEL),
        advice="It can be resumed after its cause is removed, or cancelled.",
    ),
    _S.CANCELLED: State(
        edges={},
        answers=(_A.CANCEL,),
        advice="It is over; start a new migration.",
    ),
}


def sources_of(target: JobStatus) -> list[JobStatus]:
    """Return the states from which a job can become ``target``."""
    return [status for status, state in STATES.items() if target in state.edges]
