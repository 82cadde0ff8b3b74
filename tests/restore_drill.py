"""Loses both databases while the portal is written to, and restores them from dumps of different moments.

A drill for operators, on servers that this command starts: the portal with made-up data, a worker, and a program that
writes without pause. Each database is dumped at its own moment, as in real life. Then both are killed, the dumps are
restored on new servers, and the documented commands make MongoDB equal to MySQL. At the end every row is compared with
its document, by bare SQL and MongoDB's driver.

exit status:
  0  both databases are equal after it
  1  they are not, or a command failed
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bson
import pymongo

from tests.servers import ROOT, SERVERS, MariaDB, Mongo

DATABASE = "analytics"
COMMANDS = (("sync", "backfill"), ("sync", "verify", "--repair", "--prune"), ("sync", "verify", "--strict"))
TABLES = {"finance_account": "accounts", "finance_customer": "customers", "finance_transaction": "transactions"}
WRITING = 3.0  # seconds before, between and after the dumps


class Failed(Exception):
    """Says which step, and why."""


class Site:
    """The two databases of a portal, and its commands."""

    def __init__(self, name: str) -> None:
        self.mysql, self.mongo = MariaDB(SERVERS.place(f"{name}-mysql")), Mongo(SERVERS.place(f"{name}-mongo"))

    def start(self) -> None:
        self.mysql.start()
        self.mongo.start()

    def lose(self) -> None:
        """As in a disaster."""
        for server in (self.mysql, self.mongo):
            if hasattr(server, "process"):
                server.stop()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "DEBUG": "1", "SECRET_KEY": "of-the-drill-only",
            "DATABASE_URL": self.mysql.url(DATABASE), "MONGODB_URI": self.mongo.uri(DATABASE), "EXAMPLES": "",
            "VAR_DIR": str(SERVERS.folder / "var"), "EMAIL_URL": "consolemail://", "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "analytics_site.settings", "CACHE_URL": "locmemcache://",
        }  # fmt: skip

    def manage(self, *arguments: str) -> None:
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"manage.py {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")

    @contextmanager
    def running(self, *arguments: str) -> Iterator[None]:
        """Runs a Python program beside the block."""
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                [sys.executable, *arguments], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
            try:
                yield
                if process.poll() is not None:
                    log.seek(0)
                    raise Failed(f"{' '.join(arguments)} ended by itself:\n{log.read().decode()}")
            finally:
                process.kill()
                process.wait()

    def dump_mysql(self, file: Path) -> None:
        """All tables at one moment, with the changes that were not delivered then."""
        command = ["mariadb-dump", "--no-defaults", "--single-transaction", "-uroot", f"--socket={self.mysql.folder}/s"]
        with file.open("wb") as dump:
            subprocess.run([*command, DATABASE], stdout=dump, check=True)

    def restore_mysql(self, file: Path) -> None:
        with file.open("rb") as dump:
            command = ["mariadb", "--no-defaults", "-uroot", f"--socket={self.mysql.folder}/s", DATABASE]
            subprocess.run(command, stdin=dump, check=True)

    def dump_mongodb(self, folder: Path) -> None:
        """One collection after the other, as mongodump does it."""
        with self.client() as client:
            database = client[DATABASE]
            for name in database.list_collection_names():
                with (folder / f"{name}.bson").open("wb") as dump:
                    for document in database[name].find():
                        dump.write(bson.encode(document))

    def restore_mongodb(self, folder: Path) -> None:
        with self.client() as client:
            for file in folder.glob("*.bson"):
                with file.open("rb") as dump:
                    documents = list(bson.decode_file_iter(dump))
                if documents:
                    client[DATABASE][file.stem].insert_many(documents)

    def client(self) -> pymongo.MongoClient[dict[str, Any]]:
        return pymongo.MongoClient(self.mongo.uri(DATABASE), w="majority")

    def differences(self) -> list[str]:
        """The keys of rows and documents that differ in a column that every write changes, or are on one side only."""
        wrong = []
        with self.client() as client:
            for table, collection in TABLES.items():
                column = {"accounts": "limit", "customers": "username"}.get(collection, "transaction_count")
                text = self.mysql.sql(f"SELECT _id, `{column}` FROM {DATABASE}.{table}")
                rows = dict(line.split("\t", 1) for line in text.splitlines())
                found = client[DATABASE][collection].find({}, {column: 1})
                documents = {str(each["_id"]): str(each.get(column)) for each in found}
                wrong += [f"{collection} {key}" for key in rows.keys() | documents.keys()
                          if rows.get(key) != documents.get(key)]  # fmt: skip
        return sorted(wrong)


def drill(order: str, folder: Path) -> None:
    """order: which database is dumped first. Raises Failed."""
    before, after = Site("lost"), Site("restored")
    documents, dump = folder / "mongodb", folder / "mysql.sql"
    documents.mkdir(parents=True)
    steps = [lambda: before.dump_mongodb(documents), lambda: before.dump_mysql(dump)]
    try:
        before.start()
        before.manage("migrate", "--verbosity=0")
        before.manage("load_demo", "--customers", "300", "--trades", "20000")
        with before.running("manage.py", "sync", "run"), before.running("-m", "tests.scripts.write_without_pause"):
            for step in steps if order == "mongodb" else reversed(steps):
                time.sleep(WRITING)
                step()
            time.sleep(WRITING)
        before.lose()
        say("both databases are lost")
        after.start()
        begun = time.monotonic()
        after.restore_mysql(dump)
        after.restore_mongodb(documents)
        say(f"restored in {time.monotonic() - begun:.1f} s; {len(after.differences())} rows and documents differ")
        for command in COMMANDS:
            begun = time.monotonic()
            after.manage(*command)
            say(f"manage.py {' '.join(command)}: {time.monotonic() - begun:.1f} s")
        if wrong := after.differences():
            raise Failed(f"{len(wrong)} rows and documents differ: {', '.join(wrong[:10])}")
        say("every row has its document, and there is no other")
    finally:
        for site in (before, after):
            site.lose()


def say(line: str) -> None:
    print(f"  {line}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="script/restore-drill", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    SERVERS.folder.mkdir(exist_ok=True)
    try:
        for order in ("mongodb", "mysql"):
            print(f"Drill: {order} is dumped first", flush=True)
            drill(order, SERVERS.place("dumps"))
    except (Failed, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        SERVERS.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
