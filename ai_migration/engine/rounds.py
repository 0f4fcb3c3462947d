"""The supervisor's round, the same from a cluster's schedule and from ``cron``."""

from __future__ import annotations

from dataclasses import dataclass

from ai_migration.dispatch import get_dispatcher
from ai_migration.engine.insight.heartbeats import SUPERVISOR, beat, send_canary
from ai_migration.engine.slots import wake_all
from ai_migration.engine.upkeep.indexes import build_missing, start_missing
from ai_migration.engine.upkeep.supervisor import TickReport, clean_up, tick
from ai_migration.engine.upkeep.sweeps import sweep


@dataclass(frozen=True)
class Round:
    """The result of a round.

    Attributes:
        tick: The result of the tick.
        deleted: Old jobs that were deleted.
        woken: Slots that were asked to work.
    """

    tick: TickReport
    deleted: int
    woken: int


def supervise(*, wait: bool = False) -> Round:
    """Recover from dead workers, start waiting jobs, delete what is over, look for changes that
    were not recorded, and record a sign of life. If the dispatcher sends messages, also wake idle
    slots while there is work, and send the canary. Last, build the indexes that large collections
    lack.

    Args:
        wait: Build them in this thread, unless a worker can; else in one that ends with the
            process, if that is certain to find them.

    Raises:
        SettingsError: The dispatcher cannot be made.
    """
    done = tick()
    beat(SUPERVISOR)
    deleted = clean_up()
    sweep()
    dispatcher = get_dispatcher()
    woken = 0
    if dispatcher.supports_messages:
        woken = wake_all(dispatcher.send)
        send_canary(dispatcher.send_canary)
    if wait:
        build_missing()
    else:
        start_missing()
    return Round(done, deleted, woken)
