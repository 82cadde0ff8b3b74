"""The parts that publisher and consumer share: librdkafka's settings, its errors in one line, and topics."""

from __future__ import annotations

import logging
import os
import re
import socket
import ssl
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType
from django.core.exceptions import ImproperlyConfigured

from sync.core import conf
from sync.kafka.position import Log, Place
from sync.mapping.registry import Target
from sync.mongodb.errors import Unavailable

SECRET = ("password", "secret", "key", "pem", "config", "token")  # parts of the names of settings with secret values
# Errors that report a missing response without its cause.
NO_ANSWER = {
    KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT_QUEUE,
    KafkaError._MSG_TIMED_OUT, KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._WAIT_COORD,
}  # fmt: skip
NOT_LISTENING = "Connect to "  # the start of librdkafka's message about an address on which no process listens
UNVERIFIED = "certificate verify failed"
LOOK = 3.0  # seconds for one test connection to a broker
NO_TIME = KafkaError(KafkaError._TIMED_OUT)
DAYS = 24 * 3600 * 1000  # in milliseconds
# A compacted topic has the newest state of each key, so a consumer that reads it from the beginning gets every row.
# Tombstones are kept long enough for a consumer that was stopped for a while.
COMPACTED = {"cleanup.policy": "compact", "delete.retention.ms": str(7 * DAYS)}

# librdkafka repeats its messages at every attempt; the loop logs each once. To see all, add a handler to this logger.
LIBRDKAFKA = logging.getLogger("librdkafka")
LIBRDKAFKA.addHandler(logging.NullHandler())
LIBRDKAFKA.propagate = False


class TopicMissing(Unavailable):
    """A topic that existed is missing."""

    is_loss = True


class Trouble(logging.Handler):
    """Collects a client's errors and log lines from librdkafka: they name the cause that a timeout error does not.

    librdkafka sends them only while the client is polled; `unavailable` therefore polls it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cause = ""  # a rejected login or certificate, or an unknown host
        self.symptom = ""  # a failed connection, which may have many causes
        self.is_unreachable = False
        self.logger = logging.Logger(LIBRDKAFKA.name)
        self.logger.parent = LIBRDKAFKA
        self.logger.addHandler(self)

    def __call__(self, error: KafkaError) -> None:
        if error.code() in NO_ANSWER:
            self.is_unreachable = True
        if error.code() == KafkaError._TRANSPORT:
            self._note(error.str(), is_newer=True)
        elif error.code() not in NO_ANSWER:
            self.cause = _shortened(error.str())

    def emit(self, record: logging.LogRecord) -> None:
        facility, _, text = record.getMessage().partition(" ")
        if facility == "FAIL":
            self._note(text.rpartition("]: ")[2], is_newer=False)

    def _note(self, text: str, *, is_newer: bool) -> None:
        """Keep the first log line or the newest error. A line that names a cause is never replaced by one without."""
        text = _shortened(text)
        if not self.symptom or (_says_why(text) and (is_newer or not _says_why(self.symptom))):
            self.symptom = text

    def unavailable(self, error: KafkaException | KafkaError, client: Any = None) -> Unavailable:
        """Return the error to raise when Kafka is unavailable. Its text stays the same while the cause does.

        client: the client that failed. It is polled first for the cause.
        """
        first = error if isinstance(error, KafkaError) else error.args[0]
        if first.code() not in NO_ANSWER:
            why = first.str() or first.name()
        else:
            if client is not None:
                client.poll(0)
            why = self.cause or self.symptom
            if not self.cause or UNVERIFIED in why:
                why = diagnose(conf.KAFKA) or why
            if not why or NOT_LISTENING in why:
                why = f"no response from {conf.KAFKA['bootstrap.servers']}" + (f": {why}" if why else "")
        self.cause = self.symptom = ""
        return Unavailable(f"Kafka is unavailable: {without_secrets(why)}")


def _says_why(text: str) -> bool:
    return not re.match(r"\S+: Disconnected", text)


def _shortened(text: str) -> str:
    """Remove the elapsed time and the connection's number, so that the same cause has the same text."""
    return re.sub(r"^(\S+)/(?:bootstrap|\d+): ", r"\1: ", text.split(" (after ")[0])


