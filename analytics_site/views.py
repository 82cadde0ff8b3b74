"""Pages of the site itself, of no app."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from sync.status import WORDS


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers. Whether its databases do is /readyz's question."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def help_page(request: HttpRequest) -> HttpResponse:
    """For everybody: what each role can do, and what the words on the pages mean."""
    return render(request, "help.html", {"states": WORDS})
