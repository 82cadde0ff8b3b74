"""The steps of script/screenshots, which see."""

import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, ViewportSize, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "screenshots"
SIZE: ViewportSize = {"width": 1200, "height": 800}
MAX_BYTES = 80_000


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@contextmanager
def demo() -> Iterator[str]:
    """A portal with demo data in a temporary folder; what it says when it is ready."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "VAR_DIR": folder, "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3", "CACHE_URL": f"filecache://{folder}/c",
            "MONGODB_URI": "", "DEBUG": "1", "SECRET_KEY": "screenshots-only", "PORT": free_port(),
            "MONGOD_PORT": free_port(),
        }  # fmt: skip
        server = subprocess.Popen(
            [sys.executable, "script/serve.py"], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE
        )
        try:
            assert server.stdout is not None
            said = ""
            for line in server.stdout:
                said += line
                if line == "\n" and "http://" in said:  # the empty line after the logins
                    break
            yield said
        finally:
            server.terminate()
            server.communicate()


def take(browser: Browser, address: str, username: str, password: str) -> bytes:
    context = browser.new_context(viewport=SIZE, color_scheme="light", reduced_motion="reduce")
    page = context.new_page()
    page.goto(f"{address}login/?next=/dashboard/")
    page.fill("[name=login]", username)
    page.fill("[name=password]", password)
    page.locator("main form button[type=submit]").first.click()
    page.wait_for_url(lambda url: "/login/" not in url)
    page.reload(wait_until="networkidle")  # without the message that one has signed in
    picture = page.screenshot()
    context.close()
    return picture


def save(picture: bytes, path: Path) -> None:
    """With as many colours as fit into MAX_BYTES."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for colours in (128, 64, 32, 16):
        image.quantize(colours).save(path, optimize=True)
        if path.stat().st_size <= MAX_BYTES:
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes, {colours} colours")
            return
    sys.exit(f"{path} is over {MAX_BYTES:,} bytes even with {colours} colours")


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with demo() as said, sync_playwright() as playwright:
        (address,) = re.findall(r"http://\S+", said)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for role, username, password in re.findall(r"^  (\S.*?) +(\w+) / (\S+)$", said, re.MULTILINE):
            save(take(browser, address, username, password), FOLDER / f"{role.lower().replace(' ', '_')}.png")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
