"""Staff decide a person's request and link their record on one page. MySQL's rows are read directly."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client
from pymongo.database import Database

from accounts.models import User
from audit.models import Entry
from finance.models import Customer
from finance.tests.people import customer
from tests.waiting import DECIDE, LINK, PASSWORD, browser, requester, somebody, staff

pytestmark = pytest.mark.django_db


@pytest.fixture
def clerk(db: None) -> Client:
    return browser(staff(DECIDE, LINK))


def page_of(user: User) -> str:
    return f"/people/{user.pk}/"


def post(client: Client, user: User, act: str, record: Any = None, capture: Any = None) -> str:
    """Sends one of the page's forms; the text of the page that follows."""
    sent = {"act": act} | ({"customer": record.pk} if record else {})
    with capture(execute=True):
        return client.post(page_of(user), sent, follow=True).content.decode()


def owner(record: Customer) -> int | None:
    return Customer.objects.values_list("user_id", flat=True).get(pk=record.pk)


def test_a_request_is_approved_and_a_record_linked_on_one_page(
    clerk: Client, django_capture_on_commit_callbacks: Any
) -> None:
    tom, record = requester(), customer("Thomas", [7])
    page = post(clerk, tom, "approve", capture=django_capture_on_commit_callbacks)
    assert "Approved. The person was emailed." in page
    page = post(clerk, tom, "link", record, django_capture_on_commit_callbacks)
    assert "Linked: Thomas. The person was emailed." in page
    tom.refresh_from_db()
    assert (tom.role, tom.request_decision) == ("technical_worker", "approved")
    assert tom.request_decided_at is not None
    assert owner(record) == tom.pk
    assert [message.to for message in mail.outbox] == [[tom.email], [tom.email]]
    assert "linked your customer record" in mail.outbox[1].body


def test_a_linked_customer_sees_their_records_and_the_record_stays_the_same(
    clerk: Client, mongo: Database, django_capture_on_commit_callbacks: Any
) -> None:
    carl, record = somebody("carl"), customer("Carl", [4711])
    before = Customer.objects.values().get(pk=record.pk)
    assert "4711" not in browser(carl).get("/dashboard/customer/").content.decode()
    post(clerk, carl, "link", record, django_capture_on_commit_callbacks)
    assert "4711" in browser(carl).get("/dashboard/customer/").content.decode()
    assert Customer.objects.values().get(pk=record.pk) == before | {"user_id": carl.pk}


def test_a_link_and_its_removal_are_in_the_audit_log(clerk: Client, django_capture_on_commit_callbacks: Any) -> None:
    carl, record = somebody("carl"), customer("Carl", [7])
    post(clerk, carl, "link", record, django_capture_on_commit_callbacks)
    page = post(clerk, carl, "unlink", record, django_capture_on_commit_callbacks)
    assert "No longer linked: Carl." in page
    assert owner(record) is None
    nobody, carls = {"user": None, "login": None}, {"user": carl.pk, "login": "carl"}
    entries = Entry.objects.filter(model="finance.customer", key=record.pk).order_by("pk")
    assert list(entries.values_list("who", "act", "before", "after")) == [
        ("clerk", "link", nobody, carls), ("clerk", "unlink", carls, nobody),
    ]  # fmt: skip
    assert [(message.to, message.subject) for message in mail.outbox] == [
        ([carl.email], "[Analytics Portal] Your records are linked"),
        ([carl.email], "[Analytics Portal] Your records are no longer linked"),
    ]  # fmt: skip
    assert "Linked" in browser(somebody("mina", role="senior_management")).get("/audit/").content.decode()


def test_emails_are_in_the_language_of_the_person(clerk: Client, django_capture_on_commit_callbacks: Any) -> None:
    tom, record = requester(language="ms"), customer("Thomas", [])
    post(clerk, tom, "decline", capture=django_capture_on_commit_callbacks)
    post(clerk, tom, "link", record, django_capture_on_commit_callbacks)
    assert "Permintaan anda ditolak" in mail.outbox[0].body
    assert mail.outbox[1].subject == "[Analytics Portal] Rekod anda telah dipautkan"


# --- what is refused ----------------------------------------------------------------------------------------------


def test_nothing_is_linked_twice_and_the_page_says_why(clerk: Client, django_capture_on_commit_callbacks: Any) -> None:
    carl, dora = somebody("carl"), somebody("dora")
    first, second = customer("First", []), customer("Second", [])

    def refused(user: User, act: str, record: Any) -> str:
        page = post(clerk, user, act, record, django_capture_on_commit_callbacks)
        return page.split("alert-warning alert-dismissible")[1].split("<button")[0].split(">", 1)[1].strip()

    post(clerk, carl, "link", first, django_capture_on_commit_callbacks)
    assert refused(carl, "link", first).startswith("Nothing was changed: this record is already linked to this login")
    assert refused(dora, "link", first).startswith("Nothing was linked: this record has been linked to another login")
    assert refused(carl, "link", second).startswith("Nothing was linked: another record has been linked to this login")
    assert refused(dora, "unlink", first).startswith("Nothing was changed: this record is not linked to this login")
    gone = Customer(pk=second.pk)
    Customer.objects.filter(pk=second.pk).delete()
    assert refused(dora, "link", gone).startswith("Nothing was linked: this record does not exist any more")
    assert refused(dora, "link", Customer(pk="no key \N{SNOWMAN}")).startswith("Nothing was linked")
    assert refused(dora, "link", None).startswith("Nothing was linked")
    assert list(Customer.objects.values_list("pk", "user_id")) == [(first.pk, carl.pk)]
    assert Entry.objects.filter(act__in=["link", "unlink"]).count() == len(mail.outbox) == 1


