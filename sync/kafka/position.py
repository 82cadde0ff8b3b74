"""Where a consumer goes on reading, and whether that is still there.

A number alone does not say which message it means: a topic is deleted and created again, messages are removed, an
address is given to another cluster. So the identity of topic and cluster is kept with the number, beside the data, in
the same transaction. The group's own offsets in Kafka are kept for Kafka's tools only: they expire, and anybody who
administers Kafka sets them.
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
    """Where it stands there."""
    return message.offset() or 0


class Moved(Exception):
    """Another member has applied what we were about to."""


class Gap(Exception):
    """Messages were lost that the sink cannot make up for. Says so in one line, and what to do."""


class Position(NamedTuple):
    """The next message to read. cluster, topic_id: whose it is; empty where an earlier version did not keep it.

    read_at: when all there was had last been read, or reading began.
    """

    cluster: str
    topic_id: str
    offset: int
    read_at: datetime | None = None


class Log(NamedTuple):
    """A partition as Kafka has it now: the first offset that it has, and the one after its last.

    deletes_kept: for how long a compacted topic keeps what a delete leaves; None: it is not compacted, or not known.
    """

    cluster: str
    topic_id: str
    first: int
    end: int
    deletes_kept: timedelta | None = None

    def start(self, offset: int) -> Position:
        return Position(self.cluster, self.topic_id, offset, datetime.now(UTC))


class Loss(NamedTuple):
    """What cannot be read any more, as a sentence without its end.

    is_new_topic: the topic was created again. is_rewound: somebody has asked to read from the beginning.
    """

    what: str
    is_new_topic: bool = False
    is_rewound: bool = False


def lost_at(place: Place, position: Position | None, log: Log) -> Loss | None:
    """What was lost between `position` and what the partition has now. None: nothing.

    A partition without a position was never read: what it once had and has no more is lost too.
    """
    topic, partition = place
    if position is None:
        if not log.first:
            return None
        removed = "its first message was" if log.first == 1 else f"its first {log.first} messages were"
        return Loss(f"{topic}/{partition} has no saved position, and {removed} removed before this consumer read them")
    if position.cluster not in ("", log.cluster):
        return Loss(
            f"{topic} was read from the Kafka cluster {position.cluster}, and now the cluster {log.cluster} answers: "
            "offsets of one mean nothing in the other, and messages may be missed"
        )
    if position.topic_id not in ("", log.topic_id):
        return Loss(f"{topic} was deleted and created again: unread messages of the old topic are lost", True)
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
            f"{topic} keeps deletes for {kept} (delete.retention.ms), and was last read to its end at "
            f"{read_at:%Y-%m-%d %H:%M} UTC: deletes may have been removed before they were read"
        )
    return None


def starts(
    logs: Mapping[Place, Log], kept: Mapping[Place, Position], rewound: Collection[Place]
) -> tuple[dict[Place, Position], dict[Place, Loss]]:
    """The positions that are to be kept instead of, or because there are none, and by partition what was lost.

    rewound: those to be read from their beginning because somebody has asked for it.
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
        ):  # an earlier version kept the offset alone
            new[place] = log.start(position.offset)
    return new, lost
