"""One schedule: starts its processes, causes the faults, waits until all changes are delivered, and checks them."""

from __future__ import annotations

import functools
import signal
import time
from collections.abc import Callable
from typing import Any

from bson import ObjectId

from sync.tests.chaos import checker, composed, journal, lab
from sync.tests.chaos.proxy import DOWN, UP, Proxy
from sync.tests.chaos.runner import Runner, Site, Wrong
from sync.tests.chaos.schedule import HOSTS, ONE, PATIENCE, Fault, Schedule
from tests.servers import SERVERS

MARKER = "ffffffff"  # the end of the key of a row that tells how far the followers are
CALM = 5.0  # seconds for which followers may take over from each other
LATE = 1.2  # seconds for which frozen processes may delay the delivery of all changes


def run(runner: Runner, schedule: Schedule) -> journal.Account:
    """Run one schedule. Raises Wrong."""
    site = runner.go_to(schedule.servers)
    now = Run(runner, site, schedule)
    now.chaos()
    now.rest()
    site.last_journal = now.check()
    now.end()
    return site.last_journal


class Run:
    """A running schedule."""

    def __init__(self, runner: Runner, site: Site, schedule: Schedule) -> None:
        self.runner, self.site, self.schedule = runner, site, schedule
        self.journal = SERVERS.folder / f"journal-{schedule.seed}"
        self.writers = [f"writer {number}" for number in range(schedule.writers)]
        self.relays = [f"relay {number}" for number in range(schedule.relays)]
        self.followers = [f"follower {number}" for number in range(schedule.followers)]
        self.marker = f"{schedule.seed:016x}{MARKER}"
        self.extras = [name for name in ("backfill", "verify") if getattr(schedule, name)]
        self.numbers = 0
        self.frozen: dict[str, bool] = {}  # by slot, whether to thaw it last
        self.held: dict[str, bool] = {}  # by slot, whether to release its requests last
        self.started = time.monotonic()

    def now(self) -> float:
        return time.monotonic() - self.started

    def start(self, slot: str) -> None:
        """Give the process in `slot` its task, starting one if needed."""
        schedule = self.schedule
        if slot in self.relays:
            self.site.relay(int(slot.split()[1]))
            return
        if slot in self.followers:
            self.site.keep(slot, {})
            return
        self.numbers += 1
        task = {
            "journal": str(self.journal), "seconds": schedule.seconds - self.now(), "total": schedule.seconds,
            "keys": schedule.keys, "hot": schedule.hot, "number": self.numbers,
            "seed": schedule.seed * 100 + self.numbers, "inline": schedule.inline, "deletes": schedule.deletes,
            "raw": schedule.raw, "embedded": schedule.embedded, "schedule": schedule.seed,
        }  # fmt: skip
        self.site.tell(slot, task)

    def chaos(self) -> None:
        """Run the writers, and cause the faults meanwhile."""
        self.site.rest_relays(but=len(self.relays))
        self.site.rest("follower", but=len(self.followers))
        self.site.provide_spares([fault.slot for fault in self.schedule.faults if fault.kind.startswith("kill ")
                                  and fault.slot])  # fmt: skip
        for slot in [*self.followers, *self.relays, *self.writers, *self.extras]:
            self.start(slot)
        if self.schedule.servers != HOSTS:
            for slot in self.relays:
                self.runner.mysql_slots[slot].delay(DOWN, self.schedule.row_jitter)
        if self.schedule.servers == ONE:
            for slot in [*self.followers, *self.relays, *self.writers]:
                for direction in (UP, DOWN):
                    self.proxy("mongo", slot).delay(direction, self.schedule.jitter)
        todo: list[tuple[float, Any]] = [(fault.at, fault) for fault in self.schedule.faults]
        while todo:
            todo.sort(key=lambda item: item[0])
            at, what = todo.pop(0)
            time.sleep(max(0.0, at - self.now()))
            if isinstance(what, Fault):
                todo += self.cause(what)
            else:
                what()
        time.sleep(max(0.0, self.schedule.seconds - self.now()))

    def cause(self, fault: Fault) -> list[tuple[float, Any]]:
        """Cause the fault. Return what ends it, and when."""
        what, _, of = fault.kind.partition(" ")
        end = self.now() + fault.seconds
        mongo: Any = self.site.mongo
        if fault.kind in lab.CUTS:
            drops = mongo.drops(fault.kind, fault.slot)
            mongo.network.cut(drops)
            return [(end, lambda: mongo.network.restore(drops))]
        if self.schedule.servers != ONE and not fault.slot:
            mongo.fail(fault.kind, fault.seconds)
        elif what == "kill" and fault.slot:
            self.site.kill(fault.slot)
            self.frozen.pop(fault.slot, None)
            self.start(fault.slot)
        elif what == "kill":
            (self.runner.mysql if of == "mysql" else mongo).kill()
        elif of == "mongod":
            mongo.mongod.freeze()
            return [(end, mongo.mongod.thaw)]
        elif what == "freeze":
            self.runner.nursery.signal(self.site.alive[fault.slot], signal.SIGSTOP)
            self.frozen[fault.slot] = fault.late
            return [] if fault.late else [(end, lambda: self.thaw(fault.slot))]
        else:
            proxy = self.proxy(of.split()[0], fault.slot)
            direction = DOWN if of.endswith("answers") else UP
            if what == "cut":
                proxy.cut()
                return []
            if what == "hold":
                proxy.hold()
                self.held[fault.slot] = fault.late
                return [] if fault.late else [(end, proxy.release)]
            if what == "delay":
                proxy.delay(direction, fault.seconds)
                return []  # until the schedule ends all faults
            proxy.lose(*((DOWN,) if of.endswith("answers") else (UP, DOWN)))
            return [(end, proxy.heal)]
        return []

    def proxy(self, server: str, slot: str) -> Proxy:
        if server == "mysql" or self.schedule.servers != ONE:
            return self.runner.mysql_slots[slot]
        mongo: Any = self.site.mongo
        return mongo.proxy(slot)

    def release(self, last: bool) -> None:
        for slot, late in self.held.items():
            if late == last:
                self.proxy("mongo", slot).release()

    def thaw(self, slot: str) -> None:
        self.runner.nursery.signal(self.site.alive[slot], signal.SIGCONT)

    # --- rest ---------------------------------------------------------------------------------------------------------

    def rest(self) -> None:
        """End all faults and wait until everything is delivered. Raises Wrong if that takes too long."""
        late = {slot for slot, last in self.frozen.items() if last}
        for slot in self.frozen.keys() - late:
            self.thaw(slot)
        self.release(last=False)
        for proxy in self.runner.mysql_slots.values():
            proxy.heal()
        self.site.mongo.heal()
        for slot in {*self.writers, *self.extras} - late:
            self.site.wait(slot)
        if late or any(self.held.values()):
            self.empty(LATE)
            self.release(last=True)
            for slot in late:
                self.thaw(slot)
            for slot in late - {*self.relays, *self.followers}:
                self.site.wait(slot)
            time.sleep(0.1)  # for what the thawed processes still do
        if self.followers:
            self.let_followers_catch_up()
        if not self.empty(PATIENCE):
            pending = self.runner.mysql.rows(f"SELECT * FROM {self.site.database}.sync_change")
            raise Wrong("\n".join([f"not delivered within {PATIENCE:.0f} s:", *map(str, pending), self.runner.tail()]))
        for slot in [*self.relays, *self.followers]:
            if (status := self.runner.nursery.ended(self.site.alive[slot])) is not None:
                raise Wrong(f"{slot} exited unexpectedly with status {status}:\n{self.runner.tail()}")

    def let_followers_catch_up(self) -> None:
        """Write a row in SQL and wait until it is in MongoDB, twice: then everything before it was handled."""
        table, marker = f"{self.site.database}.finance_account", ObjectId(self.marker)
        for limit in (1, 2):
            self.runner.mysql.sql(
                f"INSERT INTO {table} (_id, account_id, `limit`, products, extra) "
                "VALUES (%s, 0, %s, '[]', '{}') ON DUPLICATE KEY UPDATE `limit` = VALUES(`limit`)",
                self.marker, limit,
            )  # fmt: skip
            documents = self.site.documents[checker.COLLECTION]
            self.await_followers(functools.partial(documents.find_one, {"_id": marker, "limit": limit}))

    def await_followers(self, done: Callable[[], Any]) -> None:
        # On a busy machine, neither of two followers may get anything done within such a short lease.
        end = time.monotonic() + CALM
        while not done():
            if time.monotonic() > end:
                self.site.rest("follower", but=1)
                self.runner.wait(done, "the followers do not catch up")
            time.sleep(0.01)

    def empty(self, seconds: float) -> bool:
        """Return whether all changes are delivered within this time."""
        end = time.monotonic() + seconds
        while self.runner.mysql.rows(f"SELECT 1 FROM {self.site.database}.sync_change LIMIT 1"):
            if time.monotonic() > end:
                return False
            time.sleep(0.015)
        return True

    # --- check --------------------------------------------------------------------------------------------------------

    def check(self) -> journal.Account:
        """Compare rows, documents and histories. Raises Wrong."""
        account = journal.read(self.journal)
        table = self.runner.mysql.rows(f"SELECT * FROM {self.site.database}.finance_account")
        rows = {row["_id"]: row for row in table}
        documents = checker.documents_of(self.site.documents)
        histories = self.site.history.take()
        histories = {key: events for key, events in histories.items() if not key.endswith(MARKER)}
        wrong: dict[str, list[str]] = {key: [why] for key, why in checker.wrong_documents(rows, documents).items()}
        for key, events in histories.items():
            its = account if key in self.schedule.keys else self.site.last_journal
            if problems := checker.wrong_history(key, events, its):
                wrong.setdefault(key, []).extend(problems)
        lines = self.wrong_composed()
        lines += [f"verify reported a difference that does not exist: {difference}" for difference in account.verify]
        for key, problems in wrong.items():
            lines += [f"{key}: {problem}" for problem in problems]
            lines += [f"  row: {rows.get(key)}", f"  document: {documents.get(key)}", "  history:"]
            lines += [f"    {number} {operation} {document}" for number, (operation, document)
                      in enumerate(histories.get(key, []))]  # fmt: skip
        if lines:
            raise Wrong("\n".join([*lines, "journal:", *(f"  {line}" for line in account.lines)]))
        return account

    def wrong_composed(self) -> list[str]:
        """Compare the documents that embed rows with all of their rows."""
        if not self.schedule.embedded:
            return []
        rows = composed.expected(lambda name: self.runner.mysql.rows(f"SELECT * FROM {self.site.database}.{name}"))
        found = {each.pop("_id"): each for each in self.site.documents[composed.COLLECTION].find({}, {"_sync": 0})}
        expected = {key: {name: value for name, value in row.items() if name != "_id"} for key, row in rows.items()}
        return [
            f"shelter {key}: the rows say {expected.get(key)}, the document {found.get(key)}"
            for key in sorted({*expected, *found})
            if expected.get(key) != found.get(key)
        ]

    def end(self) -> None:
        """Delete everything that this schedule has left behind."""
        self.journal.unlink(missing_ok=True)
        keys = [*self.schedule.keys, self.marker]
        self.runner.mysql.delete_unlogged(f"{self.site.database}.finance_account", keys)
        checker.forget(self.site.documents, keys)
        if self.schedule.embedded:
            for table in reversed(composed.TABLES):
                self.runner.mysql.delete_unlogged(f"{self.site.database}.{table}")
            self.site.documents[composed.COLLECTION].delete_many({})
