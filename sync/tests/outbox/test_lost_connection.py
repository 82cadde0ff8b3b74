"""A relay whose connection to MySQL is lost in the middle of a transaction continues with another one."""

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


def test_it_does_not_stay_in_a_transaction_that_is_none(
    mongo: Database, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django neither closes such a connection nor opens another: a relay lived, and delivered nothing."""
    if connection.vendor != "mysql":
        pytest.skip("SQLite's connections are not lost")
    settings.SYNC_INLINE = False
    Account.objects.create(account_id=1, limit=1)
    claim, lost = ChangeQuerySet.claim, threading.Event()

    def claim_once_on_a_lost_connection(*args: Any) -> Any:
        if not lost.is_set():
            mine = connections["default"]
            mine.set_autocommit(False)  # as in a transaction whose end was never answered
            with mine.cursor() as cursor:
                cursor.execute("SELECT CONNECTION_ID()")
                number = cursor.fetchone()[0]
            killer = threading.Thread(target=kill, args=[number])
            killer.start()
            killer.join()
            lost.set()
        return claim(*args)

    monkeypatch.setattr(ChangeQuerySet, "claim", claim_once_on_a_lost_connection)
    worker = relay.Relay(interval=0.05)
    thread = threading.Thread(target=relay._run_in_thread, args=[worker])
    thread.start()
    try:
        wait_for(lambda: lost.is_set() and differences(Account, mongo) == [])
    finally:
        worker.stop.set()
        thread.join()


def test_one_that_nothing_comes_from_any_more_is_given_up(
    mongo: Database, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody closes it: the machine at the other end has lost its power."""
    if connection.vendor != "mysql":
        pytest.skip("SQLite has no connections")
    settings.SYNC_INLINE = False
    own = connections.settings["default"]
    proxy = Proxies().start(int(own["PORT"]))
    with monkeypatch.context() as patch:
        patch.setattr(retry, "LONGEST_STATEMENT", 1)
        others = {name: value for name, value in own["OPTIONS"].items() if not name.endswith("_timeout")}
        patch.setitem(own, "OPTIONS", others)  # without what an earlier test's command has set
        retry.bound_statements("default")
        patch.setitem(own, "HOST", "127.0.0.1")
        patch.setitem(own, "PORT", proxy.port)
        worker = relay.Relay(interval=0.05)
        thread = threading.Thread(target=relay._run_in_thread, args=[worker])
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


def test_rows_that_are_read_after_it_was_closed_in_a_transaction_raise_what_django_would(db: None) -> None:
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
