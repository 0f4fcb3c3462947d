"""Installs and removes database triggers, and says which are there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from django.db import Error, connections, transaction

from ai_migration.entities import registry
from ai_migration.exceptions import (
    AIMigrationError,
    SettingsError,
    TriggersRefusedError,
    UnknownEntityTypeError,
)
from ai_migration.indexing import outbox
from ai_migration.indexing.triggers import standing
from ai_migration.indexing.triggers.plans import TriggerPlan, identifier, parts_of, plan_of
from ai_migration.models.leases import our_database
from ai_migration.models.sql.dialects import dialect
from ai_migration.models.sql.dialects.base import QueuedChange
from ai_migration.models.sql.outages import in_words, is_outage
from ai_migration.models.sql.triggers import triggers_of
from ai_migration.models.sql.triggers.base import Found, Triggers


class TriggerState(StrEnum):
    """The states of an entity type's triggers."""

    INSTALLED = "installed"
    OUTDATED = "outdated"
    """They are not those of the present config, or some are missing or switched off."""
    NOT_INSTALLED = "not installed"
    LEFT_OVER = "left over"
    """They are there, and cannot be installed again: the entity type is gone, for example."""


@dataclass(frozen=True)
class TriggerStanding:
    """The triggers of an entity type.

    Attributes:
        entity_type: The entity type; of one that is gone, the beginning of its triggers' names.
        state: Their state.
        tables: The tables they watch, or would watch.
        reason: Why it cannot have triggers; empty: it can.
    """

    entity_type: str
    state: TriggerState
    tables: tuple[str, ...] = ()
    reason: str = ""


def install(entity_types: Sequence[str] = ()) -> list[TriggerStanding]:
    """Install the triggers of entity types, and replace outdated ones; those that are there already
    stay.

    Args:
        entity_types: The entity types; none: all that can have triggers.

    Returns:
        How they stand now.

    Raises:
        UnknownEntityTypeError: No such entity type.
        EntityConfigError: The config of one is wrong.
        TriggersRefusedError: One that was named cannot have triggers, or the database refuses.
        SettingsError: Our tables are missing or old.
    """
    using = our_database()
    triggers = _triggers(using)
    _require_tables(using)
    for name in entity_types or registry.names():
        try:
            plan = _plan(name, triggers, using)
            if unfit := plan.unfit():
                [table, reason] = next(iter(unfit.items()))
                raise TriggersRefusedError(name, f"{table!r}: {reason}")
        except TriggersRefusedError:
            if entity_types:
                raise
            continue
        _install(plan, triggers, using)
    return status(entity_types)


def remove(entity_types: Sequence[str] = ()) -> int:
    """Remove the triggers of entity types.

    Args:
        entity_types: The entity types, also such as are no longer in the config; none: all of our
            triggers.

    Returns:
        The number of triggers that were removed.

    Raises:
        UnknownEntityTypeError: No such entity type, and there are no triggers of it.
        TriggersRefusedError: The database refuses.
    """
    using = our_database()
    triggers = _triggers(using)
    found = _found(triggers)
    if entity_types:
        wanted = {identifier(name) for name in entity_types}
        for name in entity_types:
            if identifier(name) not in found and name not in registry.discover().definitions:
                raise UnknownEntityTypeError(name, registry.names())
        found = {key: each for key, each in found.items() if key in wanted}
    gone = [each for some in found.values() for each in some]
    with _changing(", ".join(entity_types), gone, triggers, using):
        triggers.execute(triggers.drops(gone))
    return sum(bool(each.table) for each in gone)


def are_there() -> bool:
    """Return whether there is any of our triggers; one query."""
    return bool(_found(_triggers(our_database())))


def status(entity_types: Sequence[str] = ()) -> list[TriggerStanding]:
    """Return how the triggers of entity types stand, in the order of their names.

    Args:
        entity_types: The entity types; none: all, and what is left over of others.

    Raises:
        UnknownEntityTypeError: No such entity type.
    """
    using = our_database()
    triggers = _triggers(using)
    found = _found(triggers)
    for name in entity_types:
        if name not in registry.names():
            raise UnknownEntityTypeError(name, registry.names())
    standings = []
    for name in entity_types or registry.names():
        here = found.pop(identifier(name), [])
        standings.append(_standing(name, here, triggers, using))
    if not entity_types:
        standings += [
            TriggerStanding(name, TriggerState.LEFT_OVER, _tables(some), "not in the config")
            for name, some in found.items()
        ]
    return standings


