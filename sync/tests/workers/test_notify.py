"""Worker processes tell systemd that they started, that they make progress, and that they stop."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sync.tests.support.processes import manage
from sync.workers import notify
from sync.workers.loop import Loop
from sync.workers.shutdown import StopEvent
from tests.servers import MariaDB


class Supervisor:
    """The receiving end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1))

    def next(self, seconds: float = 30) -> str:
        self.socket.settimeout(seconds)
        return self.socket.recv(4096).decode()

    def until(self, state: str) -> None:
        while self.next() != state:
            pass

    def hears_nothing_for(self, seconds: float) -> bool:
        """Returns whether nothing arrives in this time; what arrived before does not count."""
        self.socket.setblocking(False)
        while True:
            try:
                self.socket.recv(4096)
            except BlockingIOError:
                break
        try:
            self.next(seconds)
        except TimeoutError:
            return True
        return False


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with tempfile.TemporaryDirectory(prefix="notify-") as folder:  # a socket's path is short
        found = Supervisor(f"{folder}/socket")
        yield found
        found.socket.close()


@pytest.fixture
def waiting(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Starts `wait` in a thread, with a watchdog that allows 0.4 s."""
    monkeypatch.setenv("NOTIFY_SOCKET", supervisor.address)
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    stop, threads = StopEvent(), []

    def start(*loops: Loop) -> StopEvent:
        threads.append(threading.Thread(target=notify.wait, args=(stop, loops)))
        threads[-1].start()
        return stop

    yield start
    stop.set()
    for thread in threads:
        thread.join()


def loop(**options: Any) -> Loop:
    return Loop(StopEvent(), logging.getLogger("test"), **options)


@pytest.mark.quick
def test_it_says_ready_and_stopping(supervisor: Supervisor, waiting: Any) -> None:
    stop = waiting(loop())
    assert supervisor.next() == "READY=1"
    stop.set()
    assert supervisor.next() == "STOPPING=1"


@pytest.mark.quick
def test_it_pings_only_while_every_loop_makes_progress(supervisor: Supervisor, waiting: Any) -> None:
    first, second = loop(), loop()
    waiting(first, second)
    assert supervisor.next() == "READY=1"
    assert supervisor.hears_nothing_for(0.5)
    first.works()
    assert supervisor.hears_nothing_for(0.5), "the second loop hangs"
    first.works()
    second.works()
    assert supervisor.next(5) == "WATCHDOG=1"
    assert supervisor.hears_nothing_for(0.5), "no ping without new progress"


@pytest.mark.quick
def test_a_loop_that_waits_for_a_server_makes_progress(supervisor: Supervisor, waiting: Any) -> None:
    """A restart would not help, and would end what else the process does."""
    failing = loop(outages=(OSError,), recover=lambda error: None)

    def step() -> None:
        raise OSError("unreachable")

    thread = threading.Thread(target=failing.run, args=[step], daemon=True)
    waiting(failing)
    assert supervisor.next() == "READY=1"
    thread.start()
    try:
        assert supervisor.next(5) == "WATCHDOG=1"
        assert supervisor.next(5) == "WATCHDOG=1"
    finally:
        failing.stop.set()
        thread.join()


@pytest.mark.quick
@pytest.mark.parametrize("variables", [{}, {"WATCHDOG_USEC": "400000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "x"}])
def test_it_pings_nobody_who_does_not_expect_it(
    variables: dict[str, str], supervisor: Supervisor, waiting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    turning = loop()
    stop = waiting(turning)
    assert supervisor.next() == "READY=1"
    turning.works()
    assert supervisor.hears_nothing_for(0.5)
    stop.set()
    assert supervisor.next() == "STOPPING=1"


@pytest.mark.quick
def test_an_address_without_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Supervisor(f"@portal-test-{os.getpid()}-{time.monotonic_ns()}")
    monkeypatch.setenv("NOTIFY_SOCKET", found.address)
    notify.send("READY=1")
    assert found.next() == "READY=1"
    found.socket.close()


@pytest.mark.quick
def test_without_a_supervisor_it_sends_nothing_and_a_lost_one_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify.send("READY=1")
    assert not caplog.records
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify.send("READY=1")
    assert "Could not tell the supervisor READY=1" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_sync_run_is_ready_pings_while_mysql_answers_and_says_that_it_stops(
    supervisor: Supervisor, mariadb: MariaDB
) -> None:
    with manage(
        "sync", "run", "--processes", "2", NOTIFY_SOCKET=supervisor.address, WATCHDOG_USEC="2000000"
    ) as process:
        assert supervisor.next() == "READY=1"
        assert supervisor.next() == "WATCHDOG=1"
        mariadb.freeze()
        try:
            time.sleep(2)  # what was under way ends
            assert supervisor.hears_nothing_for(3)
        finally:
            mariadb.thaw()
        supervisor.until("WATCHDOG=1")
        assert process.terminate() == 0
    supervisor.until("STOPPING=1")
    assert supervisor.hears_nothing_for(0.1), "the second process stays silent"
