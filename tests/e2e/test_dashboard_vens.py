"""VENs, groups and the audit log on the dashboard."""

import re
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from local.environment import REPOSITORY
from tests.e2e.stack import until
from tests.e2e.test_dashboard import (
    DESK,
    PHONE,
    VENS,
    agree,
    ask,
    barriers,
    browser,
    fleet,
    opened,
    page,
    stack,
)
from tests.e2e.test_dashboard_events import go

__all__ = ["browser", "fleet", "page", "stack"]
pytestmark = [pytest.mark.xdist_group("local"), pytest.mark.usefixtures("fleet"), pytest.mark.thorough]

TYPES = "hvac"


def test_vens_are_filtered_by_status_and_type_and_the_filter_is_a_link(
    page: Page, stack: dict[str, Any]
) -> None:
    page.get_by_role("link", name="VENs").press("Enter")
    expect(page.locator("#vens-count")).to_have_text(f"{VENS} of {VENS} VENs")
    page.locator("#vens-filter").get_by_label("Load type").select_option(TYPES)
    those = [ven["id"] for ven in ask(stack, f"/api/vens/summary?loadType={TYPES}")]
    assert 0 < len(those) < VENS
    expect(page.locator("#vens-count")).to_have_text(f"{len(those)} of {len(those)} VENs")
    page.locator("#vens-filter").get_by_label("Status").select_option("online")
    assert f"type={TYPES}" in page.url
    assert "status=online" in page.url
    page.reload()
    expect(page.locator("#vens-count")).to_have_text(f"{len(those)} of {len(those)} VENs")
    expect(page.locator("#vens-filter").get_by_label("Load type")).to_have_value(TYPES)


def test_words_typed_before_the_groups_have_come_are_kept(page: Page) -> None:
    held: list[Route] = []

    page.route("**/api/groups", lambda route: held.append(route))  # noqa: PLW0108 - playwright marks what it calls
    with page.expect_request("**/api/groups"):
        go(page, f"#/vens?type={TYPES}")
    page.get_by_role("searchbox", name="Search").fill("ven-000")
    page.unroute("**/api/groups")  # which lets go what is held
    expect(page.locator("#vens-filter").get_by_label("Load type")).to_have_value(TYPES)
    expect(page.get_by_role("searchbox", name="Search")).to_have_value("ven-000")
    assert "words=ven-000" in page.url
    assert f"type={TYPES}" in page.url


def test_many_vens_are_put_into_a_group_and_set_at_once(page: Page, stack: dict[str, Any]) -> None:
    go(page, "#/vens")
    page.get_by_role("searchbox", name="Search").fill("ven-000")
    expect(page.locator("#vens-count")).to_have_text(f"9 of {VENS} VENs")
    page.get_by_role("button", name="Choose all 9 found").press("Enter")
    expect(page.locator("#vens-chosen")).to_have_text("9 chosen")
    page.get_by_label("Choose ven-0009").press("Space")
    expect(page.locator("#vens-chosen")).to_have_text("8 chosen")
    page.get_by_role("button", name="Set region and tags").press("Enter")
    question = page.get_by_role("dialog", name="Set region and tags?")
    expect(question).to_contain_text("8 VENs: ven-0001, ven-0002, ven-0003, ven-0004, ven-0005 and 3 more.")
    question.get_by_label("Region").fill("north")
    question.get_by_label("Tags").fill("pilot, wave-1")
    agree(page)
    for ven_id in ("ven-0001", "ven-0008"):
        ven = ask(stack, f"/api/vens/{ven_id}")
        assert (ven["region"], ven["tags"]) == ("north", ["pilot", "wave-1"])
    assert ask(stack, "/api/vens/ven-0009")["region"] == ""
    page.get_by_label("Choose ven-0003").check()
    page.get_by_label("Choose ven-0005").check()
    page.get_by_role("button", name="Add to group").click()
    page.locator("#ask").get_by_label("Name of the new group").fill("A street")
    agree(page)
    (group,) = ask(stack, "/api/groups")
    assert (group["name"], group["venIds"]) == ("A street", ["ven-0003", "ven-0005"])
    page.get_by_role("link", name="Groups").click()
    expect(page.locator("#groups-table")).to_contain_text("A street")
    page.get_by_role("button", name="Edit A street").press("Enter")
    page.locator("#ask").get_by_label("Regions").fill("north")
    agree(page)
    page.get_by_role("link", name="A street").press("Enter")
    expect(page.locator("#vens-count")).to_have_text("8 of 8 VENs")
    page.get_by_role("link", name="Groups").click()
    page.get_by_role("button", name="Delete A street").click()
    agree(page)
    expect(page.locator("#groups-table")).to_have_text("There is no group yet.")
    assert ask(stack, "/api/groups") == []


