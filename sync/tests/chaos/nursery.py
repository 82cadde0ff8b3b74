"""The nursery: a process with Django set up and no connections, which forks the others within milliseconds.

It reads commands as lines of JSON: {"spawn": life}, {"tell": [pid, task]}, {"signal": [pid, number]}, {"poll": 0}.
The processes are its children, so a pid that it signals never belongs to another process. They exit with the nursery,
and the nursery exits with the process that started it.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.lab.network import enter

PR_SET_PDEATHSIG = 1


class Nursery:
    """Starts the nursery and sends it commands."""

    def __init__(self, environment: dict[str, str], log: Path, mutation: str = "") -> None:
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sync.tests.chaos.nursery", mutation],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out, text=True, bufsize=1,
                env={**os.environ, **environment},
            )  # fmt: skip
        self.statuses: dict[int, int] = {}
        self.busy: Counter[int] = Counter()

    def _ask(self, **request: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("the nursery has ended")
        return json.loads(answer)

    def spawn(self, life: dict[str, Any]) -> int:
        """Fork a process, which connects and waits for tasks. Return its pid."""
        self._poll()
        pid = self._ask(spawn=life)
        # The pid of a process that has exited may be used again.
        self.statuses.pop(pid, None)
        del self.busy[pid]
        return pid

    def tell(self, pid: int, task: dict[str, Any]) -> None:
        """Send a task to a process."""
        self.busy[pid] += 1
        self._ask(tell=[pid, task])

    def signal(self, pid: int, number: int) -> None:
        """Send a signal, unless the process has exited."""
        self._ask(signal=[pid, number])

    def _poll(self) -> None:
        seen = self._ask(poll=0)
        self.statuses.update({int(pid): status for pid, status in seen["ended"].items()})
        self.busy.subtract({int(pid): count for pid, count in seen["done"].items()})

    def ended(self, pid: int) -> int | None:
        """Return the exit status of a process that has exited (negative: its signal), or None."""
        if pid not in self.statuses:
            self._poll()
        return self.statuses.get(pid)

    def idle(self, pid: int) -> bool:
        """Return whether a process has finished all its tasks or has exited."""
        return self.ended(pid) is not None or not self.busy[pid]

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


class Child:
    """One forked process: a pipe for its tasks, and a pipe on which it writes one byte per finished task."""

    def __init__(self, life: dict[str, Any]) -> None:
        tasks, self.tasks = os.pipe()
        self.done, done = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            self._live(life, tasks, done)
        os.close(tasks)
        os.close(done)
        os.set_blocking(self.done, False)

    @staticmethod
    def _live(life: dict[str, Any], tasks: int, done: int) -> None:
        try:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.dup2(tasks, 0)
            os.dup2(2, 1)
            if life.get("namespace"):
                enter(life["namespace"])
            worker = importlib.import_module(life.get("work", "sync.tests.chaos.work")).Worker(life)
            for line in sys.stdin:
                worker.do(json.loads(line))
                os.write(done, b".")
            os._exit(0)
        except BaseException:
            import traceback

            print(f"--- {life['slot']}", traceback.format_exc(), file=sys.stderr, flush=True)
            os._exit(1)

    def tell(self, task: dict[str, Any]) -> None:
        os.write(self.tasks, (json.dumps(task) + "\n").encode())

    def finished(self) -> int:
        try:
            return len(os.read(self.done, 1000))
        except BlockingIOError:
            return 0

    def close(self) -> None:
        os.close(self.tasks)
        os.close(self.done)


def _poll(children: dict[int, Child]) -> dict[str, dict[int, int]]:
    done = {pid: count for pid, child in children.items() if (count := child.finished())}
    ended = {}
    for pid in list(children):
        waited, status = os.waitpid(pid, os.WNOHANG)
        if waited:
            ended[pid] = os.waitstatus_to_exitcode(status)
            children.pop(pid).close()
    return {"done": done, "ended": ended}


def main(mutation: str) -> None:
    import django

    django.setup()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})  # until a relay handles it
    # Import and compile here what each child would need in its first milliseconds.
    import django.db.backends.mysql.compiler

    from sync.tests.chaos import mutations, work  # noqa: F401

    if mutation:
        mutations.apply(mutation)
    gc.freeze()  # keeps the memory shared with the children
    children: dict[int, Child] = {}
    for line in sys.stdin:
        answer: Any = None
        match json.loads(line):
            case {"spawn": life}:
                child = Child(life)
                children[child.pid] = child
                answer = child.pid
            case {"tell": [pid, task]}:
                if pid in children:
                    children[pid].tell(task)
            case {"signal": [pid, number]}:
                # A pid cannot be reused before waitpid, which is called only below.
                if pid in children:
                    os.kill(pid, number)
            case {"poll": _}:
                answer = _poll(children)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
