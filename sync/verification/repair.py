"""Repair: fixes what verify has found, through the same delivery as everything else."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import pymongo
from bson.raw_bson import RawBSONDocument
from django.db import transaction
from pymongo.errors import BulkWriteError

from sync.core import conf
from sync.mapping.fields import new_object_id
from sync.mongodb.errors import Unavailable
from sync.outbox.capture import record
from sync.outbox.delivery import deliver_changes, release_quietly
from sync.outbox.models import Change
from sync.verification.scan import KeyMismatch, Scan

LARGEST_SEEN = 8 * 1024 * 1024  # bytes of a document that can be sent with a command to be compared


class Repairer:
    """Repairs the mismatches of one model, as verify's `repair`.

    prune: deletes orphans, too.
    dry_run: only reports what would be done.
    say: is called for each mismatch with what is done about it, in one line.
    repaired, left: how many are in sync now, and how many are not.
    """

    def __init__(
        self,
        scan: Scan,
        *,
        prune: bool = False,
        dry_run: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.scan = scan
        self.prune = prune
        self.dry_run = dry_run
        self.say = say
        self.repaired = 0
        self.left = 0

    def __call__(self, found: list[KeyMismatch]) -> set[str]:
        """Repairs what can be repaired; returns the keys that are in sync now. Raises Unavailable."""
        obstacles = {mismatch.key: self._obstacle(mismatch) for mismatch in found}
        todo = [mismatch for mismatch in found if not obstacles[mismatch.key]]
        if not self.dry_run:
            orphan = [mismatch for mismatch in todo if mismatch.orphan]
            obstacles |= self._deliver([mismatch.key for mismatch in todo if not mismatch.orphan])
            obstacles |= self._delete(orphan)
        for mismatch in found:
            self.say(self._line(mismatch, obstacles[mismatch.key]))
        repaired = set() if self.dry_run else {key for key, obstacle in obstacles.items() if not obstacle}
        self.repaired += len(repaired)
        self.left += len(found) - len(repaired)
        return repaired

    def _obstacle(self, mismatch: KeyMismatch) -> str:
        """Why nothing can be done about it; empty if something can."""
        if mismatch.kind == "unmappable":
            return "fix the row, which cannot become a document: " + mismatch.fields[0].path
        if mismatch.kind == "extra" and not self.prune:
            return "--prune deletes it"
        if mismatch.orphan and len(mismatch.orphan) > LARGEST_SEEN:
            return "delete it yourself: it is too large to compare"
        return ""

    def _line(self, mismatch: KeyMismatch, obstacle: str) -> str:
        done = "deleted" if mismatch.kind == "extra" else "written"
        if obstacle:
            done = f"left: {obstacle}"
        elif self.dry_run:
            done = f"would be {done}"
        return f"{self.scan.label} {mismatch.key}: {mismatch.kind}, {done}"

    def _deliver(self, keys: list[str]) -> dict[str, str]:
        """Records the keys as changed and makes sure that they are delivered; returns each key's obstacle, if any.

        Works with and without relays: whichever worker claims the changes first delivers them.
        """
        if not keys:
            return {}
        changes = Change.objects.using(self.scan.using).filter(model=self.scan.label, key__in=keys, until="")
        with transaction.atomic(self.scan.using):
            for part in changes.filter(failed=True).parts():
                part.delete()  # they would be retried with it
            before = set(changes.values_list("pk", flat=True))
            record(self.scan.model, keys, self.scan.using, inline=False, to=[self.scan.target])
            ours = set(changes.values_list("pk", flat=True)) - before
        waiting = changes.filter(pk__in=ours, settling=False, failed=False, error="")
        deadline = time.monotonic() + conf.LEASE + conf.TIMEOUT  # a worker may have died while it held them
        while waiting.exists() and time.monotonic() < deadline:
            if not self._deliver_some():
                time.sleep(0.05)  # a relay has claimed them
        errors = dict(changes.exclude(error="").values_list("key", "error"))
        obstacles = {}
        for key, row, _, document in self.scan.look(keys):
            differs = self.scan.mismatch(key, row, document)
            obstacles[key] = errors.get(key, "still different; another program may be writing it") if differs else ""
        return obstacles

    def _deliver_some(self) -> bool:
        token = new_object_id()
        due = Change.objects.using(self.scan.using).due(self.scan.target.queue, models=[self.scan.label])
        changes = due.claim(conf.BATCH, token)
        try:
            with pymongo.timeout(conf.TIMEOUT):
                lost = deliver_changes(changes, token, self.scan.using).conflicts
        except Unavailable:
            release_quietly(changes, token, self.scan.using)
            raise
        release_quietly(lost, token, self.scan.using)
        return bool(changes)

    def _delete(self, orphan: Collection[KeyMismatch]) -> dict[str, str]:
        """Deletes documents whose `_id` cannot be a key, each only if it has not changed since it was read."""
        if not orphan:
            return {}
        seen = {mismatch.key: RawBSONDocument(mismatch.orphan or b"") for mismatch in orphan}
        unchanged = [
            {"_id": document["_id"], "$expr": {"$eq": ["$$ROOT", {"$literal": document}]}} for document in seen.values()
        ]
        try:
            self.scan.collection.bulk_write([pymongo.DeleteOne(one) for one in unchanged], ordered=False)
        except BulkWriteError as error:
            if (error.details or {}).get("writeConcernErrors"):
                raise
        there = self.scan.documents_by_id([document["_id"] for document in seen.values()])
        return {key: "changed meanwhile" if key in there else "" for key in seen}
