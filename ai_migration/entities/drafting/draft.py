"""Drafts a first ``ai-entity-config.yml`` from the models of the project."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from django.apps import AppConfig, apps
from django.conf import settings
from django.db.models import Model, TextField
from pydantic.alias_generators import to_snake
from ruamel.yaml import YAML

from ai_migration.entities.config.decorator import declared
from ai_migration.entities.config.merging import merge
from ai_migration.entities.config.schema import EntityConfig
from ai_migration.entities.drafting.guesses import (
    created_at,
    filter_paths,
    html_columns,
    related_names,
    row_condition,
    text_columns,
)
from ai_migration.entities.entity import Entity
from ai_migration.entities.resolving import examine_entity
from ai_migration.exceptions import InvalidRequestError, nearest

_PLAIN_KEY = re.compile(r"(?!(true|false|null|yes|no|on|off|y|n)$)[a-z_][a-z0-9_]*$", re.IGNORECASE)
_PLUMBING = frozenset(
    {
        *("admin", "ai_migration", "authtoken", "contenttypes", "django_q", "sessions", "sites"),
        *("auth.Group", "auth.Permission"),
    }
)
"""Apps and models whose rows nobody searches, not even if they are named."""
_HTML_EXTRA = "pip install 'django-ai-migration[html]'"

_HEADER = """\
# What is indexed, and how: a first draft, made from the models by `ai_migration init`. It works as
# it is. Remove entity types that nobody searches, and fields that say nothing about a row.
# All keys, also for completion in an editor: `ai_migration entities --schema`.

ai-config:
  default-search-limit: 10

ai-entities:
"""


@dataclass(frozen=True)
class ConfigDraft:
    """A draft of the file.

    Attributes:
        text: The YAML.
        entity_types: The entity types in it.
        declared: Entity types that ``@ai_capable`` declares: not in it.
        raw_html: Fields that hold HTML and are embedded as they are, because the library that turns
            it to text is missing; ``shop.Product.description``.
    """

    text: str
    entity_types: tuple[str, ...]
    declared: tuple[str, ...] = ()
    raw_html: tuple[str, ...] = ()


@dataclass
class _Drafted:
    """The YAML of one entity type, in lines."""

    lines: list[str]
    raw_html: list[str] = field(default_factory=list)


def draft_config(app_labels: Sequence[str] = ()) -> ConfigDraft:
    """Draft the config of all models with text; a few rows of each are read to find HTML.

    Args:
        app_labels: Labels of apps; default: those of the project itself, not of installed packages.

    Raises:
        InvalidRequestError: There is no such app, or no model with text.
    """
    chosen = [_app(label) for label in dict.fromkeys(app_labels)] or _own_apps()
    models = _models(chosen)
    if not app_labels:  # who somebody is leaves the database only if that was asked for
        models = [each for each in models if each._meta.label != settings.AUTH_USER_MODEL]
    taken = {found.entity_type for model in apps.get_models() if (found := declared(model))}
    already = sorted(found.entity_type for model in models if (found := declared(model)))
    drafted: dict[str, _Drafted] = {}
    for model in models:
        name = _free_name(model, taken | drafted.keys())
        draft = None if declared(model) else _draft(model, name)
        if draft is not None:
            drafted[name] = draft
    if not drafted:
        raise InvalidRequestError(_nothing(chosen), field="apps")
    parts = ["\n".join(draft.lines) + "\n" for draft in drafted.values()]
    note = f"\n  # Declared with @ai_capable: {', '.join(already)}.\n" if already else ""
    return ConfigDraft(
        _HEADER + "\n".join(parts) + note,
        tuple(drafted),
        tuple(already),
        tuple(name for draft in drafted.values() for name in draft.raw_html),
    )


# Which models


def _app(label: str) -> AppConfig:
    try:
        return apps.get_app_config(label)
    except LookupError:
        known = [config.label for config in apps.get_app_configs() if config.models_module]
        close = nearest(label, known)
        hint = f"Did you mean {close!r}?" if close else f"Apps with models: {', '.join(known)}."
        raise InvalidRequestError(
            f"There is no app with the label {label!r}. {hint}", field="apps"
        ) from None


def _own_apps() -> list[AppConfig]:
    """Return the apps of the project itself."""
    installed = {"site-packages", "dist-packages"}
    return [
        config
        for config in apps.get_app_configs()
        if not installed.intersection(Path(config.path).parts)
    ]


def _models(configs: Iterable[AppConfig]) -> list[type[Model]]:
    return [
        model
        for config in configs
        for model in config.get_models()
        if not (model._meta.proxy or config.label in _PLUMBING or model._meta.label in _PLUMBING)
    ]


def _nothing(chosen: Sequence[AppConfig]) -> str:
    labels = ", ".join(config.label for config in chosen) or "none"
    others = [
        config.label
        for config in apps.get_app_configs()
        if config not in chosen and any(text_columns(model) for model in _models([config]))
    ]
    return (
        f"No model with text was found in the apps {labels}. Name other apps: "
        f"{', '.join(others) or 'none has any'}."
    )


def _free_name(model: type[Model], taken: Iterable[str]) -> str:
    name, used = to_snake(model.__name__), set(taken)
    if name in used:
        name = f"{model._meta.app_label}_{name}"
    number, free = 2, name
    while free in used:
        free, number = f"{name}_{number}", number + 1
    return free


def _draft(model: type[Model], name: str) -> _Drafted | None:
    """Return the entity type of a model; None if it has no text, or cannot be one."""
    texts = text_columns(model)
    if not texts:
        return None
    html = html_columns(model, texts)
    can_convert = importlib.util.find_spec("lxml") is not None
    long = [column for column in texts if isinstance(column, TextField)]
    lines = [
        f"  {_key(name)}:",
        f"    model: {model._meta.label}",
        "    embeddable-fields:   # the text that is embedded, in this order",
        *(_text_line(each.name, html, can_convert) for each in texts if each not in long),
        *(_named_line(path, label) for path, label in related_names(model)),
        *(_text_line(each.name, html, can_convert) for each in long),
        "    # Comes back with each hit; runs and searches can be filtered by it:",
        f"    metadata-fields: [{', '.join(dict.fromkeys([texts[0].name, *filter_paths(model)]))}]",
    ]
    if date := created_at(model):
        lines.append(f"    created-at-field: {date}")
    if condition := row_condition(model):
        lines.append(f"    # filter: {{{condition}}}   # to index only these rows")
    if many := [f"{relation.name}__…" for relation in model._meta.many_to_many]:
        lines.append(f"    # Fields of many related rows can be added, too: {', '.join(many)}")
    if not _is_valid(name, lines):
        return None
    return _Drafted(lines, [] if can_convert else [f"{model._meta.label}.{each}" for each in html])


def _text_line(name: str, html: dict[str, str], can_convert: bool) -> str:
    if name not in html:
        return f"      - {name}"
    if can_convert:
        return f"      - {{name: {name}, html: true}}   # {html[name]}"
    return f"      - {{name: {name}, html: false}}   # {html[name]}; true needs: {_HTML_EXTRA}"


def _named_line(path: str, label: str) -> str:
    return f"      - {{name: {path}, label: {_key(label)}}}"


def _key(word: str) -> str:
    return word if all(map(_PLAIN_KEY.match, word.split(" "))) else json.dumps(word)


def _is_valid(name: str, lines: Sequence[str]) -> bool:
    keys = YAML(typ="safe").load("\n".join(lines))[name]
    return isinstance(examine_entity(merge(name, None, EntityConfig.model_validate(keys))), Entity)
