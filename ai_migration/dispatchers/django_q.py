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
    """Has the cluster work: ``DISPATCHER = "ai_migration.dispatchers.django_q.DjangoQDispatcher"``.

    The cluster named by the setting ``CLUSTER`` gets the tasks, else the default one. A slot
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
        """Whether the cluster this process works for is being stopped."""
        from ai_migration.dispatchers._django_q_stop import is_stopping

        return is_stopping()

    def wake(self) -> None:
        """Have somebody work in an idle slot; the rest wake each other."""
        wake_one(self.send)

    def check(self) -> list[CheckMessage]:
        """What of ``Q_CLUSTER`` bites: ``ai_migration.E121``, ``W121`` to ``W126``."""
        from ai_migration.dispatchers._django_q_checks import check_cluster

        return check_cluster()

    def diagnoses(self, wait: float) -> list[Diagnosis]:
        """What ``ai_migration doctor`` looks at: the schedules, and whether tasks are run.

        Args:
            wait: Seconds the cluster is given to run one; 0: send none.
        """
        from ai_migration.dispatchers._django_q_diagnosis import Canary, Schedules

        return [Schedules(SCHEDULE, _wanted()), Canary(self.send_canary, wait)]

    def install(self) -> bool:
        """Make the schedule of the supervisor's tick, or bring it in line.

        Returns:
            Whether anything was to be done.
        """
        from django_q.models import Schedule

        wanted = _wanted()
        schedule, is_new = Schedule.objects.get_or_create(name=SCHEDULE, defaults=wanted)
        is_different = any(getattr(schedule, name) != value for name, value in wanted.items())
        if is_different:
            Schedule.objects.filter(pk=schedule.pk).update(**wanted)
        return is_new or is_different

    def send_canary(self, sent: int) -> None:
        """Put a task in the queue, now, that does nothing but come back."""
        _put(CANARY, sent, name="ai_migration canary")

    def send(self, wake_up: WakeUp) -> None:
        """Put a task in the queue: in the current transaction where the broker keeps its
        queue in the same database, else when that commits. A broker that cannot be reached by
        then costs the transaction nothing: the supervisor asks again."""
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
    """What the supervisor's schedule has to say."""
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
