"""Fixtures of the acceptance tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.worlds import STORES, World
from tests.databases import Databases, FreshDatabase


@pytest.fixture
def world(database: FreshDatabase, databases: Databases, settings: Any, tmp_path: Path) -> World:
    """An empty world: short leases and slices, an embedder that keeps books."""
    log = tmp_path / "embedded"
    settings.AI_MIGRATION = {
        "ENTITY_CONFIG": str(settings.AI_MIGRATION["ENTITY_CONFIG"]),
        "EMBEDDERS": {
            "default": {
                "BACKEND": "tests.acceptance.embedders.BookkeepingEmbedder",
                "OPTIONS": {"log": str(log)},
            }
        },
        "STORES": {"default": {"BACKEND": STORES[database.vendor]}},
        "LEASE_SECONDS": 2,
        "SLICE_SECONDS": 1,
        "QUEUE_WINDOW": 6,
        "RETRY_DELAY_SECONDS": 0.05,
    }
    return World(database, databases, settings.AI_MIGRATION, log)
