"""The admin in a real browser, under a strict content security policy."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from ai_migration import migration_service
from ai_migration.models import MigrationJob
from ai_migration.types import JobStatus
from tests.browser.site import Site
from tests.integration.admin import JOBS, url
from tests.integration.support import (
    Project,
    assert_in_line,
    finish,
    make_articles,
    run_slice,
    start,
    work,
)

pytestmark = [pytest.mark.gate, pytest.mark.vendors("sqlite")]

Users = dict[str, User]


@pytest.fixture
def expect(browser: Any) -> Any:
    """Playwright's assertions, which wait."""
    from playwright.sync_api import expect

    expect.set_options(timeout=15_000)
    return expect


def test_a_migration_from_the_form_to_its_end(
    site: Site, users: Users, expect: Any, project: Project
) -> None:
    make_articles(400)
    page = site.visit(url("migrationjob_add"), users["operator"])
    page.get_by_role("link", name="article", exact=True).click()
    page.get_by_label("Batch size").fill("10")
    page.get_by_label("Reason").fill("first light")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_text("to embed")).to_be_visible()
    assert not MigrationJob.objects.exists()
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".messagelist")).to_contain_text("Started: mig-")
    job = MigrationJob.objects.get()

    bar = page.locator("[data-part=progress] progress")
    assert bar.get_attribute("value") == "0.0"
    run_slice(should_stop=lambda: migration_service.get_job(job.pk).processed_entities >= 10)
    assert migration_service.get_job(job.pk).processed_entities < 400
    expect(bar).not_to_have_attribute("value", "0.0")  # by itself
    assert migration_service.get_job(job.pk).status == JobStatus.RUNNING

    page.get_by_label("Reason").fill("lunch")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".messagelist")).to_contain_text("is paused")
    expect(page.locator("[data-part=events]")).to_contain_text("lunch")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("[data-part=progress] .aim-status")).to_have_text("running")

    work()
    expect(page.locator("[data-part=progress] .aim-status")).to_have_text("completed")
    expect(page.locator("[data-live]")).to_have_attribute("data-open", "no")
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    assert_in_line()


def test_what_is_typed_survives_the_refresh(site: Site, users: Users, expect: Any) -> None:
    make_articles(40)
    job = start(batch_size=10)
    page = site.visit(url("migrationjob_change", job.pk), users["operator"])
    why = page.get_by_label("Reason")
    why.fill("because of")
    migration_service.pause_migration(job.pk)
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    expect(why).to_have_value("because of")


def test_a_budget_is_raised_on_the_page(site: Site, users: Users, expect: Any) -> None:
    make_articles(40)
    job = start(max_tokens=10)
    work()
    page = site.visit(url("migrationjob_change", job.pk), users["operator"])
    expect(page.get_by_text("Paused: budget used up")).to_be_visible()
    budget = page.get_by_label("Budget in tokens")
    budget.fill("-5")
    page.get_by_role("button", name="Change", exact=True).click()
    expect(page.locator(".aim-field.errors")).to_contain_text("greater than or equal to 1")
    expect(budget).to_have_value("-5")
    budget.fill("100000")
    page.get_by_role("button", name="Change", exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text("is resumed")
    work()
    expect(page.locator("[data-part=progress] .aim-status")).to_have_text("completed")


def test_cancel_asks_first(site: Site, users: Users, expect: Any) -> None:
    make_articles(40)
    job = start(batch_size=10)
    page = site.visit(url("migrationjob_change", job.pk), users["operator"])
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("link", name="No, go back").click()
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name="Yes, cancel for good").click()
    expect(page.locator(".messagelist")).to_contain_text("is cancelled")
    assert migration_service.get_job(job.pk).status == JobStatus.CANCELLED


def test_two_tabs_at_once(site: Site, users: Users, expect: Any) -> None:
    """The stale one is told what happened, and shows it; it works without the script, too."""
    make_articles(40)
    job = start(batch_size=10)
    address = url("migrationjob_change", job.pk)
    one = site.visit(address, users["operator"])
    stale = site.visit(address, users["operator"], java_script_enabled=False)
    one.get_by_role("button", name="Pause").click()
    expect(one.locator(".messagelist")).to_contain_text("is paused")
    stale.get_by_role("button", name="Pause").click()
    expect(stale.locator(".messagelist")).to_contain_text("is PAUSED already")
    one.get_by_role("button", name="Cancel…").click()
    one.get_by_role("button", name="Yes, cancel for good").click()
    stale.get_by_role("button", name="Resume").click()
    expect(stale.locator(".messagelist")).to_contain_text("is CANCELLED")
    expect(stale.locator("[data-part=progress] .aim-status")).to_have_text("cancelled")


