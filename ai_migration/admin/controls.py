"""Pause, resume, cancel and retry jobs through the service, with an answer for each job."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ai_migration.admin import display
from ai_migration.admin.base import key_of
from ai_migration.admin.pace import AdjustForm
from ai_migration.admin.rebuilds import with_reason
from ai_migration.exceptions import AIMigrationError, InvalidRequestError
from ai_migration.jobs.service import migration_service
from ai_migration.jobs.steer.states import STATES, Action
from ai_migration.models import EntityFailure, MigrationJob
from ai_migration.models.leases import our_database
from ai_migration.types import JobChanges, JobStatus

NAMED = 20
"""Jobs named in one answer, at most."""
RETRIED = 10_000
"""Failures with one error that one button retries, at most."""


_DONE: dict[Action, str | Promise] = {
    Action.PAUSE: gettext_lazy("is paused"),
    Action.RESUME: gettext_lazy("is resumed"),
    Action.RETRY: gettext_lazy("retries its failed entities"),
    Action.CANCEL: gettext_lazy("is cancelled"),
}


@dataclass(frozen=True)
class Answer:
    """The result of an action on one job.

    Attributes:
        text: The message.
        level: A level of :mod:`django.contrib.messages`.
    """

    text: str
    level: int


def actions_for(job: MigrationJob) -> list[Action]:
    """Return the actions that a job's state allows."""
    permitted = STATES[JobStatus(job.status)].permits
    return [each for each in permitted if each is not Action.RETRY or job.failed_entities]


def may_change(job: MigrationJob) -> bool:
    """Return whether a job can be adjusted: whether it is under way or can be resumed."""
    state = STATES[JobStatus(job.status)]
    return Action.RESUME in (*state.permits, *state.answers)


def act(action: Action, job_id: str, *, actor: str, reason: str = "") -> Answer:
    """Perform an action on one job.

    Args:
        action: The action.
        job_id: The job.
        actor: The user who asks.
        reason: The user's reason.
    """
    try:
        before = migration_service.get_job(job_id)
        _calls(reason, actor)[action](job_id)
    except AIMigrationError as error:
        return _not_done(error)
    if action in STATES[JobStatus(before.status)].answers:
        words = _("Nothing to do: %(job)s is %(status)s already.")
        return Answer(words % {"job": job_id, "status": before.status}, messages.WARNING)
    return _done(job_id, _DONE[action])


def change(job: MigrationJob, form: AdjustForm, *, actor: str) -> Answer | None:
    """Adjust the pace and budget of a job; resume it if it is paused or failed.

    Args:
        job: The job, freshly read.
        form: The submitted form.
        actor: The user who asks.

    Returns:
        The result; None if the form has errors, which it shows at its fields.
    """
    if not form.is_valid():
        return None
    is_under_way = Action.RESUME in STATES[JobStatus(job.status)].answers
    if is_under_way and form.changes == JobChanges():
        return Answer(_("Nothing to do: nothing was changed."), messages.WARNING)
    try:
        migration_service.resume_migration(job.pk, actor=actor, changes=form.changes)
    except InvalidRequestError as error:
        form.refuse(error)
        return None
    except AIMigrationError as error:
        return _not_done(error)
    what = _("is changed") if is_under_way else _DONE[Action.RESUME]
    return _done(job.pk, what)


def retry_some(job_id: str, failures: Sequence[int], *, actor: str) -> Answer:
    """Retry some of a job's failed entities.

    Args:
        job_id: The job.
        failures: Primary keys of the failures.
        actor: The user who asks.
    """
    try:
        job = migration_service.retry_failed(job_id, actor=actor, only=failures)
    except AIMigrationError as error:
        return _not_done(error)
    count = len(failures)
    words = ngettext(
        "Done: %(job)s retries %(count)s entity.",
        "Done: %(job)s retries %(count)s entities.",
        count,
    )
    if job.retry_failed:  # it is open: it retries all of them before it finishes
        words = _("Done: %(job)s retries all its failed entities before it finishes.")
    shown = {"job": job_id, "count": display.number(count)}
    return Answer(words % shown, messages.SUCCESS)


def retry_like(job_id: str, failure: str, *, actor: str) -> Answer:
    """Retry the entities that failed with the same error as one of a job's failures.

    Args:
        job_id: The job.
        failure: Primary key of that failure.
        actor: The user who asks.
    """
    failures = EntityFailure.objects.using(our_database()).filter(job=job_id)
    one = failures.filter(pk=key_of(EntityFailure, failure)).first()
    if one is None:
        return Answer(_("Nothing to do: that failure is gone."), messages.WARNING)
    same = failures.filter(error_code=one.error_code, error=one.error).order_by("pk")
    return retry_some(job_id, list(same.values_list("pk", flat=True)[:RETRIED]), actor=actor)


def report(request: HttpRequest, answers: Iterable[Answer]) -> None:
    """Show the answers, job by job; of very many, only the number of the rest."""
    by_level: dict[int, list[str]] = {}
    for answer in answers:
        by_level.setdefault(answer.level, []).append(answer.text)
    for level, texts in sorted(by_level.items()):
        for text in texts[:NAMED]:
            messages.add_message(request, level, text)
        if (more := len(texts) - NAMED) > 0:
            messages.add_message(request, level, _("… and %(more)s more") % {"more": more})


def _done(job_id: str, what: str | Promise) -> Answer:
    words = _("Done: %(job)s %(what)s.")
    return Answer(words % {"job": job_id, "what": what}, messages.SUCCESS)


def _not_done(error: AIMigrationError) -> Answer:
    words = _("Not done: %(reason)s")  # Django's template makes the first letter a capital
    return Answer(with_reason(words, error), messages.ERROR)


def _calls(reason: str, actor: str) -> dict[Action, Callable[[str], MigrationJob]]:
    service = migration_service
    return {
        Action.PAUSE: lambda pk: service.pause_migration(pk, actor=actor, reason=reason),
        Action.RESUME: lambda pk: service.resume_migration(pk, actor=actor, reason=reason),
        Action.RETRY: lambda pk: service.retry_failed(pk, actor=actor),
        Action.CANCEL: lambda pk: service.cancel_migration(pk, actor=actor, reason=reason),
    }
