"""A checkpoint stored next to a copy, in the collection `_sync_copy` of the same database.

It is saved in one transaction with the documents, so restoring the destination from a dump restores its checkpoint too.
`_sync_copy` has one document for each destination collection.
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
    """One process's view of a destination's checkpoint. sync/workers/lease.py describes the protocol.

    route: the route that an operator pauses, in `sync_checkpoint`. paused: returns whether it is paused. Since that is
    another database, a write that has started is still completed.
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
        """Returns the state, even if another process holds the lease; {} before the first save."""
        return self.documents.find_one({"_id": self.id}) or {}

    def load(self) -> dict[str, Any]:
        """Returns the state. Raises LeaseLost."""
        state = self.documents.find_one(self._mine())
        if state is None:
            raise self._lost()
        return state

    def save(self, state: dict[str, Any], session: ClientSession | None = None) -> None:
        """Saves these keys of the state and extends the lease; other keys stay. Raises LeaseLost and Paused.

        Call it first in the transaction that writes the documents: the transaction fails if another process takes the
        lease meanwhile.
        """
        if self.paused():
            raise Paused(self.route)
        values = {**{name: {"$literal": value} for name, value in state.items()}, "until": _lease_end()}
        if not self.documents.update_one(self._mine(), [{"$set": values}], session=session).matched_count:
            raise self._lost()

    def require_running(self) -> None:
        """Raises Paused if the route is paused."""
        if self.paused():
            raise Paused(self.route)

    def forget(self, *names: str) -> None:
        """Removes these keys from the state."""
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
