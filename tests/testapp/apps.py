"""The app config of the test application."""

from __future__ import annotations

from django.apps import AppConfig


class TestAppConfig(AppConfig):
    """It has no migrations: `migrate --run-syncdb` makes its tables."""

    name = "tests.testapp"
    label = "testapp"
