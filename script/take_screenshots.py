"""The steps of script/screenshots."""

import argparse
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.request import urlopen

import mongod
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

if TYPE_CHECKING:
    from tests.pages import Page

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "screenshots"
README = {
    "customer-dashboard": "customer.png",
    "console": "technical_worker.png",
    "totals": "senior_management.png",
}
README_BYTES = 80_000
WIDTHS = {"wide": 1280, "phone": 390}
SCALES = {1280: 0.5, 390: 0.7}  # what they are kept at: enough to read, and small
THEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
SHOTS = "../screenshots/pages"  # as docs/reference/screenshots.md says it
HIGHEST = 1800  # pixels; what is below is cut
ROLES = {
    "anybody": "Every visitor", "customer": "Customers", "newcomer": "Customers whose record is not linked yet",
    "technician": "Technical workers", "manager": "Senior management", "staff": "Staff", "away": "MongoDB unreachable",
}  # fmt: skip
# These are taken once more when MongoDB has been killed.
AWAY = ("console", "record-equal", "account", "totals", "customer-dashboard")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def portal() -> Iterator[tuple[str, Any]]:
    """A portal as in production, but for HTTPS, in a temporary folder: its address, and its MongoDB's process.

    This process is set up as one of it, on the same data.
    """
    number, mongo = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "VAR_DIR": folder, "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3", "CACHE_URL": f"filecache://{folder}/c",
            "MONGODB_URI": f"mongodb://127.0.0.1:{mongo}/analytics?replicaSet={mongod.REPLICA_SET}", "DEBUG": "0",
            "SECRET_KEY": "screenshots-only", "PORT": str(number), "HTTPS": "0", "REQUIRE_MFA": "none",
            "ALLOWED_HOSTS": "127.0.0.1,testserver", "EMAIL_URL": "memorymail://", "EXAMPLES": "",
            "DJANGO_SETTINGS_MODULE": "analytics_site.settings", "DJANGO_ALLOW_ASYNC_UNSAFE": "1",
        }  # fmt: skip
        database = mongod.start(Path(folder, "mongodb"), mongo)
        try:
            mongod.initiate(mongo)
            server = subprocess.Popen([sys.executable, "script/serve.py"], cwd=ROOT)
            try:
                wait(f"http://127.0.0.1:{number}/healthz")
                import django

                django.setup()
                yield f"http://127.0.0.1:{number}", database
            finally:
                server.terminate()
                server.wait()
        finally:
            database.kill()
            database.wait()


def wait(address: str) -> None:
    for _ in range(600):
        with suppress(OSError), urlopen(address):  # noqa: S310  (our own)
            return
        time.sleep(0.1)
    sys.exit("The portal did not start")


def take(browser: Browser, address: str, page: "Page", keys: dict[str, str], cookie: str, prefix: str = "") -> None:
    """The four pictures of a page: each width in each theme, side by side in two files."""
    from tests.pages import visit

    for width, pixels in WIDTHS.items():
        shots = []
        context = browser.new_context(
            viewport={"width": pixels, "height": 800}, color_scheme="light", reduced_motion="reduce"
        )
        if cookie:
            context.add_cookies([{"name": "sessionid", "value": cookie, "url": address}])
        opened = context.new_page()
        visit(opened, address, page, keys)
        opened.wait_for_load_state("networkidle")
        for theme in THEMES:
            opened.emulate_media(color_scheme=theme)
            opened.wait_for_timeout(150)  # until the colours have followed
            height = min(opened.evaluate("document.documentElement.scrollHeight"), HIGHEST)
            shots.append(opened.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": pixels, "height": height}))
            if theme == "light" and width == "wide" and page.name in README and not prefix:
                opened.set_viewport_size({"width": 1200, "height": 800})
                opened.wait_for_timeout(300)
                save_readme(opened.screenshot(), FOLDER / README[page.name])
                opened.set_viewport_size({"width": pixels, "height": 800})
                opened.wait_for_timeout(300)
        context.close()
        save(shots, FOLDER / "pages" / f"{prefix}{page.name}-{width}.webp")


def save(shots: list[bytes], path: Path) -> None:
    """The two themes beside each other."""
    images = [Image.open(io.BytesIO(shot)).convert("RGB") for shot in shots]
    both = Image.new("RGB", (sum(each.width for each in images), max(each.height for each in images)))
    for number, each in enumerate(images):
        both.paste(each, (number * each.width, 0))
    share = SCALES[images[0].width]
    both = both.resize((int(both.width * share), int(both.height * share)))
    both.save(path, quality=40, method=6)


def save_readme(picture: bytes, path: Path) -> None:
    """With as many colours as fit into README_BYTES."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for colours in (128, 64, 32, 16):
        image.quantize(colours).save(path, optimize=True)
        if path.stat().st_size <= README_BYTES:
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes, {colours} colours")
            return
    sys.exit(f"{path} is over {README_BYTES:,} bytes even with {colours} colours")


def write_index(taken: dict[str, list[tuple[str, str]]]) -> None:
    lines = [
        "# Screenshots", "",
        "Every page, light and dark, on a wide screen (1280 pixels) and on a phone (390). `script/screenshots` makes",
        "them and this index, from the table in [tests/pages.py](../../tests/pages.py) and made-up data.", "",
    ]  # fmt: skip
    for who, title in ROLES.items():
        if not taken[who]:
            continue
        lines += [f"## {title}", "", "| Page | Wide | Phone |", "|---|---|---|"]
        lines += [
            f"| {shows} | [{name}]({SHOTS}/{name}-wide.webp) | [{name}]({SHOTS}/{name}-phone.webp) |"
            for name, shows in taken[who]
        ]
        lines.append("")
    (ROOT / "docs" / "reference" / "screenshots.md").write_text("\n".join(lines).rstrip() + "\n")


def _cookie(known: dict[str, str], who: str) -> str:
    """Of a session that begins with the first page that needs it: an older one is asked for its password again."""
    from tests.pages import session

    if who not in known:
        known[who] = "" if who == "anybody" else session(who)
    return known[who]


def main() -> int:
    parser = argparse.ArgumentParser(description="Takes pictures of every page; with names, of these only.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a page in tests/pages.py")
    wanted = set(parser.parse_args().names)
    (FOLDER / "pages").mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(ROOT))
    with portal() as (address, database), sync_playwright() as playwright:
        from tests.pages import PAGES, furnish

        keys = furnish(customers=60, trades=6000)
        cookies: dict[str, str] = {}
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        taken: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for page in PAGES:
            taken[page.who].append((page.name, page.shows))
            if not wanted or page.name in wanted:
                cookie = _cookie(cookies, page.who)
                take(browser, address, page, keys, cookie)
        database.kill()
        database.wait()
        for page in (page for page in PAGES if page.name in AWAY):
            taken["away"].append((f"away-{page.name}", page.shows))
            if not wanted or f"away-{page.name}" in wanted:
                cookie = _cookie(cookies, page.who)
                take(browser, address, page, keys, cookie, "away-")
        browser.close()
    if not wanted:
        write_index(taken)
    print(f"{sum(path.stat().st_size for path in FOLDER.rglob('*.*')):,} bytes in {FOLDER.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
