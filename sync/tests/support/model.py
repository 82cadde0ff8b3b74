"""The delivery protocol of one key as an explicit model, explored exhaustively within bounds.

Steps are atomic and can be interleaved in any order. A transaction that writes or deletes the row begins and commits.
A change without a write is recorded (a retry, a backfill). A deliverer takes a change, reads the document's version,
reads the row, sends its write and receives the response. MongoDB applies a write that was sent, however late. A
deliverer is killed between any two steps, perhaps after it has sent its write. Relays do not claim what they take, so
several may deliver one change at the same time; `claims` explores repairs and backfills, which do.

Inline delivery starts with the commit. It writes to the primary without waiting for the majority, and leaves its
change with its token. A deliverer that takes such a change first checks whether the majority's document has the
token: if so, it removes the change, otherwise it delivers the key. Other deliverers wait until the majority has their
write. A deliverer without a write, because row and document are both missing, also waits, and checks that the
majority has no document. A failover reverts writes that the majority does not have.

An insert has a deadline, and a settling delete is due only after the deadlines of all earlier inserts. In the
model, taking a settling change makes those inserts late, and MongoDB rejects late inserts.

Default bounds: two writes, one change without a write, no kill, two deliverers (233,821 states; with claims 28,448).
FAILOVER has the bounds for inline delivery and one failover, with one other deliverer (16,056 states).

At rest, with no pending changes, messages or writes left, the document must equal the row, both on the primary and on
the majority: a failover can happen at any time. `python -m sync.tests.support.model` prints the result for the
protocol and each mutation, with the shortest path to the first wrong end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sync.tests.support.explore import Result
from sync.tests.support.explore import explore as explore_from

ABSENT = 0


class Deliverer(NamedTuple):
    """A deliverer with a change: its next step, and the values that it has read."""

    step: str  # confirm, version, row, send, wait, majority, end
    change: int
    seen: int = -1  # the document's version; 0 for no document
    value: int = -1  # the row; ABSENT if it is deleted
    late: bool = False  # the deadline of its insert has passed
    won: bool = False
    inline: bool = False
    token: int = 0  # of inline delivery, if that held the change before
    settling: bool = False  # whether the change was settling when it was read


class Message(NamedTuple):
    """A write that was sent to MongoDB and not applied yet."""

    sender: int
    change: int
    seen: int
    value: int
    version: int
    late: bool
    token: int


class Change(NamedTuple):
    id: int
    settling: bool = False
    owner: int = -1  # the deliverer that has claimed it
    token: int = 0  # of inline delivery, until another deliverer claims the change


Document = tuple[int, int, int] | None  # version, value, the token of its writer


class State(NamedTuple):
    row: int = ABSENT
    document: Document = None
    majority: Document = None  # the document that no failover reverts
    open: tuple[tuple[int, int], ...] = ()  # transactions: change id, the row's new value or -1 for none
    changes: tuple[Change, ...] = ()
    deliverers: tuple[Deliverer | None, ...] = ()
    messages: tuple[Message, ...] = ()
    ids: int = 1
    versions: int = 1
    writes: int = 0  # left to do
    touches: int = 0
    kills: int = 0
    failovers: int = 0
    replicated: bool = False  # whether majority and primary may differ
    inline: bool = False  # whether the last deliverer is inline delivery

    def at_rest(self) -> bool:
        return not (self.open or self.changes or self.messages or any(self.deliverers) or self.writes)

    def equal(self) -> bool:
        return all((copy[1] if copy else ABSENT) == self.row for copy in (self.document, self.majority))


@dataclass(frozen=True)
class Protocol:
    """The protocol, or one of its mutations."""

    compare: bool = True  # write only if the document still has the version that was read
    settle: bool = True  # a delete is delivered a second time
    deadline: bool = True  # MongoDB rejects an insert after its deadline
    keep_lost: bool = True  # a deliverer that lost the race keeps the change
    version_first: bool = True  # the version is read before the row
    id_as_version: bool = False  # "newer" is decided by the change's id
    confirm: bool = True  # inline delivery leaves its change to be confirmed
    confirm_majority: bool = True  # the majority's document confirms, not the primary's
    confirm_token: bool = True  # only a document with the change's token confirms
    claims: bool = False  # a deliverer claims a change, so that no other one delivers it at the same time
    remove_same: bool = True  # without claims: a change that settles by now is not removed
    await_gone: bool = True  # a deliverer that finds no document to delete waits until the majority has none either


FAILOVER = {"writes": 2, "touches": 0, "failovers": 1, "inline": 1, "deliverers": 1}


def explore(
    protocol: Protocol, *, writes: int = 2, touches: int = 1, kills: int = 0, deliverers: int = 2, failovers: int = 0,
    inline: int = 0,
) -> Result:  # fmt: skip
    """Visit every reachable state within the bounds. inline: 1 with inline delivery, one at a time."""
    start = State(
        deliverers=(None,) * (deliverers + inline), writes=writes, touches=touches, kills=kills, failovers=failovers,
        replicated=failovers > 0, inline=inline > 0,
    )  # fmt: skip
    return explore_from(
        start,
        lambda state: _steps(state, protocol),
        lambda state, is_end: state.at_rest() and not state.equal(),
        same=(lambda state: state) if protocol.id_as_version else _renumber,
    )


def _renumber(state: State) -> State:
    """The same state with the smallest versions: two deliverers may reject each other's writes any number of times."""
    copies = [copy for copy in (state.document, state.majority) if copy]
    seen = [one.seen for one in state.deliverers if one and one.seen > 0]
    held = {
        *(copy[0] for copy in copies),
        *seen,
        *(m.seen for m in state.messages),
        *(m.version for m in state.messages),
    }
    new = {version: number for number, version in enumerate(sorted(held | {0}))}
    if len(new) == state.versions:
        return state

    def copied(copy: Document) -> Document:
        return copy and (new[copy[0]], *copy[1:])

    return state._replace(
        document=copied(state.document),
        majority=copied(state.majority),
        deliverers=tuple(one._replace(seen=new[one.seen]) if one and one.seen > 0 else one for one in state.deliverers),
        messages=tuple(m._replace(seen=new[m.seen], version=new[m.version]) for m in state.messages),
        versions=len(new),
    )


