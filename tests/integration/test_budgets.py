"""A job pauses before it embeds more than it may, and says so."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ai_migration import migration_service
from ai_migration.exceptions import InputRefusedError, InvalidRequestError
from ai_migration.jobs.report.documents import JobStanding
from ai_migration.models import MigrationJob
from ai_migration.testing.threads import at_once
from ai_migration.types import EmbedAnswer, JobChanges, JobStatus, MigrationRequest
from tests.integration.embedders import Script, ScriptedEmbedder
from tests.integration.support import (
    Killed,
    Project,
    assert_in_line,
    collection,
    counts,
    die,
    finish,
    make_articles,
    progress,
    run_slice,
    start,
    stored,
    work,
)

pytestmark = pytest.mark.vendors("sqlite", gate=["postgresql", "mysql"])

TOKENS = 10
"""Of each text."""


class Priced(ScriptedEmbedder):
    """Each text has ten tokens, by its own count and by the provider's."""

    is_remote = True

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [TOKENS] * len(texts)

    def request(self, texts: Sequence[str]) -> EmbedAnswer:
        return EmbedAnswer(self.embed(texts), TOKENS * len(texts))


@pytest.fixture
def priced(project: Project) -> Project:
    """100 rows, 1,000 tokens, at 2.50 for a million; five texts in a request, one in the first."""
    embedder(project, PRICE_PER_MILLION_TOKENS="2.50")
    make_articles(100)
    return project


def embedder(project: Project, **keys: Any) -> None:
    script = project.embedder(max_batch_size=5)
    options = {"script": script, "max_batch_size": 5}
    backend = f"{__name__}.Priced"
    project.set(
        DEFAULT_RATE_LIMIT=None,
        EMBEDDERS={"default": {"BACKEND": backend, "OPTIONS": options, **keys}},
    )


def test_tokens_and_cost_stand_on_the_job(priced: Project) -> None:
    job = start(batch_size=30)
    done = finish(job)
    assert (done.tokens, done.cost) == (1_000, Decimal("0.00"))
    row = MigrationJob.objects.get()
    assert row.cost == Decimal("0.0025")
    assert row.tokens_left is None
    document = JobStanding.of(done)
    assert (document["tokens"], document["cost"]) == (1_000, "0.00")


def test_no_cost_is_guessed(priced: Project) -> None:
    embedder(priced)
    done = finish(start())
    assert (done.tokens, done.cost) == (1_000, None)


@pytest.mark.parametrize("batch_size", [7, 30, 500])
def test_a_job_pauses_before_its_tokens_are_used_up(priced: Project, batch_size: int) -> None:
    job = start(batch_size=batch_size, max_tokens=425)
    work()
    paused = progress(job)
    assert paused.status == JobStatus.PAUSED
    assert paused.tokens == 410
    assert len(stored(collection())) == 41, "what was paid for is kept"
    assert paused.throttle_reason.startswith("budget used up: 410 tokens of 425, ")
    assert paused.throttle_reason.endswith(", and the next request needs 50")
    event = migration_service.list_events(job.pk)[-1]
    assert (event.actor, event.to_status) == ("engine", JobStatus.PAUSED)
    assert event.reason == paused.throttle_reason

    migration_service.resume_migration(job.pk, changes=JobChanges(max_tokens=10_000))
    assert counts(finish(job)) == (100, 0, 0, 0)
    assert progress(job).tokens == 1_000, "nothing was paid twice"
    assert progress(job).throttle_reason == ""
    assert_in_line()


def test_a_budget_of_money_is_one_of_tokens(priced: Project) -> None:
    embedder(priced, PRICE_PER_MILLION_TOKENS=Decimal(100))
    job = start(batch_size=10, max_cost="0.05")
    work()
    paused = progress(job)
    assert (paused.status, paused.tokens, paused.cost) == ("PAUSED", 460, Decimal("0.05"))
    assert "0.05 of 0.05" in paused.throttle_reason


def test_going_on_without_a_larger_budget_is_refused(priced: Project) -> None:
    job = start(batch_size=10, max_tokens=110)
    work()
    assert progress(job).tokens == 110
    with pytest.raises(InvalidRequestError, match="110 tokens of 110") as caught:
        migration_service.resume_migration(job.pk)
    assert caught.value.field == "max_tokens"
    assert progress(job).status == JobStatus.PAUSED
    with pytest.raises(InvalidRequestError, match="used up"):
        migration_service.resume_migration(job.pk, changes=JobChanges(max_tokens=50))


