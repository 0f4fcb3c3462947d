"""Documents are told once: what a command prints is what the REST API answers and what OpenAPI
describes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import jsonschema
import pytest
from django.core.management import call_command
from pydantic import BaseModel

from ai_migration.jobs.report.documents import Document, example_of
from ai_migration.models import MigrationJob
from ai_migration.types import MigrationFilters
from tests.integration.embedders import Script
from tests.integration.support import Project, make_articles, run

pytest.importorskip("rest_framework")

from ai_migration.rest.requests import Body
from tests.integration.rest import Api
from tests.integration.test_rest_calls import refuse


def printed(*command: str) -> Any:
    """The one JSON document a command prints."""
    output = StringIO()
    call_command(*command, "--json", stdout=output)
    return json.loads(output.getvalue())


@pytest.mark.vendors("sqlite", "postgresql")
def test_commands_print_what_the_rest_api_answers(
    api: Api, project: Project, script: Script
) -> None:
    project.article(filterable_fields=["status"], metadata_fields=["status"])
    make_articles(5)
    script.react = refuse("Title 2", "Title 3")
    run(filters=MigrationFilters(lookups={"status": "published"}), rate_limit=1000)
    path = f"jobs/{MigrationJob.objects.get().pk}"
    job = api.get(path).json()
    links = {"events": f"{path}/events", "failures": f"{path}/failures"}
    listed = {name: api.get(link).json()["results"] for name, link in links.items()}
    assert printed("ai_migration", "show", job["jobId"]) == {**job, **listed}
    assert len(listed["failures"]) == 2
    assert printed("ai_migration", "jobs") == api.get("jobs").json()["results"]
    assert printed("ai_migration", "entities") == api.get("entities").json()
    script.react = refuse()
    plan = api.post("plan", {"entityType": "article", "mode": "all"}).json()
    assert printed("migrate_ai_entities", "article", "--mode", "all", "--dry-run") == plan
    hits = api.post("search", {"entityType": "article", "query": "Title 1"}).json()
    assert printed("ai_migration", "search", "article", "Title 1") == hits
    assert len(hits) == 3


def kinds(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


@pytest.mark.parametrize("document", list(kinds(Document)), ids=lambda kind: kind.__name__)
def test_each_field_is_described_and_the_example_is_such_a_document(
    document: type[Document],
) -> None:
    schema = document.model_json_schema(mode="serialization")
    example = example_of(document)
    assert list(schema["properties"]) == list(example) == schema["required"]
    assert all(each["description"] for each in schema["properties"].values())
    jsonschema.validate(example, schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("body", list(kinds(Body)), ids=lambda kind: kind.__name__)
def test_each_field_of_a_request_is_described_and_its_example_is_taken(body: type[Body]) -> None:
    assert all(field.description for field in body.model_fields.values())
    assert body.model_validate(example_of(body)).given().keys() <= body.model_fields.keys()