def _steps(state: State, protocol: Protocol) -> Iterator[tuple[str, State]]:
    yield from _application(state)
    for number in range(len(state.deliverers)):
        yield from _deliverer(state, number, protocol)
    for message in state.messages:
        yield _mongodb(state, message, protocol)
    yield from _replica_set(state)


def _application(state: State) -> Iterator[tuple[str, State]]:
    # The row's lock allows one writing transaction at a time. The transaction takes the change's id when it begins.
    if state.writes and not any(value >= 0 for _, value in state.open):
        for value in {state.ids, ABSENT if state.row else state.ids}:
            begun = (*state.open, (state.ids, value))
            what = f"write {value}" if value else "delete"
            yield f"begin to {what}", state._replace(open=begun, ids=state.ids + 1, writes=state.writes - 1)
    if state.touches:
        begun = (*state.open, (state.ids, -1))
        yield "begin a change without a write", state._replace(open=begun, ids=state.ids + 1, touches=state.touches - 1)
    for transaction in state.open:
        change, value = transaction
        committed = state._replace(
            open=tuple(other for other in state.open if other != transaction),
            row=state.row if value < 0 else value,
        )
        yield f"commit {change}", _add(committed, Change(change))
        last = len(state.deliverers) - 1
        if state.inline and value >= 0 and state.deliverers[last] is None:
            begun = _put(committed, last, Deliverer("version", change, inline=True, token=change))
            yield f"commit {change}, delivered inline", _add(begun, Change(change, token=change))


def _add(state: State, *changes: Change) -> State:
    return state._replace(changes=tuple(sorted((*state.changes, *changes))))


