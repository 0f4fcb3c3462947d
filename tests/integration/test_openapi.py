"""What the REST API answers is what its OpenAPI document says, whatever is sent to it:
https://schemathesis.readthedocs.io."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import pytest
import schemathesis
from django.contrib.auth.models import Permission, User
from django.core.handlers.wsgi import WSGIHandler
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from ai_migration import migration_service
from ai_migration.models import EntityFailure, MigrationJob
from ai_migration.rest.documentation import openapi_document
from ai_migration.types import JobStatus
from tests.databases import FreshDatabase
from tests.integration.support import run, start
from tests.testapp.models import Country

API = "/api/ai/migration"
USER, PASSWORD = "ops", "secret"
AUTH = {"auth": (USER, PASSWORD)}
TYPES = ["article", "country", "document", "tenant-note"]

api = schemathesis.openapi.from_dict(openapi_document(API))
api.app = WSGIHandler()
few = settings(max_examples=5, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
many = settings(few, max_examples=300, phases=[Phase.explicit, Phase.generate])


def aim(case: Any) -> None:
    """Ask for what there is: of words drawn at random, none is an entity type or a job."""
    name = case.body.get("entityType") if isinstance(case.body, dict) else None
    if isinstance(name, str) and 0 < len(name) <= 255 and "\0" not in name:
        case.body["entityType"] = chosen(name, TYPES)
    job_id = case.path_parameters.get("job_id")
    if isinstance(job_id, str):
        jobs = MigrationJob.objects.values_list("pk", flat=True)[:8]
        case.path_parameters["job_id"] = chosen(job_id, [*jobs, job_id])


def chosen(drawn: str, among: list[str]) -> str:
    """The same one for the same draw."""
    return among[crc32(drawn.encode()) % len(among)]


@pytest.fixture
def host(database: FreshDatabase, settings: Any) -> None:
    """A host of the API, with an index, and jobs in every state."""
    settings.ROOT_URLCONF = "tests.rest_urls"
    settings.ALLOWED_HOSTS = ["*"]
    user = User.objects.create_user(USER, password=PASSWORD)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="ai_migration"))
    Country.objects.create(code="AT", name="Austria")
    for status in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED):
        job = start("article", created_by="ops")
        EntityFailure.objects.create(job=job, collection=job.collection, entity_id="1")
        migration_service.cancel_migration(job.pk)
        MigrationJob.objects.filter(pk=job.pk).update(status=status)
    migration_service.pause_migration(start("document").pk)
    run("country")
    start("country")


def check(case: Any) -> None:
    """All checks of the library: no 500, no status, media type or body that is not
    documented, no refusal of what is well formed, nobody without a permission…"""
    aim(case)
    response = case.call(**AUTH)
    case.validate_response(
        response,
        excluded_checks=[positive_data_acceptance] if is_service_refusal(response) else [],
        transport_kwargs=AUTH,
    )
    if case.operation.label == "POST /start" and response.status_code == 200:
        migration_service.cancel_migration(response.json()["id"])  # so that another can start


def is_service_refusal(response: Any) -> bool:
    """Whether a value is well formed, and the service refuses it: a filter on a field that
    cannot be filtered, a cost without a price. No schema can say so beforehand."""
    if response.status_code != 400:
        return False
    return all(error["code"] == "invalid_request" for error in response.json()["errors"])


@pytest.mark.gate
@api.parametrize()
@few
@pytest.mark.vendors("sqlite")
def test_every_answer_is_as_documented(case: Any, host: None) -> None:
    check(case)


@api.parametrize()
@many
@pytest.mark.vendors(gate=["sqlite"], slow=["postgresql"])
def test_every_answer_to_many_calls_is_as_documented(case: Any, host: None) -> None:
    check(case)
