"""The position at which a consumer continues, and whether the messages after it still exist.

An offset alone does not identify a message: a topic can be deleted and created again, messages can be removed, and an
address can move to another cluster. So each offset is saved with the ids of its topic and cluster, in the same
transaction as the data. The group's offsets in Kafka serve Kafka's tools only: they expire, and any Kafka administrator
can set them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from confluent_kafka import Message

Place = tuple[str, int]  # topic and partition
Span = tuple[int, int]  # the position that a batch begins at, and the one after it


def place_of(message: Message) -> Place:
    """The partition that a message was read from."""
    return str(message.topic()), message.partition() or 0


def offset_of(message: Message) -> int:
    """The offset of a message in its partition."""
    return message.offset() or 0


class Moved(Exception):
    """Another member of the group has already applied these messages."""


class Gap(Exception):
    """Messages were lost and the sink cannot recover them. The text says which, and what to do."""


class Position(NamedTuple):
    """The next message to read. cluster, topic_id: their ids; empty if an earlier version did not save them.

    read_at: when the partition was last read to its end, or when reading started.
    """

    cluster: str
    topic_id: str
    offset: int
    read_at: datetime | None = None


class Log(NamedTuple):
    """The current state of a partition: its first offset, and the offset after its last message.

    deletes_kept: how long a compacted topic keeps tombstones; None: not compacted, or unknown.
    """

    cluster: str
    topic_id: str
    first: int
    end: int
    deletes_kept: timedelta | None = None

    def start(self, offset: int) -> Position:
        return Position(self.cluster, self.topic_id, offset, datetime.now(UTC))


class Loss(NamedTuple):
    """Messages that can no longer be read. what: a sentence without its full stop.

    is_new_topic: the topic was created again. is_rewound: an operator requested reading from the beginning.
    """

    what: str
    is_new_topic: bool = False
    is_rewound: bool = False


def lost_at(place: Place, position: Position | None, log: Log) -> Loss | None:
    """Return what was lost between `position` and the partition's current messages, or None.

    A partition without a position was never read, so messages that were already removed from it are lost too.
    """
    topic, partition = place
    if position is None:
        if not log.first:
            return None
        removed = "its first message was" if log.first == 1 else f"its first {log.first} messages were"
        return Loss(f"{topic}/{partition} has no saved position, and {removed} removed before this consumer read them")
    if position.cluster not in ("", log.cluster):
        return Loss(
            f"{topic} was read from the Kafka cluster {position.cluster}, but the address now leads to the cluster "
            f"{log.cluster}: offsets of one cluster are not valid in another, and messages may be missed"
        )
    if position.topic_id not in ("", log.topic_id):
        return Loss(f"{topic} was deleted and created again: unread messages of the former topic are lost", True)
    if position.offset < log.first:
        missing = f"offsets {position.offset} to {log.first - 1}"
        return Loss(f"{topic}/{partition}, {missing}: messages were removed before they were read")
    if position.offset > log.end:
        return Loss(
            f"{topic}/{partition} was read up to offset {position.offset} and ends at {log.end}: Kafka lost messages"
        )
    kept, read_at = log.deletes_kept, position.read_at
    if kept is not None and read_at and position.offset < log.end and datetime.now(UTC) - read_at > kept:
        return Loss(
            f"{topic} keeps deletes for {kept} (delete.retention.ms) and was last read to its end at "
            f"{read_at:%Y-%m-%d %H:%M} UTC: deletes may have been removed before they were read"
        )
    return None


def starts(
    logs: Mapping[Place, Log], kept: Mapping[Place, Position], rewound: Collection[Place]
) -> tuple[dict[Place, Position], dict[Place, Loss]]:
    """Return the positions to save (new, or replacing an invalid one), and what was lost by partition.

    rewound: the partitions that an operator requested to read from the beginning.
    """
    new: dict[Place, Position] = {}
    lost: dict[Place, Loss] = {}
    for place, log in logs.items():
        position = kept.get(place)
        if loss := lost_at(place, position, log):
            lost[place] = loss._replace(is_rewound=place in rewound)
        if place in lost or place in rewound or position is None:
            new[place] = log.start(log.first)
        elif (position.cluster, position.topic_id) != (
            log.cluster,
            log.topic_id,
        ):  # an earlier version saved only the offset
            new[place] = log.start(position.offset)
    return new, lost
