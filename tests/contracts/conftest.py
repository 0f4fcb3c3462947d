"""What all contracts share."""

from __future__ import annotations

import pytest

LONG = ("test_two_processes_write_at_once",)
"""Tests of the suites in `ai_migration.testing`, which know no markers, that take long."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave them to the gate."""
    for item in items:
        if item.name.startswith(LONG):
            item.add_marker(pytest.mark.gate)
