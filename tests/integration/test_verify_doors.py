"""The command, the REST API and the admin start a verify and show what it finds."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from ai_migration.models import MigrationJob, SearchableEntity
from ai_migration.stores import stores
from ai_migration.types import JobKind, JobStatus
from tests.commands import ManageHere
from tests.integration.admin import operator, said, url, words
from tests.integration.rest import Api, error
from tests.integration.support import Project, collection, make_articles, run, work
from tests.testapp.models import Article

pytestmark = [pytest.mark.vendors("sqlite"), pytest.mark.usefixtures("damaged")]

KEYS = {
    *("missing", "stale", "orphaned", "ledgerWithoutVector", "vectorWithoutLedger"),
    *("wrongDimensions", "wrongChunks", "sourceRows", "ledgerRows", "vectors", "pending"),
}


@pytest.fixture
def damaged(project: Project) -> None:
    """Thirty articles, of which the index lost some."""
    project.set(ORPHAN_GRACE_SECONDS=0)
    make_articles(30)
    run()
    lost = Article.objects.order_by("pk").values_list("pk", flat=True)[:25]
    stores["default"].delete(collection().ref, [str(pk) for pk in lost])
    Article.objects.create(title="New")


# The command


def test_the_command_finds_and_repairs(manage_here: ManageHere, project: Project) -> None:
    settings = {"ORPHAN_GRACE_SECONDS": 0, "ENTITY_CONFIG": str(project.get("ENTITY_CONFIG"))}

    def verify(*arguments: str) -> Any:
        return manage_here("ai_migration", "verify", *arguments, ai_migration=settings)

    done = verify("article")
    assert done.returncode == 1
    assert "article: 26 differences: 31 source rows, 30 in the ledger, 5 vectors" in done.stdout
    assert "rows that are not in the index" in done.stdout
    assert re.search(r"25 +1, \d+, \d+, \d+, \d+, …", done.stdout)
    assert "ai_migration verify article --repair" in done.stdout
    job = MigrationJob.objects.get(kind=JobKind.VERIFY)
    shown = manage_here("ai_migration", "show", job.pk, ai_migration=settings)
    assert "26 differences" in shown.stdout

    done = verify("--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found.keys() >= KEYS
    assert (found["missing"], found["ledgerWithoutVector"], found["agrees"]) == (1, 25, False)
    assert len(found["samples"]["ledgerWithoutVector"]) == 20

    done = verify("--repair", "--noinput")
    assert (done.returncode, done.stderr) == (0, "")
    assert "All of it is repaired." in done.stdout
    done = verify()
    assert done.returncode == 0
    assert "source, ledger and store agree: 31 source rows" in done.stdout
    assert SearchableEntity.objects.count() == 31


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["artcle"], 2, "Did you mean 'article'?"),
        (["article", "--repair", "--bogus"], 2, "unrecognized arguments"),
    ],
)
def test_wrong_usage(
    manage_here: ManageHere, project: Project, arguments: list[str], code: int, says: str
) -> None:
    settings = {"ENTITY_CONFIG": str(project.get("ENTITY_CONFIG"))}
    done = manage_here("ai_migration", "verify", *arguments, ai_migration=settings)
    assert done.returncode == code
    assert says in done.stderr
    assert not MigrationJob.objects.filter(kind=JobKind.VERIFY).exists()


def test_nothing_is_indexed(manage_here: ManageHere, project: Project) -> None:
    MigrationJob.objects.all().delete()
    collection().delete()
    settings = {"ENTITY_CONFIG": str(project.get("ENTITY_CONFIG"))}
    done = manage_here("ai_migration", "verify", "--json", ai_migration=settings)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "not_indexed"


# The REST API


def test_the_api_starts_one_and_tells_what_it_found(api: Api) -> None:
    started = api.post("entities/article/verify").json()
    assert (started["kind"], started["createdBy"]) == ("verify", "ops")
    work()
    found = api.get(f"jobs/{started['id']}/findings").json()
    assert (found["missing"], found["ledgerWithoutVector"], found["status"]) == (
        *(1, 25),
        "COMPLETED",
    )
    assert api.get(f"jobs/{started['id']}").json()["progress"]["percentComplete"] == 100
    repair = api.post("entities/article/verify", {"repair": True}).json()
    work()
    assert MigrationJob.objects.get(pk=repair["id"]).indexed_entities == 26
    again = api.post("entities/article/verify").json()
    work()
    assert api.get(f"jobs/{again['id']}/findings").json()["agrees"] is True


def test_the_api_refuses_what_is_wrong(api: Api) -> None:
    assert error(api.post("entities/artcle/verify"))["code"] == "unknown_entity_type"
    assert error(api.post("entities/article/verify", {"repiar": True}))["code"] == "unknown_field"
    assert error(api.get("jobs/mig-1/findings"))["code"] == "unknown_job"
    migration = MigrationJob.objects.get()
    assert "not a verify" in error(api.get(f"jobs/{migration.pk}/findings"))["detail"]
    first = api.post("entities/article/verify").json()
    conflict = error(api.post("entities/article/verify"))
    assert (conflict["code"], first["id"] in conflict["detail"]) == ("conflicting_job", True)


# The admin


def test_the_admin_verifies_and_repairs() -> None:
    client = operator("view", "start")
    assert 'name="verify" value="article"' in client.get(url("dashboard_coverage")).content.decode()
    answer = client.post(url("dashboard_verify"), {"verify": "article"}, follow=True)
    [message] = said(answer)
    assert "verifies article" in message
    work()
    job = MigrationJob.objects.get(kind=JobKind.VERIFY)
    page = client.get(url("migrationjob_change", job.pk))
    shown = words(page)
    assert "Verify of article" in shown
    assert "Compared: 31 source rows, 30 entities in the ledger, 5 vectors." in shown
    assert re.search(r"25 entities without a vector in the store 1, \d+, \d+, \d+, \d+, …", shown)
    assert 'name="repair" value="article"' in page.content.decode()
    client.post(url("dashboard_verify"), {"repair": "article"})
    work()
    repaired = MigrationJob.objects.filter(kind=JobKind.VERIFY).latest("pk")
    assert (repaired.repair, repaired.status) == (True, JobStatus.COMPLETED)
    assert (
        'name="repair"' not in client.get(url("migrationjob_change", repaired.pk)).content.decode()
    )


def test_the_admin_needs_the_permission_and_says_why_not() -> None:
    assert operator("view").post(url("dashboard_verify"), {"verify": "article"}).status_code == 403
    client = operator("view", "start")
    assert client.get(url("dashboard_verify")).status_code == 405
    answer = client.post(url("dashboard_verify"), {"verify": "artcle"}, follow=True)
    assert "article" in said(answer)[0]
