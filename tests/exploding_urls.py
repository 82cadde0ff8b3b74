"""The portal's URLs, and some that fail."""

import logging
import threading
from collections.abc import Iterator

from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from analytics_site import urls

handler500 = urls.handler500


def explode(request: HttpRequest) -> HttpResponse:
    hidden = "a-local-variable"
    raise RuntimeError(f"boom {request.GET.get('text', '')} mysql://me:hush-hush-42@db/x" + hidden[:0])


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def lines() -> Iterator[str]:
        yield "one"
        logging.getLogger("sync").warning("in the middle of a stream")
        yield "two"

    return StreamingHttpResponse(lines())


def break_off(request: HttpRequest) -> StreamingHttpResponse:
    def lines() -> Iterator[str]:
        yield "one"
        explode(request)

    return StreamingHttpResponse(lines())


def in_a_thread(request: HttpRequest) -> HttpResponse:
    thread = threading.Thread(target=explode, args=[request], name="helper")
    thread.start()
    thread.join()
    return HttpResponse("ok")


class Unraisable:
    def __del__(self) -> None:
        raise RuntimeError("nobody hears it")


def unraisable(request: HttpRequest) -> HttpResponse:
    Unraisable()
    return HttpResponse("ok")


def suspicious(request: HttpRequest) -> HttpResponse:
    raise SuspiciousOperation("somebody tampers")


urlpatterns = [
    path("explode", explode),
    path("stream", stream),
    path("break-off", break_off),
    path("thread", in_a_thread),
    path("unraisable", unraisable),
    path("suspicious", suspicious),
    *urls.urlpatterns,
]
