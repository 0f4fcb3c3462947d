"""What happens in that project, in a process of its own: prints what came of it, as JSON.

``python -m tests.tenants.story``, with the environment that tests/tenants/settings.py names.
"""

from __future__ import annotations

import json
import os
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any

SCHEMAS = ("public", "acme", "globex")
TYPES = ("user", "user-pgvector", "user-file", "user-memory")
USERS = 12
"""In each schema, with the same primary keys."""


def main() -> None:
    """Each tenant's users are indexed, on their own."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.tenants.settings"
    import django

    django.setup()
    manage("migrate_schemas", "--shared", "--run-syncdb", "-v0")
    seed()
    report: dict[str, Any] = {"sent": {}}
    manage("migrate_ai_entities", "--all", "--batch-size=5", "--json")
    report["sent"]["public"] = sent()
    as_tenant("acme", "migrate_ai_entities", "--all", "--batch-size=5", "--json")
    report["sent"]["acme"] = sent()
    # And by processes that work for whoever has started them; memory is none that they share.
    as_tenant("globex", "migrate_ai_entities", *TYPES[:3], "--batch-size=5", "--detach", "--json")
    as_tenant("globex", "ai_migration", "worker", "--until-idle", "--slots=2", "--json")
    report["sent"]["globex"] = sent()
    as_tenant("globex", "migrate_ai_entities", TYPES[3], "--json")
    report["found"] = {schema: found(schema) for schema in SCHEMAS}
    report["doctor"] = as_tenant("acme", "ai_migration", "doctor")
    drop_a_table("acme")
    report["elsewhere"] = as_tenant("acme", "ai_migration", "worker", "--until-idle")
    print(json.dumps(report))  # noqa: T201


def manage(*arguments: str) -> str:
    """Run a command as a terminal does; what it prints."""
    from django.core.management import execute_from_command_line

    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said), suppress(SystemExit):
        execute_from_command_line(["manage.py", *arguments])
    return said.getvalue()


def as_tenant(schema: str, *arguments: str) -> str:
    """The same for one tenant."""
    from django.db import connection

    try:
        return manage("tenant_command", *arguments, f"--schema={schema}")
    finally:
        connection.set_schema_to_public()  # type: ignore[attr-defined]


def seed() -> None:
    """The tenants, and everybody's users."""
    from django.contrib.auth.models import User
    from django_tenants.utils import schema_context

    from tests.tenants.models import Client

    for name in SCHEMAS:
        if name != "public":
            Client.objects.create(schema_name=name, name=name)
        with schema_context(name):
            User.objects.bulk_create(User(username=f"{name} {n}") for n in range(USERS))


def sent() -> dict[str, int]:
    """What was sent to the embedder since this was last asked, and how often."""
    log = Path(os.environ["DIRECTORY"]) / "log"
    texts = [json.loads(line) for line in log.read_text().splitlines()]
    log.unlink()
    return {text: texts.count(text) for text in sorted(set(texts))}


def found(schema: str) -> dict[str, Any]:
    """What each of a tenant's indexes has, and what it finds."""
    from django.contrib.auth.models import User
    from django_tenants.utils import schema_context

    from ai_migration import search
    from ai_migration.models import Collection
    from ai_migration.stores import stores

    with schema_context(schema):
        user = User.objects.get(username=f"{schema} 3")
        answers = {}
        for name in TYPES:
            collection = Collection.objects.get(entity_type=name)
            hit = search(name, f"username: {schema} 3")[0]
            count = stores[collection.store].count(collection.ref)
            answers[name] = [count, hit.id == str(user.pk), round(hit.score, 3)]
    return answers


def drop_a_table(schema: str) -> None:
    """Now that of ``public`` is found in its place."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {schema}.ai_collections CASCADE")


if __name__ == "__main__":
    main()
