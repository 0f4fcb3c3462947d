"""Wake-ups as django-q2 tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.checks import CheckMessage
from django.db import transaction

from ai_migration.conf import get_settings
from ai_migration.dispatch import Dispatcher, WakeUp
from ai_migration.engine.slots import wake_one
from ai_migration.exceptions import MissingDependencyError
from ai_migration.models.leases import our_database

if TYPE_CHECKING:
    from ai_migration.findings import Diagnosis

TASK = "ai_migration.tasks.run_slice"
SUPERVISE = "ai_migration.tasks.supervise"
CANARY = "ai_migration.tasks.canary"
SCHEDULE = "ai_migration supervisor"


class DjangoQDispatcher(Dispatcher):
    """Wakes the cluster: ``DISPATCHER = "ai_migration.dispatchers.django_q.DjangoQDispatcher"``.

    The tasks go to the cluster named by the setting ``CLUSTER``, else to the default one. A slot
    for which a task is on its way gets no second one.

    Raises:
        MissingDependencyError: django-q2 is not installed.
    """

    supports_messages = True
    supports_schedules = True
    schedules_app = "django_q"

    def __init__(self) -> None:
        try:
            import django_q.conf  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError("django-q2", "q2", "DjangoQDispatcher") from error

    def prepare(self) -> None:
        """Have the workers learn of a SIGTERM, if this process becomes a cluster."""
        from ai_migration.dispatchers._django_q_stop import watch_cluster

        watch_cluster()

    def is_stopping(self) -> bool:
        """Return whether the cluster of this process is being stopped."""
        from ai_migration.dispatchers._django_q_stop import is_stopping

        return is_stopping()

    def wake(self) -> None:
        """Send a task for one idle slot; its worker wakes the next."""
        wake_one(self.send)

    def check(self) -> list[CheckMessage]:
        """Check ``Q_CLUSTER``: ``ai_migration.E121``, ``W121`` to ``W126``."""
        from ai_migration.dispatchers._django_q_checks import check_cluster

        return check_cluster()

    def diagnoses(self, wait: float) -> list[Diagnosis]:
        """Return the diagnoses of the schedules, and of whether tasks are run.

        Args:
            wait: Seconds to wait for a task; 0: send none.
        """
        from ai_migration.dispatchers._django_q_diagnosis import Canary, Schedules

        return [Schedules(SCHEDULE, _wanted()), Canary(self.send_canary, wait)]

    def install(self) -> bool:
        """Create or correct the schedule of the supervisor's tick.

        Returns:
            Whether anything was changed.
        """
        from django_q.models import Schedule

        wanted = _wanted()
        schedule, is_new = Schedule.objects.get_or_create(name=SCHEDULE, defaults=wanted)
        is_different = any(getattr(schedule, name) != value for name, value in wanted.items())
        if is_different:
            Schedule.objects.filter(pk=schedule.pk).update(**wanted)
        return is_new or is_different

    def send_canary(self, sent: int) -> None:
        """Send a task, at once, that only reports back."""
        _put(CANARY, sent, name="ai_migration canary")

    def send(self, wake_up: WakeUp) -> None:
        """Send a task: in the current transaction if the broker's queue is in the same database,
        else when it commits. If the broker cannot be reached then, nothing is lost: the supervisor
        asks again."""
        from django_q.conf import Conf

        number, token = wake_up.slot_id, wake_up.token

        def put() -> None:
            name = f"ai_migration slot {number} token {token}"
            _put(TASK, number, token, name=name)

        if our_database() == Conf.ORM:
            put()
        else:
            transaction.on_commit(put, using=our_database(), robust=True)


def _wanted() -> dict[str, Any]:
    """Return the values that the supervisor's schedule has to have."""
    from django_q.models import Schedule

    wanted = {"func": SUPERVISE, "schedule_type": Schedule.MINUTES, "minutes": 1}
    return {**wanted, "repeats": -1, "cluster": get_settings().CLUSTER}


def _put(task: str, *arguments: int, name: str) -> None:
    from django_q.tasks import async_task

    async_task(
        task,
        *arguments,
        task_name=name,
        cluster=get_settings().CLUSTER,
        save=False,
        ack_failure=True,
    )