def _standing(name: str, found: Sequence[Found], triggers: Triggers, using: str) -> TriggerStanding:
    try:
        plan = _plan(name, triggers, using)
    except AIMigrationError as error:
        reason = error.reason if isinstance(error, TriggersRefusedError) else error.message
        state = TriggerState.LEFT_OVER if found else TriggerState.NOT_INSTALLED
        return TriggerStanding(name, state, _tables(found), reason)
    tables = tuple(dict.fromkeys(watched.table for watched in plan.tables))
    if unfit := plan.unfit():
        [table, reason] = next(iter(unfit.items()))
        return TriggerStanding(name, TriggerState.NOT_INSTALLED, tables, f"{table!r}: {reason}")
    if not found:
        state = TriggerState.NOT_INSTALLED
    elif _is_current(plan, found):
        state = TriggerState.INSTALLED
    else:
        state = TriggerState.OUTDATED
    return TriggerStanding(name, state, tables)


def _install(plan: TriggerPlan, triggers: Triggers, using: str) -> None:
    found = _found(triggers).get(identifier(plan.entity_type), [])
    if _is_current(plan, found):
        return
    # A database without transactions around this has both for a moment, and never none.
    same = [each for each in found if parts_of(each.name) == plan.identity]
    others = [each for each in found if each not in same]
    made = [Found(name, "") for name in plan.names]
    with _changing(plan.entity_type, found, triggers, using, made):
        triggers.execute([*triggers.drops(same), *plan.statements(), *triggers.drops(others)])


def _is_current(plan: TriggerPlan, found: Sequence[Found]) -> bool:
    is_active = all(each.is_active for each in found)
    return is_active and {each.name for each in found} == plan.names


@contextmanager
def _changing(
    entity_type: str,
    found: Sequence[Found],
    triggers: Triggers,
    using: str,
    made: Sequence[Found] = (),
) -> Iterator[None]:
    """Change triggers in the block: all of them or none."""
    try:
        with transaction.atomic(using=using), triggers.hurry():
            yield
    except Error as error:
        if made and not connections[using].features.can_rollback_ddl:
            triggers.execute(triggers.drops(made))
        advice = "Try again later." if is_outage(error) else triggers.rights
        tables = sorted({each.table for each in found if each.table})
        raise TriggersRefusedError(
            entity_type, in_words(error), advice.format(table=", ".join(tables) or "its table")
        ) from error
    finally:
        standing.forget()


def _triggers(using: str) -> Triggers:
    triggers = triggers_of(using)
    if triggers is None:
        raise SettingsError(
            f"There are no triggers for {connections[using].display_name}: changes are put in the "
            f"queue by signals and by IndexedManager"
        )
    return triggers


def _plan(name: str, triggers: Triggers, using: str) -> TriggerPlan:
    return plan_of(registry.get(name), triggers, using)


def _require_tables(using: str) -> None:
    """Refuse to install what could not write: it would end the application's statements."""
    outbox.forget_tables()
    if not outbox.is_ready(using):
        raise SettingsError(
            f"The tables of ai_migration are missing or old in the database {using!r}. Run: "
            f"manage.py migrate ai_migration"
        )
    try:
        with transaction.atomic(using=using):
            dialect(using).put_changes([QueuedChange("", "INDEX", 1, "", None, "[]")])
    except Error as error:
        rights = "This role needs SELECT, INSERT and UPDATE on the tables of ai_migration."
        raise TriggersRefusedError("", in_words(error), rights) from error


def _found(triggers: Triggers) -> dict[str, list[Found]]:
    """Return our triggers by the identifier of their entity type."""
    found: dict[str, list[Found]] = {}
    for each in triggers.found():
        if parts := parts_of(each.name):
            found.setdefault(parts[0], []).append(each)
    return found


def _tables(found: Iterable[Found]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.table for each in found if each.table))
