"""Each user's language, time zone and number format."""

import re
from datetime import UTC, datetime

import pytest
from django.test import Client

from accounts.models import User
from accounts.tests.conftest import PASSWORD
from audit.models import Entry
from finance.models import Account
from sync.core.humanize import grouped, moment

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return User.objects.create_user("mei", "mei@example.org", PASSWORD, role="senior_management")


@pytest.fixture
def signed_in(client: Client, user: User) -> Client:
    client.force_login(user)
    return client


def choose(client: Client, **values: str) -> None:
    page = client.get("/preferences/").content.decode()
    version = re.search(r'name="version" value="([^"]*)"', page)
    assert version
    data = {"language": "", "time_zone": "", "number_format": "", "version": version[1]} | values
    assert client.post("/preferences/", data).status_code == 302


def test_the_language_holds_for_the_pages_of_this_user_only(signed_in: Client, user: User) -> None:
    choose(signed_in, language="ms")
    assert '<html lang="ms"' in signed_in.get("/profile/").content.decode()
    assert '<html lang="en"' in Client().get("/").content.decode()
    user.refresh_from_db()
    assert user.language == "ms"


def test_a_visitor_gets_the_language_of_the_browser_or_of_the_menu(client: Client) -> None:
    assert '<html lang="ms"' in client.get("/", headers={"accept-language": "ms-MY,ms;q=0.9"}).content.decode()
    assert '<html lang="en"' in client.get("/", headers={"accept-language": "de"}).content.decode()
    response = client.post("/language/", {"language": "ms", "next": "/help/"})
    assert response["Location"] == "/help/"
    page = client.get("/").content.decode()
    assert '<html lang="ms"' in page
    assert ">English</button>" in page, "each language has its own name, for those who do not read this one"


def test_the_menu_leads_to_no_other_site_and_knows_only_its_languages(signed_in: Client, user: User) -> None:
    assert signed_in.post("/language/", {"language": "xx", "next": "https://evil.example/"})["Location"] == "/"
    user.refresh_from_db()
    assert user.language == ""


def test_the_menu_holds_in_every_browser_of_a_signed_in_user(signed_in: Client, user: User) -> None:
    signed_in.post("/language/", {"language": "ms", "next": "/"})
    other = Client()
    other.force_login(user)
    assert '<html lang="ms"' in other.get("/profile/").content.decode()


def test_times_are_shown_in_the_users_zone_with_its_name(signed_in: Client) -> None:
    entry = Entry.objects.create(act="change", model="finance.account", key="1")
    Entry.objects.filter(pk=entry.pk).update(at=datetime(2026, 1, 31, 20, 0, tzinfo=UTC))
    assert "2026-01-31 20:00:00 UTC" in signed_in.get("/audit/").content.decode()
    choose(signed_in, time_zone="Asia/Kuala_Lumpur")
    assert "2026-02-01 04:00:00 +08" in signed_in.get("/audit/").content.decode()


@pytest.mark.parametrize("stored", ["Nowhere/Land", "../../etc/passwd", "\x00"])
def test_an_unknown_zone_in_the_database_shows_utc(signed_in: Client, user: User, stored: str) -> None:
    User.objects.filter(pk=user.pk).update(time_zone=stored)
    assert signed_in.get("/profile/").status_code == 200
    assert moment(datetime(2026, 1, 31, tzinfo=UTC)) == "2026-01-31 00:00:00 UTC"


def test_a_zone_that_does_not_exist_is_refused(signed_in: Client, user: User) -> None:
    page = signed_in.get("/preferences/").content.decode()
    version = re.search(r'name="version" value="([^"]*)"', page)
    assert version
    response = signed_in.post("/preferences/", {"time_zone": "Nowhere/Land", "version": version[1]})
    assert response.status_code == 200
    user.refresh_from_db()
    assert user.time_zone == ""


@pytest.mark.parametrize(("chosen", "shown"), [("", "1,234"), ("point", "1.234"), ("space", "1\u202f234")])
def test_numbers_follow_the_format_on_pages_and_never_in_csv(
    signed_in: Client, user: User, chosen: str, shown: str
) -> None:
    Account.objects.create(account_id=7, limit=1234)
    choose(signed_in, number_format=chosen)
    assert shown in signed_in.get("/finance/accounts/").content.decode()
    csv = b"".join(signed_in.get("/finance/accounts/export.csv").streaming_content).decode()  # type: ignore[attr-defined]
    assert ",1234," in csv
    assert grouped(1234) == "1,234", "the format holds for the request only"
