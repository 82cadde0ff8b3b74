"""One verified address for one person, one authenticator of a kind: on every database, whoever writes."""

from __future__ import annotations

import threading
from collections.abc import Callable
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

pytestmark = [pytest.mark.engine]

ADDRESS = "shared@example.com"


@pytest.mark.django_db
def test_two_people_cannot_have_one_verified_address(ada: User, person: Callable[..., User]) -> None:
    tom = person("tom")
    EmailAddress.objects.create(user=ada, email=ADDRESS, verified=True)
    other = EmailAddress.objects.create(user=tom, email=ADDRESS, verified=False)
    with pytest.raises(IntegrityError), transaction.atomic():
        EmailAddress.objects.filter(pk=other.pk).update(verified=True)


@pytest.mark.django_db
def test_nobody_has_two_primary_addresses(ada: User) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        EmailAddress.objects.create(user=ada, email=ADDRESS, primary=True)


@pytest.mark.django_db
@pytest.mark.parametrize(("kind", "again"), [("totp", False), ("recovery_codes", False), ("webauthn", True)])
def test_nobody_has_two_authenticators_of_a_kind(ada: User, kind: str, again: bool) -> None:
    Authenticator.objects.create(user=ada, type=kind, data={})
    try:
        with transaction.atomic():
            Authenticator.objects.create(user=ada, type=kind, data={})
        assert again
    except IntegrityError:
        assert not again


@pytest.mark.django_db(transaction=True)
def test_of_two_who_verify_one_address_at_once_one_wins(ada: User, person: Callable[..., User], settings: Any) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("one writer at a time")
    people = [ada, *(person(f"user{number}") for number in range(5))]
    links = []
    for user in people:
        address = EmailAddress.objects.create(user=user, email=ADDRESS, verified=False)
        links.append(f"/email/confirm/{EmailConfirmationHMAC(address).key}/")
    barrier = threading.Barrier(len(people))
    answers = []

    def verify(link: str) -> None:
        browser = Client()
        barrier.wait(10)
        answers.append(browser.post(link).status_code)
        connection.close()

    threads = [threading.Thread(target=verify, args=[link]) for link in links]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == len(people)
    assert set(answers) <= {200, 302}
    assert EmailAddress.objects.filter(email=ADDRESS, verified=True).count() == 1


@pytest.mark.django_db
def test_the_check_says_nothing_while_all_is_there() -> None:
    assert [each for each in checks.run_checks(databases=["default"]) if each.id in ("models.W036", "accounts.W001")
            and not each.is_silenced()] == []  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_the_check_misses_an_index_and_the_migration_names_the_rows_that_are_in_the_way(
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
