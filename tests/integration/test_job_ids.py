"""Jobs by the beginnings of their ids."""

from __future__ import annotations

import pytest

from ai_migration import migration_service
from ai_migration.exceptions import AmbiguousJobError, UnknownJobError
from ai_migration.models import MigrationJob
from tests.commands import ManageHere
from tests.integration.support import Project, start
from tests.testapp.models import Article

FIRST = "mig-01a220ef-a9f2-7a32-a4ad-73b5a9a1288c"
SECOND = "mig-01a220f3-31f9-7f59-8b25-c24c98d0511d"
THIRD = "mig-01a220f3-6cb0-785f-bfc0-0a1bd02ba77d"  # in the same minute as the second
WHOLE = [FIRST, SECOND, THIRD]


@pytest.fixture
def jobs(project: Project) -> None:
    """Three jobs with these ids."""
    Article.objects.create(title="One", body="")
    made = start()
    migration_service.cancel_migration(made.pk)
    made.refresh_from_db()
    for job_id in WHOLE:
        made.pk = job_id
        made.save(force_insert=True)
    MigrationJob.objects.exclude(pk__in=WHOLE).delete()


@pytest.mark.usefixtures("jobs")
def test_any_unambiguous_beginning_will_do() -> None:
    for words, job_id in (
        (FIRST, FIRST),
        ("mig-01a220ef", FIRST),
        ("01a220ef-a9", FIRST),
        ("01a220e", FIRST),
        ("mig-01a220f3-3", SECOND),
        (" 01a220f3-6 ", THIRD),
        ("last", THIRD),
    ):
        assert migration_service.find_job_id(words) == job_id
    MigrationJob.objects.exclude(pk=SECOND).delete()
    assert migration_service.find_job_id("m") == SECOND
    assert migration_service.find_job_id("last") == SECOND


@pytest.mark.usefixtures("jobs")
def test_an_ambiguous_one_names_the_candidates() -> None:
    with pytest.raises(AmbiguousJobError) as caught:
        migration_service.find_job_id("01a220f3-")
    assert SECOND in caught.value.message
    assert THIRD in caught.value.message
    assert FIRST not in caught.value.message
    job = MigrationJob.objects.get(pk=FIRST)
    for number in range(5):
        job.pk = f"{FIRST[:-1]}{number}"
        job.save(force_insert=True)
    with pytest.raises(AmbiguousJobError, match="and others. Use more of the id"):
        migration_service.find_job_id("mig-")


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize(
    "words", ["", " ", "mig-02", "1288c", "%", "mig_01a220ef", "last2", "\0", "\ud800", "ü"]
)
def test_others_are_unknown(words: str) -> None:
    with pytest.raises(UnknownJobError):
        migration_service.find_job_id(words)


@pytest.mark.usefixtures("jobs")
def test_short_ids_are_beginnings_that_name_one_job() -> None:
    short = migration_service.short_ids(WHOLE)
    assert short == {FIRST: "01a220ef", SECOND: "01a220f3-3", THIRD: "01a220f3-6"}
    assert migration_service.short_ids([THIRD]) == {THIRD: "01a220f3-6"}, "on any page"
    assert migration_service.short_ids([]) == {}
    for job_id, beginning in short.items():
        assert migration_service.find_job_id(beginning) == job_id


@pytest.mark.usefixtures("jobs")
@pytest.mark.vendors("sqlite")
def test_every_command_takes_them(manage_here: ManageHere) -> None:
    listed = manage_here("ai_migration", "jobs")
    ids = [line.split()[0] for line in listed.stdout.splitlines()[2:]]
    assert ids == ["01a220f3-6", "01a220f3-3", "01a220ef"]
    assert THIRD in manage_here("ai_migration", "jobs", "--json").stdout
    for action in ("show", "pause", "resume", "cancel", "retry-failed", "watch"):
        done = manage_here("ai_migration", action, "01a220f3-3")
        assert SECOND in done.stdout + done.stderr, action
        done = manage_here("ai_migration", action, "last")
        assert THIRD in done.stdout + done.stderr, action
        refused = manage_here("ai_migration", action, "01a220f3")
        assert refused.returncode == 2
        assert "begin with '01a220f3'" in refused.stderr
    for words, job_id in (("last", THIRD), ("01a220e", FIRST)):
        assert job_id in manage_here("migrate_ai_entities", "--resume", words).stderr
    assert manage_here("migrate_ai_entities", "--resume", "mig-01a").returncode == 2
    assert manage_here("migrate_ai_entities", "--resume", "").returncode == 2


@pytest.mark.usefixtures("jobs")
@pytest.mark.vendors("sqlite")
def test_a_mistyped_entity_type_gets_the_nearest(manage_here: ManageHere) -> None:
    for arguments in (
        ("ai_migration", "search", "artcle", "words"),
        ("migrate_ai_entities", "artcle"),
        ("ai_migration", "jobs", "--type", "artcle"),
    ):
        done = manage_here(*arguments)
        assert "Did you mean 'article'?" in done.stdout + done.stderr
