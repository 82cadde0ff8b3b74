"""Measures how fast rows are published and consumed, compared with plain Kafka and MongoDB. `python -m bench.kafka`

publish: claims changes, reads rows, sends them in transactions, deletes the changes.
bare publish: reads the same rows in pages of the same size and sends the same messages with an idempotent producer.
consume: reads messages, compares offsets, writes documents and position with majority.
bare consume: reads and parses the same messages and replaces documents with majority in bulks of the same size.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

from bench.harness import portal, print_ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=500)
    options = parser.parse_args()

    os.environ["EXAMPLES"] = "news"
    os.environ["SYNC_KAFKA"] = '{"bootstrap.servers": "127.0.0.1:9"}'
    with portal():
        from tests.kafka import Kafka
        from tests.servers import Servers

        servers = Servers()
        broker = Kafka(servers.folder / "kafka")
        broker.start()
        try:
            measure(broker, options.rows, options.rounds, options.batch)
        finally:
            broker.stop()


def measure(broker: Any, count: int, rounds: int, batch: int) -> None:
    import pymongo
    from bson import json_util
    from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
    from django.test import override_settings

    from examples.news.models import Story
    from sync.kafka.consumer import Member
    from sync.kafka.publisher import Publisher
    from sync.kafka.replica import Replica
    from sync.mapping.extended_json import DOCUMENTS
    from sync.mongodb import client
    from sync.outbox.models import Change
    from sync.outbox.relay import Relay

    address = {"bootstrap.servers": broker.settings["bootstrap.servers"]}
    with override_settings(SYNC_INLINE=False, SYNC_KAFKA=address):
        Story.objects.bulk_create(
            [
                Story(story_id=str(number), href="http://news.example/", title="x" * 80, submit_date=1, media="news",
                      link="http://example.com/", status="popular", description="x" * 200, user={"name": "ada"})
                for number in range(count)
            ],
            batch_size=500,
        )  # fmt: skip
        Change.objects.exclude(queue="kafka").delete()
        publisher = Relay("kafka", batch=batch, writer=Publisher())
        publisher.drain()
        broker.make("bare", 5)
        producer = Producer({**address, "enable.idempotence": True})
        turn = 0

        def touch() -> None:
            Story.objects.update(diggs=turn)
            Change.objects.exclude(queue="kafka").delete()

        def publish() -> None:
            publisher.drain()

        def bare_publish() -> None:
            last = ""
            while rows := list(Story.objects.filter(pk__gt=last).order_by("pk")[:batch]):
                for row in rows:
                    producer.produce(
                        "bare", key=row.pk, value=json_util.dumps(row.to_document(), json_options=DOCUMENTS).encode()
                    )
                producer.flush()
                last = rows[-1].pk

        member = Member(
            ["story-events"], "bench", Replica({"story-events": (Story, "copies")}), batch=batch, interval=0.1
        )
        member.consumer.subscribe(["story-events"], on_assign=member._on_assign, on_revoke=member._on_revoke)
        bare = Consumer({**address, "group.id": "bare", "enable.auto.commit": False})
        bare.assign([TopicPartition("bare", number, OFFSET_BEGINNING) for number in range(5)])
        target = client.database()["bare"]

        def consume() -> None:
            aim = member.applied + count
            while member.applied < aim:
                member._step()

        def bare_consume() -> None:
            left = count
            while left:
                first = bare.poll(0.1)
                messages = [first, *bare.consume(batch - 1, timeout=0.01)] if first is not None else []
                writes = {}
                for message in messages:
                    document = json_util.loads(message.value() or b"", json_options=DOCUMENTS)
                    writes[document["_id"]] = pymongo.ReplaceOne({"_id": document["_id"]}, document, upsert=True)
                if writes:
                    target.bulk_write(list(writes.values()), ordered=False)
                left -= len(messages)

        steps: list[tuple[str, Callable[[], None], Callable[[], None]]] = [
            ("bare publish", lambda: None, bare_publish), ("publish", touch, publish),
            ("bare consume", lambda: None, bare_consume), ("consume", lambda: None, consume),
        ]  # fmt: skip
        consume()  # reads what the first drain published
        times: dict[str, list[float]] = {name: [] for name, _, _ in steps}
        for turn in range(1, rounds + 2):
            for name, prepare, act in steps:
                prepare()
                start = time.perf_counter()
                act()
                if turn > 1:
                    times[name].append((time.perf_counter() - start) / count * 1000)
        member.consumer.close()
        bare.close()
    print_ratios(f"{count:,} stories: ms per document", times, ["bare publish", "bare consume"])


if __name__ == "__main__":
    main()
