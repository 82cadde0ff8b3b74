"""Every page of tests/pages.py in a real browser, on a portal as in production: accessible in both themes and on a
phone, small, without layout shifts, and usable by keyboard. Chromium opens each page once for all tests."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core.cache import cache
from django.urls import resolve
from playwright.sync_api import Browser, BrowserContext
from playwright.sync_api import Page as Tab

from sync.monitoring.history import summarize, take
from tests.emptying import empty
from tests.pages import LIKE_OTHERS, NO_PAGES, PAGES, PEOPLE, Page, furnish, names, session, visit
from tests.portal import serving
from tests.slow_part import slow_part

pytestmark = [pytest.mark.browser, pytest.mark.django_db]  # the mark creates the database before `inspections` needs it

FIRST_LOAD = 150_000  # bytes, compressed, with an empty cache
NEXT_LOAD = 30_000  # bytes, compressed, with a warm cache
REQUESTS = 16  # for one load of a page; the test counts two
# Violations of Django's own admin: it marks links by colour only, names its search field with a title, and labels spans
# in the permission filter. Its pages also load many small files.
OF_THE_ADMIN = {"link-in-text-block", "aria-prohibited-attr", "label-title-only"}
SHIFT = 0.1
PHONE, WIDE = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
WATCH = """window.shift = 0; new PerformanceObserver((list) => list.getEntries().forEach((each) => {
  if (!each.hadRecentInput) window.shift += each.value; })).observe({ type: 'layout-shift', buffered: true });"""
SETTLED = """Promise.race([Promise.allSettled(document.getAnimations().map((each) => each.finished)),
  new Promise((done) => setTimeout(done, 1000))]).then(() => null)"""  # waits for colour transitions
SMALL_TARGETS = (Path(__file__).parent / "small_targets.js").read_text()
FAINT_CONTROLS = (Path(__file__).parent / "faint_controls.js").read_text()
UNALIGNED = """[...document.querySelectorAll('form[role=search]:has(button)')].flatMap((form) => {
  const bottom = form.querySelector('button').getBoundingClientRect().bottom;
  const fields = [...form.querySelectorAll('input:not([type=hidden]), select')];
  return fields.filter((each) => Math.abs(each.getBoundingClientRect().bottom - bottom) > 1).map((each) => each.name);
})"""
HASHED = re.compile(r"/static/.+\.[0-9a-f]{12}\.\w+$")


@dataclass
class Inspection:
    """What Chromium found of one page."""

    status: int = 0
    is_other: bool = False  # whether the portal asked for the password instead
    first: int = 0
    after: int = 0
    requests: list[str] = field(default_factory=list)
    shift: float = 0.0
    width: int = 0  # of the page's content on a phone
    small: list[str] = field(default_factory=list)  # targets that a finger misses on a phone
    unaligned: list[str] = field(default_factory=list)  # fields that are not level with the button of their search
    faint: list[Any] = field(default_factory=list)  # fields with an edge that is hard to see, by theme
    violations: list[Any] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    focused: str = ""  # what the first Tab focuses
    unkept: list[str] = field(default_factory=list)  # static files that are not cached permanently or not compressed


@pytest.fixture(scope="module")
def inspections(
    django_db_setup: None, django_db_blocker: Any, context: BrowserContext, request: pytest.FixtureRequest
) -> dict[str, Inspection]:
    """What was found of each page, by its name; of one part of the pages, with --slow-part."""
    part, parts = slow_part(request.config)
    with django_db_blocker.unblock():
        cache.clear()
        keys = furnish()
        take()
        summarize()
        cookies = {"anybody": "", **{who: session(who) for who in PEOPLE}}
        try:
            with serving() as address:
                pages = PAGES[part::parts]
                made = {page.name: inspect(context.browser, address, page, keys, cookies[page.who]) for page in pages}
        finally:
            empty()
    return made


def inspect(browser: Browser | None, address: str, page: Page, keys: dict[str, str], cookie: str) -> Inspection:
    found = Inspection()
    context = browser.new_context(viewport=PHONE, color_scheme="light", reduced_motion="reduce")
    if cookie:
        context.add_cookies([{"name": "sessionid", "value": cookie, "url": address}])
    tab = context.new_page()
    tab.add_init_script(WATCH)
    tab.on("pageerror", lambda error: found.complaints.append(str(error)))
    tab.on("console", lambda line: found.complaints.append(line.text) if line.type == "error" else None)
    network = context.new_cdp_session(tab)
    network.send("Network.enable")
    kinds: dict[str, str] = {}
    sent: Counter[str] = Counter()
    network.on("Network.responseReceived", lambda event: kinds.update({event["requestId"]: event["type"]}))
    network.on(
        "Network.loadingFinished",
        lambda event: sent.update({kinds.get(event["requestId"], ""): int(event["encodedDataLength"])}),
    )
    tab.on("response", lambda response: note(found, response, page))

    found.status = visit(tab, address, page, keys)
    found.is_other = "/reauthenticate/" in tab.url and "reauthenticate" not in page.path
    tab.wait_for_load_state("networkidle")
    found.first, found.shift = weight(sent, tab), tab.evaluate("window.shift")
    tab.keyboard.press("Tab")
    found.focused = tab.evaluate("document.activeElement.className || document.activeElement.name")
    found.width = tab.evaluate("document.documentElement.scrollWidth")
    found.small = [] if in_admin(tab.url) else tab.evaluate(SMALL_TARGETS)
    if not page.press and not page.template:
        sent.clear()
        tab.goto(tab.url, wait_until="load")
        found.after = weight(sent, tab)
    complaints = [*found.complaints]  # later ones come from axe, which adds styles
    run_axe(tab, found)
    context.close()
    # Chromium also reports the page's own status if it is 400 or above.
    found.complaints = [text for text in complaints if f"status of {found.status}" not in text]
    return found


def weight(sent: Counter[str], tab: Tab) -> int:
    """The bytes sent. The page itself counts as compressed, which is the job of the proxy in production."""
    return sum(sent.values()) - sent["Document"] + len(gzip.compress(tab.content().encode()))


def note(found: Inspection, response: Any, page: Page) -> None:
    found.requests.append(response.url)
    if "/static/" not in response.url or page.template:  # the tests' own settings do not hash names
        return
    headers = response.headers
    kept = HASHED.search(response.url) and "immutable" in headers.get("cache-control", "")
    packed = "content-encoding" in headers or int(headers.get("content-length", 0)) < 1500
    if not (kept and packed):
        found.unkept.append(f"{response.url} {headers}")


def run_axe(tab: Tab, found: Inspection) -> None:
    """Runs axe in the light theme on a phone and in the dark theme on a wide screen."""
    for summary in tab.locator("summary").all():
        summary.click()
    tab.evaluate(Axe().axe_script)
    for theme, size in (("light", PHONE), ("dark", WIDE)):
        tab.emulate_media(color_scheme=theme)
        tab.set_viewport_size(size)
        tab.evaluate(SETTLED)
        if size == WIDE:
            found.unaligned = tab.evaluate(UNALIGNED)
        found.faint += [(theme, each) for each in tab.evaluate(FAINT_CONTROLS)]
        results = tab.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        for each in results["violations"]:
            if not (in_admin(tab.url) and each["id"] in OF_THE_ADMIN):
                nodes = [node["html"][:120] for node in each["nodes"]][:4]
                found.violations.append((theme, size["width"], each["id"], nodes))


def in_admin(url: str) -> bool:
    return "/admin/" in url


def test_the_table_names_every_page() -> None:
    keys = {key: "0" * 24 for page in PAGES for key in re.findall(r"{(\w+)}", page.path)}
    keys |= {"newcomer": "1", "passkey": "1", "confirm": "x", "reset": "1-x", "undo": "x"}
    known = set()
    for page in PAGES:
        if not page.template and page.path != "/nowhere/":
            known.add(resolve(page.path.format(**keys).partition("?")[0]).view_name)
    missing = set(names()) - known - NO_PAGES - LIKE_OTHERS
    assert missing == set()
    assert len({page.name for page in PAGES}) == len(PAGES)


def test_each_page_has_its_status_and_no_browser_errors(inspections: dict[str, Inspection]) -> None:
    assert {
        page.name: inspections[page.name].status
        for page in PAGES
        if page.name in inspections and inspections[page.name].status != page.status
    } == {}
    assert {name: found.complaints for name, found in inspections.items() if found.complaints} == {}


def test_each_page_is_the_one_that_was_asked_for(inspections: dict[str, Inspection]) -> None:
    assert [name for name, found in inspections.items() if found.is_other] == []


def test_each_field_has_an_edge_that_can_be_seen(inspections: dict[str, Inspection]) -> None:
    assert {name: found.faint for name, found in inspections.items() if found.faint} == {}


def test_each_page_is_accessible(inspections: dict[str, Inspection]) -> None:
    assert {name: found.violations for name, found in inspections.items() if found.violations} == {}


def test_no_page_makes_a_phone_scroll_sideways(inspections: dict[str, Inspection]) -> None:
    assert {name: found.width for name, found in inspections.items() if found.width > PHONE["width"]} == {}


def test_a_finger_hits_every_target_on_a_phone(inspections: dict[str, Inspection]) -> None:
    """WCAG 2.5.8 without its exception for small targets that are far from others."""
    assert {name: found.small for name, found in inspections.items() if found.small} == {}


def test_the_button_of_a_search_is_level_with_its_fields(inspections: dict[str, Inspection]) -> None:
    assert {name: found.unaligned for name, found in inspections.items() if found.unaligned} == {}


def test_no_page_is_heavy(inspections: dict[str, Inspection]) -> None:
    assert {name: found.first for name, found in inspections.items() if found.first > FIRST_LOAD} == {}
    assert {name: found.after for name, found in inspections.items() if found.after > NEXT_LOAD} == {}
    paths = {page.name: page.path for page in PAGES}
    requests = {name: len(found.requests) for name, found in inspections.items() if not in_admin(paths[name])}
    assert {name: number for name, number in requests.items() if number > 2 * REQUESTS} == {}


def test_nothing_moves_while_a_page_loads(inspections: dict[str, Inspection]) -> None:
    assert {name: found.shift for name, found in inspections.items() if found.shift >= SHIFT} == {}


def test_static_files_are_compressed_and_cached_permanently(inspections: dict[str, Inspection]) -> None:
    assert {name: found.unkept for name, found in inspections.items() if found.unkept} == {}


def test_the_first_tab_focuses_the_skip_link(inspections: dict[str, Inspection]) -> None:
    autofocus = {"login"} & inspections.keys()  # its first field has the focus already
    missed = {name for name, found in inspections.items() if "skip" not in found.focused}
    pressed = {page.name for page in PAGES if page.press}  # the focus is on the pressed button or the first error
    assert missed - pressed == autofocus