def test_what_fails_for_some_of_many_is_named(page: Page, stack: dict[str, Any]) -> None:
    """One of them is retired by somebody else meanwhile."""
    url = stack["http_url"]
    for ven_id in ("spare-1", "spare-2"):
        body = {"id": ven_id, "name": ven_id, "location": {"lat": 52.5, "lon": 13.4}}
        assert page.request.post(f"{url}/api/vens", data=body).status == 201
    go(page, "#/vens?words=spare")
    expect(page.locator("#vens-count")).to_have_text(re.compile("^2 of "))
    expect(page.locator("#places-caption")).to_contain_text("2 of 2 VENs have a place.")
    page.get_by_role("button", name="Choose all 2 found").click()
    page.get_by_role("button", name="Retire").click()
    assert page.request.delete(f"{url}/api/vens/spare-1").status == 204
    page.locator("#ask-submit").click()
    expect(page.locator("#ask-message")).to_contain_text(
        "1 of 2 are done. Not done, and still chosen: spare-1:"
    )
    page.get_by_role("button", name="Back", exact=True).last.click()
    expect(page.locator("#vens-count")).to_have_text(re.compile("^0 of "))
    assert page.request.get(f"{url}/api/vens/spare-2").status == 404


def test_a_load_is_shed_restored_and_edited_on_the_page_of_its_ven(page: Page, stack: dict[str, Any]) -> None:
    (ven, load) = next(
        (ven, load)
        for ven in ask(stack, "/api/vens")
        for load in ven["loads"]
        if load["shedCapabilityKw"] > 0.3 and load["enabled"]
    )
    path = f"/api/vens/{ven['id']}"
    go(page, f"#/vens/{ven['id']}")
    page.get_by_role("button", name=f"Shed {load['name']}").press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("kW (measured) and could shed")
    page.locator("#ask").get_by_label("Shed, kW").fill("0.3")
    page.locator("#ask-submit").press("Enter")
    expect(page.locator("#ven-loads-message")).to_contain_text("is stored")
    expect(page.locator("#ven-commands-table")).to_contain_text("acknowledged")
    until(lambda: load["id"] in ask(stack, path)["metrics"]["shedLoadIds"], 30)
    page.get_by_role("button", name=f"Restore {load['name']}").press("Enter")
    page.locator("#ask-submit").press("Enter")
    expect(page.locator("#ven-loads-message")).to_contain_text("Command to restore")
    until(lambda: shed_kw(stack, ven["id"]) < 0.01, 90)
    page.get_by_role("button", name=f"Edit {load['name']}").press("Enter")
    page.locator("#ask").get_by_label("Name").fill("Cellar")
    page.locator("#ask-submit").press("Enter")
    expect(page.locator("#ven-loads")).to_contain_text("Cellar")
    assert ask(stack, f"{path}/loads/{load['id']}")["capacityKw"] == load["capacityKw"]
    page.get_by_role("button", name="Cellar", exact=True).press("Enter")
    expect(page.locator("#ven-chart")).to_have_attribute(
        "aria-label", re.compile(f"^Power of load {load['id']}")
    )
    assert f"load={load['id']}" in page.url


def shed_kw(stack: dict[str, Any], ven_id: str) -> float:
    start = datetime.now(UTC).timestamp() - 5
    query = f"granularity=1s&aggregate=sum&start={datetime.fromtimestamp(start, UTC):%Y-%m-%dT%H:%M:%SZ}"
    points = ask(stack, f"/api/vens/{ven_id}/history?{query}")["points"]
    return float(points[-1]["shedPowerKw"]) if points else 1.0