def test_a_running_job_can_be_changed(priced: Project) -> None:
    embedder(priced, PRICE_PER_MILLION_TOKENS=Decimal(100))
    job = start(max_tokens=5)
    changes = JobChanges(rate_limit=7, max_tokens=2_000, max_cost="1.5")
    for _ in range(2):  # the second time there is nothing to change
        migration_service.resume_migration(job.pk, actor="ops", reason="a sale", changes=changes)
    row = MigrationJob.objects.get()
    assert (row.status, row.rate_limit, row.max_tokens) == ("RUNNING", 7, 2_000)
    assert (row.max_cost, row.token_price) == (Decimal("1.5"), Decimal(100))
    started, changed = migration_service.list_events(job.pk)[-2:]
    assert started.to_status == changed.from_status == changed.to_status == JobStatus.RUNNING
    assert started.from_status != JobStatus.RUNNING
    assert changed.actor == "ops"
    assert changed.reason == (
        "a sale; requests a minute: none → 7, budget in tokens: 5 → 2,000, "
        "budget in money: none → 1.5"
    )
    migration_service.resume_migration(job.pk)
    assert MigrationJob.objects.get().last_updated_at == row.last_updated_at
    embedder(priced, PRICE_PER_MILLION_TOKENS=Decimal("0.02"))
    migration_service.resume_migration(job.pk, changes=changes)
    assert migration_service.list_events(job.pk)[-1].reason == (
        "price of a million tokens: 100 → 0.02"
    )


def test_what_changed_is_a_reason_to_go_on(priced: Project) -> None:
    job = start(batch_size=10, max_tokens=100)
    work()
    migration_service.resume_migration(job.pk, actor="ops", changes=JobChanges(max_tokens=2_000))
    event = migration_service.list_events(job.pk)[-1]
    assert (event.actor, event.from_status, event.to_status) == ("ops", "PAUSED", "RUNNING")
    assert event.reason == "budget in tokens: 100 → 2,000"


