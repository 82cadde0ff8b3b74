"""Dead letters: messages that cannot be applied are stored with the reason, so that all other messages continue."""

from __future__ import annotations

import logging
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from sync.core import conf
from sync.kafka.client import DAYS, NO_TIME, Topics, Trouble, refused, settings
from sync.mongodb.errors import Unavailable

logger = logging.getLogger(__name__)

SUFFIX = ".dead"
KEPT = {"retention.ms": str(30 * DAYS)}


class DeadLetters:
    """Sends unchanged messages to the topic named after theirs plus SUFFIX, with the reason in a header."""

    def __init__(self) -> None:
        self.trouble = Trouble()
        self.producer: Producer | None = None
        self.made: set[str] = set()
        self.errors: list[KafkaError] = []

    def add(self, message: Message, why: str) -> None:
        """Send a message. It is stored once `flush` returns. Raises Unavailable."""
        source = str(message.topic())
        place = f"{source}/{message.partition()}, offset {message.offset()}"
        logger.warning("%s: moved to dead letters: %s", place, why)
        if self.producer is None:
            try:
                self.producer = Producer(settings(self.trouble, enable_idempotence=True))
            except KafkaException as error:
                raise refused(error) from error
        if source not in self.made:
            Topics().make([source + SUFFIX], 1, KEPT)
            self.made.add(source)
        headers: list[Any] = [
            *(message.headers() or []),
            ("reason", why[:2000].encode()),
            ("topic", source.encode()),
            ("partition", str(message.partition()).encode()),
            ("offset", str(message.offset()).encode()),
        ]
        try:
            self.producer.produce(
                source + SUFFIX,
                key=message.key(),
                value=message.value(),
                headers=headers,
                on_delivery=self._on_delivery,
            )
        except (BufferError, KafkaException) as error:
            raise Unavailable(f"{source + SUFFIX} does not accept a message: {error}") from error

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error:
            self.errors.append(error)

    def flush(self) -> None:
        """Wait until all added messages are stored. Raises Unavailable."""
        if self.producer is None:
            return
        left, errors = self.producer.flush(conf.TIMEOUT), self.errors
        self.errors = []
        if errors:
            raise self.trouble.unavailable(errors[0], self.producer)
        if left:
            raise self.trouble.unavailable(NO_TIME, self.producer)
