"""The former place of :mod:`ai_migration.engine.insight.metrics`."""

from __future__ import annotations

from ai_migration.engine.insight.metrics import EngineMinute, engine_minutes

__all__ = ["EngineMinute", "engine_minutes"]
