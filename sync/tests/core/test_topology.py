"""`sync status` and workers name the kind of server that the SQL database is on."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from pymongo.database import Database

from sync.core import topology
from sync.core.topology import GROUP, OTHER, READ_ONLY, SINGLE
from sync.tests.support import follow
from sync.tests.support.waiting import wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture(autouse=True)
def _unknown() -> Iterator[None]:
    """As in a new process."""
    topology._known.clear()
    topology._announced.clear()
    yield
    topology._known.clear()


def found() -> str:
    return topology._find(connection).kind


def test_one_server_is_named(mongo: Database[dict[str, Any]], capsys: Any) -> None:
    kind = SINGLE if connection.vendor == "mysql" else OTHER
    wait_for(lambda: found() == kind, "programs that other tests started have left")
    title = topology.topology("default").title
    text, data = StringIO(), StringIO()
    call_command("sync", "status", stdout=text)
    call_command("sync", "status", "--json", stdout=data)
    assert f"database: {title}\n" in text.getvalue()
    assert json.loads(data.getvalue())["topology"] == {"kind": kind, "title": title, "needs": ""}


def test_the_follower_is_no_replica(settings: Any, mongo: Database[dict[str, Any]]) -> None:
    follow.grant()
    wait_for(lambda: found() == SINGLE, "programs that other tests started have left")
    try:
        with follow.following() as process:
            follow.add_accounts(1)
            follow.catch_up(process)
            assert found() == SINGLE
            assert "The database: " in process.output
    finally:
        follow.revoke()


@pytest.mark.parametrize(
    ("variables", "kind"),
    [
        ({"group_replication_group_name": "3e11fa47-71ca-11e1-9e33-c80aa9429562", "read_only": "OFF"}, GROUP),
        ({"group_replication_group_name": "3e11fa47-71ca-11e1-9e33-c80aa9429562", "read_only": "ON"}, READ_ONLY),
        ({"wsrep_on": "OFF", "group_replication_group_name": "", "read_only": "1"}, READ_ONLY),
    ],
)
def test_variables_tell_the_kind(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], kind: str) -> None:
    if connection.vendor != "mysql":
        pytest.skip("the variables are those of MySQL")
    monkeypatch.setattr(topology, "_variables", lambda _: variables)
    assert found() == kind
    assert topology.NEEDS[kind]


def test_a_process_asks_once_and_logs_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, django_assert_num_queries: Any
) -> None:
    asked = []
    find = topology._find
    monkeypatch.setattr(topology, "_find", lambda *args: asked.append(args) or find(*args))
    with caplog.at_level(logging.INFO, "sync"), django_assert_num_queries(0):
        topology.announce("default")
        topology.announce("default")
    assert len(asked) == 1
    assert len([record for record in caplog.records if "The database: " in record.message]) == 1
