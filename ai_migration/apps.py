"""The Django app."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class AIMigrationConfig(AppConfig):
    """Registers the system checks; discovery itself happens at first use, without a query."""

    name = "ai_migration"
    label = "ai_migration"
    verbose_name = _("AI migration")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from ai_migration import checks  # noqa: F401  (registers itself)
        from ai_migration.entities.rows import routing
        from ai_migration.indexing.triggers import migrating
        from ai_migration.live import signals
        from ai_migration.redaction import guard_loggers

        guard_loggers()
        post_migrate.connect(_install_schedules, dispatch_uid="ai_migration.schedules")
        routing.install()
        signals.install()
        migrating.connect()
        _prepare_dispatcher()


def _prepare_dispatcher() -> None:
    """Prepare the dispatcher before this process forks workers."""
    from ai_migration.dispatch import get_dispatcher
    from ai_migration.exceptions import AIMigrationError

    with suppress(AIMigrationError):  # reported by the system checks
        get_dispatcher().prepare()


def _install_schedules(sender: AppConfig, **_: Any) -> None:
    """Install our schedules, once the tables for them exist."""
    from ai_migration.dispatch import get_dispatcher
    from ai_migration.exceptions import AIMigrationError

    with suppress(AIMigrationError):  # reported by the system checks
        dispatcher = get_dispatcher()
        if dispatcher.supports_schedules and dispatcher.schedules_app == sender.label:
            dispatcher.install()