@pytest.mark.parametrize(
    ("request_", "field", "words"),
    [
        ({"max_tokens": 0}, "max_tokens", "from 1 to"),
        ({"max_tokens": 2**60}, "max_tokens", "from 1 to"),
        ({"max_cost": "free"}, "max_cost", "an amount"),
        ({"max_cost": "NaN"}, "max_cost", "an amount"),
        ({"max_cost": -1}, "max_cost", "an amount"),
        ({"max_cost": "1e99"}, "max_cost", "an amount"),
        ({"max_cost": True}, "max_cost", "an amount"),
    ],
)
@pytest.mark.vendors("sqlite")
def test_a_budget_that_is_none_is_refused(
    priced: Project, request_: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(InvalidRequestError, match=words) as caught:
        start(**request_)
    assert caught.value.field == field
    job = start()
    with pytest.raises(InvalidRequestError, match=words):
        migration_service.resume_migration(job.pk, changes=JobChanges(**request_))


@pytest.mark.vendors("sqlite")
def test_a_budget_of_money_needs_a_price(priced: Project) -> None:
    embedder(priced)
    with pytest.raises(InvalidRequestError, match="PRICE_PER_MILLION_TOKENS") as caught:
        start(max_cost=5)
    assert caught.value.field == "max_cost"


@pytest.mark.vendors("sqlite")
def test_a_plan_says_cost_and_time(priced: Project) -> None:
    embedder(
        priced, PRICE_PER_MILLION_TOKENS=1_000, TOKENS_PER_MINUTE=100, REQUESTS_PER_MINUTE=1_000
    )
    plan = migration_service.plan(MigrationRequest("article"))
    assert (plan.tokens, plan.cost) == (1_000, Decimal("1.00"))
    assert plan.duration_at_rate_limit is not None
    assert plan.duration_at_rate_limit.total_seconds() == 60 * 1_000 / 80


@pytest.mark.vendors("sqlite")
def test_the_commands_take_and_tell_it(priced: Project) -> None:
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("migrate_ai_entities", "article", "--max-tokens", "310", stdout=out)
    assert "Paused: budget used up: 310 tokens of 310" in out.getvalue()
    job = MigrationJob.objects.get()
    call_command("ai_migration", "show", job.pk, stdout=out)
    assert "paused     budget used up" in out.getvalue()
    assert "tokens     310, 0.00 at the configured price" in out.getvalue()
    call_command(
        "ai_migration", "resume", job.pk, "--max-cost", "9", "--max-tokens", "400", stdout=out
    )
    work()
    with pytest.raises(SystemExit):
        call_command("migrate_ai_entities", "--resume", job.pk, "--max-tokens", "401", stdout=out)
    call_command("migrate_ai_entities", "--resume", job.pk, "--max-tokens", "4000", stdout=out)
    assert progress(job).status == JobStatus.COMPLETED
    out = StringIO()
    call_command("ai_migration", "jobs", "--json", stdout=out)
    [document] = json.loads(out.getvalue())
    assert (document["maxTokens"], document["maxCost"], document["tokens"]) == (4000, "9.00", 1_000)
    out = StringIO()
    call_command("migrate_ai_entities", "article", "--dry-run", "--mode=all", stdout=out)
    assert "0.00 at the configured price" in out.getvalue()


# Workers that are killed


def charged(job: MigrationJob) -> tuple[int, int]:
    row = MigrationJob.objects.get(pk=job.pk)
    return row.embedded_tokens, row.reserved_tokens


def seen(project: Project) -> Script:
    """What a provider was sent, whether or not anybody took the answer."""
    script = project.embedder(max_batch_size=5)
    options = {"script": script, "max_batch_size": 5}
    project.set(
        EMBEDDERS={"default": {"BACKEND": f"{__name__}.Priced", "OPTIONS": options}},
        DEFAULT_RATE_LIMIT=None,
    )
    return script


def test_what_a_killed_worker_has_sent_stays_charged(
    priced: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker dies before it has written anything of what it had embedded."""
    script = seen(priced)
    job = start(batch_size=20, max_tokens=600)

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    for _ in range(8):
        with monkeypatch.context() as patch, suppress(Killed):
            patch.setattr("ai_migration.engine.slices.slice.write_batch", killed)
            run_slice()
        die()
    work()
    embedded, reserved = charged(job)
    assert len(script.texts) * TOKENS <= embedded + reserved == progress(job).tokens <= 600
    assert reserved > 0
    assert progress(job).status == JobStatus.PAUSED
    assert progress(job).throttle_reason.startswith(f"budget used up: {progress(job).tokens} ")
    migration_service.resume_migration(job.pk, changes=JobChanges(max_tokens=10_000))
    assert counts(finish(job)) == (100, 0, 0, 0)
    assert charged(job) == (1_000, reserved)


def test_two_workers_spend_one_budget(priced: Project) -> None:
    script = seen(priced)
    job = start(batch_size=10, max_tokens=405)
    barrier = threading.Barrier(2, timeout=60)

    def react(texts: Sequence[str]) -> None:
        with suppress(threading.BrokenBarrierError):
            barrier.wait(timeout=1)  # both have a request in flight

    script.react = react
    assert not at_once([work, work])
    assert len(script.texts) * TOKENS <= 405
    assert charged(job) == (len(script.texts) * TOKENS, 0)


def test_what_was_reserved_in_vain_is_given_back(priced: Project) -> None:
    """The provider charges less than was counted, and refuses a row."""
    script = seen(priced)

    def react(texts: Sequence[str]) -> None:
        if any("Title 42\n" in text for text in texts):
            raise InputRefusedError("no")

    script.react = react
    job = start(batch_size=7, max_tokens=5_000)
    assert counts(finish(job)) == (99, 0, 0, 1)
    assert charged(job) == (990, 0)


def test_a_job_without_a_budget_reserves_nothing(priced: Project) -> None:
    job = start(batch_size=30)
    with CaptureQueriesContext(connection) as queries:
        finish(job)
    updates = [each["sql"] for each in queries if each["sql"].startswith("UPDATE")]
    assert updates
    assert not [sql for sql in updates if "reserved_tokens" in sql]
    assert charged(job) == (1_000, 0)
