"""How users are created other than by registration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import UserManager as DjangoUserManager
from django.db import transaction

if TYPE_CHECKING:
    from accounts.models import User

DEMO_PASSWORD = "demo-password-1"  # noqa: S105  (deliberately public: refused outside DEBUG)


class UserManager(DjangoUserManager["User"]):
    """Django's manager, which also verifies the addresses of users that the operator creates."""

    @transaction.atomic
    def create_superuser(
        self, username: str, email: str | None = None, password: str | None = None, **extra_fields: Any
    ) -> User:
        """The operator's word is enough: otherwise a first superuser would have to wait for an email before the first
        login.
        """
        user = super().create_superuser(username, email, password, **extra_fields)
        _vouch_for_address(user)
        return user

    @transaction.atomic
    def create_demo_user(self, username: str, role: str, first_name: str, last_name: str) -> User:
        """A demo user, `<username>@example.com`, with DEMO_PASSWORD; created, or reset to its original state.

        Raises ValueError if a real user has that name.
        """
        user = self.filter(username=username).first() or self.model(username=username, is_demo=True)
        if not user.is_demo:
            raise ValueError(f"{username} is a real user here, so the demo user of that name was not created.")
        user.email = f"{username}@example.com"
        user.role, user.first_name, user.last_name = role, first_name, last_name
        if not user.check_password(DEMO_PASSWORD):
            user.set_password(DEMO_PASSWORD)
        user.save()
        _vouch_for_address(user)
        return user


def _vouch_for_address(user: User) -> None:
    from allauth.account.models import EmailAddress  # its models need this app's to be loaded

    if user.email:
        EmailAddress.objects.update_or_create(user=user, email=user.email, defaults={"verified": True, "primary": True})
