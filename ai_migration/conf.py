"""The settings: one dict, ``AI_MIGRATION``, every key optional, read at use."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

from django.conf import settings as django_settings
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
)

from ai_migration.exceptions import SettingsError, ShortRepr, nearest_key

MAX_BATCH_SIZE = 100_000
"""Source rows in one queue entry, at most: a batch is held in memory whole."""

LARGE_WITHOUT_INDEX = 10_000
"""Vectors that a search can compare one by one; above, a collection should have an index."""

# Strict, because pydantic would take "5" and true for numbers; bounded, because dates and
# database columns are.
PositiveInt = Annotated[int, Field(ge=1, le=1_000_000_000, strict=True)]
Days = Annotated[int, Field(ge=0, le=36_500, strict=True)]
Seconds = Annotated[float, Field(gt=0, le=86_400, strict=True)]
Alias = Annotated[str, Field(min_length=1, max_length=100)]


NO_MESSAGES = "ai_migration.dispatchers.none.NullDispatcher"
"""The dispatcher for workers that poll."""


class BackendSettings(BaseModel):
    """One alias of ``EMBEDDERS`` or ``STORES``, or one entry of ``THROTTLE``."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    BACKEND: str
    OPTIONS: dict[str, Any] = Field(default_factory=dict, repr=False)


class EmbedderSettings(BackendSettings):
    """One alias of ``EMBEDDERS``: the backend, its provider's limits, its price."""

    REQUESTS_PER_MINUTE: PositiveInt | None = None
    TOKENS_PER_MINUTE: PositiveInt | None = None
    BURST_SECONDS: Annotated[float, Field(gt=0, le=60, strict=True)] = 1.0
    LIVE_SHARE: Annotated[float, Field(ge=0, le=0.9, strict=True)] = 0.2
    PRICE_PER_MILLION_TOKENS: Annotated[Decimal, Field(ge=0, le=1_000_000)] | None = None


def _named(value: object) -> object:
    return {"BACKEND": value} if isinstance(value, str) else value


ThrottleSettings = Annotated[BackendSettings, BeforeValidator(_named)]
"""A dotted path alone, or one with ``OPTIONS``."""


