"""``@ai_capable``: marks a model whose rows are indexed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar, Unpack, overload

from django.db.models import Model
from pydantic import ValidationError
from pydantic.alias_generators import to_snake

from ai_migration.entities.config.errors import find_faults, listed
from ai_migration.entities.config.schema import Chunking, EntityConfig, kebab
from ai_migration.exceptions import EntityConfigError, nearest_key

_ATTRIBUTE = "__ai_capable__"
_KEYS = {"fields": "embeddable-fields"}
_ARGUMENTS = {key: argument for argument, key in _KEYS.items()}

M = TypeVar("M", bound=Model)
Fields = Sequence[str | Mapping[str, object]]


class AICapableOptions(TypedDict, total=False):
    """The arguments of :func:`ai_capable`, for editors and type checkers."""

    entity_type: str
    fields: Fields
    searchable_fields: Fields
    metadata_fields: Fields
    filterable_fields: Fields
    template: str
    chunking: Chunking | Mapping[str, object]
    embedder: str
    store: str
    created_at_field: str
    updated_at_field: str
    tenant_field: str
    queryset: str
    filter: Mapping[str, object]
    using: str
    features: Sequence[str]
    auto_process: bool
    auto_embedding: bool
    indexable: bool
    enable_search: bool
    crud_operations: Mapping[str, Mapping[str, bool]]
    reindex_on: Sequence[str]
    batch_size: int


@dataclass(frozen=True)
class AICapableDeclaration:
    """The declaration of a model by ``@ai_capable``.

    Attributes:
        entity_type: The entity type's name.
        model: The model's label, ``shop.Product``.
        config: The arguments, as in a YAML entity.
    """

    entity_type: str
    model: str
    config: EntityConfig

    @property
    def source(self) -> str:
        """Its place: ``@ai_capable on shop.Product``."""
        return f"@ai_capable on {self.model}"


@overload
def ai_capable(model_class: type[M], /) -> type[M]: ...


@overload
def ai_capable(**options: Unpack[AICapableOptions]) -> Callable[[type[M]], type[M]]: ...


def ai_capable(model_class: Any = None, /, **options: Any) -> Any:
    """Mark a model as an entity type; a class decorator, with or without arguments.

    The mark is the class' own: subclasses do not inherit it. YAML overrides it key by key.

    Args:
        options: The keys of an entity in ``ai-entity-config.yml``, in snake_case, but ``fields``
            for the embedded fields. Not ``model``, which is the decorated one; the name of the
            entity type is the model's in snake_case where none is given.

    Returns:
        The class itself, or a decorator that returns it.

    Raises:
        EntityConfigError: An argument is unknown or wrong, the class is not a concrete model, or it
            is decorated twice.
    """
    if model_class is None:
        return lambda decorated: _declare(decorated, options)
    if isinstance(model_class, str):
        raise EntityConfigError(
            f"@ai_capable takes no positional argument: write "
            f"@ai_capable(entity_type={model_class!r})"
        )
    return _declare(model_class, options)


def declared(model_class: type[Model]) -> AICapableDeclaration | None:
    """Return the declaration of this very class, not of its base classes."""
    declaration: AICapableDeclaration | None = vars(model_class).get(_ATTRIBUTE)
    return declaration


def _declare(model_class: type[M], options: Mapping[str, Any]) -> type[M]:
    if not (isinstance(model_class, type) and issubclass(model_class, Model)):
        raise EntityConfigError(f"@ai_capable on {model_class!r}: this is not a Django model")
    label = f"{model_class._meta.app_label}.{model_class.__name__}"
    where = f"@ai_capable on {label}"
    if model_class._meta.abstract:
        raise EntityConfigError(
            f"{where}: the model is abstract and has no rows. Decorate its subclasses."
        )
    if declared(model_class):
        raise EntityConfigError(f"{where}: the model is decorated twice. Remove one of them.")
    known = AICapableOptions.__annotations__
    for name in sorted(options.keys() - known.keys()):
        hint = nearest_key(name, sorted(known))
        raise EntityConfigError(f"{where}: unknown argument {name!r}. {hint}")
    keys = {
        _KEYS.get(name, kebab(name)): value if name == "filter" else _as_yaml(value)
        for name, value in options.items()
        if value is not None
    }
    entity_type = keys.setdefault("entity-type", to_snake(model_class.__name__))
    root = ("ai-entities", str(entity_type))
    try:
        config = EntityConfig.model_validate(keys)
    except ValidationError as error:
        faults = find_faults(error, root, _argument)
        raise EntityConfigError(listed([f"{where}: {fault.text}" for fault in faults])) from None
    setattr(model_class, _ATTRIBUTE, AICapableDeclaration(config.entity_type or "", label, config))
    return model_class


def _argument(key: str) -> str:
    return _ARGUMENTS.get(key, key).replace("-", "_")


def _as_yaml(value: Any) -> Any:
    """Return the value with the keys of its mappings in kebab-case."""
    if isinstance(value, Mapping):
        return {
            kebab(key) if isinstance(key, str) else key: _as_yaml(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_as_yaml(item) for item in value]
    return value
