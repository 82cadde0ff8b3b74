"""What publisher and consumer have in common: the settings of librdkafka, topics, and its errors in one line."""

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

SECRET = ("password", "secret", "key", "pem", "config", "token")  # of the names of settings whose values are not shown
# Errors that say that there was no answer in time, and not why.
NO_ANSWER = {
    KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT_QUEUE,
    KafkaError._MSG_TIMED_OUT, KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._WAIT_COORD,
}  # fmt: skip
NOBODY = "Connect to "  # begins what is said of an address where nobody listens
UNVERIFIED = "certificate verify failed"
LOOK = 3.0  # seconds for one look at a broker
NO_TIME = KafkaError(KafkaError._TIMED_OUT)
DAYS = 24 * 3600 * 1000  # in milliseconds
# A topic is the newest state of each key: whoever reads it from the beginning has all there is. What a delete leaves
# is kept long enough for a consumer that was away to hear of it.
COMPACTED = {"cleanup.policy": "compact", "delete.retention.ms": str(7 * DAYS)}

# It says the same at every try; we say it once. A handler put on this logger shows all of it.
LIBRDKAFKA = logging.getLogger("librdkafka")
LIBRDKAFKA.addHandler(logging.NullHandler())
LIBRDKAFKA.propagate = False


class TopicMissing(Unavailable):
    """A topic that was there is not there any more."""

    is_loss = True


class Trouble(logging.Handler):
    """What librdkafka tells of a client in passing: why it waits is here, and not in the error that says it waited.

    It tells by callbacks and by log lines, which come only while the client is polled: see `unavailable`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cause = ""  # a login, certificate or name that does not do
        self.passing = ""  # a connection that failed, which may have many causes
        self.is_away = False
        self.logger = logging.Logger(LIBRDKAFKA.name)
        self.logger.parent = LIBRDKAFKA
        self.logger.addHandler(self)

    def __call__(self, error: KafkaError) -> None:
        if error.code() in NO_ANSWER:
            self.is_away = True
        if error.code() == KafkaError._TRANSPORT:
            self._pass(error.str(), is_newer=True)
        elif error.code() not in NO_ANSWER:
            self.cause = _in_few_words(error.str())

    def emit(self, record: logging.LogRecord) -> None:
        facility, _, text = record.getMessage().partition(" ")
        if facility == "FAIL":
            self._pass(text.rpartition("]: ")[2], is_newer=False)

    def _pass(self, text: str, *, is_newer: bool) -> None:
        """Keeps the first line, or the newest error; but that a connection ended never instead of why it did."""
        text = _in_few_words(text)
        if not self.passing or (_says_why(text) and (is_newer or not _says_why(self.passing))):
            self.passing = text

    def unavailable(self, error: KafkaException | KafkaError, client: Any = None) -> Unavailable:
        """The error to raise when Kafka does not serve; in the same words while the reason is the same.

        client: the one that waited. What it has to tell of that is fetched first.
        """
        first = error if isinstance(error, KafkaError) else error.args[0]
        if first.code() not in NO_ANSWER:
            why = first.str() or first.name()
        else:
            if client is not None:
                client.poll(0)
            why = self.cause or self.passing
            if not self.cause or UNVERIFIED in why:
                why = look_at(conf.KAFKA) or why
            if not why or NOBODY in why:
                why = f"no response from {conf.KAFKA['bootstrap.servers']}" + (f": {why}" if why else "")
        self.cause = self.passing = ""
        return Unavailable(f"Kafka is unreachable: {without_secrets(why)}")


def _says_why(text: str) -> bool:
    return not re.match(r"\S+: Disconnected", text)


def _in_few_words(text: str) -> str:
    """Without the moment, and without the connection's number: the same cause has the same words."""
    return re.sub(r"^(\S+)/(?:bootstrap|\d+): ", r"\1: ", text.split(" (after ")[0])


def _protocol(settings: Mapping[str, Any]) -> str:
    return str(settings.get("security.protocol", "PLAINTEXT")).upper()


def look_at(settings: Mapping[str, Any]) -> str:
    """What a connection of our own to the first of the brokers meets, where librdkafka does not say it; "" if nothing.

    librdkafka says of every certificate that it "could not be verified", and of a broker that speaks TLS nothing.
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
                return f'{address} requires TLS: set "security.protocol" to SSL or SASL_SSL'
            speaks_it = True
    except ssl.SSLCertVerificationError as error:
        return f"{address}: the broker's certificate is not trusted: {error.verify_message}"
    except (ssl.SSLError, ConnectionResetError):  # a broker without TLS has closed the connection
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
    """`text` without the values of settings that are nobody's business."""
    for name, value in conf.KAFKA.items():
        if any(part in name for part in SECRET) and str(value):
            text = text.replace(str(value), "***")
    return text


def settings(trouble: Trouble, **ours: Any) -> dict[str, Any]:
    """SYNC_KAFKA, and what this client cannot work without. What librdkafka says goes to the logger of its name."""
    if not conf.KAFKA.get("bootstrap.servers"):
        raise ImproperlyConfigured('SYNC_KAFKA does not say where Kafka is: {"bootstrap.servers": "host:9092"}')
    defaults = {"client.id": "sync", "logger": trouble.logger, "reconnect.backoff.max.ms": 2000}
    defaults["topic.metadata.refresh.interval.ms"] = 30_000  # a topic that is made later is read this soon
    for name, value in conf.KAFKA.items():
        if name.endswith(".location") and value != "probe" and not os.access(str(value), os.R_OK):
            raise ImproperlyConfigured(f"SYNC_KAFKA: {name} is {value}, which is not a readable file.")
    return {**defaults, **conf.KAFKA, "error_cb": trouble, **{name.replace("_", "."): ours[name] for name in ours}}


def refused(error: KafkaException) -> ImproperlyConfigured:
    """The error to raise when librdkafka does not take the settings. It does not say the values of those it names."""
    why = error.args[0].str()
    named = [f"{name} is {value}" for name, value in conf.KAFKA.items() if name in why and name.endswith(".location")]
    return ImproperlyConfigured(f"SYNC_KAFKA: {without_secrets('; '.join([why, *named]))}")


def topic(target: Target) -> str:
    """The topic that a target of the queue names, or SYNC_KAFKA_PREFIX and the table."""
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
        """How many partitions each of these has; without those that do not exist. Raises Unavailable."""
        try:
            found = self.admin.list_topics(timeout=conf.TIMEOUT).topics
        except KafkaException as error:
            raise self.trouble.unavailable(error, self.admin) from error
        return {name: len(found[name].partitions) for name in names if name in found and not found[name].error}

    def make(self, names: Collection[str], partitions: int, config: dict[str, str] = COMPACTED) -> list[str]:
        """Makes those that do not exist, with as many copies as the cluster makes by default, and says which.

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
        """By topic the cluster's id and its own, which another of the same name does not share. Raises Unavailable."""
        try:
            cluster = str(self.admin.describe_cluster(request_timeout=conf.TIMEOUT).result(conf.TIMEOUT).cluster_id)
            asked = self.admin.describe_topics(TopicCollection(list(names)), request_timeout=conf.TIMEOUT)
            return {name: (cluster, _topic_id(name, done)) for name, done in asked.items()}
        except TimeoutError as error:
            raise self.trouble.unavailable(NO_TIME, self.admin) from error
        except KafkaException as error:
            raise self.trouble.unavailable(error, self.admin) from error

    def logs(self, places: Collection[Place]) -> dict[Place, Log]:
        """These partitions as they are now. Raises Unavailable."""
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
            if error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:  # it takes DescribeConfigs
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
