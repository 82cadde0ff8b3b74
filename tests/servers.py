"""A pytest plugin: starts real servers on free ports in a temporary folder, and stops them at the end of the run.

TEST_DATABASE chooses the SQL database: `mariadb` (the default), `sqlite`, or the address of a running server
(mysql://user:password@host:port/name), whose user may create the database test_<name>. With `memory` no server starts:
SQLite runs in memory and MongoDB is unreachable. This is enough for the tests marked `quick`.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sync.tests.support.processes import ROOT, Controlled

sys.path.insert(0, str(ROOT / "script"))
import mongod

PORTS = range(10_000, 32_768)  # below the default range that Linux uses for outgoing connections


def free_port() -> int:
    """A port outside the ephemeral range, so that it is still free when a stopped server starts again."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Server(Controlled):
    """A server process that can be killed, frozen and restarted with the same data and port.

    host: the address where it listens. prefix: what runs a command on that host.
    """

    host = "127.0.0.1"
    prefix: Sequence[str] = ()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()


class Mongo(Server):
    """A one-member replica set."""

    def start(self) -> None:
        # MongoDB removes expired documents every second instead of every minute. A transaction that a killed process
        # leaves open blocks others for five seconds instead of a minute.
        names = ("enableTestCommands=1", "ttlMonitorSleepSecs=1", "transactionLifetimeLimitSeconds=5")
        parameters = [word for name in names for word in ("--setParameter", name)]
        self.process = mongod.start(self.folder, self.port, *parameters, prefix=self.prefix, host=self.host)
        mongod.initiate(f"{self.host}:{self.port}")

    def uri(self, database: str) -> str:
        return f"mongodb://{self.host}:{self.port}/{database}?replicaSet={mongod.REPLICA_SET}"


