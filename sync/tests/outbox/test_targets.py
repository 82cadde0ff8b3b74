"""A model can have several targets. Each is delivered and tracked separately; a server that is down delays no other."""

import dataclasses
import io
import json
from collections.abc import Iterator
from typing import Any

import pymongo
import pytest
from django.core.management import call_command
from pymongo.collection import Collection
from pymongo.database import Database

from sync.checks.mirrored import check_models, check_settings
from sync.mapping.registry import Target, targets
from sync.mongodb import client
from sync.mongodb.client import forget_clients
from sync.mongodb.errors import Unavailable
from sync.monitoring.status import status
from sync.outbox.models import Change
from sync.outbox.relay import Relay, adopt_orphans
from sync.tests.support.hurry import hurry
from sync.tests.zoo.models import Keeper
from sync.verification.verify import verify
from tests.servers import SERVERS, Mongo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]

NAMES = ("", "zoo_keepers_2", "far:keepers")


@pytest.fixture(scope="module")
def other_mongod() -> Iterator[Mongo]:
    server = Mongo(SERVERS.place("far"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def far(other_mongod: Mongo, mongo: Database, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collection]:
    """Delivers keepers to three collections, and yields the one on the other server."""
    uri = other_mongod.uri("elsewhere")
    settings.SYNC_TARGETS = {"far": uri}
    monkeypatch.setattr(Keeper, "mirror", dataclasses.replace(Keeper.mirror, targets=NAMES))
    with pymongo.MongoClient(uri) as its_client:  # type: pymongo.MongoClient[dict[str, Any]]
        documents = its_client.get_default_database()["keepers"]
        documents.delete_many({})
        yield documents
    forget_clients()


def drain(*queues: str) -> None:
    for queue in queues:
        Relay(queue).drain()


def names(documents: Collection) -> set[str]:
    return {document["name"] for document in documents.find()}


def test_inline_delivery_writes_the_models_collection_and_relays_write_the_others(
    far: Collection, mongo: Database
) -> None:
    Keeper.objects.create(name="Ada")
    assert (names(mongo.zoo_keepers), names(mongo.zoo_keepers_2), names(far)) == ({"Ada"}, set(), set())
    drain("", "far")
    assert (names(mongo.zoo_keepers_2), names(far)) == ({"Ada"}, {"Ada"})
    Keeper.objects.update(name="Eve")
    drain("", "far")
    assert names(mongo.zoo_keepers) == names(mongo.zoo_keepers_2) == names(far) == {"Eve"}
    Keeper.objects.all().delete()
    drain("", "far")
    assert names(mongo.zoo_keepers) == names(mongo.zoo_keepers_2) == names(far) == set()
    hurry()
    drain("", "far")
    hurry()
    drain("", "far")
    assert not Change.objects.exists(), "every target's delete has settled"


def test_a_server_that_is_down_delays_no_other(
    far: Collection, mongo: Database, other_mongod: Mongo, settings: Any
) -> None:
    settings.SYNC_TIMEOUT = 0.5
    forget_clients()
    other_mongod.kill()
    try:
        Keeper.objects.create(name="Ada")
        drain("")
        with pytest.raises(Unavailable):
            drain("far")
        assert names(mongo.zoo_keepers) == names(mongo.zoo_keepers_2) == {"Ada"}
        now = status()
        assert (now.word, now.mongodb_up) == ("unreachable", True)
        assert now.mongodb_error.startswith("far: ")
        pending = {model.model: model.pending for model in now.models}
        assert (pending["zoo.keeper@zoo_keepers_2"], pending["zoo.keeper@far:keepers"]) == (0, 1)
        with pytest.raises(Exception, match="does not respond") as error:
            call_command("sync", "relay", "--once")
        assert error.value.returncode == 2  # type: ignore[attr-defined]
    finally:
        other_mongod.start()
    settings.SYNC_TIMEOUT = 10
    forget_clients()
    drain("far")
    assert names(far) == {"Ada"}


def test_each_target_is_verified_and_named(far: Collection, mongo: Database) -> None:
    Keeper.objects.create(name="Ada")
    drain("", "far")
    far.update_one({}, {"$set": {"name": "Eve"}})
    found = {target.name: len(verify(target).mismatches) for target in targets(Keeper)}
    assert found == {"": 0, "zoo_keepers_2": 0, "far:keepers": 1}
    out = io.StringIO()
    call_command("sync", "verify", "keeper@far:keepers", "--repair", "--json", stdout=out)
    [run] = json.loads(out.getvalue())
    assert (run["model"], run["repaired"]) == ("zoo.keeper@far:keepers", 1)
    assert names(far) == {"Ada"}


def test_a_backfill_of_one_target_writes_no_other(far: Collection, mongo: Database) -> None:
    Keeper.objects.create(name="Ada")
    Change.objects.all().delete()
    call_command("sync", "backfill", "keeper@far:keepers", stdout=io.StringIO())
    assert (names(far), names(mongo.zoo_keepers_2)) == ({"Ada"}, set())


def test_changes_of_a_removed_target_fail_with_the_reason(
    far: Collection, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SYNC_MAX_ATTEMPTS = 1
    Keeper.objects.create(name="Ada")
    drain("")
    monkeypatch.setattr(Keeper, "mirror", dataclasses.replace(Keeper.mirror, targets=("",)))
    adopt_orphans("default")
    drain("")
    change = Change.objects.get(failed=True)
    assert change.error == "the target zoo.keeper@far:keepers no longer exists"


def test_a_target_needs_an_address_and_a_collection_of_its_own(far: Collection, settings: Any) -> None:
    assert not check_models(None)
    settings.SYNC_TARGETS = {}
    assert [error.id for error in check_models(None)] == ["sync.E017"]
    settings.SYNC_TARGETS = {"far": "mongodb://127.0.0.1"}
    assert [error.id for error in check_settings(None)] == ["sync.E001"]
    settings.SYNC_TARGETS = {"kafka": client.uri()}
    assert [error.id for error in check_settings(None)] == ["sync.E001"]


def test_labels_name_model_and_target() -> None:
    target = Target(Keeper, "far:keepers")
    assert (target.label, target.queue, target.collection) == ("zoo.keeper@far:keepers", "far", "keepers")
    assert (Target(Keeper).label, Target(Keeper).queue, Target(Keeper).collection) == ("zoo.keeper", "", "zoo_keepers")