def _deliverer(state: State, number: int, protocol: Protocol) -> Iterator[tuple[str, State]]:
    me = state.deliverers[number]
    if me is None:
        for change in state.changes:
            if change.owner == -1 and not (state.inline and number == len(state.deliverers) - 1):
                yield f"{number} takes {change.id}", _take(state, number, change, protocol)
        return
    if state.kills:
        freed = _free(state, number)
        yield f"{number} is killed", _put(freed, number, None)._replace(kills=state.kills - 1)
    if me.step == "confirm":
        copy = state.majority if protocol.confirm_majority else state.document
        if copy and (copy[2] == me.token or not protocol.confirm_token):
            mine = _mine(state, number, me, protocol)
            rest = tuple(change for change in state.changes if change not in mine)
            yield f"{number} confirms {me.change}", _put(state, number, None)._replace(changes=rest)
        else:
            yield f"{number} confirms nothing", _put(state, number, me._replace(step="version", token=0))
    elif me.step == "version":
        seen = me.change if protocol.id_as_version else state.document[0] if state.document else 0
        following = "row" if protocol.version_first else "send"
        yield f"{number} sees version {seen}", _put(state, number, me._replace(step=following, seen=seen))
    elif me.step == "row":
        following = "send" if protocol.version_first else "version"
        yield f"{number} reads {state.row}", _put(state, number, me._replace(step=following, value=state.row))
    elif me.step == "send" and me.value == ABSENT and me.seen == 0:
        waits = state.replicated and not me.inline and protocol.await_gone
        ended = me._replace(step="majority" if waits else "end", won=True)
        yield f"{number} has nothing to write", _put(state, number, ended)
    elif me.step == "send":
        message = Message(number, me.change, me.seen, me.value, state.versions, me.late, me.token)
        waiting = _put(state, number, me._replace(step="wait"))
        sent = waiting._replace(messages=(*state.messages, message), versions=state.versions + 1)
        yield f"{number} sends {me.value or 'delete'} at {me.seen}", sent
    elif me.step == "end":
        yield f"{number} ends", _end(state, number, me, protocol)


def _take(state: State, number: int, change: Change, protocol: Protocol) -> State:
    taken = change._replace(owner=number, token=0) if protocol.claims else change
    changes = tuple(taken if other == change else other for other in state.changes)
    first = "confirm" if change.token else "version" if protocol.version_first else "row"
    deliverer = Deliverer(first, change.id, token=change.token, settling=change.settling)
    claimed = _put(state, number, deliverer)._replace(changes=changes)
    if not change.settling:
        return claimed
    # It is due after SYNC_SETTLE: the deadlines of all deliverers that saw no document have passed.
    return claimed._replace(
        messages=tuple(message._replace(late=True) for message in claimed.messages),
        deliverers=tuple(
            other._replace(late=True)
            if other and place != number and other.step not in ("confirm", "version")
            else other
            for place, other in enumerate(claimed.deliverers)
        ),
    )


def _mine(state: State, number: int, me: Deliverer, protocol: Protocol) -> list[Change]:
    """The change that the deliverer may remove: none if another one has removed it, or has let it settle."""
    if protocol.claims:
        return [change for change in state.changes if change.owner == number]
    found = [change for change in state.changes if change.id == me.change]
    return [change for change in found if change.settling == me.settling or not protocol.remove_same]


def _end(state: State, number: int, me: Deliverer, protocol: Protocol) -> State:
    ended = _put(state, number, None)
    if me.inline:
        return _end_inline(ended, me, protocol)
    mine = _mine(state, number, me, protocol)
    if not mine:
        return ended
    ended = ended._replace(changes=tuple(change for change in state.changes if change not in mine))
    if not me.won and protocol.keep_lost:
        return _add(ended, *(change._replace(owner=-1) for change in mine))
    if protocol.settle and me.value == ABSENT and not all(change.settling for change in mine):
        return _add(ended, *(Change(change.id, settling=True) for change in mine))
    return ended


