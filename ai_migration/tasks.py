"""The tasks of a cluster. Nothing is imported before it is needed, and nothing is raised: our
tables are the truth, and a task's result is not used."""

from __future__ import annotations

import logging

logger = logging.getLogger("ai_migration")


def run_slice(slot_id: int, token: int) -> int:
    """Work for one slice in a slot.

    Args:
        slot_id: The slot.
        token: Its token when the message was sent; if it has another one now, nothing happens.

    Returns:
        The number of batches written.
    """
    from ai_migration.dispatch import WakeUp, get_dispatcher
    from ai_migration.engine.slots import work

    try:
        _close_connections()
        dispatcher = get_dispatcher()
        wake_up = WakeUp(slot_id, token)
        report = work(wake_up, dispatcher.send, should_stop=dispatcher.is_stopping)
    except Exception:
        logger.exception("A slice in slot %s ended; the supervisor recovers it", slot_id)
        return 0
    return report.batches if report else 0


def supervise() -> int:
    """Run the supervisor's round: recover from dead workers, start waiting jobs, wake slots while
    there is work, send the canary.

    Returns:
        The number of slots that were woken.
    """
    from ai_migration.engine.rounds import supervise
    from ai_migration.models.sql.apart import own_sessions

    try:
        _close_connections()
        with own_sessions():
            return supervise().woken
    except Exception:
        logger.exception("The supervisor's tick failed; the next one tries again")
        return 0


def _close_connections() -> None:
    """Close the connections of another task, whose session settings are not for this one."""
    from django.db import connections

    if not any(each.in_atomic_block for each in connections.all(initialized_only=True)):
        connections.close_all()


def canary(sent: int) -> None:
    """Record that the canary came back: the cluster takes tasks.

    Args:
        sent: When it was sent, in microseconds by the database's clock.
    """
    from ai_migration.engine.insight.heartbeats import welcome_canary

    try:
        welcome_canary(sent)
    except Exception:
        logger.exception("The canary could not be recorded; the next one tries again")
