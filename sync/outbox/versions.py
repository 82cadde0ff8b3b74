"""Step 2 of delivery: the versions of documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sync.mapping.registry import Target
from sync.mongodb.client import collection


class Seen:
    """What was read of one document: its version, and the condition that it is unchanged."""

    def __init__(self, document: dict[str, Any]) -> None:
        sync = document.get("_sync")
        version = sync.get("v") if isinstance(sync, dict) else None
        self.is_ours = isinstance(version, int)
        self.version = version if isinstance(version, int) else 0
        self.token = sync.get("by") if isinstance(sync, dict) else None
        self.unchanged: dict[str, Any]
        if self.is_ours:
            self.unchanged = {"_sync.v": version}
        else:  # another program has written it; the next write makes it the mirror's
            self.unchanged = {"_sync": {"$eq": sync} if "_sync" in document else {"$exists": False}}


def read_versions(target: Target, ids: Sequence[Any]) -> dict[Any, Seen]:
    """What was read of the existing documents, by `_id`."""
    if not ids:
        return {}
    found = collection(target).find({"_id": {"$in": list(ids)}}, {"_sync": 1}, batch_size=len(ids) + 1)
    return {document["_id"]: Seen(document) for document in found}
