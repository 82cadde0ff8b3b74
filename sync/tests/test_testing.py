"""Helpers for an application's tests: deliver pending changes, and compare rows with their documents."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bson import ObjectId
from django.core.management import call_command
from pymongo.database import Database

from sync.outbox.models import Change
from sync.testing import assert_equal, deliver_all
from sync.tests.zoo.models import Keeper

pytestmark = pytest.mark.engine

in_a_testcase = pytest.mark.django_db  # its transaction is never committed
in_a_transactiontestcase = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ann(mongo: Database) -> Keeper:
    return Keeper.objects.create(name="Ann")


@in_a_testcase
def test_uncommitted_changes_of_a_testcase_are_delivered(ann: Keeper, mongo: Database) -> None:
    assert mongo.zoo_keepers.count_documents({}) == 0
    deliver_all()
    assert mongo.zoo_keepers.find_one()["name"] == "Ann"
    assert not Change.objects.exists()
    assert_equal(ann)
    assert_equal(Keeper)


@in_a_testcase
def test_a_delete_is_delivered(ann: Keeper, mongo: Database) -> None:
    deliver_all()
    key = ann.pk
    ann.delete()
    deliver_all()
    assert mongo.zoo_keepers.count_documents({}) == 0
    assert_equal(Keeper)
    assert_equal(Keeper(pk=key))


@in_a_transactiontestcase
def test_committed_changes_are_delivered_without_inline_delivery(mongo: Database, settings: object) -> None:
    settings.SYNC_INLINE = False  # type: ignore[attr-defined]
    Keeper.objects.create(name="Ann")
    deliver_all()
    assert_equal(Keeper)


@in_a_testcase
def test_a_paused_model_is_not_delivered(ann: Keeper, mongo: Database) -> None:
    call_command("sync", "pause", "keeper")
    deliver_all()
    assert mongo.zoo_keepers.count_documents({}) == 0


@pytest.fixture
def no_anns(mongo: Database) -> Iterator[None]:
    """Makes MongoDB reject every keeper named Ann."""
    if "zoo_keepers" not in mongo.list_collection_names():
        mongo.create_collection("zoo_keepers")
    mongo.command("collMod", "zoo_keepers", validator={"name": {"$ne": "Ann"}})
    yield
    mongo.command("collMod", "zoo_keepers", validator={})


@in_a_testcase
@pytest.mark.parametrize("tries", [1, 5])
def test_a_change_that_cannot_be_delivered_fails_with_the_reason(
    tries: int, no_anns: None, ann: Keeper, mongo: Database, settings: object
) -> None:
    settings.SYNC_MAX_ATTEMPTS = tries  # type: ignore[attr-defined]
    Keeper.objects.create(name="Ben")
    with pytest.raises(AssertionError, match=f"^zoo.keeper {ann.pk} was not delivered: .*failed validation"):
        deliver_all()
    assert mongo.zoo_keepers.count_documents({"name": "Ben"}) == 1, "other rows are delivered"


@in_a_testcase
def test_a_missing_document_fails_and_names_the_pending_change(ann: Keeper) -> None:
    with pytest.raises(AssertionError) as one:
        assert_equal(ann)
    assert str(one.value).splitlines() == [
        f"zoo.keeper {ann.pk}: missing",
        "A change of it is pending: call deliver_all() first.",
    ]
    with pytest.raises(AssertionError) as every:
        assert_equal(Keeper)
    assert str(every.value) == "zoo.keeper: 1 key is not delivered yet: call deliver_all() first."


@in_a_testcase
def test_a_document_with_another_value_fails_with_both_values(ann: Keeper, mongo: Database) -> None:
    deliver_all()
    mongo.zoo_keepers.update_one({}, {"$set": {"name": "Eve"}})
    with pytest.raises(AssertionError) as one:
        assert_equal(ann)
    assert str(one.value).splitlines() == [
        f"zoo.keeper {ann.pk}: different (name)",
        "  name: Ann in the row, Eve in the document",
    ]
    with pytest.raises(AssertionError, match=f"^zoo.keeper {ann.pk}: different \\(name\\)$"):
        assert_equal(Keeper)


@in_a_testcase
def test_the_stored_row_is_compared_and_not_the_instance_in_memory(ann: Keeper) -> None:
    deliver_all()
    ann.name = "Eve"
    assert_equal(ann)


@in_a_testcase
def test_documents_without_a_row_fail(mongo: Database) -> None:
    mongo.zoo_keepers.insert_one({"_id": ObjectId("1" * 24), "name": "Ghost"})
    with pytest.raises(AssertionError, match=f"^zoo.keeper {'1' * 24}: extra$"):
        assert_equal(Keeper)
    with pytest.raises(AssertionError, match=f"^zoo.keeper {'1' * 24}: extra$"):
        assert_equal(Keeper(pk="1" * 24))


@in_a_testcase
def test_many_differences_are_counted_and_some_are_named(mongo: Database) -> None:
    mongo.zoo_keepers.insert_many([{"_id": ObjectId(), "name": "Ghost"} for _ in range(25)])
    with pytest.raises(AssertionError) as failure:
        assert_equal(Keeper)
    lines = str(failure.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "zoo.keeper: 25 differences in all"
