"""What the tests of the admin share: who looks at which page, and what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from typing import Any

from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

JOBS = "admin:ai_migration_migrationjob_changelist"
MOST_QUERIES = 15


def url(name: str, *args: object) -> str:
    """The address of one of our pages: ``url("migrationjob_change", job.pk)``."""
    return reverse(f"admin:ai_migration_{name}", args=args)


def operator(*permissions: str, csrf: bool = False) -> Client:
    """A member of staff who has these permissions of ours, logged in."""
    name = "-".join(permissions) or "nobody"
    user, _ = User.objects.get_or_create(username=name, defaults={"is_staff": True})
    codes = [f"{permission}_migrationjob" for permission in permissions]
    user.user_permissions.set(Permission.objects.filter(codename__in=codes))
    client = Client(enforce_csrf_checks=csrf)
    client.force_login(user)
    return client


def words(response: Any) -> str:
    """A page as somebody reads it."""
    if hasattr(response, "render") and not response.is_rendered:
        response.render()
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", response.content.decode())).split())


def said(response: Any) -> list[str]:
    """The messages at its top."""
    found = re.search(r'<ul class="messagelist">(.*?)</ul>', response.content.decode(), re.DOTALL)
    return (
        []
        if found is None
        else [unescape(item) for item in re.findall(r"<li[^>]*>(.*?)</li>", found[1], re.DOTALL)]
    )


def tiles(response: Any) -> dict[str, str]:
    """The tiles of a page: label and number."""
    part = re.search('<dl class="aim-tiles.*?</dl>', response.content.decode(), re.DOTALL)
    assert part is not None
    found = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", part[0])
    return {name: re.sub("<[^>]*>", "", value) for name, value in found}


@contextmanager
def few_queries(most: int = MOST_QUERIES) -> Iterator[None]:
    """A page needs no more than that."""
    with CaptureQueriesContext(connection) as asked:
        yield
    assert len(asked) <= most, "\n".join(query["sql"] for query in asked)
