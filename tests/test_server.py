"""script/server, less its bootstrap: what a person meets who starts the portal on their own machine."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.servers import ROOT, free_port


class Portal:
    """A portal of its own folder and ports, started as a shell does: in a process group that Ctrl-C reaches."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.mongod_port = free_port(), free_port()

    def start(self) -> None:
        environment = os.environ | {
            "VAR_DIR": str(self.folder), "PORT": str(self.port), "MONGOD_PORT": str(self.mongod_port),
            "DATABASE_URL": f"sqlite:///{self.folder}/db.sqlite3", "CACHE_URL": f"filecache://{self.folder}/cache",
            "MONGODB_URI": "", "DEBUG": "1", "SECRET_KEY": "tests-only",
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "script/serve.py"], cwd=ROOT, env=environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def read_until(self, pattern: str) -> str:
        """What it says up to the line in which the pattern is found."""
        said = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said += line
            if re.search(pattern, line):
                return said
        raise AssertionError(f"it ended without {pattern!r}:\n{said}")

    def wait(self) -> tuple[int, str]:
        """Its exit status, and what else it said."""
        said, _ = self.process.communicate(timeout=40)
        return self.process.returncode, said

    def processes(self) -> dict[int, str]:
        """Whatever runs with this portal's folder in its environment: itself, and all that it started."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"VAR_DIR={self.folder}".encode() in (process / "environ").read_bytes():
                    found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def leaves_nothing(self) -> bool:
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


def test_it_serves_until_ctrl_c_stops_all_and_keeps_its_data(portal: Portal) -> None:
    portal.start()
    said = portal.read_until("manager / ")
    assert "Loading made-up data" in said
    for username in ("customer", "technician", "manager"):
        assert f"{username} / demo-password-1" in said
    with urlopen(f"http://127.0.0.1:{portal.port}/login/") as page:
        assert page.status == 200
    commands = " ".join(portal.processes().values())
    assert all(name in commands for name in ("mongod", "gunicorn", "sync relay"))

    os.killpg(portal.process.pid, signal.SIGINT)
    status, said = portal.wait()
    assert status == 0
    assert "Traceback" not in said
    assert portal.leaves_nothing()

    portal.mongod_port = free_port()  # the replica set knows itself by its port, so this is the harder way to start
    portal.start()
    assert "Loading" not in portal.read_until("manager / demo-password-1")
    portal.process.terminate()
    assert portal.wait()[0] == 0
    assert portal.leaves_nothing()


def test_killed_outright_it_leaves_nothing_and_starts_again(portal: Portal) -> None:
    portal.start()
    portal.read_until("manager / demo-password-1")
    (server,) = (number for number, command in portal.processes().items() if "--replSet" in command)
    os.kill(server, signal.SIGKILL)
    portal.process.kill()
    portal.wait()
    assert portal.leaves_nothing()
    assert (portal.folder / "mongodb" / "mongod.lock").read_text(), "mongod had no time to let its lock go"

    portal.start()
    assert "Loading" not in portal.read_until("manager / demo-password-1")


@pytest.mark.parametrize("seconds", [0.2, 1, 2, 3, 4])
def test_ctrl_c_while_it_starts_leaves_nothing(portal: Portal, seconds: float) -> None:
    portal.start()
    time.sleep(seconds)
    os.killpg(portal.process.pid, signal.SIGINT)
    portal.wait()
    assert portal.leaves_nothing()


@pytest.mark.parametrize(("variable", "attribute"), [("PORT", "port"), ("MONGOD_PORT", "mongod_port")])
def test_it_names_the_variable_of_a_port_in_use_and_starts_nothing(
    portal: Portal, variable: str, attribute: str
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        setattr(portal, attribute, other.getsockname()[1])
        portal.start()
        status, said = portal.wait()
    assert status == 2
    assert len(said.splitlines()) == 1
    assert f"set {variable} to another port" in said
    assert not (portal.folder / "mongodb").exists()
