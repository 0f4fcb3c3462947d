"""The state machine of jobs, as the design draws it, and what each state permits."""

from __future__ import annotations

import pytest

from ai_migration.jobs.steer.states import STATES, Action, sources_of
from ai_migration.types import OPEN_STATUSES, JobStatus

DRAWN = """
PENDING -> RUNNING PAUSED CANCELLED
RUNNING -> PAUSED COMPLETED FAILED CANCELLED
PAUSED -> RUNNING PENDING CANCELLED
FAILED -> RUNNING PENDING CANCELLED
COMPLETED -> RUNNING PENDING
CANCELLED ->
"""


def drawn() -> dict[str, set[str]]:
    lines = (line.split("->") for line in DRAWN.strip().split("\n"))
    return {source.strip(): set(targets.split()) for source, targets in lines}


def test_the_edges_are_those_of_the_design() -> None:
    assert {str(status): set(map(str, state.edges)) for status, state in STATES.items()} == drawn()


def test_no_edge_is_a_loop_and_each_has_its_reason() -> None:
    for status, state in STATES.items():
        assert status not in state.edges
        assert all(state.edges.values())


def test_every_state_can_be_reached_from_the_first() -> None:
    reached = {JobStatus.PENDING}
    for _ in JobStatus:
        reached |= {target for status in reached for target in STATES[status].edges}
    assert reached == set(JobStatus)


def test_every_open_job_can_be_cancelled_and_only_running_ones_end_otherwise() -> None:
    assert set(OPEN_STATUSES) <= set(sources_of(JobStatus.CANCELLED))
    assert sources_of(JobStatus.COMPLETED) == sources_of(JobStatus.FAILED) == [JobStatus.RUNNING]


TARGETS = {
    Action.PAUSE: {JobStatus.PAUSED},
    Action.RESUME: {JobStatus.RUNNING, JobStatus.PENDING},
    Action.CANCEL: {JobStatus.CANCELLED},
}


@pytest.mark.parametrize("status", JobStatus)
@pytest.mark.parametrize("action", TARGETS)
def test_an_action_is_permitted_where_an_edge_leads_to_its_state(
    status: JobStatus, action: Action
) -> None:
    state = STATES[status]
    leads_there = bool(TARGETS[action] & set(state.edges)) and status is not JobStatus.COMPLETED
    is_waiting = action is Action.RESUME and status is JobStatus.PENDING  # for a slot
    assert (action in state.permits) == (leads_there and not is_waiting)
    assert (action in state.answers) == (status in TARGETS[action])


def test_every_job_but_a_cancelled_one_can_try_its_failures_again() -> None:
    permitting = {status for status, state in STATES.items() if Action.RETRY in state.permits}
    assert permitting == set(JobStatus) - {JobStatus.CANCELLED}


def test_every_state_has_its_advice() -> None:
    assert STATES.keys() == set(JobStatus)
    assert all(state.advice.endswith(".") for state in STATES.values())
