"""The log: lines of text or JSON on stderr, each with the id of the request that it belongs to.

No header or form value can forge a line: control characters are escaped, and continuation lines are indented. No line
has the password of an address, and no traceback has local variables.
"""

from __future__ import annotations

import logging
import logging.config
import re
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from datetime import datetime
from types import TracebackType
from typing import Any

from django.conf import settings
from django.core.signals import request_finished
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from analytics_site.errors import PASSWORD

logger = logging.getLogger(__name__)

HEADER = "X-Request-ID"
WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:=+/-]{7,127}")
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
# What a terminal or a line reader interprets: control characters, line ends, changes of direction.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
CONTROL_BUT_LINES = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class RequestIDMiddleware:
    """Gives each request an id: a trusted proxy's, or a new one. Its response has it as a header."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        sent = request.headers.get(HEADER, "") if settings.TRUSTED_PROXIES else ""
        request_id = sent if WELL_FORMED.fullmatch(sent) else uuid.uuid4().hex
        REQUEST_ID.set(request_id)
        response = self.get_response(request)
        response[HEADER] = request_id
        if isinstance(response, StreamingHttpResponse) and not (
            response.is_async or isinstance(response, FileResponse)
        ):
            response.streaming_content = _logged(response.streaming_content, request.path)
        return response


def _logged(content: Iterable[bytes], path: str) -> Iterator[bytes]:
    """An error in the middle of a response is logged by the web server, without an id: so it is logged here, too."""
    try:
        yield from content
    except Exception:
        logger.exception("The response was interrupted by an unexpected error: %s", path)
        raise


def _forget(**kwargs: Any) -> None:
    REQUEST_ID.set("")


# Not at the end of the middleware: a streaming response is produced, and may fail, after that.
request_finished.connect(_forget, dispatch_uid="analytics_site.logs")


class WithRequestID(logging.Filter):
    """Adds `request_id` to each line; it is empty outside a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = REQUEST_ID.get()
        return True


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


class TextFormatter(logging.Formatter):
    """A line such as `2026-01-31 23:59:59,123 ERROR django.request [id] Internal Server Error: /path`."""

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # another formatter's, which has not escaped it
        try:
            return super().format(record)
        finally:
            record.exc_text = None

    def formatMessage(self, record: logging.LogRecord) -> str:
        request_id = getattr(record, "request_id", "")
        message = CONTROL.sub(_escaped, f"{f'[{request_id}] ' if request_id else ''}{record.message}")
        return PASSWORD.sub(r"\1:***@", f"{record.asctime} {record.levelname} {record.name} {message}")

    def formatException(self, ei: Any) -> str:
        return self._indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        return self._indented(super().formatStack(stack_info))

    def usesTime(self) -> bool:
        return True

    def _indented(self, text: str) -> str:
        lines = CONTROL_BUT_LINES.sub(_escaped, text).split("\n")
        return PASSWORD.sub(r"\1:***@", "\n".join(f"  {line}" for line in lines))


class JSONFormatter(JsonFormatter):
    """One object per line: timestamp, level, logger, message, request_id; exc_info and status_code if there are any."""

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        for name, value in log_data.items():
            if isinstance(value, str):
                log_data[name] = PASSWORD.sub(r"\1:***@", value)
            elif isinstance(value, datetime):
                log_data[name] = value.isoformat(timespec="microseconds")
        return log_data


FORMATTERS: dict[str, dict[str, Any]] = {
    "text": {"()": "analytics_site.logs.TextFormatter"},
    "json": {
        "()": "analytics_site.logs.JSONFormatter",
        "fmt": "{levelname}{name}{message}{request_id}",
        "style": "{",
        "timestamp": True,
        "rename_fields": {"levelname": "level", "name": "logger"},
        "json_ensure_ascii": True,
        # Django adds the request itself, whose address may hold a secret.
        "reserved_attrs": [*RESERVED_ATTRS, "request", "server_time"],
    },
}


def config(form: str, level: str) -> dict[str, Any]:
    """For logging.config.dictConfig. form: "text" or "json"."""
    passed_on: dict[str, Any] = {"handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": "analytics_site.logs.WithRequestID"}},
        "formatters": {"log": FORMATTERS[form]},
        "handlers": {"log": {"class": "logging.StreamHandler", "filters": ["request_id"], "formatter": "log"}},
        "root": {"handlers": ["log"], "level": level},
        # These have handlers of their own otherwise, Django's for DEBUG only.
        "loggers": dict.fromkeys(("django", "django.server", "gunicorn.error"), passed_on),
    }


def configure(logging_config: dict[str, Any]) -> None:
    """Django's LOGGING_CONFIG. Uncaught errors of any thread reach the log, too."""
    logging.config.dictConfig(logging_config)
    sys.excepthook = _of_program
    threading.excepthook = _of_thread
    sys.unraisablehook = _of_nobody
    for sentence in settings.UNKNOWN_VARIABLES:
        logger.warning("%s", sentence)


def _of_program(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logger.critical("The program ended with an unexpected error: %s", _named(error), exc_info=(kind, error, trace))


def _of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        name = args.thread.name if args.thread else "unknown"
        trace = (args.exc_type, args.exc_value, args.exc_traceback)
        logger.error("The thread %s ended with an unexpected error: %s", name, _named(args.exc_value), exc_info=trace)


def _of_nobody(args: Any) -> None:
    if args.exc_value is not None:
        trace = (args.exc_type, args.exc_value, args.exc_traceback)
        what = args.err_msg or "Exception ignored in"
        logger.error("%s %r: %s", what, args.object, _named(args.exc_value), exc_info=trace)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
