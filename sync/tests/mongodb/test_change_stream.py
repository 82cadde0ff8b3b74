"""Where a change stream begins, if changes arrive while it is opened."""

from functools import partial

import pytest
from pymongo.database import Database

from sync.mongodb.change_stream import ChangeStream, Events


def test_a_change_that_arrives_while_the_stream_is_opened_does_not_stop_it(
    mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The response that opens a stream has such changes and no token of its own."""
    before = mongo.client.admin.command("ping")["operationTime"]
    mongo.things.insert_many([{"_id": 1}, {"_id": 2}])
    with mongo.client.start_session(causal_consistency=True) as session:
        stream = ChangeStream(mongo.things, session)
        with monkeypatch.context() as patch:
            patch.setattr(stream, "events", partial(stream.events, since=before))
            token = stream.now()
        mongo.things.insert_one({"_id": 3})
        with stream.events(token) as events:
            assert _ids(events) == [2, 3], "nothing after the token is skipped"


def _ids(events: Events) -> list[int]:
    return [found["documentKey"]["_id"] for found in iter(events.next, None)]
