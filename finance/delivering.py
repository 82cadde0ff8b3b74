"""Delivers the changes of a bulk load right away instead of waiting for the relay."""

from collections.abc import Callable

from sync.core.humanize import counted
from sync.mongodb.errors import Unavailable
from sync.outbox.models import Change
from sync.outbox.relay import Relay


def deliver_now(progress: Callable[[int], None] = lambda keys: None) -> str:
    """Delivers what is due, also beside a running relay. Returns one sentence about the result for the user."""
    waiting = Change.objects.undelivered().filter(queue="")
    try:
        Relay().drain(progress)
    except Unavailable as error:
        wait = counted(waiting.count(), "change waits", "changes wait")
        return f"{error}. {wait} for the relay: manage.py sync relay"
    if waiting.exists():
        are = counted(waiting.count(), "change is", "changes are")
        return f"{are} not in MongoDB yet; see manage.py sync status"
    return "MongoDB has it all."
