"""Who may log in, and what a role may do."""

from __future__ import annotations

from typing import Any

from allauth.account.auth_backends import AuthenticationBackend
from django.conf import settings


class RoleBackend(AuthenticationBackend):
    """Login by username or email (allauth's), Django's permissions, and those that a role brings.

    A role works like a group that settings.ROLE_PERMISSIONS describes: apps ask `user.has_perm("app.codename")`
    and know of no role.
    """

    def authenticate(self, request: Any, **credentials: Any) -> Any:
        # allauth would try an address twice, as a username and as an address, and hash the password for both: by the
        # time that this takes a stranger would tell the addresses that are known.
        if credentials.get("email") == credentials.get("username"):
            credentials.pop("email", None)
        return super().authenticate(request, **credentials)

    def user_can_authenticate(self, user: Any) -> bool:
        # get_user() asks as well, so a session ends with the right to log in.
        return super().user_can_authenticate(user) and user.may_log_in

    def get_group_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        permissions = super().get_group_permissions(user_obj, obj)
        if obj is not None or user_obj.is_anonymous or not user_obj.is_active:
            return permissions
        return {*permissions, *settings.ROLE_PERMISSIONS.get(user_obj.role, ())}
