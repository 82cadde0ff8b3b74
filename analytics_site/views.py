"""Pages of the site itself, of no app."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers. Whether its databases do is /readyz's question."""
    return HttpResponse("ok\n", content_type="text/plain")
