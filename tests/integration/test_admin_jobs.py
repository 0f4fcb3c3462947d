"""The admin's pages of jobs: what they show, who may, and what the buttons do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from ai_migration import migration_service
from ai_migration.models import EntityFailure, JobEvent, MigrationJob, QueueEntry
from ai_migration.types import EntryStatus, JobStatus, Operation, Priority
from tests.integration.embedders import Script
from tests.integration.support import Project, finish, make_articles, run, start, work

pytestmark = pytest.mark.vendors("sqlite", "postgresql")

MOST_QUERIES = 15
LIST = "admin:ai_migration_migrationjob_changelist"
