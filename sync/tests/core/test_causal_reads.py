"""On a cluster node that lags, reads wait until it has caught up, and never return outdated rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import bson
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connections
from pymongo.database import Database

from finance.models import Account
from sync.core import causal, topology
from sync.mapping import reading
from sync.mapping.registry import Target, all_rows
from sync.outbox.models import Change
from sync.tests.support.splitting import SplittingProxy
from sync.verification import strict, verify
from sync.verification.models import Mismatch, Verification
from tests.galera import CAUSAL_TIMEOUT, Galera, Node, galera  # noqa: F401  (galera is a fixture)

KEY = "a" * 24
TABLE = "analytics.finance_account"
UPDATE = f"UPDATE {TABLE} SET `limit` = 2"
FAST, SLOW = "node0", "node1"


@pytest.fixture(scope="module")
def nodes(galera: Galera, django_db_blocker: Any) -> Iterator[dict[str, Node]]:  # noqa: F811
    """Two nodes by their database alias in Django, with the tables that the tests need."""
    found = {FAST: galera.nodes[0], SLOW: galera.nodes[1]}
    with django_db_blocker.unblock():
        for alias, node in found.items():
            own = {"HOST": "127.0.0.1", "PORT": node.port, "USER": node.USER, "PASSWORD": node.PASSWORD}
            connections.settings[alias] = {**connections["default"].settings_dict, **own, "NAME": "analytics"}
            connections.settings[alias]["ENGINE"] = "django.db.backends.mysql"
            connections.settings[alias]["OPTIONS"] = {"isolation_level": "read committed"}
        with connections[FAST].schema_editor() as editor:
            for model in (Account, Change, Verification, Mismatch):
                editor.create_model(model)
        galera.settle()
        yield found
        for alias in found:
            connections[alias].close()
            del connections[alias]
            del connections.settings[alias]


@pytest.fixture
def row(nodes: dict[str, Node], galera: Galera) -> None:  # noqa: F811
    nodes[FAST].rows(f"REPLACE INTO {TABLE} VALUES ('{KEY}', '{{}}', 1, 1, '[]')")
    galera.settle()


@contextmanager
def lag(nodes: dict[str, Node], seconds: float) -> Iterator[None]:
    """Make the slow node lag during the block and for `seconds` after it."""
    locked, release = threading.Event(), threading.Event()

    def hold() -> None:
        with nodes[SLOW].lagging():
            locked.set()
            release.wait(20)
            time.sleep(seconds)

    thread = threading.Thread(target=hold)
    thread.start()
    assert locked.wait(10)
    try:
        yield
    finally:
        release.set()


WAYS: dict[str, Callable[[Any], Any]] = {
    "by key": lambda rows: reading.by_key(Account, [KEY], SLOW)[KEY].limit,
    "columns as text": lambda rows: int(strict.Proof(Account, SLOW).texts([KEY])[KEY]["limit"] or b""),
    "one": lambda rows: rows.filter(pk=KEY).first().limit,
    "many": lambda rows: rows.in_bulk([KEY])[KEY].limit,
    "values": lambda rows: rows.values_list("limit", flat=True)[0],
    "iterator": lambda rows: next(rows.iterator()).limit,
    "count": lambda rows: rows.filter(limit=2).count() * 2,
    "exists": lambda rows: rows.filter(limit=2).exists() * 2,
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_reading_rows_waits_for_the_node(way: str, nodes: dict[str, Node], row: None) -> None:
    with lag(nodes, 0.2):
        nodes[FAST].rows(UPDATE)
        assert nodes[SLOW].rows(f"SELECT `limit` FROM {TABLE}") == [{"limit": 1}], "the node does not lag"
    assert WAYS[way](all_rows(Account, SLOW)) == 2


def test_a_node_that_does_not_catch_up_is_named(nodes: dict[str, Node], row: None) -> None:
    with lag(nodes, CAUSAL_TIMEOUT + 0.5):
        nodes[FAST].rows(UPDATE)
    with pytest.raises(OperationalError, match="has not caught up with its cluster"):
        causal.wait(SLOW)


def test_verify_on_a_lagging_node_reports_no_difference(
    nodes: dict[str, Node], row: None, mongo: Database[dict[str, Any]]
) -> None:
    own = {"v": bson.Int64(1), "by": "another node"}
    document = {"_id": bson.ObjectId(KEY), "account_id": 1, "limit": 2, "products": [], "_sync": own}

    def begin(_: int) -> None:  # verify has saved its run, which waits for earlier commits; it reads next
        if not mongo.accounts.count_documents({}):
            with lag(nodes, 1.0):
                nodes[FAST].rows(UPDATE)
                mongo.accounts.insert_one(document)

    run = verify.verify(Target(Account), SLOW, begin)
    assert (run.compared, run.found, run.pending) == (1, 0, 0), run.mismatches


def test_a_proxy_that_splits_reads_from_writes_is_refused(nodes: dict[str, Node]) -> None:
    reader = nodes[SLOW]
    nodes[FAST].sql("CREATE OR REPLACE USER reader@localhost; GRANT SELECT ON analytics.* TO reader@localhost")
    causal.wait(SLOW)  # the user exists there, too
    settings = connections[FAST].settings_dict
    with SplittingProxy(nodes[FAST].port, reader.port) as proxy:
        connections[FAST].close()
        port, settings["PORT"] = settings["PORT"], proxy.port
        try:
            with pytest.raises(ImproperlyConfigured, match=f"proxy that sends reads to .*:{reader.port}:"):
                topology.require_one_server(FAST)
            assert topology._find(connections[FAST]).kind == topology.PROXY
        finally:
            connections[FAST].close()
            settings["PORT"] = port
    topology.require_one_server(FAST)
    assert topology._find(connections[FAST]).kind == topology.GALERA


def test_a_server_outside_a_cluster_is_queried_once(django_assert_num_queries: Any, transactional_db: None) -> None:
    causal.wait("default")
    with django_assert_num_queries(0):
        causal.wait("default")
