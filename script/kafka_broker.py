"""Runs a Kafka broker in the foreground on 127.0.0.1, until it gets a signal: one node, KRaft, no ZooKeeper.

Needs a Java runtime (17 or newer). The jars come from Maven Central, once, through Maven.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

POM = Path(__file__).with_name("kafka.xml")
CLUSTER = "cG9ydGFsLWthZmthLTAwMQ"  # any 16 bytes, the same at every start
# Topics are made by who knows how many partitions they need.
SETTINGS = """
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=CONTROLLER://{host}:{controller},{listeners}
advertised.listeners={listeners}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,{protocols}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=1
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={least}
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=4194304
{settings}
"""


class Listener(NamedTuple):
    """One more address of the broker. settings: its own, such as ssl.keystore.location, without `listener.name.`."""

    name: str
    port: int
    protocol: str
    settings: Mapping[str, str]


class DidNotStart(Exception):
    """Says why, and where to look."""


def jars(folder: Path) -> Path:
    """The folder with the broker's jars, in `folder`; Maven brings them when they are not there yet."""
    found = folder / f"jars-{_version()}"
    if not found.exists():
        if shutil.which("mvn") is None:
            raise DidNotStart("Kafka's jars: Maven brings them and is not installed; apt-get install maven")
        fresh = folder / f"jars-{os.getpid()}"
        command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"]
        done = subprocess.run(
            [*command, f"-DoutputDirectory={fresh.absolute()}", "-DincludeScope=runtime"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            shutil.rmtree(fresh, ignore_errors=True)
            raise DidNotStart(f"Kafka's jars: Maven cannot bring them:\n{done.stdout[-1000:]}")
        with suppress(OSError):  # another process was faster
            fresh.rename(found)
    return found


def _version() -> str:
    return POM.read_text().split("<artifactId>kafka_2.13</artifactId>")[1].split("<version>")[1].split("<")[0]


def _java(jars: Path, main: str, *arguments: str) -> list[str]:
    if shutil.which("java") is None:
        raise DidNotStart("Kafka: needs Java; apt-get install default-jre-headless")
    # A small heap and a quick start, for a trial and for tests.
    options = [
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    ]
    return ["java", *options, "-cp", f"{jars}/*", main, *arguments]


def start(
    jars: Path, folder: Path, port: int, controller: int, prefix: Sequence[str] = (), *,
    listeners: Sequence[Listener] = (), cluster: str = CLUSTER, host: str = "127.0.0.1", node: int = 1,
    hosts: Sequence[str] = (),
) -> subprocess.Popen:  # fmt: skip
    """A broker that listens on host:port, and on `listeners`, and keeps its data in `folder`, where its log is.

    cluster: the identity that a fresh folder gets. hosts: those of all nodes of the cluster, of which this is number
    `node`; by default this is the only one. Each topic then has a copy on each of up to three nodes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "settings"
    every = [Listener("PLAINTEXT", port, "PLAINTEXT", {}), *listeners]
    settings.write_text(
        SETTINGS.format(
            controller=controller,
            host=host,
            node=node,
            voters=",".join(f"{number}@{each}:{controller}" for number, each in enumerate(hosts or [host], start=1)),
            copies=min(len(hosts) or 1, 3),
            least=max(min(len(hosts), 3) - 1, 1),
            folder=folder.absolute(),
            listeners=",".join(f"{one.name}://{host}:{one.port}" for one in every),
            protocols=",".join(f"{one.name}:{one.protocol}" for one in every),
            settings="\n".join(
                f"listener.name.{one.name.lower()}.{name}={value}"
                for one in every
                for name, value in one.settings.items()
            ),
        )
    )
    log = folder / "log"
    with log.open("ab") as output:
        if not (folder / "data" / "meta.properties").exists():
            arguments = ["format", "--cluster-id", cluster, "--config", str(settings)]
            done = subprocess.run(
                _java(jars, "kafka.tools.StorageTool", *arguments), stdout=output, stderr=output, check=False
            )
            if done.returncode:
                raise DidNotStart(f"Kafka: cannot make its data folder; see {log}")
        command = [*prefix, *_java(jars, "kafka.Kafka", str(settings))]
        process = subprocess.Popen(command, stdout=output, stderr=output, process_group=0)
    (folder / "pid").write_text(str(process.pid))
    give_up = time.monotonic() + 60
    try:
        while process.poll() is None and time.monotonic() < give_up:
            with suppress(OSError), socket.create_connection((host, port), timeout=1):
                return process
            time.sleep(0.1)
        raise DidNotStart(f"Kafka: does not start; see {log}")
    except BaseException:  # Ctrl-C is one
        process.kill()
        process.wait()
        raise


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("var/kafka"), help="jars and data (default: %(default)s)")
    parser.add_argument("--port", type=int, default=9092, help="and the next one (default: %(default)s)")
    options = parser.parse_args()
    for port in (options.port, options.port + 1):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                parser.error(f"port {port} is in use; give --port another")
    try:
        process = start(jars(options.folder), options.folder / "broker", options.port, options.port + 1)
    except DidNotStart as error:
        sys.exit(str(error))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: process.terminate())
    print(f"""Kafka: ready. SYNC_KAFKA='{{"bootstrap.servers": "127.0.0.1:{options.port}"}}'""", flush=True)
    while process.poll() is None:  # and no wait(), in which a signal that came just before it would go unseen
        time.sleep(0.1)
    return 0 if process.returncode in (0, 128 + signal.SIGTERM) else 1


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
