"""A checkpoint beside a copy, in the collection `_sync_copy` of its database.

It is saved in one transaction with the documents: if the destination is restored from a dump, the checkpoint is
restored with it. One document is one destination's checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pymongo
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from sync.core import conf
from sync.workers import lease
from sync.workers.lease import Held, LeaseLost, Paused

STATES = "_sync_copy"
MAJORITY: dict[str, Any] = {
    "write_concern": WriteConcern("majority"),
    "read_concern": ReadConcern("majority"),
    "read_preference": pymongo.ReadPreference.PRIMARY,
}


class CollectionCheckpoint:
    """The checkpoint of one destination, as one process sees it. sync/workers/lease.py has the protocol.

    route: what operators pause. Its pause is in `sync_checkpoint`, so `paused` reads it there; a write in progress
    completes.
    """

    def __init__(self, database: Database[Any], collection: str, route: str, paused: Callable[[], bool]) -> None:
        self.documents: Collection[dict[str, Any]] = database[STATES].with_options(**MAJORITY)
        self.id = collection
        self.name = f"the collection {database.name}.{collection}"
        self.route = route
        self.paused = paused
        self.owner = lease.new_owner()

    def take(self) -> Held | None:
        self.documents.update_one({"_id": self.id}, {"$setOnInsert": {"owner": ""}}, upsert=True)
        found = self.find()
        free: list[dict[str, Any]] = [
            {"owner": ""}, {"owner": self.owner}, {"$expr": {"$lt": ["$until", "$$NOW"]}}
        ]  # fmt: skip
        if lease.is_dead(found.get("owner", "")):
            free.append({"owner": found["owner"]})
        values = {"owner": self.owner, "holder": lease.holder(), "until": _lease_end()}
        if self.documents.update_one({"_id": self.id, "$or": free}, [{"$set": values}]).matched_count:
            return None
        found = self.find()
        return Held(found["owner"], found["holder"], found["until"])

    def release(self) -> None:
        self.documents.update_one(self._mine(), {"$set": {"owner": "", "holder": ""}})

    def find(self) -> dict[str, Any]:
        """The state, also while another process holds the lease; {} if there is none."""
        return self.documents.find_one({"_id": self.id}) or {}

    def load(self) -> dict[str, Any]:
        """The state. Raises LeaseLost."""
        state = self.documents.find_one(self._mine())
        if state is None:
            raise self._lost()
        return state

    def save(self, state: dict[str, Any], session: ClientSession | None = None) -> None:
        """Saves these names of the state and keeps the others. First in the transaction of what is written.

        A process that takes the lease meanwhile makes the transaction fail. Raises LeaseLost and Paused.
        """
        if self.paused():
            raise Paused(self.route)
        values = {**{name: {"$literal": value} for name, value in state.items()}, "until": _lease_end()}
        if not self.documents.update_one(self._mine(), [{"$set": values}], session=session).matched_count:
            raise self._lost()

    def require_running(self) -> None:
        """Raises Paused."""
        if self.paused():
            raise Paused(self.route)

    def forget(self, *names: str) -> None:
        """Removes these names from the state."""
        self.documents.update_one(self._mine(), {"$unset": dict.fromkeys(names, "")})

    def end(self) -> None:
        """Removes the checkpoint: the collection is no longer a copy."""
        self.documents.delete_one(self._mine())

    def _mine(self) -> dict[str, Any]:
        return {"_id": self.id, "owner": self.owner}

    def _lost(self) -> LeaseLost:
        return LeaseLost(f"{self.name}: another process took over, because this one did not renew its lease.")


def _lease_end() -> dict[str, Any]:
    return {"$add": ["$$NOW", int(conf.LEASE * 1000)]}
