"""A repair on the console: what it would change, with numbers, before anything is written; then only that."""

from typing import Any

import pytest
from bson import ObjectId
from django.contrib.messages import get_messages
from django.test import Client
from pymongo.database import Database

from audit.models import Entry
from finance.models import Account
from sync.jobs import runner
from sync.jobs.models import Job
from sync.outbox.relay import Relay
from sync.tests.support.factories import make
from sync.tests.support.hurry import hurry
from sync.tests.support.people import OPERATOR, user
from sync.verification.models import Verification
from sync.verification.plan import SHOWN
from sync.workers.models import ModelState

pytestmark = pytest.mark.django_db(transaction=True)

LABEL = "finance.account"
PAGE = f"/sync/targets/{LABEL}/repair/"


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(user("theo", *OPERATOR))
    return client


@pytest.fixture
def mismatched(operator: Client, mongo: Database) -> None:
    """Four rows: one without a document, one with another value. And a document without a row."""
    Account.objects.bulk_create([make(number) for number in range(4)])
    hurry()
    Relay().drain()
    mongo.accounts.delete_one({"account_id": 0})
    mongo.accounts.update_one({"account_id": 1}, {"$set": {"limit": 7}})
    mongo.accounts.insert_one({"_id": ObjectId(), "account_id": 99})
    verify(operator)


def verify(client: Client) -> None:
    client.post(f"/sync/targets/{LABEL}/verify/")
    assert runner.work()


def text(client: Client) -> str:
    return " ".join(client.get(PAGE).content.decode().split())


def limits(mongo: Database) -> list[tuple[int, Any]]:
    return sorted((document["account_id"], document.get("limit")) for document in mongo.accounts.find())


def messages_of(response: Any) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


def test_without_a_verification_it_offers_one(operator: Client, mongo: Database) -> None:
    page = text(operator)
    assert "Verify first" in page
    assert "Verify now" in page
    assert 'name="write"' not in page
    Verification.objects.create(model=LABEL, mode="full", error="MongoDB does not respond")
    assert "Verify first" in text(operator), "an interrupted one has seen a part"


def test_it_shows_the_numbers_and_changes_nothing(operator: Client, mismatched: None, mongo: Database) -> None:
    before = limits(mongo)
    page = text(operator)
    assert "compared 4 rows" in page
    assert "<dt>Documents to write again</dt> <dd>2</dd>" in page
    assert "<dt>Documents without a row</dt> <dd>1</dd>" in page
    assert "> Write 2 documents </button>" in page
    assert "> Write 2 documents, delete 1 document </button>" in page
    missing, wrong = Account.objects.order_by("account_id").values_list("pk", flat=True)[:2]
    assert f"<code>{missing}</code>: is missing in MongoDB" in page
    assert f"<code>{wrong}</code>: limit" in page
    assert ": has no row" in page
    assert limits(mongo) == before
    assert not Job.objects.filter(kind="repair").exists()


def test_it_names_the_first_ten_documents(operator: Client, mismatched: None, mongo: Database) -> None:
    mongo.accounts.insert_many([{"_id": ObjectId(), "text": "<b>"} for _ in range(9)])
    verify(operator)
    page = text(operator)
    assert page.count("<code>") == 1 + SHOWN
    assert "<li>and 2 more</li>" in page


def test_confirmed_writes_leave_documents_without_a_row(operator: Client, mismatched: None, mongo: Database) -> None:
    response = operator.post(PAGE, {"write": 2, "delete": 1})
    assert response["Location"] == "/sync/"
    assert runner.work()
    assert limits(mongo) == [(0, 1000), (1, 1000), (2, 1000), (3, 1000), (99, None)]
    entry = Entry.objects.get(act="repair")
    assert (entry.who, entry.key, entry.after) == ("theo", LABEL, {"write": 2, "delete": 0})
    page = text(operator)
    assert "Write" not in page
    assert "> Delete 1 document </button>" in page


def test_confirmed_deletions_delete_them(operator: Client, mismatched: None, mongo: Database) -> None:
    operator.post(PAGE, {"write": 2, "delete": 1, "prune": "on"})
    assert runner.work()
    assert limits(mongo) == [(0, 1000), (1, 1000), (2, 1000), (3, 1000)]
    assert Entry.objects.get(act="repair").after == {"write": 2, "delete": 1}
    assert "There is nothing to repair." in text(operator)


@pytest.mark.parametrize(
    "data", [{}, {"write": 2, "delete": 0}, {"write": 1, "delete": 1}, {"write": "x", "delete": 1, "prune": "on"}]
)
def test_other_numbers_than_the_current_ones_confirm_nothing(
    operator: Client, mismatched: None, data: dict[str, Any]
) -> None:
    response = operator.post(PAGE, data)
    assert (response.status_code, response["Location"]) == (302, PAGE)
    assert messages_of(response)[-1] == "The numbers have changed. Check them, then confirm again."
    assert not Job.objects.filter(kind="repair").exists()
    assert not Entry.objects.filter(act="repair").exists()


def test_a_paused_target_is_not_repaired(operator: Client, mismatched: None) -> None:
    ModelState.objects.update_or_create(model=LABEL, defaults={"paused": True})
    page = text(operator)
    assert "Delivery is paused. Resume it, then repair." in page
    assert 'name="write"' not in page
    response = operator.post(PAGE, {"write": 2, "delete": 1})
    assert messages_of(response)[-1] == f"{LABEL} is paused and cannot be repaired. Resume it first."
    assert not Job.objects.filter(kind="repair").exists()


def test_a_target_that_cannot_be_read_has_no_repair(operator: Client, mongo: Database) -> None:
    assert operator.get("/sync/targets/news.story@kafka:story-events/repair/").status_code == 404
