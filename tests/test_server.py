"""script/server without its bootstrap: starting and stopping the portal on a user's own machine."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.request import urlopen

import pytest

from sync.tests.support.processes import Process, finished, python, script
from tests.servers import free_port


class Portal:
    """A portal with its own folder and ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.mongod_port = free_port(), free_port()

    def script(self) -> Process:
        """Starts script/server as a shell does, in a process group that Ctrl-C reaches."""
        return python(
            "script/serve.py", VAR_DIR=str(self.folder), PORT=str(self.port), MONGOD_PORT=str(self.mongod_port),
            DATABASE_URL=f"sqlite:///{self.folder}/db.sqlite3", CACHE_URL=f"filecache://{self.folder}/cache",
            MONGODB_URI="", DEBUG="1", SECRET_KEY="tests-only",
        )  # fmt: skip

    def processes(self) -> dict[int, str]:
        """All processes with this portal's folder in their environment: the script and everything that it started."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"VAR_DIR={self.folder}".encode() in (process / "environ").read_bytes():
                    found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def has_no_process_left(self) -> bool:
        deadline = time.monotonic() + 15
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.processes() == {}


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Portal]:
    portal = Portal(tmp_path / "var")
    yield portal
    for number in portal.processes():
        os.kill(number, signal.SIGKILL)


@pytest.mark.slow
def test_a_signal_during_a_finalizer_still_stops_it() -> None:
    process = finished(script("tests.scripts.signal_in_a_finalizer"))
    assert process.status == 0
    assert "still running" in process.output, "the exception of the handler was discarded"
    assert "Stopping" in process.output


@pytest.mark.slow
def test_it_serves_until_ctrl_c_and_keeps_its_data(portal: Portal) -> None:
    with portal.script() as process:
        process.until_it_says("manager / ")
        assert "Loading made-up data" in process.output
        for username in ("customer", "technician", "manager"):
            process.until_it_says(f"{username} / demo-password-1")
        with urlopen(f"http://127.0.0.1:{portal.port}/login/") as page:
            assert page.status == 200
        commands = " ".join(portal.processes().values())
        assert all(name in commands for name in ("mongod", "gunicorn", "sync run"))

        process.interrupt()
        assert process.wait(40) == 0
        assert "Traceback" not in process.output
        assert portal.has_no_process_left()

    portal.mongod_port = free_port()  # harder: the replica set's configuration still has the old port
    with portal.script() as process:
        process.until_it_says("manager / demo-password-1")
        assert "Loading" not in process.output
        assert process.terminate(40) == 0
        assert portal.has_no_process_left()


@pytest.mark.slow
def test_after_a_kill_it_leaves_no_process_and_starts_again(portal: Portal) -> None:
    with portal.script() as process:
        process.until_it_says("manager / demo-password-1")
        (server,) = (number for number, command in portal.processes().items() if "--replSet" in command)
        os.kill(server, signal.SIGKILL)
        process.kill()
        assert portal.has_no_process_left()
        assert (portal.folder / "mongodb" / "mongod.lock").read_text(), "mongod had no time to release its lock"

        process.start()
        process.until_it_says("manager / demo-password-1")
        assert "Loading" not in process.output


@pytest.mark.parametrize("seconds", [0.2, 1, 2, 3, 4])
def test_ctrl_c_while_it_starts_leaves_no_process(portal: Portal, seconds: float) -> None:
    with portal.script() as process:
        time.sleep(seconds)
        process.interrupt()
        process.wait(40)
        assert portal.has_no_process_left()


@pytest.mark.parametrize(("variable", "attribute"), [("PORT", "port"), ("MONGOD_PORT", "mongod_port")])
def test_it_names_the_variable_of_a_port_in_use_and_starts_nothing(
    portal: Portal, variable: str, attribute: str
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        setattr(portal, attribute, other.getsockname()[1])
        process = finished(portal.script(), 40)
    assert process.status == 2
    assert len(process.output.splitlines()) == 1
    assert f"set {variable} to another port" in process.output
    assert not (portal.folder / "mongodb").exists()
