"""The headers and cookies of each class of page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from sync.tests.support.processes import finished, script
from tests.world import World

pytestmark = pytest.mark.django_db

ALL = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# For each class of page: the client, the address, the expected status, and what Cache-Control must contain.
PAGES = {
    "public page": ("nobody", "/", 200, None),
    "login": ("nobody", "/login/", 200, "no-store"),
    "registration": ("nobody", "/register/", 200, "no-store"),
    "page of a person": ("customer", "/profile/", 200, "no-store"),
    "list": ("technical_worker", "/finance/accounts/", 200, "no-store"),
    "export": ("technical_worker", "finance:account_export", 200, "no-store"),
    "chart": ("senior_management", "finance:totals_chart", 200, "no-store"),
    "audit log": ("senior_management", "/audit/", 200, "no-store"),
    "console": ("technical_worker", "/sync/", 200, "no-store"),
    "admin": ("superuser", "/admin/", 200, "no-store"),
    "health": ("nobody", "/healthz", 200, None),
    "redirect": ("nobody", "/dashboard/", 302, None),
    "refused": ("customer", "/sync/", 403, "no-store"),
    "not found": ("customer", "/nothing/", 404, "no-store"),
    "not allowed": ("customer", "/finance/accounts/export/x/", 404, "no-store"),
}


def ask(made: World, who: str, address: str) -> Any:
    client = Client() if who == "nobody" else made.clients[who]
    if ":" in address:
        address = str(made.address(address))
    return client.get(address)


@pytest.mark.parametrize("kind", PAGES)
def test_each_class_of_page_has_its_headers(made: World, kind: str) -> None:
    who, address, status, cached = PAGES[kind]
    answer = ask(made, who, address)
    assert answer.status_code == status
    assert {name: answer.headers.get(name) for name in ALL} == ALL
    assert "camera=()" in answer.headers["Permissions-Policy"]
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Frame-Options"] == "DENY"
    if cached:
        assert cached in answer.headers["Cache-Control"]
    for cookie in answer.cookies.values():
        assert cookie["httponly"] or cookie["max-age"] == 0  # a removed cookie has no value to protect
        assert cookie["samesite"] == "Lax"
        assert cookie["path"] == "/", cookie
        assert not cookie["domain"]


def test_error_responses_have_the_headers_too(made: World) -> None:
    client = Client(raise_request_exception=False, enforce_csrf_checks=True)
    answers = [client.get("/", HTTP_HOST="evil.example"), client.post("/login/", {}), Client().put("/")]
    assert [answer.status_code for answer in answers] == [400, 403, 405]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in ALL} == ALL
        assert "camera=()" in answer.headers["Permissions-Policy"]


def test_over_https_cookies_are_bound_to_this_host(tmp_path: Path) -> None:
    done = finished(
        script(
            "tests.scripts.ask_over_https", HTTPS="1", ALLOWED_HOSTS="portal.example.com",
            DATABASE_URL=f"sqlite:///{tmp_path}/db.sqlite3", DJANGO_SETTINGS_MODULE="analytics_site.settings",
        )
    )  # fmt: skip
    assert done.status == 0
    found = json.loads(done.stdout)
    assert found["status"] == 200
    assert found["cookies"] == {"__Host-csrftoken": [True, True, "/", ""]}
    assert found["session"] == "__Host-sessionid"
    assert found["secure"]
    assert "max-age=31536000" in found["hsts"]