def _protocol(settings: Mapping[str, Any]) -> str:
    return str(settings.get("security.protocol", "PLAINTEXT")).upper()


def diagnose(settings: Mapping[str, Any]) -> str:
    """Open a test connection to the first broker and return a cause that librdkafka does not report, or "".

    librdkafka reports every bad certificate as "could not be verified", and nothing about a broker that expects TLS.
    """
    address = str(settings["bootstrap.servers"]).split(",")[0].strip().rpartition("://")[2]
    host, _, port = address.rpartition(":")
    protocol = _protocol(settings)
    is_tls, context = "SSL" in protocol, ssl.create_default_context()
    try:
        if not is_tls or settings.get("ssl.endpoint.identification.algorithm") == "none":
            context.check_hostname = False
        if not is_tls:
            context.verify_mode = ssl.CERT_NONE
        elif settings.get("ssl.ca.location"):
            context.load_verify_locations(settings["ssl.ca.location"])
        with (
            socket.create_connection((host.strip("[]"), int(port)), LOOK) as connection,
            context.wrap_socket(connection, server_hostname=host.strip("[]")),
        ):
            if not is_tls:
                return f'{address} requires TLS. Set "security.protocol" to SSL or SASL_SSL'
            speaks_it = True
    except ssl.SSLCertVerificationError as error:
        return f"{address}: the broker's certificate was rejected: {error.verify_message}"
    except (ssl.SSLError, ConnectionResetError):  # a broker without TLS closes the connection
        speaks_it = not is_tls
    except (OSError, ValueError):
        return ""
    if speaks_it and "SASL" not in protocol:
        return (
            f"{address} accepts connections but does not respond in time. If the broker requires a login, set "
            f'"security.protocol" to SASL_{protocol}'
        )
    return ""


def without_secrets(text: str) -> str:
    """Return `text` without the values of secret settings."""
    for name, value in conf.KAFKA.items():
        if any(part in name for part in SECRET) and str(value):
            text = text.replace(str(value), "***")
    return text


def settings(trouble: Trouble, **ours: Any) -> dict[str, Any]:
    """Return SYNC_KAFKA with our defaults and this client's required settings. Raises ImproperlyConfigured.

    librdkafka's messages go to `trouble`, and to the logger "librdkafka".
    """
    if not conf.KAFKA.get("bootstrap.servers"):
        raise ImproperlyConfigured('SYNC_KAFKA has no bootstrap.servers. Set it: {"bootstrap.servers": "host:9092"}')
    defaults = {"client.id": "sync", "logger": trouble.logger, "reconnect.backoff.max.ms": 2000}
    defaults["topic.metadata.refresh.interval.ms"] = 30_000  # until a topic that is created later is read
    for name, value in conf.KAFKA.items():
        if name.endswith(".location") and value != "probe" and not os.access(str(value), os.R_OK):
            raise ImproperlyConfigured(f"SYNC_KAFKA: {name} is {value}, which is not a readable file.")
    return {**defaults, **conf.KAFKA, "error_cb": trouble, **{name.replace("_", "."): ours[name] for name in ours}}


def refused(error: KafkaException) -> ImproperlyConfigured:
    """Return the error to raise when librdkafka rejects the settings. Adds the paths of the files that it names."""
    why = error.args[0].str()
    named = [f"{name} is {value}" for name, value in conf.KAFKA.items() if name in why and name.endswith(".location")]
    return ImproperlyConfigured(f"SYNC_KAFKA: {without_secrets('; '.join([why, *named]))}")


def topic(target: Target) -> str:
    """Return the topic that a target names, or else SYNC_KAFKA_PREFIX and the table's name."""
    return target.name.partition(":")[2] or f"{conf.KAFKA_PREFIX}.{target.model._meta.db_table}"


