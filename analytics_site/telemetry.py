"""Error reports to Sentry and traces of requests by OpenTelemetry. Each is off unless its variable is set.

Neither gets what users send, such as forms, cookies and queries, nor local variables, nor a password of an address.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from analytics_site.errors import PASSWORD
from analytics_site.logs import HEADER, REQUEST_ID


def report_errors() -> None:
    """Sends each error of this process to SENTRY_DSN, if it is set."""
    if not settings.SENTRY_DSN:
        return
    import sentry_sdk

    sentry_sdk.init(
        dsn=settings.SENTRY_DSN, before_send=_cleansed, send_default_pii=False, include_local_variables=False,
        max_request_body_size="never", max_breadcrumbs=0,
    )  # fmt: skip


def _cleansed(event: Any, hint: Any) -> Any:
    """The event with the id that finds it in the log, and of the request only its method and path."""
    event.pop("user", None)
    if request := event.pop("request", None):
        event["request"] = {"method": request.get("method"), "url": str(request.get("url", "")).partition("?")[0]}
    if request_id := REQUEST_ID.get():
        event.setdefault("tags", {})["request_id"] = request_id
    return _masked(event)


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _masked(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_masked(each) for each in value]
    return PASSWORD.sub(r"\1:***@", value) if isinstance(value, str) else value


def trace_requests() -> None:
    """Sends a span for each request to OTEL_EXPORTER_OTLP_ENDPOINT, if it is set. Call it before Django's handler."""
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import Status

    class Exporter(OTLPSpanExporter):
        """Leaves out the message and the traceback of an exception: the log has them, without passwords."""

        def export(self, spans: Any) -> Any:
            return super().export([without_exceptions(span) for span in spans])

    def without_exceptions(span: ReadableSpan) -> ReadableSpan:
        return ReadableSpan(
            name=span.name, context=span.context, parent=span.parent, resource=span.resource, kind=span.kind,
            attributes=span.attributes, status=Status(span.status.status_code),
            start_time=span.start_time, end_time=span.end_time, instrumentation_scope=span.instrumentation_scope,
        )  # fmt: skip

    provider = TracerProvider(resource=Resource.create({"service.name": settings.PORTAL_NAME}))
    address = f"{settings.OTEL_EXPORTER_OTLP_ENDPOINT.rstrip('/')}/v1/traces"
    provider.add_span_processor(BatchSpanProcessor(Exporter(endpoint=address)))
    DjangoInstrumentor().instrument(
        tracer_provider=provider, request_hook=_without_query, response_hook=_with_request_id
    )


def _without_query(span: Any, request: HttpRequest) -> None:
    for name in ("http.url", "http.target", "url.full"):
        span.set_attribute(name, request.path)
    span.set_attribute("url.query", "")


def _with_request_id(span: Any, request: HttpRequest, response: HttpResponse) -> None:
    span.set_attribute("request_id", response.get(HEADER, ""))
