"""The security headers of every response."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.tests.support import INLINE
from tests.world import World

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("who", ["nobody", "customer", "superuser"])
def test_every_response_has_restrictive_headers(made: World, who: str) -> None:
    """Pages, refusals, redirects and downloads: no inline code, framing, MIME sniffing or shared caching."""
    client = Client() if who == "nobody" else made.clients[who]
    seen = 0
    for route, address in made.addresses().items():
        answer: Any = client.get(address)
        policy = answer.headers["Content-Security-Policy"]
        directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
        assert directives["default-src"] == directives["base-uri"] == directives["frame-ancestors"] == "'none'", route
        assert directives["script-src"] == directives["style-src"] == directives["form-action"] == "'self'", route
        assert "unsafe" not in policy, route
        assert answer.headers["X-Frame-Options"] == "DENY", route
        assert answer.headers["X-Content-Type-Options"] == "nosniff", route
        assert answer.headers["Referrer-Policy"] == "same-origin", route
        if who != "nobody" and not route.startswith(("healthz", "admin/jsi18n")):
            assert "private" in answer.headers["Cache-Control"], route
        if answer.headers["Content-Type"].startswith("text/html") and not answer.streaming:
            assert not INLINE.search(answer.content.decode()), route
            seen += answer.status_code == 200
    assert seen > 5