def _topic_id(name: str, asked: Any) -> str:
    try:
        return str(asked.result(conf.TIMEOUT).topic_id)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise
        raise TopicMissing(f"The topic {name} is missing: it was deleted or renamed") from error


class Topics:
    """The cluster's topics."""

    def __init__(self) -> None:
        self.trouble = Trouble()
        try:
            self.admin = AdminClient(settings(self.trouble))
        except KafkaException as error:
            raise refused(error) from error

    def partitions(self, names: Collection[str]) -> dict[str, int]:
        """Return the number of partitions of each topic that exists. Raises Unavailable."""
        try:
            found = self.admin.list_topics(timeout=conf.TIMEOUT).topics
        except KafkaException as error:
            raise self.trouble.unavailable(error, self.admin) from error
        return {name: len(found[name].partitions) for name in names if name in found and not found[name].error}

    def make(self, names: Collection[str], partitions: int, config: dict[str, str] = COMPACTED) -> list[str]:
        """Create the missing topics with the cluster's default replication factor, and return their names.

        Raises Unavailable.
        """
        made = []
        missing = set(names) - self.partitions(names).keys()
        new = [NewTopic(name, partitions, -1, config=config) for name in missing]
        for name, done in (self.admin.create_topics(new) if new else {}).items():
            try:
                done.result(conf.TIMEOUT)
                made.append(name)
            except TimeoutError as error:
                raise self.trouble.unavailable(NO_TIME, self.admin) from error
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise Unavailable(f"The topic {name} cannot be created: {error.args[0].str()}") from error
        return made

    def identities(self, names: Collection[str]) -> dict[str, tuple[str, str]]:
        """Return (cluster id, topic id) of each topic. A recreated topic has another id. Raises Unavailable."""
        try:
            cluster = str(self.admin.describe_cluster(request_timeout=conf.TIMEOUT).result(conf.TIMEOUT).cluster_id)
            asked = self.admin.describe_topics(TopicCollection(list(names)), request_timeout=conf.TIMEOUT)
            return {name: (cluster, _topic_id(name, done)) for name, done in asked.items()}
        except TimeoutError as error:
            raise self.trouble.unavailable(NO_TIME, self.admin) from error
        except KafkaException as error:
            raise self.trouble.unavailable(error, self.admin) from error

    def logs(self, places: Collection[Place]) -> dict[Place, Log]:
        """Return the current state of these partitions. Raises Unavailable."""
        identities = self.identities({topic for topic, _ in places})
        first, end = (self._offsets(places, spec) for spec in (OffsetSpec.earliest(), OffsetSpec.latest()))
        kept = {topic: self._deletes_kept(topic) for topic in identities}
        return {place: Log(*identities[place[0]], first[place], end[place], kept[place[0]]) for place in places}

    def _deletes_kept(self, name: str) -> timedelta | None:
        [asked] = self.admin.describe_configs([ConfigResource(ResourceType.TOPIC, name)]).values()
        try:
            config = {key: entry.value for key, entry in asked.result(conf.TIMEOUT).items()}
        except TimeoutError as error:
            raise self.trouble.unavailable(NO_TIME, self.admin) from error
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:  # needs DescribeConfigs
                return None
            raise self.trouble.unavailable(error, self.admin) from error
        is_compacted = "compact" in config["cleanup.policy"]
        return timedelta(milliseconds=int(config["delete.retention.ms"])) if is_compacted else None

    def _offsets(self, places: Collection[Place], spec: OffsetSpec) -> dict[Place, int]:
        asked = self.admin.list_offsets(
            {TopicPartition(*place): spec for place in places}, request_timeout=conf.TIMEOUT
        )
        try:
            return {(one.topic, one.partition): done.result(conf.TIMEOUT).offset for one, done in asked.items()}
        except TimeoutError as error:
            raise self.trouble.unavailable(NO_TIME, self.admin) from error
        except KafkaException as error:
            raise self.trouble.unavailable(error, self.admin) from error
