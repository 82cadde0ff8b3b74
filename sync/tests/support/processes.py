"""Processes that tests start. They use the test's databases, stop with the test, and print their output if it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import urlsplit

from django.db import connection

from sync.tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parents[3]


def database_url() -> str:
    """Return the DATABASE_URL of the test's database for another process."""
    at, given = connection.settings_dict, os.environ["DATABASE_URL"]
    if connection.vendor != "sqlite":
        server = urlsplit(given)
        host = f"{server.netloc.rpartition('@')[0]}@{server.hostname}:{at['PORT']}"
        return server._replace(netloc=host, path=f"/{at['NAME']}").geturl()
    return given if "memory" in str(at["NAME"]) else f"sqlite:///{at['NAME']}"


class Controlled:
    """A running program that a test can kill, freeze and thaw. Signals go to its process id only."""

    process: subprocess.Popen[bytes]

    @property
    def status(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self.process.poll()

    def kill(self) -> None:
        """Send SIGKILL, as in a power failure."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        # Wait until its last thread has stopped. Returns at once if it is already frozen.
        with suppress(ChildProcessError):  # it has exited
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Send SIGKILL if it is running."""
        if self.status is None:
            self.kill()


class Process(Controlled):
    """A program on the test's databases. It runs during the `with` block, and can be started again after a kill.

    It leads its own process group, so that Ctrl-C in the terminal reaches it only through the test. Its output goes to
    files, so that it never waits for a reader. log: the file for stderr; default: a temporary file.
    """

    def __init__(self, *command: str, cwd: Path = ROOT, log: Path | None = None, **variables: str) -> None:
        self.command, self.cwd, self.log = command, cwd, log
        self.environment = os.environ | {"DATABASE_URL": database_url()} | variables
        self._files: list[IO[bytes]] = []
        self._texts: list[str] = []

    def start(self) -> None:
        self._close()
        for path in (None, self.log):
            self._files.append(open(path, "a+b") if path else tempfile.TemporaryFile())  # noqa: SIM115 (_close closes it)
        self.process = subprocess.Popen(
            self.command, cwd=self.cwd, env=self.environment, process_group=0,
            stdin=subprocess.PIPE, stdout=self._files[0], stderr=self._files[1],
        )  # fmt: skip

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Kill it and its group, and print its output, which pytest shows if the test fails."""
        if self.status is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()
        self._close()
        print(f"{' '.join(self.command)}: status {self.status}\n{self.output}", file=sys.stderr)

    def _close(self) -> None:
        """Keep its output, and close its files."""
        if self._files:
            self._texts = [_text(file) for file in self._files]
            for file in self._files:
                file.close()
            self._files = []
            self.close_input()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_frozen(self) -> bool:
        flags = os.WSTOPPED | os.WNOWAIT | os.WNOHANG
        return os.waitid(os.P_PID, self.pid, flags) is not None

    @property
    def stdout(self) -> str:
        return _text(self._files[0]) if self._files else self._texts[0]

    @property
    def stderr(self) -> str:
        return _text(self._files[1]) if self._files else self._texts[1]

    @property
    def output(self) -> str:
        """Its standard output and error since the last start."""
        return self.stdout + self.stderr

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def close_input(self) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()

    def interrupt(self) -> None:
        """Send SIGINT to its group, as Ctrl-C does."""
        os.killpg(self.pid, signal.SIGINT)

    def terminate(self, seconds: float = 60) -> int:
        """Send SIGTERM and wait. Returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float = 60) -> int:
        """Wait until it exits by itself. Returns the exit status."""
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(seconds)
        raise AssertionError(f"it did not exit within {seconds} s: {self.output}")

    def until(self, condition: Callable[[], Any], what: str = "the condition is true", seconds: float = 60) -> None:
        """Wait for the condition. Fails if it takes too long, or if the process exits first."""

        def is_so() -> bool:
            # Read before the condition: the condition may have become true just before the process exited.
            exited = self.status is not None
            if condition():
                return True
            assert not exited, f"it exited with status {self.status} before {what}: {self.output}"
            return False

        wait_for(is_so, what, seconds)

    def until_it_says(self, words: str, seconds: float = 60) -> None:
        self.until(lambda: words in self.output, f"it prints {words!r}", seconds)


def _text(file: IO[bytes]) -> str:
    """Read without a seek, which would move the offset at which the process writes."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode()


def python(*arguments: str, **options: Any) -> Process:
    return Process(sys.executable, *arguments, **options)


def manage(*arguments: str, **options: Any) -> Process:
    """Return the process of a management command."""
    return python("manage.py", *arguments, **options)


def script(module: str, *arguments: str, **options: Any) -> Process:
    """Return the process of a script, by the name of its module."""
    return python("-m", module, *arguments, **options)


def relaying(batch: int | None = None) -> Process:
    """Return the process of a relay with one thread."""
    return script("sync.tests.support.scripts.relay", *([str(batch)] if batch else []))


def finished(process: Process, seconds: float = 60) -> Process:
    """Run a process until it exits by itself, and return it."""
    with process:
        process.wait(seconds)
    return process
