"""Operators' actions on the console: each takes effect, reports the number of changes, and is in the audit log."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from pymongo.database import Database

from audit.models import Entry
from finance.models import Account
from sync.core.clock import DatabaseNow
from sync.jobs.models import Job
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.compare import differences
from sync.tests.support.factories import make
from sync.tests.support.hurry import LONG_AGO
from sync.tests.support.people import OPERATOR, user
from sync.workers.models import ModelState

pytestmark = pytest.mark.django_db(transaction=True)

LABEL = "finance.account"


@pytest.fixture
def operator(client: Client, settings: Any) -> Client:
    settings.SYNC_INLINE = False
    client.force_login(user("theo", *OPERATOR))
    return client


def add_change(number: int, **fields: Any) -> Change:
    """Add a row whose change has failed; `fields` overrides the change's fields."""
    row = make(number)
    row.save()
    made = {"failed": True, "attempts": 5, "error": "MongoDB: no", "due_at": LONG_AGO} | fields
    Change.objects.filter(key=row.pk).update(**made)
    return Change.objects.get(key=row.pk)


def post_action(client: Client, **data: Any) -> Any:
    return client.post("/sync/changes/order/", data)


def messages_of(response: Any) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


def test_selected_changes_are_retried_and_delivered(operator: Client, mongo: Database) -> None:
    one, two = add_change(1), add_change(2)
    response = post_action(operator, act="retry", which="selected", change=[one.pk])
    assert messages_of(response) == ["1 change will be retried now."]
    assert not Change.objects.get(pk=one.pk).failed
    assert Change.objects.get(pk=two.pk).failed
    Relay().drain()
    assert [document["account_id"] for document in mongo.accounts.find()] == [1]
    entry = Entry.objects.get()
    assert (entry.who, entry.act, entry.after) == (
        "theo", "retry", {"changes": 1, "of": 1, "keys": [f"{LABEL} {one.key}"]},
    )  # fmt: skip


def test_skipped_changes_are_counted(operator: Client, mongo: Database) -> None:
    held = add_change(1, failed=False, claim="somebody", due_at="2100-01-01T00:00Z")
    waiting = add_change(2, failed=False, due_at="2100-01-01T00:00Z")
    response = post_action(operator, act="retry", which="selected", change=[held.pk, waiting.pk, "gone"])
    assert messages_of(response) == [
        "1 change will be retried now.",
        "1 skipped: in flight.",
        "1 skipped: already delivered or not failed.",
    ]
    assert Change.objects.get(pk=held.pk).claim == "somebody"
    response = post_action(operator, act="discard", which="selected", sure="on", change=[held.pk, waiting.pk])
    assert messages_of(response)[-2:] == ["1 skipped: in flight.", "1 skipped: already delivered or not failed."]
    assert Change.objects.count() == 2


def test_retrying_all_needs_a_confirmation_and_applies_to_the_search_results(operator: Client, mongo: Database) -> None:
    for number in range(3):
        add_change(number)
    other = add_change(4, error="the document has 17 bytes; MongoDB holds 16")
    response = post_action(operator, act="retry", which="all", reason="rejected by MongoDB")
    assert "Retry 3 changes?" in response.content.decode()
    assert Change.objects.filter(failed=True).count() == 4, "nothing happens before the confirmation"
    assert not Entry.objects.exists()
    Change.objects.exclude(pk=other.pk).order_by("pk").first().delete()  # another operator discarded it meanwhile
    response = post_action(operator, act="retry", which="all", reason="rejected by MongoDB", expected=3, sure="on")
    assert messages_of(response) == [
        "2 changes will be retried now.", "1 skipped: already delivered or not failed.",
    ]  # fmt: skip
    assert [change.pk for change in Change.objects.filter(failed=True)] == [other.pk]
    assert response["Location"] == "/sync/changes/?reason=rejected+by+MongoDB"


def test_discarding_needs_a_confirmation_and_keeps_rows_and_documents(operator: Client, mongo: Database) -> None:
    one, two = add_change(1), add_change(2)
    response = post_action(operator, act="discard", which="selected", change=[one.pk])
    assert "Discard 1 change?" in response.content.decode()
    assert Change.objects.count() == 2
    response = post_action(operator, act="discard", which="selected", change=[one.pk], sure="on")
    assert messages_of(response) == ["1 change was discarded."]
    assert list(Change.objects.values_list("pk", flat=True)) == [two.pk]
    assert Account.objects.count() == 2
    assert Entry.objects.get().act == "discard"


@pytest.mark.parametrize(
    "data",
    [{}, {"act": "drop", "which": "all"}, {"act": "retry", "which": "all", "model": "x"},
     {"act": "retry", "which": "all", "age": "x"},
     {"act": "retry", "which": "all", "expected": "-1"}, {"act": "retry", "which": "all", "reason": "x"}],
)  # fmt: skip
def test_an_invalid_action_does_nothing(operator: Client, data: dict, mongo: Database) -> None:
    add_change(1)
    assert messages_of(post_action(operator, sure="on", **data)) == [
        "This action is not valid. Select the changes and the action again."
    ]
    assert Change.objects.filter(failed=True).count() == 1


def test_the_list_can_be_searched_and_says_what_to_do_next(operator: Client, mongo: Database) -> None:
    add_change(1, error="MongoDB: <b>no</b>")
    page = operator.get("/sync/changes/").content.decode()
    assert "MongoDB: &lt;b&gt;no&lt;/b&gt;" in page
    assert "not retried automatically" in page
    assert "No failed changes match." in operator.get("/sync/changes/?reason=too+large").content.decode()
    assert "No failed changes match." in operator.get("/sync/changes/?model=auth.user").content.decode()
    Change.objects.all().delete()
    assert "Back to the console" in operator.get("/sync/changes/").content.decode()


