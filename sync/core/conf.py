"""The mirror's settings: `conf.LEASE` is `settings.SYNC_LEASE`, or the default below. Times are in seconds."""

from typing import Any

from django.conf import settings

DEFAULTS: dict[str, Any] = {
    "INLINE": True,  # deliver in the web process right after the commit; off leaves everything to the relay
    "INLINE_TIMEOUT": 0.5,  # how long one inline delivery may delay a request when MongoDB does not respond
    "INLINE_MAX_KEYS": 100,  # a transaction with more keys than this is left to the relay
    "CONFIRM": 2.0,  # after this time a relay confirms or repeats what was delivered inline
    "BREAKER_RESET": 5.0,  # after a failed inline delivery, none is attempted for this long
    "TIMEOUT": 10.0,  # for all MongoDB calls of one relay batch
    "LEASE": 30.0,  # after this MongoDB refuses a slow insert, and a claim on changes expires
    "SETTLE": 60.0,  # a deletion is delivered once more after this; longer than lease and timeout together
    "BATCH": 500,  # changes that a relay delivers together
    "FOLLOW_BINLOG": False,  # `sync run` follows the binary log
    "VERIFY_EVERY": 0.0,  # `sync run` verifies every model as often as this; 0: never
    "MAX_ATTEMPTS": 5,  # attempts to deliver a row before its changes become dead letters
    "TARGETS": {},  # further MongoDB databases by alias, for mirrors with targets there
    "FILES": "",  # the directory of targets that are files
    "KAFKA": {},  # librdkafka's settings: bootstrap.servers, security.protocol, sasl.username, ...
    "KAFKA_PREFIX": "analytics",  # prefix of topics without a name, of the publisher and of groups
    "KAFKA_PARTITIONS": 5,  # of each topic; a key stays in its partition, so this must not change
    "METRICS_TOKEN": "",  # a client that sends it as a Bearer token may read /metrics; empty: no client
    "ALERT_EMAILS": [],  # addresses that get a mail when the mirror needs attention, and when it has recovered
    "ALERT_WEBHOOK": "",  # an http or https address that gets the same as JSON
    "ALERT_WEBHOOK_SECRET": "",  # signs what the webhook gets; empty: unsigned
    "ALERT_AFTER": 60.0,  # an incident opens, and closes, when the mirror was bad, or good, for this long
    "ALERT_LAG": 300.0,  # the age of the oldest pending change from which lag counts as an incident
}


MONGODB_URI = "mongodb://127.0.0.1:27017/mirror"  # when the setting is absent


def mongodb_uri() -> str:
    """The address of the database for mirrors without an alias."""
    return getattr(settings, "MONGODB_URI", MONGODB_URI)


def __getattr__(name: str) -> Any:
    try:
        default = DEFAULTS[name]
    except KeyError:
        raise AttributeError(f"there is no setting SYNC_{name}") from None
    return getattr(settings, f"SYNC_{name}", default)
