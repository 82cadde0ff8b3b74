"""One origin: the portal uses settings.PORTAL_ORIGIN for its own URLs, whatever the request's `Host`."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse


class OriginMiddleware:
    """Replaces the request's host and port with the origin's, once that host is among ALLOWED_HOSTS.

    ALLOWED_HOSTS ignores ports: a request for `localhost:1234` would put links to that port into its pages and, worse,
    into the emails that it causes.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if settings.PORTAL_ORIGIN:
            request.get_host()  # raises DisallowedHost
            request.META["HTTP_HOST"] = urlsplit(settings.PORTAL_ORIGIN).netloc
            request.META.pop("HTTP_X_FORWARDED_HOST", None)
        return self.get_response(request)
