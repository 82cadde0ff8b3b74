"""Serves the portal as in production, with gunicorn and with hashed and compressed static files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

from sync.tests.support.processes import finished, manage, python
from tests.servers import ROOT, SERVERS, free_port


def variables() -> dict[str, str]:
    """The environment of a process that uses the portal's own settings, not those of the tests."""
    return {
        "DJANGO_SETTINGS_MODULE": "analytics_site.settings", "EXAMPLES": "", "SYNC_INLINE_TIMEOUT": "0.5",
        "CACHE_URL": f"filecache://{SERVERS.folder}/portal-cache", "PYTHONPATH": str(ROOT),
    }  # fmt: skip


@contextmanager
def serving(log: Path | None = None, **more: str) -> Iterator[str]:
    """Runs the portal inside the block; its address. log: the file for its stderr. more: changes to its environment.

    It has a cache of its own, which is where the limits of an address are counted.
    """
    number = free_port()
    assert finished(manage("collectstatic", "--noinput", "--verbosity=0", **variables())).status == 0
    cache = TemporaryDirectory()
    server = python(
        "-m", "gunicorn", "--no-control-socket", "--bind", f"127.0.0.1:{number}", "--threads", "4",
        "--log-level", "warning", "analytics_site.wsgi", log=log,
        **variables() | {"CACHE_URL": f"filecache://{cache.name}"} | more,
    )  # fmt: skip

    def answers() -> bool:
        with suppress(OSError), urlopen(f"http://127.0.0.1:{number}/healthz"):
            return True
        return False

    with cache, server:
        server.until(answers, "the portal answers")
        yield f"http://127.0.0.1:{number}"
        server.terminate()
