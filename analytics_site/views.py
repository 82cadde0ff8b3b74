"""Pages of the site itself, of no app."""

import logging
import sys

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template import loader
from django.views import defaults
from django.views.decorators.http import require_safe

from sync import mysql
from sync.status import WORDS

logger = logging.getLogger(__name__)


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers. Whether its databases do is /readyz's question."""
    return HttpResponse("ok\n", content_type="text/plain")


def server_error(request: HttpRequest) -> HttpResponse:
    """An exception that nothing has caught: 503 while the database is out of reach or read-only, otherwise 500.

    Without the request's context, which asks the database who is logged in.
    """
    error = sys.exc_info()[1]
    if error is None or not mysql.is_outage(error):
        return defaults.server_error(request)
    logger.error("%s", mysql.reason(error))  # Django logs the traceback
    page = loader.render_to_string("503.html")
    return HttpResponse(page, status=503, headers={"Retry-After": "60"})


@require_safe
def help_page(request: HttpRequest) -> HttpResponse:
    """For everybody: what each role can do, and what the words on the pages mean."""
    return render(request, "help.html", {"states": WORDS})