class Settings(BaseModel):
    """``AI_MIGRATION`` with its defaults. docs/reference/settings.md explains each key."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    ENABLED: StrictBool = True
    ENTITY_CONFIG: Path | None = Path("ai-entity-config.yml")
    EMBEDDERS: dict[Alias, EmbedderSettings] = Field(
        default_factory=lambda: {
            "default": EmbedderSettings(BACKEND="ai_migration.embedders.local.LocalEmbedder")
        }
    )
    STORES: dict[Alias, BackendSettings] = Field(
        default_factory=lambda: {
            "default": BackendSettings(BACKEND="ai_migration.stores.database.DatabaseStore")
        }
    )
    DEFAULT_BATCH_SIZE: Annotated[int, Field(ge=1, le=MAX_BATCH_SIZE, strict=True)] = 500
    DEFAULT_RATE_LIMIT: PositiveInt | None = 100
    DEFAULT_TOKEN_LIMIT: PositiveInt | None = None
    RATE_LIMIT_CACHE: str | None = "default"
    TARGET_BATCH_SECONDS: Seconds | None = 5.0
    MAX_CONCURRENT_JOBS: PositiveInt = 3
    CLEANUP_COMPLETED_AFTER_DAYS: Days | None = 30
    KEEP_RETIRED_DAYS: Days = 7
    SYNC: Literal["queue", "immediate", "off"] = "queue"
    SWEEP_SECONDS: Seconds | None = 900.0
    FULL_SWEEP_SECONDS: Annotated[float, Field(gt=0, le=31_536_000, strict=True)] | None = 86_400.0
    ORPHAN_GRACE_SECONDS: Annotated[float, Field(ge=0, le=86_400, strict=True)] = 60.0
    BUILD_INDEX_ABOVE: PositiveInt | None = LARGE_WITHOUT_INDEX
    ON_CONFIG_CHANGE: Literal["ignore", "warn", "migrate"] = "warn"
    DISPATCHER: str = NO_MESSAGES
    CLUSTER: str | None = None
    WORKERS: PositiveInt = 2
    SLICE_SECONDS: Seconds = 12.0
    LEASE_SECONDS: Seconds = 60.0
    QUEUE_WINDOW: PositiveInt = 32
    MAX_ATTEMPTS: PositiveInt = 5
    MAX_CRASHES: Annotated[int, Field(ge=2, le=1000, strict=True)] = 5
    RETRY_DELAY_SECONDS: Seconds = 5.0
    MAX_FAILURE_RATIO: Annotated[float, Field(gt=0, le=1, strict=True)] = 0.5
    THROTTLE: list[ThrottleSettings] = []
    SEARCH_PERMISSION: str | None = None
    QUERY_CACHE: str | None = None


class SettingsFault(Enum):
    """The kinds of faults of ``AI_MIGRATION``."""

    NO_DICT = "it is not a dict"
    UNKNOWN_KEY = "a key is unknown"
    WRONG_VALUE = "a value is wrong"
    NO_DEFAULT = "an alias 'default' is missing"


@dataclass(frozen=True)
class SettingsProblem:
    """A fault of the settings, with a hint."""

    fault: SettingsFault
    message: str
    hint: str


_cache: tuple[object, Settings] | None = None


def get_settings() -> Settings:
    """Return the validated settings as they are now.

    Returns:
        A frozen :class:`Settings`; the same object as long as ``AI_MIGRATION`` is equal.

    Raises:
        SettingsError: A key is unknown or a value is wrong; names each of them.
    """
    global _cache
    raw = getattr(django_settings, "AI_MIGRATION", {})
    cached = _cache
    if cached is not None and cached[0] == raw:
        return cached[1]
    validated = _validate(raw)
    if not isinstance(validated, Settings):
        raise SettingsError("; ".join(f"{item.message}. {item.hint}" for item in validated))
    _cache = (_copied(raw), validated)
    return validated


def settings_problems(raw: object) -> list[SettingsProblem]:
    """Return every fault of an ``AI_MIGRATION`` value; empty when there is none.

    Values of ``EMBEDDERS``, ``STORES`` and ``THROTTLE`` are never repeated: options may be
    secrets.
    """
    validated = _validate(raw)
    return [] if isinstance(validated, Settings) else validated


def entity_config_path() -> Path | None:
    """Return the path of ``ai-entity-config.yml``. Relative paths start from ``BASE_DIR``, if the
    settings have it, else from the working directory. None switches YAML off."""
    path = get_settings().ENTITY_CONFIG
    if path is None or path.is_absolute():
        return path
    base = getattr(django_settings, "BASE_DIR", None)
    return Path(base) / path if base else path


def _validate(raw: object) -> Settings | list[SettingsProblem]:
    if not isinstance(raw, dict):
        message = f"AI_MIGRATION is a {type(raw).__name__}, not a dict"
        hint = "Write AI_MIGRATION = {...}, or remove it: every key is optional."
        return [SettingsProblem(SettingsFault.NO_DICT, message, hint)]
    try:
        validated = Settings.model_validate(raw)
    except ValidationError as error:
        return [_problem(detail) for detail in error.errors(include_url=False)]
    missing = [
        SettingsProblem(
            SettingsFault.NO_DEFAULT,
            f"AI_MIGRATION[{kind!r}] has no alias 'default'",
            "Entity types that name no alias use 'default': add it.",
        )
        for kind in ("EMBEDDERS", "STORES")
        if "default" not in getattr(validated, kind)
    ]
    return missing or validated


def _problem(detail: Any) -> SettingsProblem:
    location = [part for part in detail["loc"] if part != "[key]"]
    where = "AI_MIGRATION" + "".join(f"[{_short(part)}]" for part in location)
    kind = detail["type"]
    if kind in ("extra_forbidden", "invalid_key"):
        nested = EmbedderSettings if location[0] == "EMBEDDERS" else BackendSettings
        model = Settings if len(location) == 1 else nested
        return SettingsProblem(
            SettingsFault.UNKNOWN_KEY,
            f"{where} is not a known key",
            nearest_key(location[-1], model.model_fields),
        )
    if kind == "missing":
        message = f"{where} is missing"
    elif "OPTIONS" in location and "[key]" in detail["loc"]:
        message = f"{where}: the name of an option is text"
    elif "[key]" in detail["loc"]:
        message = f"{where}: an alias is a name of 1 to 100 characters"
    else:
        words = detail["msg"].removeprefix("Input ")
        for noise in (", unable to", " for <class", " or instance of"):
            words = words.partition(noise)[0]
        message = f"{where} {_value(detail, location)}: it {words}"
    key = location[0]
    return SettingsProblem(
        SettingsFault.WRONG_VALUE, message, f"Correct AI_MIGRATION[{_short(key)}], or remove it."
    )


def _value(detail: Any, location: list[object]) -> str:
    """Describe the value, if it cannot be an option of a backend; else only its type."""
    given = detail["input"]
    harmless = location[0] not in ("EMBEDDERS", "STORES", "THROTTLE")
    if harmless and isinstance(given, bool | int | float | str | None):
        return f"is {_short(given)}"
    return f"is a {type(given).__name__}"


def _copied(value: Any) -> Any:
    """Copy the containers, so that a change in place is seen, but not the leaves."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value


def _short(value: object) -> str:
    return ShortRepr().repr(value)
