"""What the server that forks victims imports once: Django, and everything a worker needs."""

from __future__ import annotations

import os
from importlib import import_module

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

for name in ("ai_migration.engine.worker", "tests.acceptance.embedders", "tests.databases"):
    import_module(name)
