"""Each long-running worker logs one line when it starts and one when it stops, without secrets."""

import json
import logging
from typing import Any

import pytest
from pymongo.database import Database

import sync
from sync.core import conf
from sync.tests.support import follow
from sync.tests.support.processes import Process, manage
from sync.workers import lifetime
from sync.workers.shutdown import StopEvent
from tests.servers import SERVERS

SECRET = "hush-hush-42"
ADDRESS = f"mongodb://portal:{SECRET}@a:27017,b:27017/analytics?replicaSet=rs0&tlsCertificateKeyFilePassword={SECRET}"
JSON = {"LOG_FORMAT": "json", "EXAMPLES": "news,retail"}
KAFKA = {"SYNC_KAFKA": '{"bootstrap.servers": "127.0.0.1:9", "sasl.password": "hush-hush-42"}'}
WORKERS = {
    "relay": (["relay", "--threads", "1"], {}),
    "run": (["run"], {"SYNC_VERIFY_EVERY": "3600"}),
    "pull": (["pull", "sale"], {}),
    "publish": (["publish"], KAFKA),
    "consume": (["consume", "story", "--to", "stories_1"], KAFKA),
    "watch": (["watch"], {}),
}


def lines(process: Process) -> list[dict[str, Any]]:
    """The lines of the worker's start and stop."""
    found = [json.loads(line) for line in process.stderr.splitlines()]
    return [line for line in found if "event" in line]


def started_and_stopped(process: Process) -> dict[str, Any]:
    """Stop the worker once it has started. Return what it runs with."""
    with process:
        process.until(lambda: lines(process), "it logs its start")
        process.terminate()
    first, last = lines(process)
    assert (first["event"], last["event"], last["reason"]) == ("started", "stopped", "SIGTERM")
    assert first["worker"] == last["worker"]
    assert last["message"].startswith(f"{last['worker']} stopped after ")
    assert last["message"].endswith(": SIGTERM")
    assert SECRET not in process.output
    runs_with: dict[str, Any] = first["runs_with"]
    assert runs_with["version"] == sync.__version__
    assert runs_with["pid"] == process.pid
    assert runs_with["mongodb"]["default"].startswith("mongodb://127.0.0.1:")
    return {"worker": first["worker"], **runs_with}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_logs_its_start_and_its_stop(worker: str, mongo: Database) -> None:
    command, variables = WORKERS[worker]
    variables = {**JSON, "SYNC_BATCH": "123", "SYNC_METRICS_TOKEN": SECRET, **variables}
    facts = started_and_stopped(manage("sync", *command, **variables))
    assert facts["worker"] == worker
    assert facts["settings"]["SYNC_BATCH"] == 123
    assert facts["settings"]["SYNC_METRICS_TOKEN"] == "(set)"
    if worker in ("relay", "run"):
        assert facts["queues"][0] == "default"
        assert "finance.account" in facts["targets"]
    if worker == "run":
        assert {"relay", "pull retail.sale", "verify every 60 min"} <= set(facts["parts"])
    if worker in ("publish", "consume"):
        assert facts["brokers"] == "127.0.0.1:9"


@pytest.mark.django_db(transaction=True)
def test_the_follower_logs_its_start_and_its_stop(mongo: Database, mariadb: object) -> None:
    follow.grant()
    try:
        assert started_and_stopped(manage("sync", "follow-binlog", **JSON))["worker"] == "follow-binlog"
    finally:
        follow.revoke()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", [["--follow"], ["--every", "10m"]], ids=" ".join)
def test_a_copy_logs_its_start_and_its_stop(mongo: Database, how: list[str]) -> None:
    mongo["lifetime_a"].insert_one({})
    source, destination = (SERVERS.mongo.uri(f"{mongo.name}/{name}") for name in ("lifetime_a", "lifetime_b"))
    facts = started_and_stopped(manage("sync", "copy", source, destination, *how, **JSON))
    assert facts["source"].endswith("/analytics_test/lifetime_a")
    assert facts["destination"].endswith("/analytics_test/lifetime_b")


@pytest.mark.django_db(transaction=True)
def test_a_single_run_logs_neither(mongo: Database) -> None:
    with manage("sync", "relay", "--once", **JSON) as process:
        assert process.wait() == 0
    assert lines(process) == []


@pytest.mark.quick
def test_a_worker_that_fails_logs_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sync")
    with pytest.raises(ValueError, match="the reason"), lifetime.logged("relay", StopEvent()):
        raise ValueError("the reason")
    assert [record.levelname for record in caplog.records] == ["INFO", "ERROR"]
    assert caplog.messages[1].endswith(": the reason")


@pytest.mark.quick
def test_no_setting_is_logged_with_its_secret(settings: Any) -> None:
    """A setting that is added later is hidden until somebody decides that it is harmless."""
    for name, default in conf.DEFAULTS.items():
        if isinstance(default, str) and name not in lifetime.HARMLESS_TEXTS:
            setattr(settings, f"SYNC_{name}", SECRET)
    settings.SYNC_KAFKA = {"bootstrap.servers": "kafka:9092", "sasl.password": SECRET}
    settings.SYNC_ALERT_EMAILS = [f"{SECRET}@example.com"]
    settings.SYNC_TARGETS = {"eu": ADDRESS}
    settings.MONGODB_URI = ADDRESS
    facts = lifetime.runs_with()
    assert SECRET not in lifetime.in_words(facts)
    assert SECRET not in json.dumps(facts)
    assert facts["mongodb"] == dict.fromkeys(("default", "eu"), "mongodb://a:27017,b:27017/analytics")
    assert set(facts["settings"]) >= {"SYNC_KAFKA", "SYNC_METRICS_TOKEN", "SYNC_ALERT_WEBHOOK", "SYNC_ALERT_EMAILS"}


@pytest.mark.quick
@pytest.mark.parametrize(
    ("uri", "shown"),
    [("mongodb://a/b", "mongodb://a/b"), ("mongodb+srv://me:x%40y@a.example.com/b?tls=true", "mongodb+srv://a.example.com/b"),
     ("mongodb://me:hush@a/b?appName=x@y", "mongodb://a/b"), ("mongodb://a:1,b:2/shop/sales", "mongodb://a:1,b:2/shop/sales"),
     ("mongodb://me:hush/hush@a/b", lifetime.UNREADABLE), ("mongodb://me:hush?hush@a/b", lifetime.UNREADABLE),
     ("mongodb://me:hush@hush@a/b", lifetime.UNREADABLE), ("hush", lifetime.UNREADABLE)],
)  # fmt: skip
def test_an_address_is_logged_without_its_password(uri: str, shown: str) -> None:
    assert lifetime.without_secrets(uri) == shown


@pytest.mark.quick
def test_the_line_can_be_read_by_a_person_and_by_a_program() -> None:
    facts = {"version": "1", "queues": ["default", "eu"], "mongodb": {"default": "mongodb://a/b"}, "how": "every 5 s"}
    line = 'version=1 queues=default,eu mongodb=default:mongodb://a/b how="every 5 s"'
    assert lifetime.in_words(facts) == line
