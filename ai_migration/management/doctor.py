"""``manage.py ai_migration doctor``: the system checks and the live facts, with what to do."""

from __future__ import annotations

import argparse
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from django.core import checks
from django.core.management.base import CommandParser

from ai_migration.dispatch import get_dispatcher
from ai_migration.engine.insight.diagnosis import diagnose
from ai_migration.engine.insight.heartbeats import is_cluster_alive, is_worker_alive
from ai_migration.exceptions import SettingsError
from ai_migration.findings import Finding, Level
from ai_migration.management.base import DONE, FAILED, ServiceCommand
from ai_migration.models.leases import our_database
from ai_migration.stores import store_databases

_MARKS = {Level.OK: "ok", Level.WARNING: "warning", Level.ERROR: "ERROR"}
_CLOSING = {
    Level.OK: "Set-up and engine are in order. Rows and index were counted, not compared with each "
    "other.",
    Level.WARNING: "There is no error, but see the warnings.",
    Level.ERROR: "Action is needed.",
}
_UNATTENDED = "ai_migration.W060"
"""The check of what the finding about the queue says, too."""
_HEARTBEATS = {"worker": is_worker_alive, "cluster": is_cluster_alive}


def add_arguments(parser: CommandParser) -> None:
    """Add the options of the action."""
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="Seconds a cluster may take to run a test task; 0: send none.",
    )
    parser.add_argument(
        "--heartbeat",
        choices=sorted(_HEARTBEATS),
        help="Only check whether a worker of this host, or the cluster, is alive.",
    )


def run(command: ServiceCommand, *, wait: float, heartbeat: str | None, **_: Any) -> int:
    """Print the findings.

    Returns:
        The exit code: 1 if something needs action.
    """
    if heartbeat is not None:
        return _say_heartbeat(command, heartbeat)
    findings = examine(wait)
    worst = max((finding.level for finding in findings), key=[*Level].index, default=Level.OK)
    is_well = worst is not Level.ERROR
    if command.as_json:
        command.write_json({"healthy": is_well, "findings": [asdict(each) for each in findings]})
    else:
        for finding in findings:
            mark = f"{_MARKS[finding.level]:<7}  "
            command.stdout.write(f"{mark}{finding.name}: {finding.fact}")
            if finding.advice:
                command.stdout.write(f"{'':<{len(mark)}}{finding.advice}")
        command.stdout.write(_CLOSING[worst])
    return DONE if is_well else FAILED


def examine(wait: float) -> list[Finding]:
    """Return the findings of our system checks that are not silenced, of the engine's tables and of
    the dispatcher; only those of the checks if the settings are wrong.

    Args:
        wait: Seconds a cluster is given to run a task; 0: send it none.
    """
    databases = {our_database()}
    with suppress(SettingsError):  # reported by the checks
        databases |= store_databases()
    messages = checks.run_checks(tags=["ai_migration"], databases=sorted(databases))
    findings = [
        _finding(message)
        for message in sorted(messages, key=lambda message: -message.level)
        if message.level >= checks.WARNING
        and not message.is_silenced()
        and message.id != _UNATTENDED
    ]
    try:
        get_dispatcher()
    except SettingsError:
        return findings  # which say so
    return findings + diagnose(wait)


def _finding(message: checks.CheckMessage) -> Finding:
    level = Level.ERROR if message.is_serious() else Level.WARNING
    where = f"{message.obj}: " if isinstance(message.obj, str) else ""
    return Finding(f"check {message.id}", f"{where}{message.msg}", message.hint or "", level)


def _say_heartbeat(command: ServiceCommand, kind: str) -> int:
    is_alive = _HEARTBEATS[kind]()
    if command.as_json:
        command.write_json({"healthy": is_alive})
    else:
        command.stdout.write(f"The {kind} is alive." if is_alive else f"No sign of the {kind}.")
    return DONE if is_alive else FAILED


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{value[:20]!r} is not a number from 0 to 3600")
    return seconds
