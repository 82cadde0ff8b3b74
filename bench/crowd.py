"""Concurrent users: a web server configured like script/server, and threads that send requests over keep-alive
connections."""

from __future__ import annotations

import http.client
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.harness import ROOT


@contextmanager
def web_server(environment: dict[str, str]) -> Iterator[int]:
    """Starts the web server and yields its port once it responds."""
    from tests.servers import free_port

    port = free_port()
    command = [
        sys.executable, "-m", "gunicorn", "--no-control-socket", "--bind", f"127.0.0.1:{port}", "--workers", "2",
        "--threads", "4", "--graceful-timeout", "5", "--log-level", "warning", "analytics_site.wsgi",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment)
    try:
        for _ in range(600):
            try:
                if _get(http.client.HTTPConnection("127.0.0.1", port, timeout=5), "/healthz", "") == 200:
                    break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


def times_of(port: int, address: str, cookies: list[str], each: int) -> list[float]:
    """Response times in milliseconds. Each cookie is a user; all users send `each` requests at once without pauses."""
    times: list[float] = []
    wrong: list[int] = []
    start = threading.Barrier(len(cookies))

    def person(cookie: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        _get(connection, address, cookie)  # connects and warms up
        start.wait()
        for _ in range(each):
            began = time.perf_counter()
            status = _get(connection, address, cookie)
            times.append((time.perf_counter() - began) * 1000)
            if status != 200:
                wrong.append(status)
        connection.close()

    threads = [threading.Thread(target=person, args=(cookie,)) for cookie in cookies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise RuntimeError(
            f"{address}: {len(wrong)} of {len(times)} responses had a status other than 200: {set(wrong)}"
        )
    return times


def quantile(times: list[float], share: float) -> float:
    """The smallest time that this share of the times does not exceed."""
    return sorted(times)[math.ceil(len(times) * share) - 1]


def _get(connection: http.client.HTTPConnection, address: str, cookie: str) -> int:
    headers = {"Cookie": cookie} if cookie else {}
    try:
        connection.request("GET", address, headers=headers)
        response = connection.getresponse()
    except http.client.RemoteDisconnected:  # the server may close an idle connection; browsers then open another, too
        connection.close()
        connection.request("GET", address, headers=headers)
        response = connection.getresponse()
    response.read()
    return response.status
