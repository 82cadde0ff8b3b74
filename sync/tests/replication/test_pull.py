"""Rows follow a collection through all kinds of changes, dead letters, drops, renames and lost streams."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import bson
import pytest
from bson import Int64, ObjectId
from bson.raw_bson import RawBSONDocument
from django.core.management import CommandError, call_command
from django.db import connection
from pymongo.collection import Collection
from pymongo.database import Database

from sync.mapping import documents
from sync.mongodb.change_stream import to_key
from sync.outbox.models import Change
from sync.replication.models import DeadLetter
from sync.replication.pulled import ReadOnlyError
from sync.replication.puller import Puller
from sync.replication.replicator import ReplicationState
from sync.replication.table_sink import TableSink
from sync.tests.support.checkpoints import write_state
from sync.tests.support.commands import sync
from sync.tests.zoo.models import Ticket, Visit
from sync.workers.lease import LeaseLost
from sync.workers.models import Checkpoint, Worker
from tests.servers import Mongo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture
def visits(mongo: Database) -> Iterator[Collection]:
    mongo["zoo_visits"].drop()
    mongo["zoo_other"].drop()
    yield mongo["zoo_visits"]
    mongo.client.admin.command("configureFailPoint", "failCommand", mode="off")
    mongo["zoo_visits"].drop()
    mongo["system.views"].drop()  # otherwise other tests could not empty the database
    mongo["zoo_other"].drop()


def visit(number: int, **fields: Any) -> dict[str, Any]:
    return {"_id": Int64(number), "badge": f"b{number}"} | fields


def rows() -> dict[int, dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, badge, minutes, notes, extra FROM zoo_visit")
        names = [column[0] for column in cursor.description]
        return {values[0]: dict(zip(names, values, strict=True)) for values in cursor}


def badges() -> dict[int, str]:
    return {number: row["badge"] for number, row in rows().items()}


def pull(*arguments: str) -> str:
    status, output = sync("pull", "visit", "--once", *arguments)
    return f"{status}\n{output}"


def test_inserts_updates_and_deletes_follow(visits: Collection) -> None:
    visits.insert_many([visit(number) for number in range(10)])
    pull()
    assert badges() == {number: f"b{number}" for number in range(10)}
    visits.delete_one({"_id": 1})
    visits.update_one({"_id": 2}, {"$set": {"minutes": 5, "notes": {"b": 1, "a": Int64(2)}, "more": None}})
    visits.insert_one(visit(2**40))
    pull()
    assert badges() == {number: f"b{number}" for number in [0, *range(2, 10), 2**40]}
    row = rows()[2]
    assert row["minutes"] == 5
    assert row["notes"] == '{"b": 1, "a": {"$numberLong": "2"}}'
    assert json.loads(row["extra"]) == {"more": None}


def test_a_field_that_no_document_has_keeps_the_default_of_its_column(visits: Collection) -> None:
    visits.insert_one(visit(1))
    pull()
    visits.update_one({"_id": 1}, {"$set": {"minutes": 5}})
    visits.insert_one(visit(2))
    pull()
    assert dict(Visit.objects.values_list("id", "ticket_kind")) == {1: "day", 2: "day"}
    assert rows()[1]["minutes"] == 5


def test_a_change_of_type_changes_the_row(visits: Collection) -> None:
    visits.insert_one(visit(1, notes={"n": 1}))
    pull()
    for value, text in ((Int64(1), '{"n": {"$numberLong": "1"}}'), (1.0, '{"n": 1.0}'), (True, '{"n": true}')):
        visits.update_one({"_id": 1}, {"$set": {"notes": {"n": value}}})
        pull()
        assert rows()[1]["notes"] == text


def test_a_full_pass_repairs_changes_made_in_the_table(visits: Collection) -> None:
    visits.insert_many([visit(number) for number in range(1500)])
    pull()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM zoo_visit WHERE id = 5")
        cursor.execute("UPDATE zoo_visit SET badge = 'wrong' WHERE id = 1400")
        cursor.execute("INSERT INTO zoo_visit (id, badge, extra) VALUES (9999, 'more', '{}')")
    pull("--full")
    assert badges() == {number: f"b{number}" for number in range(1500)}


def test_only_a_document_that_does_not_fit_becomes_a_dead_letter(visits: Collection) -> None:
    visits.insert_many([visit(number) for number in range(1200)])
    bad: dict[Any, dict[str, Any]] = {
        "not a number": {"_id": "text", "badge": "t"},
        "an ObjectId": {"_id": ObjectId(), "badge": "o"},
        "no badge": {"_id": Int64(5000)},
        "too long": {"_id": Int64(5001), "badge": "x" * 21},
        "a double": {"_id": Int64(5002), "badge": "d", "minutes": 1.5},
        "taken": {"_id": Int64(5003), "badge": "b7"},
        "a key with a dollar": {"_id": Int64(5004), "badge": "k", "notes": {"$where": 1}},
    }
    visits.insert_many(bad.values())
    raw = visits.with_options(codec_options=visits.codec_options.with_options(document_class=RawBSONDocument))
    raw.insert_one(RawBSONDocument(bson.encode(visit(5005, notes="aXb")).replace(b"aXb", b"a\xffb")))
    output = pull()
    assert output.startswith("1\n")
    assert badges() == {number: f"b{number}" for number in range(1200)}
    assert DeadLetter.objects.count() == 8
    assert "badge: missing" in output
    assert "double where int32 is expected" in output
    visits.update_one({"_id": 5000}, {"$set": {"badge": "new"}})
    visits.delete_many({"_id": {"$in": ["text", 5001, 5002, 5004, 5005, bad["an ObjectId"]["_id"]]}})
    visits.delete_one({"_id": 7})
    assert pull() == "0\n", "the badge is free, although its document has not changed"
    assert badges()[5003] == "b7"
    assert not DeadLetter.objects.exists()


def test_documents_may_swap_unique_values(visits: Collection) -> None:
    visits.insert_many([visit(number) for number in range(3)])
    pull()
    for number in range(3):
        visits.update_one({"_id": number}, {"$set": {"badge": f"b{(number + 1) % 3}"}})
    assert pull() == "0\n"
    assert badges() == {0: "b1", 1: "b2", 2: "b0"}


def test_a_row_that_a_foreign_key_references_is_kept_and_named(visits: Collection) -> None:
    visits.insert_one(visit(1))
    pull()
    ticket = Ticket.objects.create(visit_id=1)
    visits.delete_one({"_id": 1})
    if connection.vendor == "mysql":  # SQLite checks foreign keys only at the end of a transaction
        assert "the database rejects it" in pull()
        assert badges() == {1: "b1"}
    ticket.delete()
    assert pull() == "0\n"
    assert badges() == {}


def test_a_large_document_becomes_a_row_or_a_dead_letter(visits: Collection) -> None:
    visits.insert_many([visit(1, notes="'\"" * 2_000_000), visit(2, notes={"a": ["x" * 1_000_000] * 15}), visit(3)])
    pull()
    assert set(badges()) | {int(key) for key in DeadLetter.objects.values_list("key", flat=True)} == {1, 2, 3}
    assert 3 in badges()


@pytest.mark.parametrize("code", [286, 280, 136])
def test_a_lost_stream_starts_a_full_pass(mongo: Database, visits: Collection, code: int) -> None:
    visits.insert_many([visit(number) for number in range(10)])
    pull()
    visits.delete_one({"_id": 5})
    fail = {"failCommands": ["getMore"], "errorCode": code, "appName": "sync"}
    mongo.client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=fail)
    assert pull() == "0\n"
    assert 5 not in badges()
    assert len(badges()) == 9


def test_a_token_of_another_server_starts_a_full_pass(visits: Collection) -> None:
    visits.insert_one(visit(1))
    pull()
    write_state("pull:zoo.visit", token={"_data": "8265000000000000012B0229296E04"})
    visits.delete_one({"_id": 1})
    assert pull() == "0\n"
    assert badges() == {}


def test_a_drop_removes_the_rows(visits: Collection) -> None:
    visits.insert_many([visit(1), visit(2)])
    pull()
    visits.drop()
    pull()
    assert badges() == {}
    visits.insert_one(visit(3))
    pull()
    assert badges() == {3: "b3"}


def test_after_a_rename_the_rows_follow_the_collection_that_now_has_the_name(
    mongo: Database, visits: Collection
) -> None:
    visits.insert_many([visit(1), visit(2)])
    pull()
    visits.rename("zoo_other")
    visits.insert_one(visit(3))
    pull()
    assert badges() == {3: "b3"}
    mongo["zoo_other"].rename("zoo_visits", dropTarget=True)
    pull()
    assert badges() == {1: "b1", 2: "b2"}


def test_a_collection_that_never_existed_removes_no_rows(visits: Collection) -> None:
    visits.insert_one(visit(1))
    pull()
    visits.drop()
    write_state("pull:zoo.visit", token=None, phase="snapshot")  # as with another MongoDB, where no drop was seen
    with pytest.raises(CommandError, match="Is the address right") as stopped:
        pull()
    assert stopped.value.returncode == 2
    assert badges() == {1: "b1"}
    visits.database.create_collection("zoo_visits")
    assert pull() == "0\n"
    assert badges() == {}


def test_a_view_is_refused(visits: Collection) -> None:
    visits.database.create_collection("zoo_visits", viewOn="zoo_other")
    with pytest.raises(CommandError, match="is a view") as stopped:
        pull()
    assert stopped.value.returncode == 2


def test_a_new_mapping_starts_a_full_pass(visits: Collection, monkeypatch: Any) -> None:
    visits.insert_one(visit(1))
    pull()
    with connection.cursor() as cursor:  # as if the column were new
        cursor.execute("UPDATE zoo_visit SET badge = ''")
    monkeypatch.setattr("sync.replication.table_sink.fingerprint", lambda model: "another")
    pull()
    assert badges() == {1: "b1"}


def test_nothing_is_written_back_and_no_change_is_recorded(mongo: Database, visits: Collection) -> None:
    visits.insert_many([visit(number) for number in range(10)])
    pull()
    assert not Change.objects.exists()
    assert list(visits.find(sort=[("_id", 1)])) == [visit(number) for number in range(10)]
    assert "_sync.v" not in visits.index_information()


WRITES = {
    "save": lambda: Visit(id=1, badge="x").save(),
    "create": lambda: Visit.objects.create(id=2, badge="x"),
    "get_or_create": lambda: Visit.objects.get_or_create(id=2, defaults={"badge": "x"}),
    "update_or_create": lambda: Visit.objects.update_or_create(id=1, defaults={"badge": "x"}),
    "update": lambda: Visit.objects.filter(id=1).update(badge="x"),
    "bulk_create": lambda: Visit.objects.bulk_create([Visit(id=2, badge="x")]),
    "bulk_update": lambda: Visit.objects.bulk_update([Visit(id=1, badge="x")], ["badge"]),
    "delete": lambda: Visit.objects.get(id=1).delete(),
    "queryset delete": lambda: Visit.objects.all().delete(),
    "base manager": lambda: Visit._base_manager.all().delete(),
}


@pytest.mark.parametrize("name", WRITES)
def test_other_writes_are_refused_with_an_error_that_names_the_collection(visits: Collection, name: str) -> None:
    visits.insert_one(visit(1))
    pull()
    with pytest.raises(ReadOnlyError, match="the MongoDB collection zoo_visits: change the document there"):
        WRITES[name]()
    assert badges() == {1: "b1"}


def test_fixtures_are_refused_too(visits: Collection, tmp_path: Any) -> None:
    fixture = tmp_path / "visits.json"
    fixture.write_text('[{"model": "zoo.visit", "pk": 1, "fields": {"badge": "x", "extra": {}}}]')
    with pytest.raises(Exception, match="change the document there"):
        call_command("loaddata", str(fixture))
    assert badges() == {}


@pytest.fixture
def running(visits: Collection) -> Iterator[Puller]:
    """A puller that runs in a thread."""
    puller = Puller([Visit])
    puller.lease()
    thread = threading.Thread(target=puller.run)
    thread.start()
    yield puller
    puller.stop.set()
    thread.join(30)
    puller.release()
    assert not thread.is_alive()


def wait_for(wanted: dict[int, str]) -> None:
    end = time.monotonic() + 60
    while badges() != wanted and time.monotonic() < end:
        time.sleep(0.05)
    assert badges() == wanted


def test_a_document_is_converted_with_what_the_application_reads(visits: Collection, monkeypatch: Any) -> None:
    """Another thread converts documents, with a connection that does not outlive the pass."""

    def connections_of_the_server() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM information_schema.processlist")
            return int(cursor.fetchone()[0])

    def from_document(cls: Any, document: dict[str, Any]) -> Visit:
        return documents.from_document(Visit, {**document, "minutes": Ticket.objects.count()})

    visits.insert_many([visit(number) for number in range(10)])
    monkeypatch.setattr(Visit, "from_document", classmethod(from_document))
    before = connections_of_the_server() if connection.vendor == "mysql" else 0
    assert pull() == "0\n"
    assert {row["minutes"] for row in rows().values()} == {0}
    end = time.monotonic() + 10
    while connection.vendor == "mysql" and connections_of_the_server() > before:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_running_puller_follows_and_has_a_heartbeat(visits: Collection, running: Puller) -> None:
    visits.insert_one(visit(1))
    wait_for({1: "b1"})
    visits.update_one({"_id": 1}, {"$set": {"badge": "new"}})
    wait_for({1: "new"})
    visits.drop()
    wait_for({})
    visits.insert_one(visit(2))
    wait_for({2: "b2"})
    assert [worker.kind for worker in Worker.objects.all()] == ["puller"]


def test_a_second_puller_is_refused(visits: Collection, running: Puller) -> None:
    visits.insert_one(visit(1))
    wait_for({1: "b1"})
    with pytest.raises(CommandError, match=r"zoo_visit is held by another process: process \d+ on") as stopped:
        pull()
    assert stopped.value.returncode == 2


def test_a_puller_whose_lease_was_taken_writes_nothing(visits: Collection) -> None:
    old, new = TableSink(Visit, "default"), TableSink(Visit, "default")
    assert old.checkpoint.take() is None
    assert new.checkpoint.take() is not None, "another puller holds the lease"
    Checkpoint.objects.update(leased_until="2020-01-01T00:00Z")
    assert new.checkpoint.take() is None
    with pytest.raises(LeaseLost):
        old.write(old.prepare({to_key(Int64(1)): None}), ReplicationState())
    with pytest.raises(LeaseLost):
        old.position()


def test_the_puller_continues_after_mongodb_was_unreachable(mongod: Mongo, visits: Collection, running: Puller) -> None:
    visits.insert_one(visit(1))
    wait_for({1: "b1"})
    mongod.kill()
    time.sleep(1)
    mongod.start()
    visits.insert_one(visit(2))
    wait_for({1: "b1", 2: "b2"})


def test_the_puller_continues_after_mysql_was_unreachable(mariadb: Any, visits: Collection, running: Puller) -> None:
    visits.insert_one(visit(1))
    wait_for({1: "b1"})
    connection.close()
    mariadb.kill()
    visits.insert_one(visit(2))
    time.sleep(1)
    mariadb.start()
    wait_for({1: "b1", 2: "b2"})


def test_an_unknown_model_is_a_usage_error() -> None:
    for name in ("nonsense", "account"):
        with pytest.raises(CommandError, match=r"is not a pulled model\. Pulled models: ") as stopped:
            call_command("sync", "pull", name)
        assert stopped.value.returncode == 2
