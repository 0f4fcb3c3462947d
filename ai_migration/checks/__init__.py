"""System checks, under the tag ``ai_migration``; docs/reference/checks.md explains each code.

They import what the settings name and make backends, and neither query nor call a
network. What needs a query is tagged ``database`` too, and runs where Django passes
databases: ``check --database default``, ``migrate``.
"""

from __future__ import annotations

from django.core.checks import Tags, register

from ai_migration.checks.attendance import check_attendance
from ai_migration.checks.backends import check_backends, check_servers
from ai_migration.checks.databases import check_databases, check_indexes
from ai_migration.checks.entities import check_entities
from ai_migration.checks.rest import check_rest
from ai_migration.checks.settings import check_settings
from ai_migration.checks.triggers import check_triggers

TAG = "ai_migration"

for check in (check_settings, check_backends, check_entities, check_databases, check_rest):
    register(check, TAG)
for check in (check_attendance, check_indexes, check_servers, check_triggers):
    register(check, TAG, Tags.database)
