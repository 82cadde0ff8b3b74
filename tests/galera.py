"""A real Galera cluster of three MariaDB nodes, stopped at the end of the run.

The nodes start as copies of one folder and need no tool for state transfer: each catches up from the first node's
write-set cache. Debian's package `galera-4` has the library; without it these tests are skipped.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import MySQLdb
import pytest

from tests.lab.network import Network
from tests.servers import SERVERS, MariaDB, free_port

LIBRARIES = ("/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so")
HOSTS = ("node0", "node1", "node2")  # of the nodes in a network
# A node believes after a second that another one is gone, and not after five.
QUICK = (
    ";evs.keepalive_period=PT0.3S;evs.inactive_check_period=PT0.3S;evs.suspect_timeout=PT1S"
    ";evs.inactive_timeout=PT3S;evs.install_timeout=PT2.5S"
)
JOINED_WITHIN = 60  # seconds
CAUSAL_TIMEOUT = 2  # seconds: the longest that a read waits for its node to catch up

# Transfers only the position: the folders are copies of each other, and the rest comes from the write-set cache.
STATE_TRANSFER = """#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in
    --role) role=$2 ;; --address) address=$2 ;; --datadir) folder=${2%/} ;; --gtid) position=$2 ;;
  esac
  shift
done
if [ "$role" = donor ]; then
  echo "$position" >"$address.new" && mv "$address.new" "$address" && echo "done $position"
else
  rm -f "$folder/position"
  echo "ready $folder/position"
  while [ ! -f "$folder/position" ]; do sleep 0.05; done
  cat "$folder/position"
fi
"""


def library() -> str:
    """The path of Galera's library; empty if it is not installed."""
    return next((path for path in LIBRARIES if Path(path).exists()), "")