class MariaDB(Server):
    """Debian's MariaDB with its binary log on, as on a production server."""

    USER, PASSWORD = "portal", "portal-test"

    def start(self) -> None:
        program = shutil.which("mariadbd")
        if program is None:
            raise pytest.UsageError("MariaDB is not installed: run script/test, or apt-get install mariadb-server")
        fresh = not self.folder.exists()
        if fresh:
            self.folder.mkdir()
            subprocess.run(
                ["mariadb-install-db", "--no-defaults", f"--datadir={self.folder}", *self._options(),
                 "--auth-root-authentication-method=normal", "--skip-test-db"],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
        self.process = subprocess.Popen(
            [*self.prefix, program, "--no-defaults", f"--datadir={self.folder}", f"--port={self.port}",
             f"--bind-address={self.host}",
             f"--socket={self.folder}/s", f"--pid-file={self.folder}/pid", f"--log-error={self.folder}/log.err",
             "--log-bin=binlog", "--binlog-format=ROW", "--binlog-row-metadata=FULL", "--server-id=1",
             "--innodb-lock-wait-timeout=20", "--log-warnings=4",
             "--max-allowed-packet=64M", *self._options(), *self._server_options()],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0,
        )  # fmt: skip
        self._wait()
        if fresh:
            # As in production, the portal's user has all rights in its own databases and no others.
            self.sql(
                f"CREATE USER {self.USER}@'%' IDENTIFIED BY '{self.PASSWORD}';"
                rf"GRANT ALL ON `analytics%`.* TO {self.USER}@'%';"
                rf"GRANT ALL ON `test\_analytics%`.* TO {self.USER}@'%';"
                "CREATE DATABASE analytics CHARACTER SET utf8mb4;"
            )

    def _options(self) -> list[str]:
        # A starting server removes the temporary tables of all other servers in its tmpdir.
        return [f"--tmpdir={self.folder.parent}", *(["--user=root"] if os.getuid() == 0 else [])]

    def _server_options(self) -> list[str]:
        """Further options of the server itself, which mariadb-install-db does not get."""
        return []

    def sql(self, statement: str) -> str:
        """Runs SQL as root with MariaDB's own client; its output."""
        command = ["mariadb", "--no-defaults", "-uroot", f"--socket={self.folder}/s", "-N", "-B", "-e", statement]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def restore(self, database: str, source: "MariaDB") -> None:
        """Copies another server's database to this one with a dump."""
        root = ["--no-defaults", "-uroot"]
        dump = ["mariadb-dump", *root, f"--socket={source.folder}/s", database]
        rows = subprocess.run(dump, check=True, capture_output=True).stdout
        self.sql(f"CREATE DATABASE IF NOT EXISTS {database} CHARACTER SET utf8mb4")
        subprocess.run(["mariadb", *root, f"--socket={self.folder}/s", database], check=True, input=rows)

    def _wait(self) -> None:
        for _ in range(300):
            with suppress(subprocess.CalledProcessError):
                self.sql("SELECT 1")
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError(f"MariaDB did not start:\n{(self.folder / 'log.err').read_text()[-2000:]}")

    def url(self, database: str = "analytics") -> str:
        return f"mysql://{self.USER}:{self.PASSWORD}@{self.host}:{self.port}/{database}"


class Replica(MariaDB):
    """A replica of another MariaDB, by GTIDs."""

    SECONDS = 30  # that it may take to catch up

    def _server_options(self) -> list[str]:
        return ["--server-id=2", "--read-only=1"]

    def follow(self, primary: MariaDB, database: str) -> None:
        """Copy a database of the primary, which nobody writes to meanwhile, and replicate it from there on."""
        position = primary.sql("SELECT @@gtid_current_pos").strip()
        self.restore(database, primary)
        # From this machine, root needs no password; from another one, the user of the portal does.
        user = "'root'" if primary.host == self.host else f"'{self.USER}', master_password = '{self.PASSWORD}'"
        self.sql(
            f"GRANT ALL ON *.* TO {self.USER}@'%';"
            f"SET GLOBAL gtid_slave_pos = '{position}';"
            f"CHANGE MASTER TO master_host = '{primary.host}', master_port = {primary.port}, master_user = {user},"
            " master_use_gtid = slave_pos; START SLAVE;"
        )

    def stop_applying(self, primary: MariaDB) -> None:
        """Apply what the primary has committed so far, and nothing after it."""
        position = primary.sql("SELECT @@gtid_current_pos").strip()
        assert self.sql(f"SELECT MASTER_GTID_WAIT('{position}', {self.SECONDS})").strip() == "0"
        self.sql("STOP SLAVE SQL_THREAD")


# Stops the servers when its standard input closes. That happens however pytest ends, even after kill -9.
WATCHDOG = """cat
for file in "$1"/*/mongod.lock "$1"/*/pid; do [ -s "$file" ] && kill -9 "$(cat "$file")"; done
rm -rf "$1"
"""


def in_memory() -> str | None:
    """A folder in memory where there is room for the servers' data: no test then waits for a slow disk.

    Data in it survives kill -9 of a server, as data on a disk does.
    """
    folder = "/dev/shm"
    has_room = os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= 8 * 2**30
    return folder if has_room else None


class Servers:
    """The servers of this run. folder: where their data is; by default in memory, if there is room."""

    def __init__(self, folder: str | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="portal-tests-", dir=folder or in_memory()))
        self.places: Counter[str] = Counter()
        self.mongo = Mongo(self.place("mongo"))
        self.mariadb: MariaDB | None = None
        self.kafka: Any = None  # tests.kafka.Kafka, once a test has needed it

    def place(self, name: str) -> Path:
        """An unused path: each server of this name gets its own folder, because earlier ones left their data behind."""
        self.places[name] += 1
        return self.folder / f"{name}-{self.places[name]}"

    def start(self) -> None:
        (self.folder / "var" / "static").mkdir(parents=True)
        self.watchdog = subprocess.Popen(
            ["sh", "-c", WATCHDOG, "watchdog", str(self.folder)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        database = os.environ.get("TEST_DATABASE", "mariadb")
        if database != "memory":
            self.mongo.start()
        os.environ["MONGODB_URI"] = self.mongo.uri("analytics_test")
        if database == "memory":
            database = "sqlite://:memory:"
        elif database == "mariadb":
            self.mariadb = MariaDB(self.place("mariadb"))
            self.mariadb.start()
            database = self.mariadb.url()
        elif database == "sqlite":
            database = f"sqlite:///{self.folder}/db.sqlite3"
        os.environ["DATABASE_URL"] = database

    def stop(self) -> None:
        for server in (self.mongo, self.mariadb, self.kafka):
            if server is not None and hasattr(server, "process"):
                server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        if hasattr(self, "watchdog"):
            self.watchdog.communicate()


SERVERS = Servers()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Runs before pytest-django reads the settings, which read these variables."""
    # A process started in the background ignores SIGINT, and its children inherit that. The tests interrupt theirs.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(
        SECRET_KEY="tests-only", DEBUG="0", HTTPS="0", ALLOWED_HOSTS="localhost,127.0.0.1,testserver",
        CURRENCY="USD", CACHE_URL="locmemcache://", EMAIL_URL="memorymail://", VAR_DIR=str(SERVERS.folder / "var"),
        REQUIRE_MFA="none", SYNC_LEASE="6", SYNC_SETTLE="11.1", SYNC_TIMEOUT="5", SYNC_BREAKER_RESET="0.5",
        # Long enough that inline delivery, which tests expect right after a save, succeeds on a busy machine.
        SYNC_INLINE_TIMEOUT="2", SYNC_CONFIRM="2.5",
        # Nothing listens there. Tests that need Kafka start it and set its address.
        EXAMPLES="news,retail,shop", SYNC_KAFKA='{"bootstrap.servers": "127.0.0.1:9"}',
    )  # fmt: skip
    # In a parallel run (-n) each worker has its own servers, and the controller needs none.
    if "PYTEST_XDIST_WORKER" in os.environ or not early_config.known_args_namespace.numprocesses:
        SERVERS.start()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Adds the end of MariaDB's log to a failure: only the log says why the server closed a connection."""
    report = yield
    if report.failed and SERVERS.mariadb is not None and (log := SERVERS.mariadb.folder / "log.err").exists():
        report.sections.append(("MariaDB's log", log.read_text(errors="replace")[-2000:]))
    return report


def pytest_unconfigure() -> None:
    SERVERS.stop()
