"""The settings: one dict, ``AI_MIGRATION``, every key optional, read at use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from django.conf import settings as django_settings
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ai_migration.exceptions import SettingsError

MAX_BATCH_SIZE = 100_000
"""Source rows in one queue entry, at most: a batch is held in memory whole."""

PositiveInt = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


class BackendSettings(BaseModel):
    """One alias of ``EMBEDDERS`` or ``STORES``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    BACKEND: str
    OPTIONS: dict[str, Any] = Field(default_factory=dict, repr=False)


class Settings(BaseModel):
    """``AI_MIGRATION`` with its defaults. docs/reference/settings.md explains each key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ENABLED: bool = True
    ENTITY_CONFIG: Path | None = Path("ai-entity-config.yml")
    EMBEDDERS: dict[str, BackendSettings] = Field(
        default_factory=lambda: {
            "default": BackendSettings(BACKEND="ai_migration.embedders.local.LocalEmbedder")
        }
    )
    STORES: dict[str, BackendSettings] = Field(
        default_factory=lambda: {
            "default": BackendSettings(BACKEND="ai_migration.stores.database.DatabaseStore")
        }
    )
    DEFAULT_BATCH_SIZE: Annotated[int, Field(ge=1, le=MAX_BATCH_SIZE)] = 500
    DEFAULT_RATE_LIMIT: PositiveInt | None = 100
    DEFAULT_TOKEN_LIMIT: PositiveInt | None = None
    MAX_CONCURRENT_JOBS: PositiveInt = 3
    CLEANUP_COMPLETED_AFTER_DAYS: Annotated[int, Field(ge=0)] | None = 30
    KEEP_RETIRED_DAYS: Annotated[int, Field(ge=0)] = 7
    ON_CONFIG_CHANGE: Literal["ignore", "warn", "migrate"] = "warn"
    DISPATCHER: str = "ai_migration.dispatchers.none.NullDispatcher"
    SLICE_SECONDS: Seconds = 12.0
    LEASE_SECONDS: Seconds = 60.0
    QUEUE_WINDOW: PositiveInt = 32
    MAX_ATTEMPTS: PositiveInt = 5
    RETRY_DELAY_SECONDS: Seconds = 5.0
    MAX_FAILURE_RATIO: Annotated[float, Field(gt=0, le=1)] = 0.5


_cache: tuple[object, Settings] | None = None


def get_settings() -> Settings:
    """The validated settings as they are now.

    Returns:
        A frozen :class:`Settings`; the same object as long as ``AI_MIGRATION`` is equal.

    Raises:
        SettingsError: A key is unknown or a value is wrong; names each of them.
    """
    global _cache
    raw = getattr(django_settings, "AI_MIGRATION", {})
    if _cache is not None and _cache[0] == raw:
        return _cache[1]
    problems = settings_problems(raw)
    if problems:
        raise SettingsError("; ".join(problems))
    validated = Settings.model_validate(raw)
    _cache = (dict(raw), validated)
    return validated


def settings_problems(raw: object) -> list[str]:
    """Every fault of an ``AI_MIGRATION`` value, as a sentence; empty when there is none.

    Option values are never repeated in a message: they may be secrets.
    """
    if not isinstance(raw, dict):
        return [f"AI_MIGRATION must be a dict, not {type(raw).__name__}"]
    try:
        Settings.model_validate(raw)
    except ValidationError as error:
        return [_sentence(detail) for detail in error.errors()]
    problems = []
    for kind in ("EMBEDDERS", "STORES"):
        if kind in raw and "default" not in raw[kind]:
            problems.append(f"AI_MIGRATION[{kind!r}] needs an alias 'default'")
    return problems


def _sentence(detail: Any) -> str:
    from difflib import get_close_matches

    path = "".join(f"[{part!r}]" for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        known = (
            list(Settings.model_fields)
            if len(detail["loc"]) == 1
            else list(BackendSettings.model_fields)
        )
        close = get_close_matches(str(detail["loc"][-1]), known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"AI_MIGRATION{path} is not a known key{hint}"
    return f"AI_MIGRATION{path}: {detail['msg'][0].lower()}{detail['msg'][1:]}"


def entity_config_path() -> Path | None:
    """Where ``ai-entity-config.yml`` is: relative paths count from ``BASE_DIR``, where
    the settings have one, else from the working directory. None switches YAML off."""
    path = get_settings().ENTITY_CONFIG
    if path is None or path.is_absolute():
        return path
    base = getattr(django_settings, "BASE_DIR", None)
    return Path(base) / path if base else path
