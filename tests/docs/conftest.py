"""Fixtures of the tests of the documentation."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from tests.docs.pages import TUTORIAL, Project


@pytest.fixture(scope="session")
def tutorial(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The tutorial, typed in once for all processes that run tests; a directory with the
    project at each of its snapshots."""
    base = tmp_path_factory.getbasetemp()
    directory = (base if worker_id == "master" else base.parent) / "tutorial"
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            directory.mkdir()
            Project(directory / "shop-at-the-end").run(TUTORIAL, snapshots=directory)
    return directory