def test_the_second_of_two_decisions_is_told_of_the_first(
    clerk: Client, django_capture_on_commit_callbacks: Any
) -> None:
    tom = requester()
    post(clerk, tom, "decline", capture=django_capture_on_commit_callbacks)
    page = post(clerk, tom, "approve", capture=django_capture_on_commit_callbacks)
    assert "this request was already decided (Declined)" in page
    tom.refresh_from_db()
    assert (tom.role, tom.request_decision) == ("customer", "declined")
    assert len(mail.outbox) == 1


@pytest.mark.parametrize(("permission", "act"), [(DECIDE, "link"), (DECIDE, "unlink"), (LINK, "approve")])
def test_staff_may_do_only_what_they_have_the_right_to(permission: str, act: str) -> None:
    tom, record = requester(), customer("Thomas", [])
    client = browser(staff(permission))
    assert client.post(page_of(tom), {"act": act, "customer": record.pk}).status_code == 403
    tom.refresh_from_db()
    assert tom.has_pending_request
    assert owner(record) is None


def test_nobody_decides_or_links_for_themselves() -> None:
    clerk = staff(DECIDE, LINK, requested_role="senior_management")
    record = customer("Clerk", [])
    client = browser(clerk)
    page = client.get(page_of(clerk), {"q": "clerk"}).content.decode()
    assert "This is you." in page
    assert 'name="act"' not in page
    for act in ("approve", "link"):
        assert client.post(page_of(clerk), {"act": act, "customer": record.pk}).status_code == 403
    clerk.refresh_from_db()
    assert clerk.has_pending_request
    assert owner(record) is None


def test_an_act_needs_a_password_that_was_just_confirmed_and_is_then_carried_out() -> None:
    tom, client = requester(), browser(staff(DECIDE), confirmed=False)
    answer = client.post(page_of(tom), {"act": "approve"})
    assert answer["Location"].startswith("/reauthenticate/?next=")
    tom.refresh_from_db()
    assert tom.has_pending_request
    assert client.get(page_of(tom)).status_code == 200
    assert client.post(answer["Location"], {"password": PASSWORD})["Location"] == page_of(tom)
    tom.refresh_from_db()
    assert tom.request_decision == "approved"


def test_an_unknown_act_is_a_bad_request(clerk: Client) -> None:
    assert clerk.post(page_of(somebody("carl")), {"act": "delete"}).status_code == 400


# --- finding the record ---------------------------------------------------------------------------------------------


def test_records_with_the_same_email_are_suggested_and_never_linked_by_themselves(clerk: Client) -> None:
    carl = somebody("carl")
    for name, email in (
        ("Alpha", "Carl@Example.com"), ("Beta", "carl@example.com.my"), ("Gamma", "acarl@example.com"),
        ("Delta", "delta@example.com"),
    ):  # fmt: skip
        record = customer(name, [])
        record.email = email
        record.save()
    Customer.objects.filter(name="Delta").update(username=carl.email)
    answer = clerk.get(page_of(carl))
    assert [record.name for record in answer.context["suggested"]] == ["Alpha"]
    assert Customer.objects.exclude(user=None).count() == 0
    assert "has not confirmed the email address" not in answer.content.decode()
    EmailAddress.objects.filter(user=carl).update(verified=False)
    assert "has not confirmed the email address" in clerk.get(page_of(carl)).content.decode()


def test_a_search_finds_records_by_any_word_and_names_the_login_of_a_linked_one(clerk: Client) -> None:
    carl = somebody("carl")
    customer("James Hammond", [1, 2])
    customer("Ann Hammond", [], linked=somebody("ann"))
    customer("Other", [])
    answer = clerk.get(page_of(carl), {"q": "ham"})
    page = answer.content.decode()
    assert [record.name for record in answer.context["found"]] == ["Ann Hammond", "James Hammond"]
    assert "Already linked to the login ann." in page
    assert page.count('value="link"') == 1
    assert "2 accounts" in page
    assert "No record matches your search." in clerk.get(page_of(carl), {"q": "nothing"}).content.decode()


def test_the_name_of_a_record_is_a_link_for_those_who_may_open_it(clerk: Client, client: Client) -> None:
    carl, record = somebody("carl"), customer("Thomas", [])
    address = f'href="/finance/customers/{record.pk}/"'
    assert address not in clerk.get(page_of(carl), {"q": "thomas"}).content.decode()
    root = browser(somebody("root", role="", is_staff=True, is_superuser=True))
    assert address in root.get(page_of(carl), {"q": "thomas"}).content.decode()
