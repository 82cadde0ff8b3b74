"""Endpoints for Prometheus and for load balancers."""

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from sync.core import conf
from sync.monitoring import health, metrics


@require_safe
@never_cache
def prometheus(request: HttpRequest) -> HttpResponse:
    """Return the metrics to a client with SYNC_METRICS_TOKEN or a user who may see the console; to others, 404."""
    if not (_has_token(request) or request.user.has_perm("sync.view_console")):
        raise Http404
    return HttpResponse(metrics.exposition(), content_type=metrics.CONTENT_TYPE)


def _has_token(request: HttpRequest) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return bool(conf.METRICS_TOKEN) and scheme == "Bearer" and constant_time_compare(token, conf.METRICS_TOKEN)


@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """Return 200 if MySQL responds and its migrations are applied, otherwise 503.

    MongoDB is reported only: the portal can serve requests while MongoDB is unreachable.
    """
    words = health.answers()
    return JsonResponse(words, status=200 if words["mysql"] == health.OK else 503)
