"""What a long-running worker logs: one line when it starts, with what it runs with, and one when it stops, with why.

The lines have no secret: addresses are without user, password and options, and only settings that cannot be secret are
logged with their values. A formatter for JSON also gets `event`, `worker`, and `runs_with` or `reason`.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from sync import __version__
from sync.core import conf
from sync.core.humanize import duration
from sync.mongodb.client import addresses
from sync.workers.loop import in_one_line
from sync.workers.shutdown import StopEvent

logger = logging.getLogger("sync")

# An "@" that is not percent-encoded may end a password, so it may stand only where a user's name and password end.
MONGODB = re.compile(r"(mongodb(?:\+srv)?://)([^/?@]*@)?([^/?@]+(?:/[^?@]*)?)(?(2)(?:\?.*)?|(?:\?[^@]*)?)")
HARMLESS_TEXTS = {"FILES", "KAFKA_PREFIX"}  # settings that are text and shown; a new one is hidden until it is here
SET, UNREADABLE = "(set)", "(not readable)"


@contextmanager
def logged(worker: str, stop: StopEvent, **options: Any) -> Iterator[None]:
    """Logs the start of a worker, and its end when the block ends. options: what else it runs with, without secrets."""
    began = time.monotonic()
    facts = runs_with(**options)
    logger.info(
        "%s started: %s", worker, in_words(facts), extra={"event": "started", "worker": worker, "runs_with": facts}
    )

    def stopped(level: int, reason: str) -> None:
        after = duration(time.monotonic() - began)
        extra = {"event": "stopped", "worker": worker, "reason": reason}
        logger.log(level, "%s stopped after %s: %s", worker, after, reason, extra=extra)

    try:
        yield
    except Exception as error:
        stopped(logging.ERROR, in_one_line(error))
        raise
    stopped(logging.INFO, stop.signal or "its work is done")


def runs_with(**options: Any) -> dict[str, Any]:
    """Returns the version, process and databases, the options, and the settings that differ from their defaults.

    Options that are None are left out.
    """
    return {
        "version": __version__,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "database": _database(),
        "mongodb": {alias or "default": without_secrets(uri) for alias, uri in addresses().items()},
        **{name: value for name, value in options.items() if value is not None},
        "settings": _changed_settings(),
    }


def in_words(facts: dict[str, Any]) -> str:
    """Returns the facts in one line, as name=value."""
    return " ".join(f"{name}={_in_words(value)}" for name, value in facts.items())


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        value = [f"{name}:{each}" for name, each in value.items()]
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return json.dumps(text) if re.search(r'[\s"]', text) or not text else text


def without_secrets(uri: str) -> str:
    """Returns the hosts and the database of MongoDB's address."""
    match = MONGODB.fullmatch(uri)
    return f"{match[1]}{match[3]}" if match else UNREADABLE


def _database() -> str:
    connection: Any = connections[DEFAULT_DB_ALIAS]
    settings = connection.settings_dict
    host, port = settings["HOST"], settings["PORT"]
    server = f"{host}:{port}" if host and port else host
    return f"{connection.vendor}://{server}/{str(settings['NAME']).lstrip('/')}"


def _changed_settings() -> dict[str, Any]:
    """Returns the settings that differ from their defaults, and the values of those that cannot be a secret."""
    values = {name: getattr(conf, name) for name in conf.DEFAULTS}
    return {
        f"SYNC_{name}": value if isinstance(value, (bool, int, float)) or name in HARMLESS_TEXTS else SET
        for name, value in values.items()
        if value != conf.DEFAULTS[name]
    }
