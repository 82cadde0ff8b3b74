"""A verified address belongs to one user, who has one authenticator of each type. Every database enforces this."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.mfa.models import Authenticator
from django.core import checks
from django.core.management.base import CommandError
from django.db import IntegrityError, connection, transaction
from django.test import Client

from accounts import uniqueness
from accounts.models import User
from accounts.tests.conftest import PASSWORD
from accounts.tests.support import code_of

pytestmark = [pytest.mark.engine]

ADDRESS = "shared@example.com"


def with_one_session(user: User, number: int) -> list[Client]:
    """Tabs of one browser, in which this user has just confirmed the password."""
    first = Client(raise_request_exception=False)
    first.force_login(user)
    first.post("/reauthenticate/", {"password": PASSWORD})
    others = [Client(raise_request_exception=False) for _ in range(number - 1)]
    for other in others:
        other.cookies.update(first.cookies)
    return [first, *others]


def post_at_once(posts: list[tuple[Client, str, dict[str, str]]]) -> list[int]:
    """Sends all requests at once and returns the status of each response."""
    barrier = threading.Barrier(len(posts))

    def post(browser: Client, path: str, data: dict[str, str]) -> int:
        barrier.wait(10)
        try:
            return browser.post(path, data).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(len(posts)) as pool:
        return list(pool.map(lambda each: post(*each), posts))


@pytest.mark.django_db
def test_two_users_cannot_verify_the_same_address(ada: User, person: Callable[..., User]) -> None:
    tom = person("tom")
    EmailAddress.objects.create(user=ada, email=ADDRESS, verified=True)
    other = EmailAddress.objects.create(user=tom, email=ADDRESS, verified=False)
    with pytest.raises(IntegrityError), transaction.atomic():
        EmailAddress.objects.filter(pk=other.pk).update(verified=True)


@pytest.mark.django_db
def test_a_user_cannot_have_two_primary_addresses(ada: User) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        EmailAddress.objects.create(user=ada, email=ADDRESS, primary=True)


@pytest.mark.django_db
@pytest.mark.parametrize(("kind", "again"), [("totp", False), ("recovery_codes", False), ("webauthn", True)])
def test_a_user_cannot_have_two_authenticators_of_a_type(ada: User, kind: str, again: bool) -> None:
    Authenticator.objects.create(user=ada, type=kind, data={})
    try:
        with transaction.atomic():
            Authenticator.objects.create(user=ada, type=kind, data={})
        assert again
    except IntegrityError:
        assert not again


@pytest.mark.django_db(transaction=True)
def test_concurrent_verifications_of_an_address_give_it_to_one_user(
    ada: User, person: Callable[..., User], settings: Any
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("one writer at a time")
    people = [ada, *(person(f"user{number}") for number in range(5))]
    links = []
    for user in people:
        address = EmailAddress.objects.create(user=user, email=ADDRESS, verified=False)
        links.append(f"/email/confirm/{EmailConfirmationHMAC(address).key}/")
    answers = post_at_once([(Client(), link, {}) for link in links])
    assert len(answers) == len(people)
    assert set(answers) <= {200, 302}
    assert EmailAddress.objects.filter(email=ADDRESS, verified=True).count() == 1


@pytest.mark.django_db(transaction=True)
def test_concurrent_setups_create_one_second_factor(ada: User) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("one writer at a time")
    browsers = with_one_session(ada, 6)
    code = code_of(browsers[0].get("/two-factor/totp/activate/").context["form"].secret)
    answers = post_at_once([(browser, "/two-factor/totp/activate/", {"code": code}) for browser in browsers])
    assert answers == [302] * len(browsers)
    assert sorted(Authenticator.objects.values_list("type", flat=True)) == ["recovery_codes", "totp"]


@pytest.mark.django_db(transaction=True)
def test_concurrent_requests_make_only_one_address_primary(ada: User) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("one writer at a time")
    browsers = with_one_session(ada, 5)
    emails = [f"ada{number}@example.com" for number in range(len(browsers))]
    for email in emails:
        EmailAddress.objects.create(user=ada, email=email, verified=True)
    posts = [
        (browser, "/email/", {"action_primary": "", "email": email})
        for browser, email in zip(browsers, emails, strict=True)
    ]
    assert post_at_once(posts) == [302] * len(browsers)
    ada.refresh_from_db()
    assert EmailAddress.objects.get(user=ada, primary=True).email == ada.email


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_one", [True, False])
def test_addresses_added_concurrently_do_not_exceed_the_limit(ada: User, settings: Any, is_one: bool) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("one writer at a time")
    browsers = with_one_session(ada, 6)
    names = ["new" if is_one else f"new{number}" for number in range(len(browsers))]
    posts = [
        (browser, "/email/", {"action_add": "", "email": f"{name}@example.com"})
        for browser, name in zip(browsers, names, strict=True)
    ]
    assert set(post_at_once(posts)) <= {200, 302}
    assert EmailAddress.objects.filter(user=ada).count() == (2 if is_one else settings.ACCOUNT_MAX_EMAIL_ADDRESSES)


@pytest.mark.django_db
def test_the_check_reports_nothing_while_all_indexes_exist() -> None:
    assert [each for each in checks.run_checks(databases=["default"]) if each.id in ("models.W036", "accounts.W001")
            and not each.is_silenced()] == []  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_the_check_reports_a_missing_index_and_the_migration_names_conflicting_rows(
    ada: User, person: Callable[..., User]
) -> None:
    if connection.features.supports_partial_indexes:
        pytest.skip("the database has conditional indexes")
    try:
        uniqueness.remove(connection)
        found = [each.msg for each in uniqueness.check(["default"])]
        assert len(found) == 3
        assert "account_emailaddress has no index unique_verified_email" in found[0]
        rows = [EmailAddress.objects.create(user=user, email=ADDRESS, verified=True) for user in (ada, person("tom"))]
        with pytest.raises(CommandError) as problem:
            uniqueness.create(connection)
        assert f"the rows with the ids {rows[0].pk}, {rows[1].pk} (an address is verified for one person)" in str(
            problem.value
        )
        rows[1].delete()
    finally:
        EmailAddress.objects.filter(email=ADDRESS).delete()
        uniqueness.create(connection)
    assert uniqueness.check(["default"]) == []
