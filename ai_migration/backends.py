"""The alias registry: ``EMBEDDERS`` and ``STORES`` become instances, Django style."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from ai_migration.conf import BackendSettings, get_settings
from ai_migration.exceptions import AIMigrationError, SettingsError
from ai_migration.redaction import (
    guard_loggers,
    redacted,
    scrub,
    secrets_in,
    secrets_of,
    sources,
    without_secrets,
)

Backend = TypeVar("Backend")


class BackendImportError(SettingsError):
    """``BACKEND`` cannot be imported."""


class BackendTypeError(SettingsError):
    """``BACKEND`` is not a backend of this kind."""


class BackendOptionsError(SettingsError):
    """``OPTIONS`` do not fit the backend."""


class BackendRegistry(Generic[Backend]):
    """Instances by alias, made at first use and kept for the process.

    Args:
        setting: ``"EMBEDDERS"`` or ``"STORES"``.
        base: The class every backend derives from.
    """

    def __init__(self, setting: str, base: Callable[[], type[Backend]]) -> None:
        self.setting = setting
        self._base = base
        self._instances: dict[str, Backend] = {}
        self._others: dict[str, tuple[BackendSettings, Backend]] = {}
        self._lock = threading.RLock()  # a backend may be made of another alias
        setting_changed.connect(self._forget, weak=False)
        sources.append(self._secrets)

    def __getitem__(self, alias: str) -> Backend:
        """Return the backend of that alias.

        Raises:
            SettingsError: The alias is unknown, its class cannot be imported, is not a
                backend of this kind, or refuses its options.
        """
        with self._lock:
            if alias not in self._instances:
                self._instances[alias] = self._create(alias)
            return self._instances[alias]

    def __iter__(self) -> Iterator[str]:
        return iter(self._configured())

    def __contains__(self, alias: object) -> bool:
        return alias in self._configured()

    def make(self, configured: BackendSettings, where: str) -> Backend:
        """Return a backend with settings that no alias has; the same one as long as they are equal.

        Args:
            configured: The settings.
            where: Where they come from, for messages.

        Raises:
            SettingsError: As for an alias.
        """
        with self._lock:
            known = self._others.get(where)
            if known is None or known[0] != configured:
                made = make_backend(self._class(configured, where), configured, where)
                known = self._others[where] = configured, made
            return known[1]

    def reset(self) -> None:
        """Forget all instances; the next use makes new ones."""
        with self._lock:
            self._instances.clear()
            self._others.clear()

    def _configured(self) -> dict[str, BackendSettings]:
        configured: dict[str, BackendSettings] = getattr(get_settings(), self.setting)
        return configured

    def _create(self, alias: str) -> Backend:
        configured = self._configured()
        where = f"AI_MIGRATION[{self.setting!r}][{alias!r}]"
        if alias not in configured:
            known = ", ".join(sorted(configured))
            raise SettingsError(f"{where} does not exist. Known aliases: {known}.")
        return make_backend(self._class(configured[alias], where), configured[alias], where)

    def _class(self, configured: BackendSettings, where: str) -> type[Backend]:
        path, backend_class = configured.BACKEND, import_backend(configured, where)
        base = self._base()
        if not (isinstance(backend_class, type) and issubclass(backend_class, base)):
            raise BackendTypeError(
                f"{where}['BACKEND'] is {path!r}, which is not a subclass of {base.__name__}"
            )
        abstract = ", ".join(sorted(getattr(backend_class, "__abstractmethods__", ())))
        if abstract:
            raise BackendTypeError(
                f"{where}['BACKEND'] is {path!r}, which does not implement: {abstract}"
            )
        return backend_class

    def _secrets(self) -> Iterator[str]:
        """Yield the secrets of the backends that were made."""
        others = [backend for _, backend in list(self._others.values())]
        for backend in [*list(self._instances.values()), *others]:
            yield from secrets_of(backend)

    def _forget(self, *, setting: str, **_: Any) -> None:
        if setting == "AI_MIGRATION":
            self.reset()


def import_backend(configured: BackendSettings, where: str) -> Any:
    """Import what ``BACKEND`` names.

    Raises:
        BackendImportError: It cannot be imported.
    """
    path = configured.BACKEND
    try:
        return import_string(path)
    except AIMigrationError:
        raise
    except Exception as error:  # a module can raise anything while it is imported
        words = str(error) if isinstance(error, ImportError) else repr(error)
        ours = BackendImportError(
            f"{where}['BACKEND'] is {path!r}, which cannot be imported: {words}"
        )
        ours.__cause__ = error
        scrub(ours)
        raise ours from ours.__cause__


def make_backend(
    backend_class: Callable[..., Backend], configured: BackendSettings, where: str
) -> Backend:
    """Make an instance with ``OPTIONS``.

    Raises:
        BackendOptionsError: The class refuses them.
    """
    path, options = configured.BACKEND, configured.OPTIONS
    guard_loggers()
    try:
        return backend_class(**options)
    except AIMigrationError as error:
        scrub(error)
        raise
    except Exception as error:  # whatever it is, its message may repeat an option
        words = redacted(without_secrets(str(error), secrets_in(options, is_secret=True)))
        if not isinstance(error, TypeError):
            words = f"{type(error).__name__}: {words}"
        raise BackendOptionsError(f"{where}['OPTIONS'] do not fit {path}: {words}") from None