def test_retry_failed(site: Site, users: Users, expect: Any, project: Project) -> None:
    make_articles(20)
    script = project.embedder()

    def react(texts: Any) -> None:
        if any("Title 3\n" in text for text in texts):
            raise ValueError("too rude")

    script.react = react
    job = start()
    finish(job)
    script.react = lambda texts: None
    page = site.visit(url("migrationjob_change", job.pk), users["operator"])
    expect(page.locator("[data-part=failures]")).to_contain_text("too rude")
    page.get_by_role("button", name="Retry these").click()
    expect(page.locator(".messagelist")).to_contain_text("retries 1 entity")
    work()
    expect(page.locator("[data-part=failures]")).to_contain_text("None.")


def test_several_at_once_from_the_list(site: Site, users: Users, expect: Any) -> None:
    make_articles(20)
    done, running = start(), None
    finish(done)
    running = start(mode="all", batch_size=5)
    page = site.visit(reverse(JOBS), users["operator"])
    for checkbox in page.locator("input.action-select").all():
        checkbox.check()
    page.get_by_label("Action:").select_option(label="Pause")
    page.locator("button[name=index]").click()
    expect(page.locator(".messagelist")).to_contain_text(f"Done: {running.pk} is paused")
    expect(page.locator(".messagelist")).to_contain_text(f"Not done: {done.pk} is COMPLETED")


def test_the_dashboard_counts_and_starts(site: Site, users: Users, expect: Any) -> None:
    make_articles(20)
    page = site.visit(url("dashboard_changelist"), users["operator"])
    row = page.get_by_role("row", name=re.compile("^article"))
    expect(row).to_contain_text("20")  # loaded by the script
    row.get_by_role("button", name="Index missing of article").click()
    expect(page.locator(".messagelist")).to_contain_text("migrates article")
    work()
    page.goto(site.base + url("dashboard_rebuild"))
    page.get_by_label("Type “rebuild” to continue:").fill("rebuild")
    page.get_by_role("button", name="Rebuild everything").click()
    expect(page.locator(".messagelist")).to_contain_text("migrates article")
    assert MigrationJob.objects.latest("pk").rebuild


def test_without_permission_there_are_no_buttons(site: Site, users: Users, expect: Any) -> None:
    make_articles(20)
    job = start(batch_size=10)
    page = site.visit(url("migrationjob_change", job.pk), users["visitor"])
    expect(page.locator("[data-part=progress] .aim-status")).to_have_text("running")
    expect(page.locator("#content button")).to_have_count(0)
    page.goto(site.base + url("dashboard_changelist"))
    expect(page.get_by_role("row", name=re.compile("^article"))).to_be_visible()
    expect(page.locator("#content button, #content a.button")).to_have_count(0)


def test_moments_are_in_the_zone_of_the_browser(site: Site, users: Users, expect: Any) -> None:
    make_articles(5)
    job = start()
    page = site.visit(
        url("migrationjob_change", job.pk), users["visitor"], timezone_id="Asia/Kolkata"
    )
    first = page.locator("[data-part=events] time").first
    utc = first.get_attribute("title")
    shown = first.inner_text()
    assert utc[14:16] != shown[14:16], "half an hour apart"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_nobody_is_shut_out(
    site: Site, users: Users, project: Project, scheme: str, width: int
) -> None:
    """axe-core finds nothing serious, no page is wider than the phone, and no table than its
    page."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-core is not installed"
    )
    make_articles(40)
    script = project.embedder()

    def react(texts: Any) -> None:
        if any("Title 3\n" in text for text in texts):
            raise ValueError("too rude")

    script.react = react
    job = start(batch_size=10)
    run_slice(seconds=4)
    page = site.visit(
        url("dashboard_changelist") + "?count=1",
        users["operator"],
        color_scheme=scheme,
        viewport={"width": width, "height": 800},
    )
    found = []
    for path in (
        None,
        url("dashboard_rebuild"),
        url("migrationjob_change", job.pk),
        url("migrationjob_add") + "?entity_type=article",
        reverse(JOBS),
        url("queueentry_changelist"),
        url("entityfailure_changelist"),
        url("searchableentity_changelist"),
        url("collection_changelist"),
    ):
        if path is not None:
            page.goto(site.base + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert page.evaluate(TOO_WIDE) == [], path
        assert page.evaluate(WHITE) == [], f"a bar at 0 % on {path} looks full in the dark"
        for violation in axe.Axe().run(page, context=OURS, options=AXE).response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                found += [
                    f"{path}: {node['target']} {node['failureSummary']}"
                    for node in violation["nodes"]
                ]
    assert not found, "\n".join(found)


TOO_WIDE = """[...document.querySelectorAll("#result_list, .aim-table")]
    .filter(each => each.scrollWidth > each.parentElement.clientWidth)
    .map(each => each.outerHTML)"""
WHITE = """[...document.querySelectorAll("progress")]
    .filter(each => getComputedStyle(each).appearance !== "none").map(each => each.outerHTML)"""
OURS = {"include": [["#content"]], "exclude": [["#searchbar"], ["#changelist-filter"]]}
"""What is on a page of ours but not of Django's."""
AXE = {"resultTypes": ["violations"], "preload": False}
