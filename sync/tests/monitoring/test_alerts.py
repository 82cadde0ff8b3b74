"""People are told once that the mirror needs attention, and once that it has recovered."""

import hashlib
import hmac
import json
import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import connection
from pymongo.database import Database

from sync.cli.watch import DatabaseOutage
from sync.core.clock import DatabaseNow
from sync.monitoring import alerts, notifications
from sync.monitoring.channels import Message, send
from sync.monitoring.models import Incident, Notification
from sync.monitoring.status import LAGGING
from sync.outbox.models import Change
from sync.tests.support.commands import sync
from sync.tests.support.factories import leave_pending
from sync.tests.support.processes import finished, manage
from sync.tests.support.sinks import Request, Sinks, listening
from sync.tests.support.waiting import wait_for
from sync.workers.heartbeat import WorkerHeartbeat
from tests.servers import Mongo

pytestmark = [
    pytest.mark.django_db(transaction=True), pytest.mark.engine, pytest.mark.usefixtures("fresh_heartbeat"),
]  # fmt: skip

AT_ONCE = 0.001  # seconds


@pytest.fixture
def sinks() -> Iterator[Sinks]:
    with listening() as sinks:
        yield sinks


@pytest.fixture
def alerting(sinks: Sinks, settings: Any) -> Sinks:
    """This process sends its alerts to the sinks, without waiting."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", sinks.smtp_port
    settings.SYNC_ALERT_EMAILS, settings.SYNC_ALERT_WEBHOOK = ["ops@example.com"], sinks.webhook
    settings.SYNC_ALERT_AFTER = AT_ONCE
    return sinks


def work() -> None:
    """Evaluate twice, as an incident opens and closes when its state has lasted."""
    for _ in range(2):
        alerts.work()
        time.sleep(2 * AT_ONCE)


def events(sinks: Sinks) -> list[str]:
    return [json.loads(request.body)["event"] for request in sinks.requests]


def is_signed(request: Request) -> bool:
    """Verify a request as docs/how-to/alerts.md describes."""
    signed = request.headers["X-Sync-Timestamp"].encode() + b"." + request.body
    expected = "sha256=" + hmac.new(b"a secret", signed, hashlib.sha256).hexdigest()
    is_recent = abs(time.time() - int(request.headers["X-Sync-Timestamp"])) < 300
    return is_recent and hmac.compare_digest(expected, request.headers["X-Sync-Signature"])


@pytest.mark.slow
def test_an_outage_is_told_once_and_its_end_once_though_a_relay_is_killed(
    mongo: Database, mongod: Mongo, sinks: Sinks
) -> None:
    variables = sinks.variables()
    with manage("sync", "relay", **variables) as one, manage("sync", "relay", **variables) as other:
        for relay in (one, other):
            relay.until_it_says("The relay is running")
        mongod.kill()
        one.until(lambda: sinks.counts == (1, 1), "both channels are told")
        one.kill()
        time.sleep(1.5)  # evaluations of the other
        assert sinks.counts == (1, 1)
        mongod.start()
        other.until(lambda: sinks.counts == (2, 2), "both channels get the recovery")
        time.sleep(1.5)
    assert sinks.counts == (2, 2)
    assert events(sinks) == ["opened", "recovered"]
    assert all(is_signed(request) for request in sinks.requests)
    assert sinks.requests[0].body.count(b"MongoDB is unreachable") == 2, "in the summary and the text"
    assert [mail["Subject"] for mail in sinks.mails] == [
        "[Analytics Portal] Mirror: MongoDB unreachable",
        "[Analytics Portal] Mirror: recovered",
    ]
    assert {mail["To"] for mail in sinks.mails} == {"ops@example.com"}
    assert "secret-path" not in one.output + other.output


def test_lag_is_told_when_it_exceeds_the_bound(mongo: Database, alerting: Sinks, settings: Any) -> None:
    settings.SYNC_ALERT_LAG = 60
    WorkerHeartbeat("default").write()
    leave_pending(40)
    work()
    assert alerting.counts == (0, 0)
    Change.objects.update(recorded_at=DatabaseNow() - timedelta(seconds=90))
    work()
    assert alerting.counts == (1, 1)
    assert json.loads(alerting.requests[0].body)["state"] == LAGGING
    Change.objects.all().delete()
    work()
    assert events(alerting) == ["opened", "recovered"]


def test_a_worse_state_updates_the_incident_and_tells_nothing(mongo: Database, alerting: Sinks, settings: Any) -> None:
    settings.SYNC_ALERT_LAG = 60
    leave_pending(90, failed=True)
    work()
    [first] = Incident.objects.values_list("state", flat=True)
    Change.objects.update(failed=False)
    work()
    [second] = Incident.objects.values_list("state", flat=True)
    assert first != second
    assert alerting.counts == (1, 1)


def test_a_short_problem_and_a_short_recovery_tell_nothing(mongo: Database, alerting: Sinks, settings: Any) -> None:
    settings.SYNC_ALERT_AFTER = 60
    leave_pending(90)
    work()
    Change.objects.update(due_at=DatabaseNow(), recorded_at=DatabaseNow())
    work()
    assert not Incident.objects.exists()
    Change.objects.update(recorded_at=DatabaseNow() - timedelta(seconds=90))
    work()
    Incident.objects.update(began_at=DatabaseNow() - timedelta(seconds=61))
    work()
    assert alerting.counts == (1, 1)
    Change.objects.update(recorded_at=DatabaseNow())
    work()
    Change.objects.update(recorded_at=DatabaseNow() - timedelta(seconds=90))
    work()
    assert alerting.counts == (1, 1)
    assert Incident.objects.get().good_since is None


@pytest.mark.slow
def test_watch_tells_that_no_relay_delivers(mongo: Database, sinks: Sinks) -> None:
    leave_pending(90)
    with manage("sync", "watch", **sinks.variables()) as watch:
        watch.until(lambda: sinks.counts == (1, 1), "it alerts")
        Change.objects.all().delete()
        watch.until(lambda: sinks.counts == (2, 2), "it reports the recovery")
        assert watch.terminate() == 0
    assert events(sinks) == ["opened", "recovered"]


def test_watch_once_exits_with_1_while_an_incident_is_open(mongo: Database, alerting: Sinks) -> None:
    assert sync("watch", "--once") == (0, "No incident is open.\n")
    leave_pending(90)
    sync("watch", "--once")
    code, output = sync("watch", "--once")
    assert (code, output.split(":")[0]) == (1, Incident.objects.get().state)
    assert alerting.counts == (1, 1)


@pytest.mark.parametrize("status", [500, 302])
def test_a_webhook_that_fails_is_tried_again_until_it_accepts(
    mongo: Database, alerting: Sinks, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    alerting.status = status
    leave_pending(90)
    with caplog.at_level(logging.DEBUG):
        work()
    assert alerting.counts == (1, 1)
    failed = Notification.objects.get(sent_at=None)
    assert (failed.channel, failed.error, failed.attempts) == ("webhook", f"HTTP {status}", 1)
    alerting.status = 204
    work()
    assert alerting.counts == (1, 1), "it waits before it tries again"
    Notification.objects.filter(sent_at=None).update(due_at=DatabaseNow())
    work()
    work()
    assert alerting.counts == (1, 2)
    assert not Notification.objects.filter(sent_at=None).exists()
    assert len({request.headers["X-Sync-Id"] for request in alerting.requests}) == 1
    assert {request.path for request in alerting.requests} == {"/hook/secret-path"}, "it follows no redirect"
    assert "secret-path" not in caplog.text


def test_a_redirect_of_the_webhook_is_a_failure(alerting: Sinks, settings: Any) -> None:
    alerting.status = 302
    assert send(Notification.Channel.WEBHOOK, Message("k", "test", "Test", "text", {})) == "HTTP 302"


def test_a_process_does_not_send_what_another_is_sending(
    mongo: Database, alerting: Sinks, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_pending(90)
    sent = []

    def send(channel: str, message: Any) -> str:
        sent.append(channel)
        notifications.send_due()  # as another process does meanwhile
        return ""

    monkeypatch.setattr(notifications, "send", send)
    work()
    assert sorted(sent) == ["mail", "webhook"]


def test_a_recovery_waits_until_its_channel_accepted_the_incident(mongo: Database, alerting: Sinks) -> None:
    alerting.status = 500
    leave_pending(90)
    work()
    Change.objects.all().delete()
    work()
    assert events(alerting) == ["opened"]
    alerting.status = 204
    Notification.objects.filter(sent_at=None).update(due_at=DatabaseNow())
    work()
    work()
    assert events(alerting) == ["opened", "opened", "recovered"]
    assert len(alerting.mails) == 2


def test_the_test_option_sends_to_every_channel_and_says_what_failed(alerting: Sinks, settings: Any) -> None:
    assert sync("watch", "--test") == (0, "mail: accepted\nwebhook: accepted\n")
    assert alerting.counts == (1, 1)
    alerting.status = 404
    assert sync("watch", "--test") == (1, "mail: accepted\nwebhook: HTTP 404\n")
    settings.SYNC_ALERT_WEBHOOK = "file:///etc/passwd"
    assert sync("watch", "--test") == (1, "mail: accepted\nwebhook: the address is not http or https\n")
    settings.SYNC_ALERT_EMAILS, settings.SYNC_ALERT_WEBHOOK = [], ""
    with pytest.raises(CommandError, match="No channel is set"):
        sync("watch", "--test")


@pytest.mark.slow
def test_watch_tells_once_that_the_database_is_unreachable(sinks: Sinks) -> None:
    if connection.vendor != "mysql":
        pytest.skip("this run is not on MariaDB")
    nowhere = {"DATABASE_URL": "mysql://nobody@127.0.0.1:1/nothing"}
    once = finished(manage("sync", "watch", "--once", **sinks.variables() | nowhere))
    assert once.status == 2
    assert "MySQL does not respond" in once.output
    with manage("sync", "watch", **sinks.variables() | nowhere) as watch:
        watch.until(lambda: sinks.counts == (1, 1), "it alerts")
        time.sleep(3)
        assert watch.terminate() == 0
    assert sinks.counts == (1, 1)
    assert "MySQL does not respond" in json.loads(sinks.requests[0].body)["text"]


def test_watch_tells_that_the_database_is_back(mongo: Database, alerting: Sinks) -> None:
    outage = DatabaseOutage()
    outage.began, outage.told = time.monotonic(), True
    outage.step()
    outage.step()
    assert events(alerting) == ["recovered"]


def test_two_processes_open_one_incident(mongo: Database, alerting: Sinks) -> None:
    with manage("sync", "watch", **alerting.variables()), manage("sync", "watch", **alerting.variables()):
        leave_pending(90)
        wait_for(lambda: alerting.counts == (1, 1))
        time.sleep(1)
    assert Incident.objects.count() == 1
    assert alerting.counts == (1, 1)
