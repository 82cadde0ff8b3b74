"""A visitor of a portal that runs in processes of its own."""

from __future__ import annotations

import re
import ssl
from http.cookiejar import CookieJar
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, HTTPSHandler, ProxyHandler, Request, build_opener

from django.contrib.auth.hashers import Argon2PasswordHasher

from accounts.models import User

NAME, PASSWORD = "operator", "a-long-password-9"


def make_user() -> None:
    """Creates a user who can log in. The tests' own settings hash passwords in a way that a portal does not accept."""
    user = User.objects.create_superuser(NAME, f"{NAME}@example.com")
    user.password = Argon2PasswordHasher().encode(PASSWORD, "salt-of-the-tests")
    user.save()


class Visitor:
    """A browser's cookies at one address. context: whose certificates it trusts."""

    def __init__(self, address: str, context: ssl.SSLContext | None = None) -> None:
        self.address = address
        self.opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()), HTTPSHandler(context=context))

    def open(self, path: str, data: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """The status, headers in lower case, and body. Follows redirects."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(f"{self.address}{path}", data, {"Referer": f"{self.address}{path}"} | named)
        try:
            response = self.opener.open(request, timeout=30)
        except HTTPError as error:
            response = error
        with response:
            return response.status, {name.lower(): value for name, value in response.headers.items()}, response.read()

    def log_in(self, name: str = NAME, password: str = PASSWORD, **headers: str) -> str:
        """Fills in the login form. Returns the page that follows."""
        _, _, page = self.open("/login/")
        [token] = set(re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.decode()))
        form = {"login": name, "password": password, "csrfmiddlewaretoken": token}
        return self.open("/login/", urlencode(form).encode(), **headers)[2].decode()

    @property
    def is_logged_in(self) -> bool:
        return NAME in self.open("/profile/")[2].decode()