class Node(MariaDB):
    """One node. `lagging` stops its appliers, so that it falls behind the others.

    timing: further options of the provider: how soon it believes that another node is gone.
    """

    timing = ""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.name = folder.name
        self.group_port = free_port()
        self.is_first = self.was_killed = False
        self.cluster: list[Node] = []

    def _server_options(self) -> list[str]:
        listen = f"base_port={self.group_port};gmcast.listen_addr=tcp://{self.host}:{self.group_port}"
        members = ",".join(f"{node.host}:{node.group_port}" for node in self.cluster)
        return [
            "--innodb-log-file-size=16M", "--innodb-buffer-pool-size=32M",
            "--innodb-flush-log-at-trx-commit=0", "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON",
            f"--wsrep-provider={library()}", f"--wsrep-node-name={self.name}", "--wsrep-sst-method=copied",
            f"--wsrep-node-address={self.host}:{self.group_port}", f"--wsrep-cluster-address=gcomm://{members}",
            f"--wsrep-provider-options={listen};ist.recv_addr={self.host}:{free_port()};gcache.size=32M;"
            f"repl.causal_read_timeout=PT{CAUSAL_TIMEOUT}S{self.timing}",
            *(["--wsrep-new-cluster"] if self.is_first else []),
            *([f"--wsrep-start-position={self._recovered()}"] if self.was_killed else []),
        ]  # fmt: skip

    def _recovered(self) -> str:
        """The position of the last transaction that its files have, which a killed node did not write down."""
        self.was_killed = False
        program = shutil.which("mariadbd") or ""
        done = subprocess.run(
            [program, "--no-defaults", f"--datadir={self.folder}", f"--socket={self.folder}/r", "--skip-networking",
             "--log-bin=binlog", "--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--innodb-log-file-size=16M",
             "--wsrep-on=ON", f"--wsrep-provider={library()}", "--wsrep-cluster-address=gcomm://", "--wsrep-recover",
             *self._options()],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        found = re.findall(r"Recovered position: ([0-9a-f-]{36}:-?\d+)", done.stderr)
        if not found:
            raise RuntimeError(f"{self.name} does not recover:\n{done.stderr[-2000:]}")
        return str(found[-1])

    def kill(self) -> None:
        super().kill()
        self.was_killed = True

    def _wait(self) -> None:
        super()._wait()
        end = time.monotonic() + 60
        while self.status_variable("wsrep_ready") != "ON":
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError(f"{self.name} did not join:\n{(self.folder / 'log.err').read_text()[-2000:]}")
            time.sleep(0.05)

    def status_variable(self, name: str) -> str:
        return self.sql(f"SHOW STATUS LIKE '{name}'").split("\t")[-1].strip()

    def group(self) -> tuple[str, str]:
        """How many nodes it sees, itself included, and whether it serves queries."""
        return self.status_variable("wsrep_cluster_size"), self.status_variable("wsrep_ready")

    def shut_down(self) -> None:
        self.process.terminate()
        self.process.wait(30)

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """Runs SQL through a bare connection."""
        with self._connection() as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def rows_when_ready(self, statement: str) -> list[dict[str, Any]]:
        """The same, again and again until the node serves queries: it may leave the group and join it again."""
        end = time.monotonic() + JOINED_WITHIN
        while True:
            try:
                return self.rows(statement)
            except MySQLdb.Error:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def _connection(self) -> Any:
        return MySQLdb.connect(
            host=self.host, port=self.port, user=self.USER, password=self.PASSWORD, charset="utf8mb4",
            autocommit=True, read_timeout=20,
        )  # fmt: skip

    @contextmanager
    def lagging(self) -> Iterator[None]:
        """Inside the block the node serves reads, but neither commits nor applies what the others commit.

        As during a backup, the lock takes the node out of the group's flow control, so the others continue.
        """
        connection = MySQLdb.connect(unix_socket=f"{self.folder}/s", user="root", autocommit=True, read_timeout=20)
        try:
            connection.query("SET lock_wait_timeout = 1")
            with suppress(MySQLdb.OperationalError):  # a busy node may refuse the lock; then it does not lag
                connection.query("FLUSH TABLES WITH READ LOCK")
            yield
        finally:
            connection.close()


class Galera:
    """Three nodes, each with the portal's user. network: one with the hosts HOSTS; by default all are on this one."""

    def __init__(self, network: Network | None = None) -> None:
        self.nodes = [Node(SERVERS.place("galera")) for _ in range(3)]
        for node, host in zip(self.nodes, HOSTS, strict=True):
            if network:
                node.host, node.prefix, node.timing = network.addresses[host], network.prefix(host), QUICK

    def start(self) -> None:
        programs = SERVERS.place("programs")
        programs.mkdir()
        script = programs / "wsrep_sst_copied"
        script.write_text(STATE_TRANSFER)
        script.chmod(0o755)
        os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
        first, *others = self.nodes
        for node in self.nodes:
            node.cluster = self.nodes
        first.is_first = True
        first.start()
        user, password = first.USER, first.PASSWORD
        first.sql(f"CREATE USER {user}@localhost IDENTIFIED BY '{password}'; GRANT ALL ON *.* TO {user}@localhost;")
        first.shut_down()
        for node in others:
            shutil.copytree(first.folder, node.folder)
        for node in self.nodes:
            node.start()
        first.is_first = False

    def heal(self) -> None:
        """Starts nodes that are down, and waits until all three are in the group."""
        for node in self.nodes:
            if node.status is not None:
                node.start()
        end = time.monotonic() + JOINED_WITHIN
        while [node.group() for node in self.nodes] != [("3", "ON")] * 3:
            if time.monotonic() > end:
                raise RuntimeError(f"the nodes do not join: {[node.group() for node in self.nodes]}")
            time.sleep(0.05)

    def stop(self) -> None:
        for node in self.nodes:
            if hasattr(node, "process"):
                node.stop()

    def settle(self) -> None:
        """Waits until every node has applied all commits."""
        for node in self.nodes:
            node.rows_when_ready("SET STATEMENT wsrep_sync_wait = 15 FOR SELECT 1")


@pytest.fixture(scope="module")
def galera() -> Iterator[Galera]:
    """Three running nodes."""
    if not library():
        pytest.skip("Galera is not installed: apt-get install galera-4")
    cluster = Galera()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
