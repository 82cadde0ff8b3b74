"""The tasks of the nursery's children: relay, follower, backfill and verify. See writers.py for writes."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pymongo
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError
from django.db import close_old_connections, connection, connections
from pymongo import common
from pymongo.errors import PyMongoError

from finance.models import Account
from sync.binlog import follower
from sync.binlog.tables import Tables, followed_tables
from sync.core.retry import forget_connection
from sync.mapping.registry import Target
from sync.mongodb import bulk_merge, client
from sync.mongodb.errors import Unavailable
from sync.outbox import backfill, relay
from sync.tests.chaos import composed, embedded_writes
from sync.tests.chaos.journal import Journal
from sync.tests.chaos.writers import Writer
from sync.verification import verify
from sync.workers import lease, loop
from sync.workers.lease import Busy

INTERVAL = 0.015  # seconds between a relay's polls for due changes


def _tables_that_exist() -> Tables:
    names = ("finance_account", *composed.TABLES)
    return {name: readings for name, readings in followed_tables().items() if name in names}


class Worker:
    """One process. `life` is its constant part: the slot and the databases; see runner.py."""

    def __init__(self, life: dict[str, Any]) -> None:
        logging.disable(logging.WARNING)
        options = connections["default"].settings_dict
        options["NAME"], options["HOST"], options["PORT"] = life["database"], life["mysql_host"], life["mysql_port"]
        options["OPTIONS"]["init_command"] += ", innodb_lock_wait_timeout = 1"
        settings.MONGODB_URI = life["mongo"]
        # By default, the driver waits 0.5 s before it checks a server again: as long as a whole schedule.
        common.MIN_HEARTBEAT_INTERVAL = 0.05  # type: ignore[misc]
        loop.SHORTEST_PAUSE = loop.LONGEST_PAUSE = 0.05
        lease.LOOK = 0.05
        relay.HELP = 0.05
        follower.PATIENCE = 0.02
        follower.followed_tables = _tables_that_exist
        verify.PAUSE = 0.1
        if life["slot"].endswith(("0", "2")):  # every second process writes single documents as it writes many
            bulk_merge.FEWEST = 1
        if life["slot"] != "tables":
            self.connect()

    @staticmethod
    def connect() -> None:
        """Connect in advance, so that the process can write as soon as it gets a task."""
        with suppress(DatabaseError), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        with suppress(PyMongoError), pymongo.timeout(5):
            client.database().command("ping")

    def do(self, task: dict[str, Any]) -> None:
        match task["slot"].split()[0]:
            case "tables":
                self.make_tables()
            case "writer":
                Writer(task).run()
            case "relay":
                self.relay(task["batch"])
            case "follower":
                self.follow()
            case "backfill":
                self.until(task["seconds"], lambda: backfill.plan(Target(Account)), backfill.work)
            case "verify":
                journal = Journal(task["journal"])
                self.until(task["seconds"], lambda: self.verify(journal))

    @staticmethod
    def relay(batch: int) -> None:
        """Deliver until SIGUSR1, which stays pending if it arrives before the relay handles it."""
        ours = relay.Relay(batch=batch, interval=INTERVAL)
        signal.signal(signal.SIGUSR1, lambda *_: ours.stop.set())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        ours.run()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

    @staticmethod
    def follow() -> None:
        """Follow the log until SIGUSR1, like a relay. Another process may do so: then wait for its lease."""
        ours = follower.Follower()
        signal.signal(signal.SIGUSR1, lambda *_: ours.stop.set())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        while not ours.stop.is_set():
            with suppress(Busy, ImproperlyConfigured, DatabaseError):  # a server is unreachable at the start
                ours.run()
            forget_connection("default")  # instead of a new process, which a supervisor would start
            time.sleep(0.02)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

    @staticmethod
    def make_tables() -> None:
        """Create only the tables that are written: running all migrations would take seconds."""
        with connection.schema_editor() as editor:
            for model in (Account, *embedded_writes.MODELS, *apps.get_app_config("sync").get_models()):
                editor.create_model(model)

    @staticmethod
    def until(seconds: float, *acts: Callable[[], Any]) -> None:
        """Repeat the actions until the time is over, ignoring errors of the servers."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for act in acts:
                with suppress(Unavailable, DatabaseError):
                    act()
                close_old_connections()
            time.sleep(0.01)

    @staticmethod
    def verify(journal: Journal) -> None:
        for difference in verify.verify(Target(Account)).mismatches:
            journal.write("verify", str(difference))