def _end_inline(state: State, me: Deliverer, protocol: Protocol) -> State:
    """Leave a written change to be confirmed, and a lost one to be delivered, unless another deliverer has it."""
    if me.won and protocol.confirm:
        return state
    rest = tuple(change for change in state.changes if change.token != me.token)
    if me.won or len(rest) == len(state.changes):
        return state._replace(changes=rest)
    return _add(state._replace(changes=rest), Change(me.change))


def _replica_set(state: State) -> Iterator[tuple[str, State]]:
    waiting = [number for number, one in enumerate(state.deliverers) if one and one.step == "majority"]
    if state.document != state.majority or waiting:
        there = state._replace(majority=state.document)
        for number in waiting:
            me: Deliverer = state.deliverers[number]  # type: ignore[assignment]
            is_so = me.seen > 0 or me.value != ABSENT or state.document is None
            there = _put(there, number, me._replace(step="end", won=is_so))
        yield "the majority has it", there
    if state.failovers:
        over = state._replace(document=state.majority, failovers=state.failovers - 1)
        for number in waiting:  # they receive an error and release their changes
            over = _put(_free(over, number), number, None)
        yield "failover", over


def _mongodb(state: State, message: Message, protocol: Protocol) -> tuple[str, State]:
    version = state.document[0] if state.document else 0
    if protocol.id_as_version:
        applies = version <= message.seen
        written = (message.seen, message.value, message.token)
    else:
        applies = version == message.seen or not protocol.compare
        written = (message.version, message.value, message.token)
    if protocol.deadline and message.late and message.seen == 0 and message.value:
        applies = False
    document = state.document
    if applies:
        document = written if message.value else None
    rest = tuple(other for other in state.messages if other != message)
    answered = state._replace(
        messages=rest, document=document, majority=state.majority if state.replicated else document
    )
    sender = state.deliverers[message.sender]
    if sender and sender.step == "wait" and sender.change == message.change:
        waits = applies and state.replicated and not sender.inline
        answered = _put(answered, message.sender, sender._replace(step="majority" if waits else "end", won=applies))
    return f"MongoDB {'applies' if applies else 'rejects'} {message.value or 'delete'}", answered


def _free(state: State, number: int) -> State:
    changes = (change._replace(owner=-1) if change.owner == number else change for change in state.changes)
    return state._replace(changes=tuple(sorted(changes)))


def _put(state: State, number: int, deliverer: Deliverer | None) -> State:
    return state._replace(
        deliverers=(*state.deliverers[:number], deliverer, *state.deliverers[number + 1 :]),
    )


MUTATIONS = {
    "comparison off": Protocol(compare=False),
    "deletes do not settle": Protocol(settle=False),
    "inserts have no deadline": Protocol(deadline=False),
    "a lost race drops its change": Protocol(keep_lost=False),
    "the row is read before the version": Protocol(version_first=False),
    "change ids as versions": Protocol(id_as_version=True),
}
FAILOVER_MUTATIONS = {
    "inline delivery removes its change": Protocol(confirm=False),
    "the primary's document confirms": Protocol(confirm_majority=False),
    "any document confirms": Protocol(confirm_token=False),
    "a delete of a missing document is not waited for": Protocol(await_gone=False),
}


def main() -> None:
    runs: list[tuple[str, Protocol, dict[str, int]]] = [("the protocol", Protocol(), {})]
    runs += [(name, protocol, {}) for name, protocol in MUTATIONS.items()]
    runs += [("with a failover", Protocol(), FAILOVER)]
    runs += [("with a failover and a kill", Protocol(), {**FAILOVER, "kills": 1})]
    runs += [(name, protocol, FAILOVER) for name, protocol in FAILOVER_MUTATIONS.items()]
    for name, protocol, bounds in runs:
        result = explore(protocol, **bounds)
        print(f"{name}: {result}")


if __name__ == "__main__":
    main()
