"""The page of one's email addresses offers only what can be done."""

from __future__ import annotations

import pytest
from allauth.account.models import EmailAddress
from django.test import Client

from accounts.models import User

pytestmark = pytest.mark.quick


def offered(client: Client, user: User) -> set[str]:
    client.force_login(user)
    page = client.get("/email/").content.decode()
    return {action for action in ("primary", "send", "remove", "add") if f'name="action_{action}"' in page}


def test_a_sole_verified_address_can_only_be_joined_by_another(client: Client, ada: User) -> None:
    assert offered(client, ada) == {"add"}


def test_a_sole_unverified_address_can_be_verified(client: Client, ada: User) -> None:
    EmailAddress.objects.update(verified=False)
    assert "send" in offered(client, ada)


def test_one_of_several_addresses_can_be_made_primary_or_removed(client: Client, ada: User) -> None:
    EmailAddress.objects.create(user=ada, email="second@example.com", verified=True)
    assert offered(client, ada) == {"primary", "remove", "add"}
