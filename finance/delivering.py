"""After many writes at once: brings what is left to the relay into MongoDB now, where that is possible."""

from collections.abc import Callable

from sync.models import Change
from sync.mongo import Unavailable
from sync.relay import Relay


def deliver_now(progress: Callable[[int], None] = lambda keys: None) -> str:
    """Delivers what is due, beside any relay that runs; what to tell the person about it, in one sentence."""
    waiting = Change.objects.undelivered().filter(lane="")
    try:
        Relay().drain(progress)
    except Unavailable as error:
        return f"{error}. {waiting.count()} changes wait for the relay: manage.py sync relay"
    if waiting.exists():
        return f"{waiting.count()} changes are not in MongoDB yet; see manage.py sync status"
    return "MongoDB has it all."
