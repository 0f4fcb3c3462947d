"""The settings of the embedder that made an index, kept with it, to make that embedder again.

Never a secret: only the options that a class names in ``kept_options``, and of those no value that
holds a secret. What is left out comes from the present settings or from the environment, and is
only sent where it was meant for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import PurePath
from typing import Any

from ai_migration.conf import EmbedderSettings, get_settings
from ai_migration.embedders import embedders
from ai_migration.embedders.base import Embedder
from ai_migration.exceptions import SettingsError
from ai_migration.redaction import is_secret_name, secrets_in
from ai_migration.types import JSONValue

_PLACE = re.compile("url|endpoint|host|address|server", re.IGNORECASE)
"""Parts of the names of options that say where requests go."""


@dataclass(frozen=True)
class Recipe:
    """The settings an embedder was made with.

    Attributes:
        backend: The dotted path of its class; empty: not known.
        options: Its options, as far as they are kept.
        withheld: The names of its other options.
        provider: The provider in its fingerprint.
        input_type: The input type in its fingerprint.
    """

    backend: str = ""
    options: Mapping[str, JSONValue] = field(default_factory=dict)
    withheld: Sequence[str] = ()
    provider: str = ""
    input_type: str = ""

    @classmethod
    def of(cls, alias: str) -> Recipe:
        """Return the settings of an alias.

        Raises:
            SettingsError: It is wrong.
        """
        embedder, configured = embedders[alias], get_settings().EMBEDDERS[alias]
        options = {
            name: str(value) if isinstance(value, PurePath) else value
            for name, value in configured.OPTIONS.items()
            if name in embedder.kept_options and _may_be_kept(name, value)
        }
        return cls(
            configured.BACKEND,
            options,
            sorted(configured.OPTIONS.keys() - options.keys()),
            embedder.provider,
            embedder.input_type,
        )

    @classmethod
    def load(cls, dumped: Mapping[str, Any] | None) -> Recipe:
        """The inverse of :meth:`dump`; None: nothing is known."""
        known = dumped or {}
        return cls(**{each.name: known[each.name] for each in fields(cls) if each.name in known})

    def dump(self) -> dict[str, JSONValue]:
        """Return it as JSON."""
        return asdict(self)

    def make(self, alias: str, where: str) -> Embedder:
        """Return the embedder; the same one for the same settings.

        Args:
            alias: The alias it had, where its secrets are looked for first.
            where: What keeps the settings, for messages.

        Raises:
            SettingsError: It cannot be made from what is kept and what is configured.
        """
        configured = EmbedderSettings(
            BACKEND=self.backend, OPTIONS={**self.options, **self._found(alias)}
        )
        embedder = embedders.make(configured, where)
        if serious := [message.msg for message in embedder.check() if message.is_serious()]:
            raise SettingsError(f"{where}: {serious[0]}")
        return embedder

    def _found(self, alias: str) -> Mapping[str, Any]:
        """Return the options that are not kept, from settings of the same class for the same
        server; none of them where the environment may have them."""
        if not self.withheld:
            return {}
        for configured in self._configured_alike(alias):
            options = configured.OPTIONS
            known = {name: options[name] for name in options if name not in self.withheld}
            has_all = options.keys() >= set(self.withheld)
            if has_all and _places(known) == _places(self.options):
                return {name: options[name] for name in self.withheld}
        if all(map(is_secret_name, self.withheld)) and not _places(self.options):
            return {}
        raise SettingsError(f"These options are not kept: {', '.join(self.withheld)}")

    def _configured_alike(self, alias: str) -> Iterator[EmbedderSettings]:
        configured = get_settings().EMBEDDERS
        for name in sorted(configured, key=lambda name: (name != alias, name)):
            if self.backend == configured[name].BACKEND:
                yield configured[name]


def _may_be_kept(name: str, value: object) -> bool:
    """Return whether an option is plain, and holds no secret. An address with parameters may."""
    if value is None or isinstance(value, bool | int | float):
        return True
    if not isinstance(value, str | PurePath):
        return False
    text = str(value)
    has_parameters = "://" in text and ("?" in text or "#" in text)
    return not has_parameters and not any(secrets_in({name: text}))


def _places(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the options that say where requests go."""
    return {
        name: str(value)
        for name, value in options.items()
        if value and (_PLACE.search(name) or "://" in str(value))
    }
