"""The portal on several hosts of this machine, whose network can be cut. Linux, as root.

  script/lab up                 starts all hosts and stays in the foreground; Ctrl-C ends them
  script/lab status             the hosts, what runs on each, and what is cut
  script/lab cut A B            nothing that A and B send to each other arrives
  script/lab cut A B --one-way  nothing that A sends arrives at B
  script/lab slow HOST 200      HOST sends at most 200 kilobits per second; 0 ends that
  script/lab heal               ends all cuts
  script/lab kill HOST          as if HOST lost its power
  script/lab start HOST         starts it again
  script/lab picture            the topology, for Mermaid

The hosts are network namespaces: they reach each other, and nothing else. Data and logs are in var/lab until the next
`up`.

exit status:
  0  done
  2  wrong usage, or no lab runs
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.lab.network import Network, both_ways

FOLDER = Path(__file__).resolve().parents[2] / "var" / "lab"
CONTROL = FOLDER / "control"
HOURS = 3  # after which a forgotten lab ends


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="script/lab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = found.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in ("up", "status", "heal", "picture"):
        verbs.add_parser(verb)
    for verb in ("kill", "start"):
        verbs.add_parser(verb).add_argument("host")
    cut = verbs.add_parser("cut")
    cut.add_argument("sender", metavar="A")
    cut.add_argument("receiver", metavar="B")
    cut.add_argument("--one-way", action="store_true", help="only from A to B")
    slow = verbs.add_parser("slow")
    slow.add_argument("host")
    slow.add_argument("kilobits", type=int, help="per second; 0 ends it")
    return found


def main() -> int:
    options = parser().parse_args()
    if options.verb == "picture":
        from tests.lab.portal import picture

        print(picture())
        return 0
    return up() if options.verb == "up" else ask(vars(options))


def ask(request: dict[str, Any]) -> int:
    """Send a request to the lab that runs, and print its answer."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(CONTROL))
        except OSError:
            print("No lab runs here. Start one, as root: script/lab up", file=sys.stderr)
            return 2
        client.sendall(json.dumps(request).encode() + b"\n")
        status, _, text = client.makefile().read().partition("\n")
    print(text, end="", file=sys.stderr if status != "0" else sys.stdout)
    return int(status)


def up() -> int:
    if os.geteuid():
        print("The lab makes network namespaces: run it as root.", file=sys.stderr)
        return 2
    if CONTROL.exists() and ask_quietly():
        print("A lab runs already: `script/lab status` shows it.", file=sys.stderr)
        return 2
    from tests.lab.portal import DESK, HOSTS, PASSWORD, USER, Lab
    from tests.servers import SERVERS

    SERVERS.stop()  # the lab has servers of its own
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, lambda *_: sys.exit(0))
    signal.alarm(HOURS * 3600)
    with Network("lab", HOSTS) as network:
        network.enter(DESK)
        lab = Lab(FOLDER, network)
        try:
            lab.up(lambda line: print(line, flush=True))
            with controlled(Controller(lab)):
                print(f"\nThe lab runs at {lab.origin} (on the host `{DESK}`): sign in as {USER}, {PASSWORD}.\n"
                      "Next, in another terminal: script/lab status. Ctrl-C ends it.", flush=True)  # fmt: skip
                signal.pause()
        finally:
            lab.stop()
    return 0


def ask_quietly() -> bool:
    with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
        client.connect(str(CONTROL))
        return True
    return False


class Controller:
    """Does what the other commands ask for."""

    def __init__(self, lab: Any) -> None:
        self.lab, self.network = lab, lab.network
        self.slowed: dict[str, int] = {}

    def answer(self, request: dict[str, Any]) -> tuple[int, str]:
        """The exit status, and what to print."""
        named = [request[key] for key in ("host", "sender", "receiver") if key in request]
        if unknown := [host for host in named if host not in self.network.addresses]:
            return 2, f"There is no host {unknown[0]!r}. The hosts: {', '.join(self.network.addresses)}\n"
        act: Callable[..., str] = getattr(self, request.pop("verb"))
        try:
            return 0, act(**request)
        except (OSError, RuntimeError) as error:
            return 2, f"{error}\n"

    def status(self) -> str:
        lines = [f"{'HOST':8} {'ADDRESS':12} STATE"]
        for host, address in self.network.addresses.items():
            state = "runs" if self.lab.runs(host) else "down" if host in self.lab.starts else "-"
            slowed = f", slowed to {self.slowed[host]} kbit/s" if host in self.slowed else ""
            lines.append(f"{host:8} {address:12} {state}{slowed}")
        cuts = [f"{sender} -> {receiver}" for sender, receiver in sorted(self.network.dropped)]
        return "\n".join([*lines, f"cut: {', '.join(cuts) or 'nothing'}", ""])

    def cut(self, sender: str, receiver: str, one_way: bool) -> str:
        self.network.cut({(sender, receiver)} if one_way else both_ways([sender], [receiver]))
        return f"Cut: {sender} {'->' if one_way else '<->'} {receiver}. `script/lab heal` ends all cuts.\n"

    def heal(self) -> str:
        self.network.heal()
        return "Nothing is cut.\n"

    def slow(self, host: str, kilobits: int) -> str:
        self.network.slow(host, kilobits or None)
        self.slowed.pop(host, None)
        if kilobits:
            self.slowed[host] = kilobits
        return f"{host} sends {f'at most {kilobits} kilobits per second' if kilobits else 'at full speed'}.\n"

    def kill(self, host: str) -> str:
        self.lab.kill(host)
        return f"{host} is down. `script/lab start {host}` starts it again.\n"

    def start(self, host: str) -> str:
        if host not in self.lab.starts:
            return f"Nothing runs on {host}.\n"
        self.lab.start(host)
        return f"{host} runs.\n"


@contextmanager
def controlled(controller: Controller) -> Iterator[None]:
    """Answers requests, one at a time, in a thread."""

    def serve() -> None:
        while True:
            client, _ = server.accept()
            with client:
                status, text = controller.answer(json.loads(client.makefile().readline()))
                client.sendall(f"{status}\n{text}".encode())

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(CONTROL))
        server.listen()
        threading.Thread(target=serve, daemon=True, name="control").start()
        yield


if __name__ == "__main__":
    sys.exit(main())
