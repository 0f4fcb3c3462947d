"""Fixtures of the integration tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.databases import FreshDatabase
from tests.integration.embedders import Script
from tests.integration.support import Project


@pytest.fixture
def project(database: FreshDatabase, settings: Any, tmp_path: Path) -> Project:
    """The settings of the test: entity type `article`, and failures are retried at once."""
    made = Project(settings, tmp_path)
    made.set(RETRY_DELAY_SECONDS=0.0005)
    made.article()
    return made


@pytest.fixture
def script(project: Project) -> Script:
    """What the default embedder is asked, and what it is to answer."""
    return project.embedder()
