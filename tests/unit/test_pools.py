"""How a slice's embed pools follow the config."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ai_migration.embedders.hash import HashEmbedder
from ai_migration.engine.slices.pools import EmbedPools
from ai_migration.entities import registry
from ai_migration.entities.config.schema import GlobalConfig


@pytest.mark.parametrize(("retries", "sends"), [(None, 4), (0, 1), (1, 2), (5, 6)])
def test_a_request_is_sent_once_and_then_so_often_again(
    retries: int | None, sends: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`retry-attempts` counts the repetitions: 0 is never, not the default."""
    config = GlobalConfig.model_validate({"retry-attempts": retries})
    monkeypatch.setattr(registry, "global_config", lambda: config)
    target: Any = SimpleNamespace(
        collection=SimpleNamespace(embedder="default"), embedder=HashEmbedder(dimensions=8)
    )
    with EmbedPools("default", lambda: 0.0) as pools:
        pool = pools.pool(target, None)
    assert pool._policy.attempts == sends
