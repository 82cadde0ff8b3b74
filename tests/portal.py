"""The portal as in production, for the tests of its pages: gunicorn, hashed and compressed static files."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

from django.db import connection

from tests.servers import ROOT, SERVERS, free_port


def environment() -> dict[str, str]:
    """Of a process that works on the tests' databases with the portal's own settings."""
    name = str(connection.settings_dict["NAME"])
    server = os.environ["DATABASE_URL"].rsplit("/", 1)[0]
    address = f"sqlite:///{name}" if connection.vendor == "sqlite" else f"{server}/{name}"
    return os.environ | {
        "DATABASE_URL": address, "DJANGO_SETTINGS_MODULE": "analytics_site.settings", "EXAMPLES": "",
        "SYNC_INLINE_TIMEOUT": "0.5", "CACHE_URL": f"filecache://{SERVERS.folder}/portal-cache",
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip


@contextmanager
def serving(log: Path | None = None, **variables: str) -> Iterator[str]:
    """Its address, while it runs. log: where its stderr goes. variables: changes of its environment."""
    number = free_port()
    python = [sys.executable, "-m"]
    collect = [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity=0"]
    subprocess.run(collect, cwd=ROOT, env=environment(), check=True)
    server = subprocess.Popen(
        [*python, "gunicorn", "--no-control-socket", "--bind", f"127.0.0.1:{number}", "--threads", "4",
         "--log-level", "warning", "analytics_site.wsgi"],
        cwd=ROOT, env=environment() | variables, start_new_session=True, stderr=log.open("wb") if log else None,
    )  # fmt: skip
    try:
        for _ in range(300):
            with suppress(OSError), urlopen(f"http://127.0.0.1:{number}/healthz"):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{number}"
    finally:
        server.terminate()
        server.wait()
