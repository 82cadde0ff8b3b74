"""Runs the bundled mongod in the foreground as a one-member replica set on 127.0.0.1, until it gets a signal.

The mirror needs what only a replica set has: majority writes and change streams.
"""

import argparse
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pymongo
from pymongo.errors import OperationFailure, PyMongoError

REPLICA_SET = "rs0"
ALREADY_INITIALIZED = 23


class DidNotStart(Exception):
    """Says why, and where to look."""


def binary() -> str:
    """The path of mongod: from the Python package of the demo's requirements, or from PATH."""
    spec = importlib.util.find_spec("fiftyone")
    for place in (spec.submodule_search_locations or []) if spec else []:
        found = Path(place, "db", "bin", "mongod")
        if found.exists():
            return str(found)
    found_on_path = shutil.which("mongod")
    if found_on_path is None:
        raise DidNotStart("mongod: not found; install requirements-demo.txt, or set MONGODB_URI to your own server")
    return found_on_path


def start(
    dbpath: Path, port: int, *options: str, prefix: Sequence[str] = (), host: str = "127.0.0.1"
) -> subprocess.Popen:
    """A mongod process, listening on host:port, logging to dbpath/mongod.log; not yet a primary."""
    dbpath.mkdir(parents=True, exist_ok=True)
    command = [*prefix, binary(), "--dbpath", str(dbpath), "--port", str(port), "--bind_ip", host]
    command += ["--replSet", REPLICA_SET, "--logpath", str(dbpath / "mongod.log"), "--logappend"]
    command += ["--unixSocketPrefix", str(dbpath), "--wiredTigerCacheSizeGB", "0.5", *options]
    # A group of its own: Ctrl-C reaches its starter, which stops mongod when its clients are gone.
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, process_group=0)
    give_up = time.monotonic() + 60
    try:
        while process.poll() is None and time.monotonic() < give_up:
            with suppress(OSError), socket.create_connection((host, port), timeout=1):
                return process
            time.sleep(0.05)
        raise DidNotStart(f"mongod: does not start; see {dbpath / 'mongod.log'}")
    except BaseException:  # Ctrl-C is one
        process.kill()
        process.wait()
        raise


def initiate(*members_at: int | str) -> None:
    """Makes these members a replica set, if they are not one yet, and waits for its primary.

    members_at: their ports on 127.0.0.1, or their hosts with ports.
    """
    hosts = [f"127.0.0.1:{at}" if isinstance(at, int) else at for at in members_at]
    members = [{"_id": number, "host": host} for number, host in enumerate(hosts)]
    client: pymongo.MongoClient[dict]
    with pymongo.MongoClient(hosts[0], directConnection=True, serverSelectionTimeoutMS=30_000) as client:
        try:
            client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": members})
        except OperationFailure as error:
            if error.code != ALREADY_INITIALIZED:
                raise
            config = client.admin.command("replSetGetConfig")["config"]
            if [member["host"] for member in config["members"]] != [member["host"] for member in members]:
                # The data was made on another port: without this the set would wait for itself there for ever.
                config.update(members=members, version=config["version"] + 1)
                client.admin.command("replSetReconfig", config, force=True)
    with pymongo.MongoClient(hosts, replicaSet=REPLICA_SET, serverSelectionTimeoutMS=30_000) as client:
        client.admin.command("ping")  # is answered by a primary only


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--dbpath", type=Path, default=Path("var/mongodb"), help="where the data is (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, default=27117, help="default: %(default)s")
    options = parser.parse_args()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", options.port))
        except OSError:
            parser.error(f"port {options.port} is in use; give --port another")
    try:
        process = start(options.dbpath, options.port)
    except DidNotStart as error:
        sys.exit(str(error))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: process.terminate())
    try:
        initiate(options.port)
    except PyMongoError as error:
        process.terminate()
        sys.exit(f"mongod: does not respond ({error}); see {options.dbpath / 'mongod.log'}")
    print(f"mongod: ready on 127.0.0.1:{options.port}", flush=True)
    while process.poll() is None:  # and no wait(), in which a signal that came just before it would go unseen
        time.sleep(0.1)
    return 0 if process.returncode in (0, -signal.SIGTERM) else 1


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
