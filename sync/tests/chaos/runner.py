"""The parts that all schedules of a run share: servers, nursery, processes and change streams."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

from sync.tests.chaos import checker, journal, lab, schedule, servers
from sync.tests.chaos.nursery import Nursery
from sync.tests.chaos.proxy import Proxies, Proxy
from sync.tests.chaos.schedule import PATIENCE, SETTINGS
from tests.lab.network import Network
from tests.servers import SERVERS, MariaDB

BATCHES = 2, 5, 20  # of the relays


class Wrong(Exception):
    """A schedule has failed. The text lists the problems, one line each."""


class Site:
    """One set of servers with its database, its processes and its change stream; lives as long as the run.

    alive: the process in each slot. spares: connected processes that can replace them. last_journal: the journal of the
    previous schedule, because a late delivery may still repeat one of its states.
    """

    def __init__(self, kind: str, runner: Runner) -> None:
        self.runner = runner
        self.alive: dict[str, int] = {}
        self.spares: dict[str, int] = {}
        self.last_journal = journal.Account()
        self.database = runner.mysql.name(kind)
        self.mongo = runner.start(kind)
        self.client = self.mongo.client()
        self.documents = self.client[self.database]
        runner.mysql.sql(f"CREATE DATABASE {self.database} CHARACTER SET utf8mb4")
        self.tell("tables", {})
        self.wait("tables")
        self.history = checker.History(self.documents)

    def spawn(self, slot: str) -> int:
        life = {"slot": slot, "database": self.database, "mongo": self.mongo.uri(slot, self.database)}
        return self.runner.nursery.spawn(life | self._way_to_mysql(slot))

    def _way_to_mysql(self, slot: str) -> dict[str, Any]:
        """By a proxy, or from another host without one."""
        mysql, network = self.runner.mysql, self.runner.network
        if network:
            namespace = network.namespace(lab.host_of(slot))
            return {"mysql_host": mysql.host, "mysql_port": mysql.port, "namespace": namespace}
        proxies = self.runner.mysql_slots
        if slot not in proxies:
            proxies[slot] = self.runner.proxies.start(mysql.port)
        return {"mysql_host": "127.0.0.1", "mysql_port": proxies[slot].port, "namespace": ""}

    def tell(self, slot: str, task: dict[str, Any]) -> None:
        """Send a task to the process in `slot`, starting one if needed."""
        if slot not in self.alive:
            self.alive[slot] = self.spares.pop(slot, 0) or self.spawn(slot)
        self.runner.nursery.tell(self.alive[slot], task | {"slot": slot})

    def relay(self, number: int) -> None:
        """Start this relay unless it is working."""
        self.keep(f"relay {number}", {"batch": BATCHES[number]})

    def keep(self, slot: str, task: dict[str, Any]) -> None:
        """Give the process in `slot` its task, unless it is working on it since an earlier schedule."""
        if slot not in self.alive or self.runner.nursery.idle(self.alive[slot]):
            self.tell(slot, task)

    def rest_relays(self, but: int = 0) -> None:
        """Stop all relays except the first `but` ones after their current batch."""
        self.rest("relay", but)

    def rest(self, who: str, but: int = 0) -> None:
        slots = [slot for slot in self.alive if slot.startswith(who) and int(slot.split()[1]) >= but]
        for slot in slots:
            if not self.runner.nursery.idle(self.alive[slot]):
                self.runner.nursery.signal(self.alive[slot], signal.SIGUSR1)
        for slot in slots:
            self.wait(slot)

    def wait(self, slot: str) -> None:
        """Wait until the process in `slot` has finished its tasks. Raises Wrong."""
        pid = self.alive[slot]
        self.runner.wait(lambda: self.runner.nursery.idle(pid), f"{slot} does not finish")
        if (status := self.runner.nursery.ended(pid)) is not None:
            raise Wrong(f"{slot} exited unexpectedly with status {status}:\n{self.runner.tail()}")

    def kill(self, slot: str) -> None:
        """Kill the process in `slot`. The next task for the slot starts another one."""
        pid = self.alive.pop(slot)
        self.runner.nursery.signal(pid, signal.SIGKILL)
        self.runner.wait(lambda: self.runner.nursery.ended(pid) is not None, f"{slot} survives SIGKILL")

    def provide_spares(self, slots: list[str]) -> None:
        for slot in slots:
            if slot not in self.spares:
                self.spares[slot] = self.spawn(slot)

    def stop(self) -> None:
        self.client.close()
        self.mongo.stop()
        self.runner.mysql.sql(f"DROP DATABASE {self.database}")


class Runner:
    """A run of schedules on servers that it starts and stops."""

    def __init__(self, mutation: str = "", network: Network | None = None) -> None:
        """network: the hosts, if all schedules run on several; this process is on one of them."""
        self.network = network
        if network:
            MariaDB.host, MariaDB.prefix = network.addresses[lab.MYSQL], network.prefix(lab.MYSQL)
        SERVERS.start()
        self.log = SERVERS.folder / "processes.log"
        environment = {name: str(value) for name, value in SETTINGS.items()} | {
            "DJANGO_SETTINGS_MODULE": "tests.settings", "SECRET_KEY": "tests-only", "DEBUG": "0",
            "VAR_DIR": str(SERVERS.folder / "var"), "CACHE_URL": "locmemcache://",
        }  # fmt: skip
        self.nursery = Nursery(environment, self.log, mutation)
        self.proxies = Proxies()
        self.mysql = servers.MySQL()
        self.mysql.let_follow()
        self.mysql_slots: dict[str, Proxy] = {}
        self.sites: dict[str, Site] = {}

    def stop(self) -> None:
        self.nursery.stop()
        for site in self.sites.values():
            site.stop()
        SERVERS.stop()

    def start(self, kind: str) -> servers.OneMember | servers.ThreeMembers:
        """Start the MongoDB servers for schedules of this kind."""
        match kind:
            case schedule.ONE:
                return servers.OneMember(self.proxies)
            case schedule.THREE:
                return servers.ThreeMembers(servers.ELECTION)
        assert self.network
        return lab.Lab(self.network)

    def go_to(self, kind: str) -> Site:
        """Return the servers for a schedule. Relays on other servers are stopped first."""
        if kind not in self.sites:
            self.sites[kind] = Site(kind, self)
        for site in self.sites.values():
            if site is not self.sites[kind]:
                site.rest_relays()
                site.rest("follower")
        return self.sites[kind]

    @staticmethod
    def wait(done: Callable[[], bool], otherwise: str) -> None:
        """Wait until `done`. Raises Wrong."""
        end = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > end:
                raise Wrong(f"{otherwise} within {PATIENCE:.0f} s")
            time.sleep(0.005)

    def tail(self) -> str:
        """Return the last lines of the processes' log."""
        return "".join(self.log.read_text(errors="replace").splitlines(keepends=True)[-40:])
