"""A replica set of three members: a change counts as delivered only when no failover can undo it."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pymongo
import pytest
from pymongo.errors import PyMongoError

from finance.models import Account
from sync.mongodb.client import forget_clients
from sync.mongodb.errors import Unavailable
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.chaos.servers import ThreeMembers
from sync.tests.support.hurry import confirm, hurry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine, pytest.mark.slow]


@pytest.fixture
def members(settings: Any) -> Iterator[ThreeMembers]:
    """Replaces the single MongoDB server."""
    members = ThreeMembers(election=3000)
    settings.MONGODB_URI = members.uri("", "analytics_test")
    settings.SYNC_SETTLE = 3600
    forget_clients()
    yield members
    forget_clients()
    members.stop()


def cut_off(members: ThreeMembers) -> None:
    """Keeps the other members from receiving what the primary writes from now on."""
    primary = members.primary()
    others = [member for member in members.members if member is not primary]
    members._stop_replication(others, "alwaysOn")
    with members._direct(primary) as client:
        # A pending request of the other members still gets a response: this document.
        client["analytics_test"].get_collection("asked_for", write_concern=pymongo.WriteConcern(w=1)).insert_one({})
    for member in others:
        with members._direct(member) as client:
            client.admin.command("waitForFailPoint", "stopReplProducer", timesEntered=1, maxTimeMS=4000)


def test_a_delete_that_only_the_primary_has_does_not_settle(members: ThreeMembers) -> None:
    account = Account.objects.create(account_id=1, limit=1)
    confirm()
    assert not Change.objects.exists()
    primary = members.primary()
    cut_off(members)
    account.delete()  # inline: deletes it on the primary only
    with members._direct(primary) as alone:
        assert alone["analytics_test"].accounts.count_documents({}) == 0
    for _ in range(2):  # the delete, and its repetition when it settles
        hurry()
        with suppress(Unavailable):
            Relay().drain()
    assert Change.objects.exists(), "the primary has no document, but the majority has"
    others = [member for member in members.members if member is not primary]
    primary.kill()
    members._stop_replication(others, "off")
    with members.client() as client:
        client.admin.command("ping")  # the others elect a primary before the old one is back
        members.heal()
        documents = client["analytics_test"].accounts
        assert documents.count_documents({}) == 1, "the failover has restored it"
        for _ in range(3):
            with suppress(PyMongoError, Unavailable):
                confirm()
        assert (
            documents.with_options(read_concern=pymongo.read_concern.ReadConcern("majority")).count_documents({}) == 0
        )
    assert not Change.objects.exists()
