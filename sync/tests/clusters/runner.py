"""Runs schedules on three nodes and a mongod, and compares all four when all changes are delivered."""

from __future__ import annotations

import signal
import time
from typing import Any

import pymongo

from sync.tests.chaos import checker, journal
from sync.tests.chaos.nursery import Nursery
from sync.tests.chaos.schedule import PATIENCE, SETTINGS
from sync.tests.clusters.schedule import Fault, Schedule
from tests.galera import HOSTS, Galera
from tests.lab.network import Network, both_ways
from tests.servers import SERVERS

DATABASE = "analytics_clusters"
CHANGES, ROWS = f"{DATABASE}.sync_change", f"{DATABASE}.finance_account"
OVERTAKEN = 0.3  # seconds for which a node still lags after its held delivery is released
NODES = range(3)
DESK, MONGO, SITES = "desk", "mongo", ("site0", "site1", "site2")  # further hosts; each site works with its node
ALL_HOSTS = (DESK, MONGO, *HOSTS, *SITES)


class Runner:
    """The servers and one process per slot: a writer and a relay for each node, and those of forced schedules."""

    def __init__(self, causal: bool, network: Network | None = None) -> None:
        """causal: whether deliveries wait until their node has caught up. network: the hosts, if there are several."""
        self.network = network
        if network:
            SERVERS.mongo.host = network.addresses[MONGO]
            SERVERS.mongo.prefix = network.prefix(MONGO)
        SERVERS.start()
        self.causal = causal
        self.log = SERVERS.folder / "processes.log"
        environment = {name: str(value) for name, value in SETTINGS.items()} | {
            "DJANGO_SETTINGS_MODULE": "tests.settings", "SECRET_KEY": "tests-only", "DEBUG": "0",
            "VAR_DIR": str(SERVERS.folder / "var"), "CACHE_URL": "locmemcache://",
        }  # fmt: skip
        self.galera = Galera(network)
        self.nursery = Nursery(environment, self.log)
        self.alive: dict[str, int] = {}
        self.galera.start()
        self.galera.nodes[0].rows(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")
        self.galera.settle()
        self.tell("tables", 0)
        self.wait("tables 0")
        self.galera.settle()
        self.client = pymongo.MongoClient(SERVERS.mongo.uri(DATABASE), tz_aware=True, w="majority")
        self.documents = self.client[DATABASE]
        self.history = checker.History(self.documents)

    def stop(self) -> None:
        self.nursery.stop()
        self.galera.stop()
        SERVERS.stop()

    # --- processes ----------------------------------------------------------------------------------------------------

    def tell(self, kind: str, node: int, **task: Any) -> str:
        """Send a task to the process of this kind on a node, starting it if needed. Return its slot."""
        slot = f"{kind} {node}"
        if slot not in self.alive:
            life = {
                "slot": kind, "database": DATABASE, "mysql_host": self.galera.nodes[node].host,
                "mysql_port": self.galera.nodes[node].port, "causal": self.causal,
                "namespace": self.network.namespace(SITES[node]) if self.network else "",
                "mongo": SERVERS.mongo.uri(DATABASE), "work": "sync.tests.clusters.work",
            }  # fmt: skip
            self.alive[slot] = self.nursery.spawn(life)
        self.nursery.tell(self.alive[slot], {"slot": slot, **task})
        return slot

    def wait(self, slot: str) -> None:
        """Wait until the process in `slot` has finished its tasks. Raises RuntimeError."""
        self._until(lambda: self.nursery.idle(self.alive[slot]), f"{slot} does not finish")
        if (status := self.nursery.ended(self.alive[slot])) is not None:
            raise RuntimeError(f"{slot} exited unexpectedly with status {status}:\n{self.tail()}")

    def do(self, kind: str, node: int, **task: Any) -> None:
        self.wait(self.tell(kind, node, **task))

    def _until(self, done: Any, otherwise: str) -> None:
        end = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > end:
                raise RuntimeError(f"{otherwise} within {PATIENCE:.0f} s:\n{self.tail()}")
            time.sleep(0.005)

    def tail(self) -> str:
        """Return the last lines of the processes' log."""
        return "".join(self.log.read_text(errors="replace").splitlines(keepends=True)[-40:])

    # --- schedules ----------------------------------------------------------------------------------------------------

    def run(self, schedule: Schedule) -> dict[str, list[str]]:
        """Run one schedule. Return the problems of each key."""
        path = SERVERS.folder / f"journal-{schedule.seed}"
        relays = [] if schedule.forced else self._start_relays()
        if schedule.forced:
            self._force(schedule)
            relays = self._start_relays()
        else:
            self._load(schedule, str(path))
        self._until(lambda: not self._rows(0, f"SELECT 1 FROM {CHANGES} LIMIT 1"), "not delivered")
        for slot in relays:
            self.nursery.signal(self.alive[slot], signal.SIGUSR1)
        for slot in relays:
            self.wait(slot)
        self.galera.settle()
        return self._compare(schedule, None if schedule.forced else journal.read(path))

    def _start_relays(self) -> list[str]:
        return [self.tell("relay", node, batch=(2, 5, 20)[node]) for node in NODES]

    def _force(self, schedule: Schedule) -> None:
        """Hold a delivery and stop its node from applying; another node changes, delivers and confirms the row."""
        slow, fast = schedule.nodes[:2]
        [key] = schedule.keys
        held, go = (SERVERS.folder / f"{word}-{schedule.seed}" for word in ("held", "go"))
        inline = schedule.forced == "inline"
        self.do("actor", slow, key=key, stamp=1, deliver=inline)
        self.galera.settle()
        slot = self.tell("held", slow, key=key, stamp=1, inline=inline, held=str(held), go=str(go))
        self._until(held.exists, f"{slot} does not start")
        self.galera.settle()
        with self.galera.nodes[slow].lagging():
            self.do("actor", fast, key=key, stamp=2, deliver=True)
            go.touch()
            time.sleep(OVERTAKEN)
        self.wait(slot)
        if inline:  # an inline delivery's change starts with a long lease
            self._rows(fast, f"UPDATE {CHANGES} SET due_at = '2000-01-01'")

    def _load(self, schedule: Schedule, path: str) -> None:
        writers = [
            self.tell(
                "writer", node, journal=path, seconds=schedule.seconds, total=schedule.seconds, keys=schedule.keys,
                hot=schedule.hot, number=node + 1, seed=schedule.seed * 100 + node, inline=schedule.inline,
                deletes=schedule.deletes,
                raw=0.0,
                embedded=0.0,
                schedule=schedule.seed,
            )
            for node in NODES
        ]  # fmt: skip
        for lag in schedule.lags:
            time.sleep(lag.pause)
            with self.galera.nodes[lag.node].lagging():
                time.sleep(lag.seconds)
        for fault in schedule.faults:
            time.sleep(fault.pause)
            self._cause(fault)
            self._heal()  # if two nodes were gone at once, the third would wait for an operator
        for slot in writers:
            self.wait(slot)

    def _cause(self, fault: Fault) -> None:
        node, name = self.galera.nodes[fault.node], HOSTS[fault.node]
        others = [host for host in HOSTS if host != name]
        drops = {
            "cut off": both_ways([name], others),
            "not heard": {(name, other) for other in others},
            "does not hear": {(other, name) for other in others},
            "site cut off": both_ways([SITES[fault.node]], [name, MONGO]),
        }.get(fault.kind, set())
        assert self.network
        self.network.cut(drops)
        if fault.kind == "leaves":
            node.shut_down()
        elif fault.kind == "killed":
            node.kill()
        time.sleep(fault.seconds)
        self.network.restore(drops)
        if node.status is not None:
            node.start()

    def _heal(self) -> None:
        assert self.network
        self.network.heal()
        self.galera.heal()

    # --- check --------------------------------------------------------------------------------------------------------

    def _rows(self, node: int, statement: str) -> list[dict[str, Any]]:
        return self.galera.nodes[node].rows_when_ready(statement)

    def _compare(self, schedule: Schedule, account: journal.Account | None) -> dict[str, list[str]]:
        wrong: dict[str, list[str]] = {}
        documents = checker.documents_of(self.documents)
        for node in NODES:
            rows = {row["_id"]: row for row in self._rows(node, f"SELECT * FROM {ROWS}")}
            for key, why in checker.wrong_documents(rows, documents).items():
                if key in schedule.keys:
                    wrong.setdefault(key, []).append(f"{why}, by node {node}: {rows.get(key)} {documents.get(key)}")
        for key, events in self.history.take().items():
            if account and key in schedule.keys:
                wrong.setdefault(key, []).extend(checker.wrong_history(key, events, account))
        return {key: problems for key, problems in wrong.items() if problems}
