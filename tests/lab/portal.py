"""The portal on several hosts of one machine: nginx, two web servers, two hosts of workers, MariaDB with a replica,
three members of MongoDB, and three brokers of Kafka. See script/lab.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import trustme
from confluent_kafka.admin import AdminClient, NewTopic

from tests.kafka import kafka_broker
from tests.lab.network import Network
from tests.nginx import configure
from tests.servers import ROOT, MariaDB, Replica, mongod

DESK, FRONT, MYSQL, REPLICA = "desk", "front", "mysql", "replica"
WEB, WORKERS = ("web1", "web2"), ("work1", "work2")
MEMBERS, BROKERS = ("mongo1", "mongo2", "mongo3"), ("kafka1", "kafka2", "kafka3")
HOSTS = (DESK, FRONT, *WEB, *WORKERS, MYSQL, REPLICA, *MEMBERS, *BROKERS)
# Which hosts connect to which, and how: the picture of the topology is drawn from this.
LINKS: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    ((DESK,), (FRONT,), "HTTPS"),
    ((FRONT,), WEB, "HTTP"),
    (WEB, (MYSQL,), "rows and changes"),
    (WEB, MEMBERS, "inline delivery"),
    (WORKERS, (MYSQL,), "changes, binary log"),
    (WORKERS, MEMBERS, "documents"),
    (WORKERS, BROKERS, "events"),
    ((REPLICA,), (MYSQL,), "binary log"),
)
NAME = "portal.lab"
HTTP, HTTPS, WEB_PORT, MONGO_PORT, KAFKA_PORT, CONTROLLER = 8080, 8443, 8000, 27017, 9092, 9093
USER, PASSWORD = "operator", "a-long-password-9"
TOPIC, PARTITIONS = "story-events", 3


class Lab:
    """All hosts with their processes. folder: an empty one for data and logs."""

    def __init__(self, folder: Path, network: Network) -> None:
        self.folder, self.network = folder, network
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.mysql, self.replica = self._at(MYSQL, MariaDB), self._at(REPLICA, Replica)
        self.starts: dict[str, Callable[[], subprocess.Popen[bytes]]] = {
            **{host: self._mongod(host) for host in MEMBERS},
            **{host: self._broker(number) for number, host in enumerate(BROKERS, start=1)},
            MYSQL: lambda: self._sql(self.mysql),
            REPLICA: lambda: self._sql(self.replica),
            **{host: self._web(host) for host in WEB},
            **{host: self._workers(host) for host in WORKERS},
            FRONT: self._nginx,
        }
        self.authority = trustme.CA()

    def address(self, host: str) -> str:
        return self.network.addresses[host]

    @property
    def origin(self) -> str:
        return f"https://{NAME}:{HTTPS}"

    @property
    def mongodb_uri(self) -> str:
        hosts = ",".join(f"{self.address(host)}:{MONGO_PORT}" for host in MEMBERS)
        return f"mongodb://{hosts}/analytics?replicaSet={mongod.REPLICA_SET}"

    @property
    def kafka(self) -> dict[str, str]:
        return {"bootstrap.servers": ",".join(f"{self.address(host)}:{KAFKA_PORT}" for host in BROKERS)}

    @property
    def variables(self) -> dict[str, str]:
        """The environment of every process of the portal: nothing of this process's own settings."""
        return {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8", "HTTPS": "1",
            "SECRET_KEY": "of-the-lab-only", "DEBUG": "0", "ALLOWED_HOSTS": NAME, "PORTAL_ORIGIN": self.origin,
            "TRUSTED_PROXIES": "1", "CURRENCY": "USD", "REQUIRE_MFA": "none", "EMAIL_URL": "consolemail://",
            "VAR_DIR": str(self.folder / "var"), "CACHE_URL": f"filecache://{self.folder}/var/cache",
            "DATABASE_URL": self.mysql.url(), "MONGODB_URI": self.mongodb_uri, "EXAMPLES": "news",
            "SYNC_KAFKA": json.dumps(self.kafka), "SYNC_FOLLOW_BINLOG": "1", "SYNC_KAFKA_PARTITIONS": str(PARTITIONS),
            "DJANGO_SETTINGS_MODULE": "analytics_site.settings", "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
            "PYTHONUNBUFFERED": "1",
        }  # fmt: skip

    def up(self, say: Callable[[str], None] = lambda line: None) -> None:
        """Start everything. This process is on the desk."""
        for host in (*MEMBERS, MYSQL, REPLICA):
            say(f"{host}: starting")
            self.start(host)
        self._initiate()
        say(f"{', '.join(BROKERS)}: starting")
        with ThreadPoolExecutor() as threads:  # none of them listens before two are there
            list(threads.map(self.start, BROKERS))
        self._make_topic()
        say("mysql: creating tables")
        user = self.mysql.USER
        self.mysql.sql(f"GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO {user}@'%'")
        for command in (
            ["migrate", "--noinput", "--verbosity=0"],
            ["collectstatic", "--noinput", "--verbosity=0"],
            ["createsuperuser", "--noinput", f"--username={USER}", f"--email={USER}@example.com"],
        ):
            self.manage(*command)
        self.replica.follow(self.mysql, "analytics")
        for host in (*WORKERS, *WEB, FRONT):
            say(f"{host}: starting")
            self.start(host)
        self._until(lambda: self._answers(FRONT, HTTPS), "nginx answers")

    def manage(self, *arguments: str) -> str:
        """Run a management command on the first host of workers; its output. Raises RuntimeError."""
        command = [*self.network.prefix(WORKERS[0]), sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.variables, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"manage.py {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self, host: str) -> None:
        """Start the host's program, unless it runs. Raises KeyError for a host without one."""
        if not self.runs(host):
            self.running[host] = self.starts[host]()

    def runs(self, host: str) -> bool:
        return host in self.running and self.running[host].poll() is None

    def kill(self, host: str) -> None:
        """As if the host lost its power: SIGKILL to its program and what that has started."""
        if self.runs(host):
            process = self.running[host]
            for child in reversed(self._on(host)):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            process.kill()
            process.wait()

    def stop(self) -> None:
        for host in (FRONT, *WEB, *WORKERS, *BROKERS, REPLICA, MYSQL, *MEMBERS):
            self.kill(host)

    def _on(self, host: str) -> list[int]:
        """The processes in a host's namespace, of which all are ours."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self.network.namespace(host)], capture_output=True, text=True, check=True
        )
        return [int(each) for each in listed.stdout.split()]

    def _at(self, host: str, kind: type[Any]) -> Any:
        server = kind(self.folder / host)
        server.host, server.prefix, server.port = self.address(host), self.network.prefix(host), 3306
        return server

    @staticmethod
    def _sql(server: MariaDB) -> subprocess.Popen[bytes]:
        server.start()
        return server.process

    def _mongod(self, host: str) -> Callable[[], subprocess.Popen[bytes]]:
        return lambda: mongod.start(
            self.folder / host, MONGO_PORT, prefix=self.network.prefix(host), host=self.address(host)
        )

    def _initiate(self) -> None:
        mongod.initiate(*(f"{self.address(host)}:{MONGO_PORT}" for host in MEMBERS))

    def _make_topic(self) -> None:
        """With a copy on each broker, of which two must have a message."""
        topic = NewTopic(TOPIC, PARTITIONS, len(BROKERS), config={"min.insync.replicas": "2"})
        admin = AdminClient(self.kafka)  # must live until the call is done
        for done in admin.create_topics([topic]).values():
            done.result(30)

    def _broker(self, number: int) -> Callable[[], subprocess.Popen[bytes]]:
        host = BROKERS[number - 1]
        return lambda: kafka_broker.start(
            kafka_broker.jars(ROOT / "var" / "kafka"), self.folder / host, KAFKA_PORT, CONTROLLER,
            self.network.prefix(host), host=self.address(host), node=number,
            hosts=[self.address(each) for each in BROKERS],
        )  # fmt: skip

    def _web(self, host: str) -> Callable[[], subprocess.Popen[bytes]]:
        command = ["-m", "gunicorn", "--no-control-socket", "--bind", f"{self.address(host)}:{WEB_PORT}"]
        command += ["--threads", "8", "--log-level", "warning", "analytics_site.wsgi"]
        return lambda: self._python(host, command, WEB_PORT)

    def _workers(self, host: str) -> Callable[[], subprocess.Popen[bytes]]:
        return lambda: self._python(host, ["manage.py", "sync", "run"])

    def _python(self, host: str, arguments: Iterable[str], port: int | None = None) -> subprocess.Popen[bytes]:
        process = self._run(host, [sys.executable, *arguments])
        if port:
            self._until(lambda: self._answers(host, port), f"{host} answers", process)
        return process

    def _run(self, host: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{host}.log").open("ab") as log:
            return subprocess.Popen(
                [*self.network.prefix(host), *command], cwd=ROOT, env=self.variables, stdout=log,
                stderr=log, stdin=subprocess.DEVNULL, process_group=0,
            )  # fmt: skip

    def _nginx(self) -> subprocess.Popen[bytes]:
        """With the site of deploy/nginx, for two web servers."""
        folder = self.folder / FRONT
        if not folder.exists():
            folder.mkdir()
            certificate = self.authority.issue_cert(NAME)
            certificate.private_key_pem.write_to_path(folder / "portal.key")
            for blob in certificate.cert_chain_pems:
                blob.write_to_path(folder / "portal.crt", append=True)
            upstream = "\n    ".join(f"server {self.address(host)}:{WEB_PORT};" for host in WEB)
            self.nginx = configure(folder, {
                "listen 80": f"listen {HTTP}", "listen 443": f"listen {HTTPS}", "portal.example.com": NAME,
                "server 127.0.0.1:8000;": upstream, "Host $host;": "Host $http_host;",
            })  # fmt: skip
        return self._run(FRONT, self.nginx)

    def _answers(self, host: str, port: int) -> bool:
        """Whether somebody listens there. Asked from this process, which is on the desk."""
        with suppress(OSError), socket.create_connection((self.address(host), port), timeout=1):
            return True
        return False

    def _until(
        self, is_so: Callable[[], bool], what: str, process: subprocess.Popen[bytes] | None = None, seconds: float = 60
    ) -> None:
        end = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > end or (process and process.poll() is not None):
                raise RuntimeError(f"not within {seconds:.0f} s: {what}; see the logs in {self.folder}")
            time.sleep(0.1)


def picture() -> str:
    """The topology, as Mermaid draws it."""
    groups = {
        "front": ("nginx", (FRONT,)), "web": ("web servers", WEB), "workers": ("workers", WORKERS),
        "sql": ("MariaDB", (MYSQL, REPLICA)), "mongodb": ("MongoDB replica set", MEMBERS), "kafka": ("Kafka", BROKERS),
    }  # fmt: skip
    lines = ["flowchart LR", f"  {DESK}([browsers])"]
    for name, (title, hosts) in groups.items():
        lines += [f"  subgraph {name} [{title}]", *(f"    {host}" for host in hosts), "  end"]
    group_of = {hosts: name for name, (_, hosts) in groups.items()} | {
        (DESK,): DESK,
        (MYSQL,): MYSQL,
        (REPLICA,): REPLICA,
    }
    group_of[FRONT,] = FRONT
    lines += [f"  {group_of[some]} -->|{how}| {group_of[others]}" for some, others, how in LINKS]
    return "\n".join(lines)
