"""The state machine of jobs, as the design draws it."""

from __future__ import annotations

from ai_migration.jobs.steer.transitions import ADVICE, EDGES, sources_of
from ai_migration.types import OPEN_STATUSES, JobStatus

DRAWN = """
PENDING -> RUNNING PAUSED CANCELLED
RUNNING -> PAUSED COMPLETED FAILED CANCELLED
PAUSED -> RUNNING PENDING CANCELLED
FAILED -> RUNNING PENDING CANCELLED
COMPLETED -> RUNNING PENDING
"""


def drawn() -> set[tuple[str, str]]:
    lines = (line.split(" -> ") for line in DRAWN.split("\n") if line)
    return {(source, target) for source, targets in lines for target in targets.split()}


def test_the_edges_are_those_of_the_design() -> None:
    assert {(str(source), str(target)) for source, target in EDGES} == drawn()


def test_no_edge_is_a_loop_and_each_has_its_reason() -> None:
    assert all(source != target for source, target in EDGES)
    assert all(EDGES.values())


def test_a_cancelled_job_is_over() -> None:
    assert not any(source == JobStatus.CANCELLED for source, _ in EDGES)


def test_every_state_can_be_reached_from_the_first() -> None:
    reached = {JobStatus.PENDING}
    for _ in JobStatus:
        reached |= {target for source, target in EDGES if source in reached}
    assert reached == set(JobStatus)


def test_every_open_job_can_be_cancelled_and_only_running_ones_end_otherwise() -> None:
    assert set(OPEN_STATUSES) <= set(sources_of(JobStatus.CANCELLED))
    assert sources_of(JobStatus.COMPLETED) == sources_of(JobStatus.FAILED) == [JobStatus.RUNNING]


def test_every_state_has_its_advice() -> None:
    assert ADVICE.keys() == set(JobStatus)
    assert all(advice.endswith(".") for advice in ADVICE.values())
