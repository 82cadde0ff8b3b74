"""Mutations: each removes one safeguard from the real code, and the tests must catch it.

A mutation is applied in the nursery, so that every writer and relay has it. No other module of this package uses the
engine's private names. A profile concentrates the schedules on the code that the mutation breaks.
"""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Callable
from typing import Any

from sync.tests.chaos.schedule import FAULTS, Profile

# Many keys, each written only for some 10 ms: many races without a later write that repairs the document.
RACES = Profile(
    faults={"delay mongo requests": 1.0}, most_faults=8, three=0, seconds=(1.5, 2.0), keys=(40, 60), hot=(1,),
    inline=(0.0,), relays=(3,), jitter=(0.0,), row_jitter=(0.0,), extras=0,
)  # fmt: skip
PROFILES: dict[str, Profile] = {
    "": Profile(),
    "row-before-version": dataclasses.replace(RACES, faults=FAULTS, most_faults=1, jitter=(0.02, 0.05)),
    "settling-off": dataclasses.replace(RACES, deletes=0.5),
    "lost-race-dropped": RACES,
    "change-outside-transaction": Profile(faults={"kill writer": 1.0}, three=0, most_faults=6),
    "deadline-off": Profile(
        faults={"hold mongo writes": 1.0}, three=0, late=1.0, deletes=0.5, relays=(2, 3), hot=(1, 2), extras=0
    ),
    "write-concern-1": Profile(three=1, failovers=("cut off primary",), inline=(0.0,), extras=0),
    "confirm-local": Profile(three=1, failovers=("cut off primary",), inline=(1.0,), extras=0),
    "checkpoint-first": Profile(faults={"kill relay": 1.0}, three=0, following=1.0, raw=(1.0,), extras=0),
}
OF_FOLLOWERS = ("checkpoint-first",)
OF_EMBEDS = (
    "old-parent-forgotten", "new-parent-forgotten", "old-parent-unlocked", "second-hop-inside", "embedded-rows-first",
    "fan-out-removed-first", "cursor-first", "absorbs-when-begun", "claim-ignored",
)  # fmt: skip
EMBEDS = Profile(
    three=0,
    seconds=(2.0, 3.0),
    embedding=1.0,
    embedded=(1.0,),
    extras=0,
    following=0.0,
    relays=(2, 3),
    inline=(0.0, 0.5),
)


# The number of schedules from seed 1 that must catch each mutation: several times as many as were needed. Catching
# lost-race-dropped takes hundreds; test_mutations.py has a deterministic test for it. sync/tests/composed has one for
# each mutation of composed documents.
BOUNDS = {
    "comparison-off": 80, "settling-off": 150, "row-before-version": 60, "change-outside-transaction": 80,
    "deadline-off": 120, "repeatable-read": 60, "id-as-cursor": 20, "write-concern-1": 20, "confirm-local": 200,
    "checkpoint-first": 60, "old-parent-forgotten": 40,
}  # fmt: skip


def profile(mutation: str) -> Profile:
    """Return the profile of the schedules for this mutation."""
    if mutation in OF_EMBEDS:
        return dataclasses.replace(EMBEDS, faults={"kill relay": 1.0}) if mutation == "cursor-first" else EMBEDS
    found = PROFILES.get(mutation, Profile(three=0))
    if mutation:
        found = dataclasses.replace(found, embedding=0.0)
    return found if mutation in ("", *OF_FOLLOWERS) else dataclasses.replace(found, following=0.0)


put: Callable[[Any, str, Any], None] = setattr  # tests that mutate their own process replace it


def _replace(name: str, make: Callable[[Any], Any]) -> None:
    """Replace the mirror's function `name` by make(original) in every module that uses it."""
    modules = [module for path, module in list(sys.modules.items()) if path.startswith("sync.") and "tests" not in path]
    [original] = {getattr(module, name) for module in modules if hasattr(module, name)}
    for module in modules:
        if hasattr(module, name):
            _put(module, name, make(original))


def _put(owner: Any, name: str, value: Any) -> None:
    assert hasattr(owner, name), f"{owner} no longer has {name}: this mutation would change nothing"
    put(owner, name, value)


def comparison_off() -> None:
    """A document is replaced without comparing its version."""
    import pymongo

    from sync.mongodb import bulk_merge

    _put(bulk_merge, "UNCHANGED", True)
    _replace("_replace_unchanged", lambda _: lambda _id, seen, document: pymongo.ReplaceOne({"_id": _id}, document))


