"""A host's project in a process of its own, without some of the optional libraries: it indexes
a row, finds it again, and prints what it exposes.

``python -m tests.integration.parts DIRECTORY INSTALLED USED``, the last two as lists with
commas, of ``rest`` and ``admin``.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

LIBRARIES = {
    "rest": [
        "rest_framework",
        "drf_spectacular",
        "drf_spectacular_sidecar",
        "drf_standardized_errors",
    ],
    "admin": ["django.contrib.admin"],
}
PAGES = {
    "rest": "/api/ai/migration/jobs",
    "schema": "/api/ai/migration/schema",
    "admin": "/admin/ai_migration/migrationjob/",
}
OTHERS = ("ai_migration.dispatchers._django_q", "ai_migration.tasks", "ai_migration.testing")
"""Modules that need django-q2 among the apps, or pytest."""
CONFIG = """
ai-entities:
  country: {model: testapp.Country, embeddable-fields: [name]}
"""

urlpatterns: list[Any] = []


def main(directory: str, installed: str, used: str) -> None:
    """Set the project up without what is not installed, use it, and print a report."""
    for part, libraries in LIBRARIES.items():
        if part not in installed and (part, installed) != ("admin", "rest"):  # which imports it
            sys.modules |= dict.fromkeys(libraries)  # type: ignore[arg-type]  # as if not there
    configure(Path(directory), installed)
    add_urls(used)
    import_everything()
    index_and_find()
    report = {
        "answers": {name: status(url) for name, url in PAGES.items()},
        "loaded": [part for part in LIBRARIES if f"ai_migration.{part}" in sys.modules],
    }
    print(json.dumps(report))  # noqa: T201


def configure(directory: Path, installed: str) -> None:
    """The project's settings: the parts that are installed are among its apps."""
    import django
    from django.conf import settings

    config = directory / "ai-entity-config.yml"
    config.write_text(CONFIG)

    apps = ["auth", "contenttypes", "sessions", "messages", "staticfiles"]
    libraries = []
    if "admin" in installed:
        apps.append("admin")
    if "rest" in installed:
        libraries += ["rest_framework", "drf_spectacular", "drf_spectacular_sidecar"]
    processors = ["template.context_processors.request"]
    processors += [f"contrib.{app}.context_processors.{app}" for app in ("auth", "messages")]
    settings.configure(
        SECRET_KEY="for tests only",
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        ALLOWED_HOSTS=["testserver"],
        ROOT_URLCONF=__name__,
        STATIC_URL="static/",
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": directory / "db.sqlite3",
            }
        },
        INSTALLED_APPS=[
            *(f"django.contrib.{app}" for app in apps),
            *libraries,
            "ai_migration",
            "tests.testapp",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {"context_processors": [f"django.{name}" for name in processors]},
            }
        ],
        AI_MIGRATION={
            "ENTITY_CONFIG": config,
            "EMBEDDERS": {"default": {"BACKEND": "ai_migration.embedders.hash.HashEmbedder"}},
        },
    )
    django.setup()


def add_urls(used: str) -> None:
    """The urls of the parts that are used, as a host writes them."""
    from django.urls import include, path

    if "rest" in used:
        urlpatterns.append(path("api/ai/migration/", include("ai_migration.rest.urls")))
    if "admin" in used:
        from django.contrib import admin  # noqa: TID251

        urlpatterns.append(path("admin/", admin.site.urls))


def import_everything() -> None:
    """Every module imports, apart from the optional parts."""
    import ai_migration

    skipped = (*OTHERS, "ai_migration.rest", "ai_migration.admin")
    package = Path(ai_migration.__file__).parent
    for source in package.rglob("*.py"):
        name = ".".join(source.relative_to(package.parent).with_suffix("").parts)
        if not name.startswith(skipped):
            import_module(name.removesuffix(".__init__"))


def index_and_find() -> None:
    """The core works."""
    from django.core.management import call_command

    from ai_migration import search
    from tests.testapp.models import Country

    call_command("migrate", run_syncdb=True, verbosity=0)
    call_command("check", fail_level="ERROR")
    Country.objects.create(code="AT", name="Austria")
    call_command("migrate_ai_entities", "country", verbosity=0)
    assert [hit.id for hit in search("country", "name: Austria")] == ["AT"]


def status(url: str) -> int:
    """What somebody who is not logged in gets."""
    from django.test import Client

    return int(Client().get(url).status_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
