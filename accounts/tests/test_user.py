"""The user model and the constraints of its table."""

from __future__ import annotations

import pytest
from allauth.account.models import EmailAddress
from django.db import IntegrityError, transaction

from accounts.models import User

pytestmark = [pytest.mark.quick, pytest.mark.django_db]


@pytest.mark.engine
@pytest.mark.parametrize(
    "fields",
    [
        {"role": "king"},
        {"requested_role": "customer"},
        {"request_decision": "approved"},
        {"requested_role": "technical_worker", "request_decision": "maybe"},
    ],
)
def test_the_database_rejects_impossible_states(fields: dict[str, str]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create(username="ada", email="ada@example.com", **fields)


@pytest.mark.engine
def test_addresses_are_unique_regardless_of_case() -> None:
    User.objects.create_user("ada", "Ada@Example.com")
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create_user("eve", "aDA@eXAMPLE.com")
    assert User.objects.get(email="ADA@example.com").email == "ada@example.com"
    User.objects.update(email="ADA@EXAMPLE.COM")
    assert User.objects.get().email == "ada@example.com"


@pytest.mark.engine
def test_several_users_may_have_no_address() -> None:
    User.objects.create_user("ada")
    User.objects.create_user("eve")
    assert [user.email for user in User.objects.all()] == ["", ""]


@pytest.mark.parametrize(
    ("first", "last", "name", "initials"),
    [("Ada", "Byron", "Ada Byron", "AB"), ("Ada", "", "Ada", "A"), ("", "Byron", "Byron", "B"), ("", "", "ada", "A")],
)
def test_the_name_falls_back_to_the_username(first: str, last: str, name: str, initials: str) -> None:
    user = User(username="ada", first_name=first, last_name=last)
    assert (user.get_full_name(), user.initials) == (name, initials)


def test_the_address_of_the_first_superuser_counts_as_verified() -> None:
    root = User.objects.create_superuser("root", "Root@example.com", "a-password-9")
    address = EmailAddress.objects.get(user=root)
    assert address.verified
    assert address.email == root.email == "root@example.com"