def settling_off() -> None:
    """A delete's change is removed as soon as it is delivered."""

    def make(finish: Any) -> Any:
        def finish_at_once(by_key: Any, *rest: Any) -> Any:
            return finish({key: [each._replace(settling=True) for each in by_key[key]] for key in by_key}, *rest)

        return finish_at_once

    _replace("_finish", make)


def lost_race_dropped() -> None:
    """A key whose write lost to another writer is treated as delivered."""

    def make(deliver: Any) -> Any:
        def deliver_and_forget(*arguments: Any, **more: Any) -> Any:
            outcome = deliver(*arguments, **more)
            for key, state in outcome.states.items():
                if state.name == "CONFLICT":
                    outcome.states[key] = type(state).DELIVERED
            return outcome

        return deliver_and_forget

    _replace("deliver", make)


def row_before_version() -> None:
    """The rows are read before the documents' versions."""
    from sync.outbox import mongo_writer

    read_documents, known = mongo_writer.read_documents, threading.local()

    def make(deliver: Any) -> Any:
        def deliver_what_was(target: Any, keys: Any, using: str, *rest: Any, **more: Any) -> Any:
            outer = getattr(known, "rows", None)
            known.rows = read_documents(target, list(keys), using, mongo_writer.Outcome())
            try:
                return deliver(target, keys, using, *rest, **more)
            finally:
                known.rows = outer

        return deliver_what_was

    _replace("deliver", make)
    _replace("read_documents", lambda _: lambda *_: known.rows)


def change_outside_transaction() -> None:
    """The change is recorded right after the commit, in a transaction of its own."""
    from django.db import transaction

    def make(record: Any) -> Any:
        def record_later(model: Any, keys: Any, using: str | None = None, **more: Any) -> None:
            def now() -> None:
                with transaction.atomic(using):
                    record(model, keys, using, **more)

            transaction.on_commit(now, using, robust=True)

        return record_later

    _replace("record", make)


def deadline_off() -> None:
    """An insert may arrive at any time."""
    from sync.mongodb.client import ServerClock

    after = ServerClock.after
    _put(ServerClock, "after", lambda self, seconds: after(self, seconds + 3600))


