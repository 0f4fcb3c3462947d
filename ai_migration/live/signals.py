"""Django's signals: a row that is saved or deleted is put in the queue.

They are connected to the models that matter alone: a model that no entity type reads keeps its
fast deletes, and pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from django.core.signals import setting_changed
from django.db.models import Model
from django.db.models.signals import (
    ModelSignal,
    m2m_changed,
    post_delete,
    post_save,
    pre_delete,
    pre_save,
)

from ai_migration.conf import get_settings
from ai_migration.entities import registry
from ai_migration.entities.config.schema import Operation
from ai_migration.exceptions import AIMigrationError
from ai_migration.indexing.outbox import Change
from ai_migration.live.changes import record, record_readers
from ai_migration.live.watching import Related, Watch, watches

_BEFORE = "_ai_migration_before"
_watches: dict[type[Model], Watch] = {}
_connected: list[tuple[ModelSignal, Callable[..., None], type[Model]]] = []


def install() -> None:
    """Connect the signals of the models that matter now, and of no other; may be called again."""
    uninstall()
    try:
        if get_settings().SYNC == "off" or not get_settings().ENABLED:
            return
    except AIMigrationError:  # reported by the system checks
        return
    _watches.update(watches())
    for model, watch in _watches.items():
        if watch.related:
            _connect(m2m_changed, _linked, model)
        if model._meta.auto_created:  # it sends no others
            continue
        _connect(post_save, _saved, model)
        _connect(post_delete, _deleted, model)
        if watch.related:
            _connect(pre_save, _before_save, model)
            _connect(pre_delete, _before_delete, model)


def uninstall() -> None:
    """Disconnect all of them."""
    for signal, receiver, model in _connected:
        signal.disconnect(receiver, sender=model)
    _connected.clear()
    _watches.clear()


def watch_of(model: type[Model]) -> Watch:
    """Return what changes of a model mean to the index; nothing while SYNC is off."""
    return _watches.get(model, Watch())


def _connect(signal: ModelSignal, receiver: Callable[..., None], model: type[Model]) -> None:
    signal.connect(receiver, sender=model)
    _connected.append((signal, receiver, model))


def _saved(
    sender: type[Model],
    instance: Model,
    created: bool,
    using: str,
    raw: bool = False,
    update_fields: Collection[str] | None = None,
    **_: Any,
) -> None:
    if raw:
        return
    watch = watch_of(sender)
    operation: Operation = "create" if created else "update"
    changes = [
        each.change(instance) for each in watch.own if each.follows(operation, using, update_fields)
    ]
    if watch.related:
        before = instance.__dict__.pop(_BEFORE, None)
        changes += _related(watch, instance, created, before, using, update_fields)
    record(changes, sender, using)


def _related(
    watch: Watch,
    instance: Model,
    created: bool,
    before: dict[str, Any] | None,
    using: str,
    update_fields: Collection[str] | None,
) -> list[Change]:
    changes: list[Change] = []
    for each in watch.related:
        key = each.dependency.key
        if not each.follows(using, update_fields) or (created and not each.dependency.is_link):
            continue
        now = getattr(instance, key)
        if created or before is None:
            changes += each.changes([now])
        elif _differs(each, instance, before):
            changes += each.changes([before[key], now])
    return changes


def _differs(each: Related, instance: Model, before: dict[str, Any]) -> bool:
    """Return whether a field that is read differs from the row as it was."""
    read = each.dependency.fields
    if read is None:
        return True
    return any(getattr(instance, name) != before[name] for name in {*read, each.dependency.key})


def _before_save(
    sender: type[Model],
    instance: Model,
    using: str,
    raw: bool = False,
    update_fields: Collection[str] | None = None,
    **_: Any,
) -> None:
    """Remember the row as it is: its old values lead to entities, and show if any is changed."""
    instance.__dict__.pop(_BEFORE, None)
    if raw or instance._state.adding or instance.pk is None:
        return
    wanted = [each for each in watch_of(sender).related if each.follows(using, update_fields)]
    if not wanted:
        return
    names = {each.dependency.key for each in wanted}
    for each in wanted:
        names |= each.dependency.fields or set()
    row = sender._base_manager.using(using).filter(pk=instance.pk).values(*sorted(names)).first()
    if row is not None:
        instance.__dict__[_BEFORE] = row


def _before_delete(sender: type[Model], instance: Model, using: str, **_: Any) -> None:
    """Record the entities that read a row: once it is gone, nothing leads to them."""
    for each in watch_of(sender).related:
        is_read = each.dependency.path and not each.dependency.is_link
        if is_read and not each.dependency.is_cascade and each.follows(using):
            value = getattr(instance, each.dependency.key)
            record_readers(each.entity, each.dependency.path, [value], sender, using)


def _deleted(sender: type[Model], instance: Model, using: str, **_: Any) -> None:
    watch = watch_of(sender)
    changes = [each.change(instance) for each in watch.own if each.follows("delete", using)]
    for each in watch.related:
        if each.dependency.is_link and each.follows(using):
            changes += each.changes([getattr(instance, each.dependency.key)])
    record(changes, sender, using)


def _linked(
    sender: type[Model],
    instance: Model,
    action: str,
    reverse: bool,
    model: type[Model],
    pk_set: Iterable[Any] | None,
    using: str,
    **_: Any,
) -> None:
    """A many-to-many relation has other rows."""
    if action not in ("post_add", "post_remove", "pre_clear"):
        return
    here = type(instance).__mro__
    for each in watch_of(sender).related:
        if not each.follows(using):
            continue
        link: Any = sender._meta.get_field(each.dependency.key)
        # A relation to the model itself has both sides in it.
        is_here = link.related_model in here and (link.related_model is not model or not reverse)
        if is_here:
            values: Iterable[Any] = [instance.pk]
        elif action == "pre_clear":
            other = next(
                f
                for f in sender._meta.concrete_fields
                if f.is_relation and f is not link and f.related_model in here
            )
            rows = sender._base_manager.using(using).filter(**{other.attname: instance.pk})
            values = rows.values_list(link.attname, flat=True)
        else:
            values = pk_set or ()
        record(each.changes(values), sender, using)


def _settings_changed(*, setting: str, **_: Any) -> None:
    if setting in {"AI_MIGRATION", "BASE_DIR", "INSTALLED_APPS"}:
        registry.reset()
        install()


setting_changed.connect(_settings_changed)