def test_the_list_is_searched_by_age(operator: Client, mongo: Database) -> None:
    minutes = {1: 10, 2: 120, 3: 2 * 24 * 60, 4: 8 * 24 * 60}
    keys = {}
    for number, age in minutes.items():
        change = add_change(number, recorded_at=DatabaseNow() - timedelta(minutes=age))
        keys[number] = change.key
    for age, found in (("", [1, 2, 3, 4]), ("hour", [1]), ("day", [1, 2]), ("older", [3, 4]), ("week", [4])):
        page = operator.get("/sync/changes/", {"age": age}).content.decode()
        assert [number for number, key in keys.items() if key in page] == found
    response = post_action(operator, act="retry", which="all", age="older", expected=2, sure="on")
    assert messages_of(response) == ["2 changes will be retried now."]
    assert response["Location"] == "/sync/changes/?age=older"
    assert set(Change.objects.filter(failed=True).values_list("key", flat=True)) == {keys[1], keys[2]}


def test_the_confirmation_of_discard_counts_dead_letters_alone(operator: Client, mongo: Database) -> None:
    add_change(1)
    tried = add_change(2, failed=False)
    page = post_action(operator, act="discard", which="all").content.decode()
    assert "Discard 1 change?" in page
    assert "1 more change is retried automatically and stays." in page
    response = post_action(operator, act="discard", which="all", expected=2, sure="on")
    assert messages_of(response) == ["1 change was discarded.", "1 skipped: already delivered or not failed."]
    assert Change.objects.get().pk == tried.pk
    response = post_action(operator, act="discard", which="selected", change=[tried.pk])
    assert messages_of(response)[-1] == "Nothing to discard: these changes are retried automatically."


def test_the_list_needs_few_queries(operator: Client, mongo: Database, django_assert_num_queries: Any) -> None:
    for number in range(5):
        add_change(number)
    with django_assert_num_queries(7):
        operator.get("/sync/changes/")


def test_pause_and_resume(operator: Client, mongo: Database) -> None:
    operator.post(f"/sync/targets/{LABEL}/pause/")
    assert ModelState.objects.get(model=LABEL).paused
    make(1).save()
    Relay().drain()
    assert mongo.accounts.count_documents({}) == 0
    operator.post(f"/sync/targets/{LABEL}/resume/")
    Relay().drain()
    assert mongo.accounts.count_documents({}) == 1
    pause, resume = Entry.objects.order_by("pk")
    assert (pause.act, pause.key, pause.before, pause.after) == ("pause", LABEL, {"paused": False}, {"paused": True})
    assert resume.act == "resume"


def test_verify_repair_and_backfill_queue_one_job_at_a_time(operator: Client, mongo: Database) -> None:
    response = operator.post(f"/sync/targets/{LABEL}/verify/")
    assert messages_of(response) == ["Queued. Progress appears below."]
    job = Job.objects.get()
    assert (job.model, job.kind, job.asked_by) == (LABEL, "verify", "theo")
    response = operator.post(f"/sync/targets/{LABEL}/backfill/")
    assert f"A job for {LABEL} is already running." in messages_of(response)[-1]
    assert Job.objects.count() == Entry.objects.count() == 1
    operator.post(f"/sync/jobs/{job.pk}/stop/")
    assert Job.objects.get().note == "stopped by theo"
    operator.post(f"/sync/targets/{LABEL}/backfill/")
    assert Job.objects.latest("pk").kind == "backfill"
    assert [entry.act for entry in Entry.objects.order_by("pk")] == ["verify", "stop", "backfill"]
    assert messages_of(operator.post(f"/sync/jobs/{job.pk}/stop/"))[-1] == "The job had already finished."


def test_a_backfill_is_confirmed_with_the_number_of_rows(operator: Client, mongo: Database) -> None:
    make(1).save()
    assert "Deliver 1 row again" in operator.get(f"/sync/targets/{LABEL}/backfill/").content.decode()
    assert not Job.objects.exists()


def test_sync_now_delivers_in_the_request(operator: Client, mongo: Database, settings: Any) -> None:
    change = add_change(1)
    settings.SYNC_INLINE = True
    response = operator.post(f"/sync/record/{LABEL}/{change.key}/")
    assert messages_of(response) == ["Delivered."]
    assert differences(Account, mongo) == []
    assert not Change.objects.filter(failed=True).exists(), "the delivery replaces the failed change"
    entry = Entry.objects.get()
    assert (entry.act, entry.model, entry.key) == ("deliver", LABEL, change.key)


def test_sync_now_reports_a_rejected_or_queued_delivery(operator: Client, mongo: Database) -> None:
    row = make(1)
    row.save()
    response = operator.post(f"/sync/record/{LABEL}/{row.pk}/")
    assert messages_of(response) == ["Queued. A relay delivers the record as soon as possible."]
    Change.objects.update(error="MongoDB: no", due_at=DatabaseNow())
    response = operator.post(f"/sync/record/{LABEL}/{row.pk}/")
    assert messages_of(response)[-1] == "Not delivered: MongoDB: no"


def test_only_operators_see_the_actions(operator: Client, client: Client, mongo: Database) -> None:
    assert "Verify now" in operator.get("/sync/").content.decode()
    client.force_login(user("vera", "view_console"))
    assert "Verify now" not in client.get("/sync/").content.decode()