def repeatable_read() -> None:
    """A relay works in one transaction under REPEATABLE READ, so it reads all rows as of its first read."""
    from django.db import connection, transaction

    from sync.outbox.relay import Relay

    work = Relay._round

    def work_in_a_snapshot(self: Relay, **more: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        with transaction.atomic():
            return work(self, **more)

    _put(Relay, "_round", work_in_a_snapshot)


def id_as_cursor() -> None:
    """A relay takes the changes whose id is larger than the last one it took."""
    from sync.outbox.models import Change, ChangeQuerySet, Taken

    last = ""

    def look_further(self: ChangeQuerySet, queue: str, limit: int, *_: Any, **more: Any) -> list[Taken]:
        nonlocal last
        changes = Change.objects.filter(id__gt=last, claim="", until="").order_by("id")
        found = [Taken(*row) for row in changes.values_list(*Taken._fields)[:limit]]
        last = found[-1].pk if found else last
        return found

    _put(ChangeQuerySet, "look", look_further)


def write_concern_1() -> None:
    """A write counts as done when the primary alone has it."""
    from pymongo.write_concern import WriteConcern

    from sync.mongodb import client

    _put(client, "WriteConcern", lambda *_: WriteConcern(1))


def confirm_local() -> None:
    """A relay confirms by what the primary has, not by what the majority has."""
    from pymongo.read_concern import ReadConcern

    from sync.outbox import mongo_writer

    _put(mongo_writer, "ReadConcern", lambda *_: ReadConcern("local"))


def checkpoint_first() -> None:
    """A follower saves its position before it delivers what is before it."""
    from sync.binlog.follower import _Session

    handle = _Session._handle

    def save_and_handle(self: _Session, keys: list[Any], advance: Callable[[], None]) -> None:
        advance()
        self._save(self.state)
        handle(self, keys, lambda: None)

    _put(_Session, "_handle", save_and_handle)


def old_parent_forgotten() -> None:
    """A row that moves to another parent records only the new one."""

    def make(record_rows: Any) -> Any:
        return lambda table, keys, using, *links, **more: record_rows(table, keys, using, *links[-1:], **more)

    _replace("record_rows", make)


def new_parent_forgotten() -> None:
    """A row that moves to another parent records only the one that it leaves."""

    def make(record_rows: Any) -> Any:
        return lambda table, keys, using, *links, **more: record_rows(table, keys, using, *links[:1], **more)

    _replace("record_rows", make)


def old_parent_unlocked() -> None:
    """The parent that a row leaves is read before the row is locked."""
    from django.db.models import QuerySet

    from sync.outbox import parents

    def read_links(table: Any, keys: Any, using: str) -> Any:
        rows = QuerySet(table, using=using).filter(pk__in=list(keys))
        return {pk: tuple(links) for pk, *links in rows.values_list("pk", *parents.columns(table))}

    _put(parents, "read_links", read_links)


def second_hop_inside() -> None:
    """The parents of rows further down are looked up inside the transaction."""
    from sync.tests.zoo.models import Pen

    def make(record_concerned: Any) -> Any:
        def record_parents(found: Any, using: str, **more: Any) -> None:
            for each in found:
                if each.via == "pens":
                    shelters = Pen.objects.filter(pk__in=each.keys).values_list("shelter_id", flat=True)
                    each = each._replace(via="", keys=frozenset(shelters))
                record_concerned([each] if each.keys else [], using, **more)

        return record_parents

    _replace("record_concerned", make)


def embedded_rows_first() -> None:
    """The embedded rows are read before the documents' versions, the rows of the target after them."""
    from sync.mapping.composed import documents_of
    from sync.mapping.embeds import embeds
    from sync.outbox import mongo_writer

    known = threading.local()

    def make(deliver: Any) -> Any:
        def deliver_what_was(target: Any, keys: Any, using: str, *rest: Any, **more: Any) -> Any:
            outer = getattr(known, "documents", None)
            known.documents = documents_of(target, list(keys), using)
            try:
                return deliver(target, keys, using, *rest, **more)
            finally:
                known.documents = outer

        return deliver_what_was

    def documents_with_old_rows(target: Any, keys: Any, using: str) -> Any:
        found = documents_of(target, keys, using)
        for key in found.keys() & known.documents.keys():
            for embed in embeds(target):
                found[key][embed.name] = known.documents[key].get(embed.name)
        return found

    _replace("deliver", make)
    _put(mongo_writer, "documents_of", documents_with_old_rows)


def _change_pages(change: Callable[[Any, Any, str], Any]) -> None:
    """Pages of fan-outs become what `change` makes of (page, changes, database)."""
    from sync.outbox import fan_out

    page = fan_out.page
    _put(fan_out, "page", lambda target, changes, using: change(page(target, changes, using), changes, using))


def fan_out_removed_first() -> None:
    """Fan-outs are removed before their documents are delivered."""
    from sync.outbox.models import Change

    def remove(page: Any, _: Any, using: str) -> Any:
        Change.objects.using(using).filter(pk__in=[change.pk for change in page.changes]).delete()
        return page

    _change_pages(remove)


def fan_outs_claimed_late() -> None:
    """The documents of fan-outs that are delivered together are looked up before the last ones are claimed."""
    from sync.outbox import fan_out

    def look_up_first(target: Any, changes: Any, using: str) -> Any:
        return page(target, changes[:1], using)._replace(changes=changes, is_last=True)

    page = fan_out.page
    _put(fan_out, "page", look_up_first)


def absorbs_when_begun() -> None:
    """A fan-out absorbs others of the same row when it continues, too."""
    from sync.outbox import fan_out

    def absorb(page: Any, changes: Any, using: str) -> Any:
        fan_out._absorb(changes, using)
        return page

    _change_pages(absorb)


def claim_ignored() -> None:
    """A worker moves a fan-out's cursor although another has taken it over."""
    from sync.outbox.models import ChangeQuerySet

    _put(ChangeQuerySet, "held", lambda self, changes, _: self.filter(pk__in=[change.pk for change in changes]))


def cursor_first() -> None:
    """A fan-out passes its documents before they are delivered."""
    from sync.outbox.models import Change

    def go_past(page: Any, _: Any, using: str) -> Any:
        mine = Change.objects.using(using).filter(pk__in=[change.pk for change in page.changes])
        mine.update(key=str(page.documents[-1]))
        return page

    _change_pages(go_past)


MUTATIONS: dict[str, Callable[[], None]] = {
    mutate.__name__.replace("_", "-"): mutate
    for mutate in (
        comparison_off, settling_off, lost_race_dropped, row_before_version, change_outside_transaction, deadline_off,
        repeatable_read, id_as_cursor, write_concern_1,
        confirm_local, checkpoint_first, old_parent_forgotten, new_parent_forgotten, old_parent_unlocked,
        second_hop_inside, embedded_rows_first, fan_out_removed_first, cursor_first, absorbs_when_begun, claim_ignored,
        fan_outs_claimed_late,
    )
}  # fmt: skip


def apply(mutation: str) -> None:
    """Apply a mutation to the code of this process and its children."""
    MUTATIONS[mutation]()
