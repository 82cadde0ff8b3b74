"""Pages of the site itself that belong to no app."""

import logging
import sys

from django.http import HttpRequest, HttpResponse, HttpResponseServerError
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.http import require_safe

from analytics_site.glossary import GLOSSARY
from analytics_site.logs import REQUEST_ID
from sync.core import mysql
from sync.monitoring.status import MEANS

logger = logging.getLogger(__name__)


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """The process responds. Whether its databases do is /readyz's question."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def help_page(request: HttpRequest) -> HttpResponse:
    """What each role can do, what to do when something is wrong, and what the terms mean; for visitors, too."""
    return render(request, "help.html", {"states": MEANS, "glossary": GLOSSARY})


def server_error(request: HttpRequest) -> HttpResponse:
    """The page for an unexpected error, with the id that finds it in the log.

    If the database is unreachable or read-only, the status is 503 and the page says to try again. If two requests save
    a value that must be unique, each after its form found no problem, the second gets a page with status 409.

    It uses neither the request nor the databases, as one of them may be what has failed.
    """
    request_id = REQUEST_ID.get()
    error = sys.exc_info()[1]
    is_outage = error is not None and mysql.is_outage(error)
    is_conflict = error is not None and mysql.is_duplicate(error)
    template = "503.html" if is_outage else "409.html" if is_conflict else "500.html"
    try:
        page: str = render_to_string(template, {"request_id": request_id})
    except Exception:
        logger.exception("The error page cannot be rendered.")
        page = f"Something went wrong on our side. Tell us this number: {request_id}\n"
        return HttpResponseServerError(page, content_type="text/plain")
    if error is not None and is_outage:
        logger.error("%s", mysql.reason(error))  # the traceback is logged with the response
        return HttpResponse(page, status=503, headers={"Retry-After": "60"})
    return HttpResponse(page, status=409) if is_conflict else HttpResponseServerError(page)
