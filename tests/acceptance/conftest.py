"""Fixtures of the acceptance tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.worlds import World, settings_for
from tests.databases import Databases, FreshDatabase
from tests.redis_server import RedisServer, redis_server


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """An empty Redis server."""
    with redis_server() as server:
        yield server


@pytest.fixture
def world(database: FreshDatabase, databases: Databases, settings: Any, tmp_path: Path) -> World:
    """An empty world: short leases and slices, an embedder that keeps books."""
    log = tmp_path / "embedded"
    settings.AI_MIGRATION = settings_for(database.vendor, log)
    return World(database, databases, settings.AI_MIGRATION, log)
