"""Every page of tests/pages.py in a real browser, on a portal as in production: readable for everybody in both themes,
also on a phone; light; still; and within reach of the keyboard. Chromium looks at each page once, for all tests."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core.cache import cache
from django.urls import resolve
from playwright.sync_api import Browser, BrowserContext
from playwright.sync_api import Page as Tab

from sync.monitoring.history import take
from tests.emptying import empty
from tests.pages import LIKE_OTHERS, NO_PAGES, PAGES, PEOPLE, Page, furnish, names, session, visit
from tests.portal import serving

pytestmark = [pytest.mark.browser, pytest.mark.django_db]  # the mark makes the database, before `looks` needs it

FIRST_LOAD = 150_000  # bytes, compressed, with an empty cache
NEXT_LOAD = 30_000  # bytes with what the cache has kept
REQUESTS = 16  # of a page and, once more, of the same page
# Django's own: its links are told by their colour, its search by a title, and its filter of permissions has labels on
# spans. Its pages load many small files, too.
OF_THE_ADMIN = {"link-in-text-block", "aria-prohibited-attr", "label-title-only"}
SHIFT = 0.1
PHONE, WIDE = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
WATCH = """window.shift = 0; new PerformanceObserver((list) => list.getEntries().forEach((each) => {
  if (!each.hadRecentInput) window.shift += each.value; })).observe({ type: 'layout-shift', buffered: true });"""
SETTLED = """Promise.race([Promise.allSettled(document.getAnimations().map((each) => each.finished)),
  new Promise((done) => setTimeout(done, 1000))]).then(() => null)"""  # colours fade into one another
HASHED = re.compile(r"/static/.+\.[0-9a-f]{12}\.\w+$")


@dataclass
class Look:
    """What Chromium found of one page."""

    status: int = 0
    first: int = 0
    after: int = 0
    requests: list[str] = field(default_factory=list)
    shift: float = 0.0
    width: int = 0  # of what a phone has to show
    violations: list[Any] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    focused: str = ""  # by the first Tab
    unkept: list[str] = field(default_factory=list)  # static files that are sent again, or as they are in the tree


@pytest.fixture(scope="module")
def looks(django_db_setup: None, django_db_blocker: Any, context: BrowserContext) -> dict[str, Look]:
    with django_db_blocker.unblock():
        cache.clear()
        keys = furnish()
        take()
        cookies = {"anybody": "", **{who: session(who) for who in PEOPLE}}
        try:
            with serving() as address:
                made = {page.name: look(context.browser, address, page, keys, cookies[page.who]) for page in PAGES}
        finally:
            empty()
    return made


def look(browser: Browser | None, address: str, page: Page, keys: dict[str, str], cookie: str) -> Look:
    found = Look()
    context = browser.new_context(viewport=PHONE, color_scheme="light", reduced_motion="reduce")
    if cookie:
        context.add_cookies([{"name": "sessionid", "value": cookie, "url": address}])
    tab = context.new_page()
    tab.add_init_script(WATCH)
    tab.on("pageerror", lambda error: found.complaints.append(str(error)))
    tab.on("console", lambda said: found.complaints.append(said.text) if said.type == "error" else None)
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
    tab.wait_for_load_state("networkidle")
    found.first, found.shift = weight(sent, tab), tab.evaluate("window.shift")
    tab.keyboard.press("Tab")
    found.focused = tab.evaluate("document.activeElement.className || document.activeElement.name")
    found.width = tab.evaluate("document.documentElement.scrollWidth")
    if not page.press and not page.template:
        sent.clear()
        tab.goto(tab.url, wait_until="load")
        found.after = weight(sent, tab)
    complaints = [*found.complaints]  # what comes later is about axe, which styles what it looks at
    read(tab, found)
    context.close()
    # Chromium reports a status of 400 and above, too.
    found.complaints = [said for said in complaints if f"status of {found.status}" not in said]
    return found


def weight(sent: Counter[str], tab: Tab) -> int:
    """Files as they were sent; the page itself as the proxy in front packs it."""
    return sum(sent.values()) - sent["Document"] + len(gzip.compress(tab.content().encode()))


def note(found: Look, response: Any, page: Page) -> None:
    found.requests.append(response.url)
    if "/static/" not in response.url or page.template:  # rendered by the tests, which hash no names
        return
    headers = response.headers
    kept = HASHED.search(response.url) and "immutable" in headers.get("cache-control", "")
    packed = "content-encoding" in headers or int(headers.get("content-length", 0)) < 1500
    if not (kept and packed):
        found.unkept.append(f"{response.url} {headers}")


def read(tab: Tab, found: Look) -> None:
    """axe, in one theme on a phone and in the other on a wide screen."""
    for summary in tab.locator("summary").all():
        summary.click()
    tab.evaluate(Axe().axe_script)
    for theme, size in (("light", PHONE), ("dark", WIDE)):
        tab.emulate_media(color_scheme=theme)
        tab.set_viewport_size(size)
        tab.evaluate(SETTLED)
        results = tab.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        for each in results["violations"]:
            if not (in_admin(tab.url) and each["id"] in OF_THE_ADMIN):
                nodes = [node["html"][:120] for node in each["nodes"]][:4]
                found.violations.append((theme, size["width"], each["id"], nodes))


def in_admin(url: str) -> bool:
    return "/admin/" in url


def test_the_table_names_every_page() -> None:
    keys = {key: "0" * 24 for page in PAGES for key in re.findall(r"{(\w+)}", page.path)}
    keys |= {"newcomer": "1", "confirm": "x", "reset": "1-x", "undo": "x"}
    known = set()
    for page in PAGES:
        if not page.template and page.path != "/nowhere/":
            known.add(resolve(page.path.format(**keys).partition("?")[0]).view_name)
    missing = set(names()) - known - NO_PAGES - LIKE_OTHERS
    assert missing == set()
    assert len({page.name for page in PAGES}) == len(PAGES)


def test_each_page_answers_and_the_browser_finds_no_fault(looks: dict[str, Look]) -> None:
    assert {page.name: looks[page.name].status for page in PAGES if looks[page.name].status != page.status} == {}
    assert {name: found.complaints for name, found in looks.items() if found.complaints} == {}


def test_each_page_is_readable_for_everybody(looks: dict[str, Look]) -> None:
    assert {name: found.violations for name, found in looks.items() if found.violations} == {}


def test_no_page_makes_a_phone_scroll_sideways(looks: dict[str, Look]) -> None:
    assert {name: found.width for name, found in looks.items() if found.width > PHONE["width"]} == {}


def test_no_page_is_heavy(looks: dict[str, Look]) -> None:
    assert {name: found.first for name, found in looks.items() if found.first > FIRST_LOAD} == {}
    assert {name: found.after for name, found in looks.items() if found.after > NEXT_LOAD} == {}
    requests = {page.name: len(looks[page.name].requests) for page in PAGES if not in_admin(page.path)}
    assert {name: number for name, number in requests.items() if number > 2 * REQUESTS} == {}


def test_nothing_moves_while_a_page_loads(looks: dict[str, Look]) -> None:
    assert {name: found.shift for name, found in looks.items() if found.shift >= SHIFT} == {}


def test_static_files_are_packed_and_kept_for_ever(looks: dict[str, Look]) -> None:
    assert {name: found.unkept for name, found in looks.items() if found.unkept} == {}


def test_the_first_tab_leads_past_the_menu(looks: dict[str, Look]) -> None:
    autofocus = {"login"}  # its first field has the focus, and Tab leaves that
    missed = {name for name, found in looks.items() if "skip" not in found.focused}
    pressed = {page.name for page in PAGES if page.press}  # the focus is where one has pressed, or in the first error
    assert missed - pressed == autofocus
