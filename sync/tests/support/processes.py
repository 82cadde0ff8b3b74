"""Processes that tests start: on the test's databases, ended with the test, and quoted when it fails."""

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
    """The test's database, as DATABASE_URL names it for another process."""
    at, given = connection.settings_dict, os.environ["DATABASE_URL"]
    if connection.vendor != "sqlite":
        server = urlsplit(given)
        host = f"{server.netloc.rpartition('@')[0]}@{server.hostname}:{at['PORT']}"
        return server._replace(netloc=host, path=f"/{at['NAME']}").geturl()
    return given if "memory" in str(at["NAME"]) else f"sqlite:///{at['NAME']}"


class Controlled:
    """A running program that a test kills, freezes and thaws. It is reached by its id alone."""

    process: subprocess.Popen[bytes]

    @property
    def status(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self.process.poll()

    def kill(self) -> None:
        """As a power cut would: SIGKILL."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        # Until its last thread has stopped, too; and at once where it was frozen before.
        with suppress(ChildProcessError):  # it has ended
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Ends it by SIGKILL, unless it has ended."""
        if self.status is None:
            self.kill()


class Process(Controlled):
    """A program on the test's databases. It runs while the `with` block does, and can be started again after a kill.

    It leads a process group of its own, so that Ctrl-C in the terminal reaches it only through the test. Its output
    goes to files, so that it never waits for a reader; `log` is one that the test names, for stderr.
    """

    def __init__(self, *command: str, cwd: Path = ROOT, log: Path | None = None, **variables: str) -> None:
        self.command, self.cwd, self.log = command, cwd, log
        self.environment = os.environ | {"DATABASE_URL": database_url()} | variables
        self._files: list[IO[bytes]] = []
        self._texts: list[str] = []

    def start(self) -> None:
        self._close()
        for path in (None, self.log):
            self._files.append(open(path, "a+b") if path else tempfile.TemporaryFile())  # noqa: SIM115 (closed at its end)
        self.process = subprocess.Popen(
            self.command, cwd=self.cwd, env=self.environment, process_group=0,
            stdin=subprocess.PIPE, stdout=self._files[0], stderr=self._files[1],
        )  # fmt: skip

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Ends it and its group, and prints its output, which pytest shows for a test that fails."""
        if self.status is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()
        self._close()
        print(f"{' '.join(self.command)}: status {self.status}\n{self.said}", file=sys.stderr)

    def _close(self) -> None:
        """Keeps what it has said."""
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
    def said(self) -> str:
        """All of its output since it was started last."""
        return self.stdout + self.stderr

    def tell(self, line: str) -> None:
        """Writes a line to its input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def close_input(self) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()

    def interrupt(self) -> None:
        """As Ctrl-C does: to all of its group."""
        os.killpg(self.pid, signal.SIGINT)

    def terminate(self, seconds: float = 60) -> int:
        """Asks it to end, and waits until it has; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float = 60) -> int:
        """Waits until it has ended by itself; its exit status."""
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(seconds)
        raise AssertionError(f"it has not ended in {seconds} s: {self.said}")

    def until(self, condition: Callable[[], Any], what: str = "it comes true", seconds: float = 60) -> None:
        """Waits for the condition; fails when that takes too long, or the process ends before."""

        def is_so() -> bool:
            # Asked first: what a process has done before its end counts.
            ended = self.status is not None
            if condition():
                return True
            assert not ended, f"it ended with status {self.status} before {what}: {self.said}"
            return False

        wait_for(is_so, what, seconds)

    def until_it_says(self, words: str, seconds: float = 60) -> None:
        self.until(lambda: words in self.said, f"it says {words!r}", seconds)


def _text(file: IO[bytes]) -> str:
    """Read without a seek, which would move the place at which the process writes."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode()


def python(*arguments: str, **options: Any) -> Process:
    return Process(sys.executable, *arguments, **options)


def manage(*arguments: str, **options: Any) -> Process:
    """A command of manage.py."""
    return python("manage.py", *arguments, **options)


def script(module: str, *arguments: str, **options: Any) -> Process:
    """A script beside the tests, by its module's name."""
    return python("-m", module, *arguments, **options)


def relaying(batch: int | None = None) -> Process:
    """A relay with one thread."""
    return script("sync.tests.support.scripts.relay", *([str(batch)] if batch else []))


def finished(process: Process, seconds: float = 60) -> Process:
    """The process, once it has ended by itself."""
    with process:
        process.wait(seconds)
    return process