def test_a_ven_is_edited_opted_out_and_retired(page: Page, stack: dict[str, Any]) -> None:
    url = stack["http_url"]
    body = {"id": "farm", "name": "Dairy farm", "location": {"lat": 52.52, "lon": 13.405}}
    assert page.request.post(f"{url}/api/vens", data=body).status == 201
    go(page, "#/vens/farm")
    facts = page.locator("#ven-facts")
    expect(facts).to_contain_text("never")
    page.get_by_role("button", name="Edit", exact=True).click()
    page.locator("#ask").get_by_label("Address").fill("Hof 1")
    page.locator("#ask").get_by_label("Status").select_option("maintenance")
    agree(page)
    expect(facts).to_contain_text("maintenance")
    ven = ask(stack, "/api/vens/farm")
    assert (ven["address"], ven["name"], ven["location"]) == (
        "Hof 1",
        "Dairy farm",
        {"lat": 52.52, "lon": 13.405},
    )
    page.get_by_role("button", name="Opt out").click()
    page.locator("#ask").get_by_label("Until").fill("2031-01-15T17:00")
    page.locator("#ask").get_by_label("Reason").fill("calving")
    agree(page)
    expect(page.locator("#ven-opt-outs-table")).to_contain_text("calving")
    page.get_by_role("button", name="Take back").click()
    agree(page)
    expect(page.locator("#ven-opt-outs-table")).to_have_text("No opt-outs.")
    page.get_by_role("button", name="Retire").click()
    expect(page.get_by_role("dialog")).to_contain_text("Its history stays.")
    agree(page)
    expect(page.get_by_role("heading", name="VENs", exact=True)).to_be_focused()
    assert page.request.get(f"{url}/api/vens/farm").status == 404


def test_why_a_ven_is_silent_is_found_on_its_page(page: Page, stack: dict[str, Any]) -> None:
    """None of its messages was accepted, so it is not registered; what it sent shows all the same."""
    send = [sys.executable, "-c", PUBLISH, stack["mqtt_url"], "oadr/meter/mute-1", '{"timestamp": "soon"}']
    subprocess.run(send, cwd=REPOSITORY, check=True)
    until(lambda: ask(stack, "/api/vens/mute-1/rejected") != [], 30)
    go(page, "#/vens/mute-1")
    expect(page.locator("#ven > .state")).to_contain_text("Not known: There is no VEN 'mute-1'")
    expect(page.locator("#ven-rejected-table")).to_contain_text("oadr/meter/mute-1")
    page.locator("#ven-rejected-table summary").click()
    expect(page.locator("#ven-rejected-table code")).to_have_text('{"timestamp": "soon"}')
    go(page, "#/vens/ven-0002")
    expect(page.locator("#ven-rejected-table")).to_have_text(
        "No message of this VEN was rejected within a week."
    )
    expect(page.locator("#ven-interval")).to_contain_text("Report interval: 2 s")


PUBLISH = """
import sys
from urllib.parse import urlsplit
import paho.mqtt.publish as publish
url = urlsplit(sys.argv[1])
publish.single(sys.argv[2], sys.argv[3], qos=1, hostname=url.hostname, port=url.port)
"""


def test_what_was_changed_is_in_the_audit_log(page: Page, stack: dict[str, Any]) -> None:
    body = {"name": "Watched", "id": "watched"}
    assert page.request.post(f"{stack['http_url']}/api/groups", data=body).status == 201
    page.get_by_role("link", name="Audit").press("Enter")
    table = page.locator("#audit-table")
    expect(table).to_contain_text("POST /api/groups")
    page.get_by_role("searchbox", name="Search").fill("watched")
    expect(table).to_have_text("Nothing was changed like that.")
    assert page.request.delete(f"{stack['http_url']}/api/groups/watched").status == 204
    expect(table).to_contain_text("DELETE /api/groups/watched", timeout=60_000)
    expect(table).to_contain_text("anonymous (operator)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_axe_finds_no_barrier_and_nothing_sticks_out(
    browser: Browser, stack: dict[str, Any], scheme: Any, size: Any
) -> None:
    views = {
        "#/vens": "#vens-rows tr",
        "#/vens/ven-0002": "#ven-loads tbody tr",
        "#/groups": "#groups-table",
        "#/audit": "#audit-table",
    }
    for made in opened(browser, stack["http_url"], size, color_scheme=scheme):
        for hash_, ready in views.items():
            go(made, hash_)
            expect(made.locator(ready).first).to_be_visible()
            assert barriers(made) == []
            assert made.evaluate("document.documentElement.scrollWidth") <= size["width"]
        go(made, "#/vens")
        made.get_by_role("button", name="Choose all").click()
        made.get_by_role("button", name="Opt out").click()
        expect(made.get_by_role("dialog")).to_contain_text(f"{VENS} VENs")
        assert barriers(made) == []
