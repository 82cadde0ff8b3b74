"""The commands in the docs work as written, on a portal with a few records.

A command that runs until it is stopped is stopped once its worker has been active, and must exit with 0.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymongo
import pytest

from finance.demo import demo_id
from sync.core.clock import database_now
from sync.outbox.models import Change
from sync.tests.support.processes import ROOT, Process, finished, manage
from sync.workers.models import Checkpoint
from tests.documented import Command, File, steps
from tests.kafka import Kafka
from tests.servers import SERVERS, Mongo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

PAGES = (
    "tutorial/first-steps.md", "how-to/verify.md", "how-to/troubleshooting.md", "how-to/follow-binlog.md",
    "how-to/pull.md", "how-to/copy.md", "how-to/kafka.md", "how-to/secrets.md",
)  # fmt: skip
IN_A_PROJECT = {  # test_wheel.py
    "tutorial/first-model.md",
    "how-to/model-data.md",
    "how-to/model-a-document.md",
    "how-to/use-in-your-project.md",
}
LONG_RUNNING = re.compile(r" sync (run|relay|follow-binlog|publish|pull|consume)(?!.* --once)| --follow| --every")
FIRST_ACCOUNT = demo_id(1, "account", 0)


@pytest.fixture
def another() -> Iterator[Mongo]:
    """The second MongoDB server, which the pages call `b`."""
    server = Mongo(SERVERS.place("another"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which the portal's commands run as they do in the portal's own folder."""
    (tmp_path / "manage.py").symlink_to(ROOT / "manage.py")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def test_every_page_with_commands_is_tested() -> None:
    pages = {
        f"{path.parent.name}/{path.name}"
        for kind in ("how-to", "tutorial")
        for path in (ROOT / "docs" / kind).iterdir()
    }
    assert {page for page in pages if any(isinstance(step, Command) for step in steps(page))} <= {*PAGES, *IN_A_PROJECT}


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_work(
    page: str, folder: Path, mongo: Any, another: Mongo, request: pytest.FixtureRequest
) -> None:
    if SERVERS.mariadb is None:
        pytest.skip("this run is not on MariaDB")
    variables = {"DEBUG": "1"}
    if page == "how-to/kafka.md":
        broker: Kafka = request.getfixturevalue("kafka")
        variables |= {
            "SYNC_KAFKA": json.dumps(broker.settings),
            "SYNC_TIMEOUT": "20",
            "SYNC_LEASE": "30",
            "SYNC_SETTLE": "60",
        }
    with readers_portal(page):
        for step in steps(page):
            if isinstance(step, File):
                if step.path.endswith(".py"):
                    (folder / step.path).write_text(step.text)
            elif "pytest" not in step.line:
                run(with_test_addresses(step.line, another), folder, **variables)


@contextmanager
def readers_portal(page: str) -> Iterator[None]:
    """The portal of the page's reader: records, a running relay, and what the page requires."""
    assert finished(manage("load_demo", "--customers", "2", "--trades", "20", DEBUG="1")).status == 0
    assert SERVERS.mariadb is not None
    if page == "how-to/follow-binlog.md":
        SERVERS.mariadb.sql("GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO portal@'%'")
    if page == "how-to/copy.md":
        with pymongo.MongoClient(SERVERS.mongo.uri("")) as client:
            client.drop_database("shop")
            client["shop"]["sales"].insert_many([{"_id": number} for number in range(3)])
    with manage("sync", "relay") as relay:
        relay.until(lambda: not Change.objects.exists(), "the demo data is in MongoDB")
        yield
    if page == "how-to/follow-binlog.md":
        SERVERS.mariadb.sql("REVOKE REPLICATION SLAVE, BINLOG MONITOR ON *.* FROM portal@'%'")


def with_test_addresses(line: str, another: Mongo) -> str:
    """The line with the page's addresses and record replaced by those of this test."""
    for host, server in (("a", SERVERS.mongo), ("b", another)):
        line = re.sub(
            rf"mongodb://{host}:27017(/[\w/]*)", rf"'mongodb://127.0.0.1:{server.port}\1?replicaSet=rs0'", line
        )
        line = line.replace(f"copy:{host}:27017", f"copy:127.0.0.1:{server.port}")
    line = line.replace("MODEL KEY", f"account {FIRST_ACCOUNT}")
    return re.sub(r"^manage\.py", f"{shlex.quote(sys.executable)} manage.py", line)


def run(line: str, folder: Path, **variables: str) -> None:
    process = Process("sh", "-c", f"exec {line}" if LONG_RUNNING.search(line) else line, cwd=folder, **variables)
    if not LONG_RUNNING.search(line):
        assert finished(process, 120).status == 0, f"{line}\n{process.output}"
        return
    began = database_now("default")
    with process:
        process.until(
            lambda: " read, " in process.output or Checkpoint.objects.filter(seen_at__gte=began).exists(),
            f"{line} works",
        )
        assert process.terminate() == 0, f"{line}\n{process.output}"
