"""Who may log in, and what a role may do."""

from __future__ import annotations

from typing import Any

from allauth.account.auth_backends import AuthenticationBackend
from django.conf import settings


class RoleBackend(AuthenticationBackend):
    """Login by username or email (allauth's), Django's permissions, and those of the user's role.

    A role works like a group described by settings.ROLE_PERMISSIONS: apps check `user.has_perm("app.codename")` and
    never a role.
    """

    def authenticate(self, request: Any, **credentials: Any) -> Any:
        # allauth would try an address twice, as a username and as an address, and hash the password for both: the time
        # that
        # this takes would reveal to a stranger which addresses are known.
        if credentials.get("email") == credentials.get("username"):
            credentials.pop("email", None)
        return super().authenticate(request, **credentials)

    def user_can_authenticate(self, user: Any) -> bool:
        # get_user() calls it as well, so a session ends with the right to log in.
        return super().user_can_authenticate(user) and user.may_log_in

    def get_group_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        permissions = super().get_group_permissions(user_obj, obj)
        if obj is not None or user_obj.is_anonymous or not user_obj.is_active:
            return permissions
        return {*permissions, *settings.ROLE_PERMISSIONS.get(user_obj.role, ())}
