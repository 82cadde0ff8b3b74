"""The mirror's settings: `conf.LEASE` is `settings.SYNC_LEASE`, or the default below. Times are seconds."""

from typing import Any

from django.conf import settings

DEFAULTS: dict[str, Any] = {
    "INLINE": True,  # deliver in the request, right after commit; off leaves everything to the relay
    "INLINE_TIMEOUT": 0.5,  # what one inline delivery may cost a request when MongoDB does not respond
    "INLINE_MAX_KEYS": 100,  # a transaction with more keys than this is left to the relay
    "CONFIRM": 2.0,  # after this a relay confirms, or repeats, what was delivered inline
    "BREAKER_RESET": 5.0,  # after a failed inline delivery, none is tried for so long
    "TIMEOUT": 10.0,  # all MongoDB calls of one relay batch together
    "LEASE": 30.0,  # how long claimed changes are one deliverer's own; an insert later than this is refused
    "SETTLE": 60.0,  # a delete is delivered once more after this; must be longer than lease and timeout together
    "BATCH": 500,  # changes claimed at once
    "MAX_ATTEMPTS": 5,  # tries of a row that cannot be delivered before its changes become dead letters
    "TARGETS": {},  # further MongoDB databases by alias, for mirrors with targets there
    "FILES": "",  # the directory of targets that are files
    "KAFKA": {},  # librdkafka's settings: bootstrap.servers, security.protocol, sasl.username, ...
    "KAFKA_PREFIX": "analytics",  # begins the names of topics that mirrors do not name, of the publisher, of groups
    "KAFKA_PARTITIONS": 5,  # of each topic; a key stays in its partition, so this must stay what it was
    "METRICS_TOKEN": "",  # who sends it as a Bearer may read /metrics; empty: nobody can
}


MONGODB_URI = "mongodb://127.0.0.1:27017/mirror"  # when the setting is absent


def mongodb_uri() -> str:
    """The address of the database that mirrors without an alias are written to."""
    return getattr(settings, "MONGODB_URI", MONGODB_URI)


def __getattr__(name: str) -> Any:
    try:
        default = DEFAULTS[name]
    except KeyError:
        raise AttributeError(f"there is no setting SYNC_{name}") from None
    return getattr(settings, f"SYNC_{name}", default)
