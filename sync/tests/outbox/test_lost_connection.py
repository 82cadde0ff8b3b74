"""A relay that loses its MySQL connection during a transaction continues with a new connection."""

import threading
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from pymongo.database import Database

from finance.models import Account
from sync.core import mysql, retry
from sync.outbox import relay
from sync.outbox.models import ChangeQuerySet
from sync.tests.chaos.proxy import DOWN, UP, Proxies
from sync.tests.support.compare import differences
from sync.tests.support.waiting import wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


def run(worker: relay.Relay) -> None:
    """Runs a relay in a thread."""
    try:
        worker.run()
    finally:
        connections.close_all()


def test_a_relay_replaces_a_connection_lost_during_a_transaction(
    mongo: Database, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django does not replace such a connection, so the relay would continue to run and deliver nothing."""
    if connection.vendor != "mysql":
        pytest.skip("SQLite has no connections that can be lost")
    settings.SYNC_INLINE = False
    Account.objects.create(account_id=1, limit=1)
    look, lost = ChangeQuerySet.look, threading.Event()

    def look_once_on_a_lost_connection(*args: Any) -> Any:
        if not lost.is_set():
            mine = connections["default"]
            mine.set_autocommit(False)  # as in a transaction whose commit got no response
            with mine.cursor() as cursor:
                cursor.execute("SELECT CONNECTION_ID()")
                number = cursor.fetchone()[0]
            killer = threading.Thread(target=kill, args=[number])
            killer.start()
            killer.join()
            lost.set()
        return look(*args)

    monkeypatch.setattr(ChangeQuerySet, "look", look_once_on_a_lost_connection)
    worker = relay.Relay(interval=0.05)
    thread = threading.Thread(target=run, args=[worker])
    thread.start()
    try:
        wait_for(lambda: lost.is_set() and differences(Account, mongo) == [])
    finally:
        worker.stop.set()
        thread.join()


def test_a_relay_replaces_a_connection_that_no_longer_responds(
    mongo: Database, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing closes the connection, as if the server had lost power."""
    if connection.vendor != "mysql":
        pytest.skip("SQLite has no connections")
    settings.SYNC_INLINE = False
    own = connections.settings["default"]
    proxy = Proxies().start(int(own["PORT"]))
    with monkeypatch.context() as patch:
        patch.setattr(retry, "LONGEST_STATEMENT", 1)
        others = {name: value for name, value in own["OPTIONS"].items() if not name.endswith("_timeout")}
        patch.setitem(own, "OPTIONS", others)  # without the time-outs that a command of an earlier test has set
        retry.bound_statements("default")
        patch.setitem(own, "HOST", "127.0.0.1")
        patch.setitem(own, "PORT", proxy.port)
        worker = relay.Relay(interval=0.05)
        thread = threading.Thread(target=run, args=[worker])
        Account.objects.create(account_id=1, limit=1)
        thread.start()
        try:
            wait_for(lambda: differences(Account, mongo) == [])
            proxy.lose(UP, DOWN)
            wait_for(lambda: bool(worker.trouble))
            proxy.heal()
            Account.objects.update(limit=2)
            wait_for(lambda: differences(Account, mongo) == [])
        finally:
            proxy.heal()
            worker.stop.set()
            thread.join()


def kill(number: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"KILL {number}")
    connection.close()


def test_reading_on_a_closed_connection_raises_the_error_that_django_would_raise(db: None) -> None:
    if connection.vendor != "mysql":
        pytest.skip("SQLite has no connections")

    @transaction.atomic
    def read() -> None:
        Account.objects.first()
        connection.connection.close()  # as the driver does when the server is lost
        list(Account.objects.all())

    with pytest.raises(OperationalError) as error:
        read()
    assert mysql.is_outage(error.value)
