"""Delivery by the follower of the binary log, for one key, as an explicit model that is explored exhaustively.

Transactions write or delete the row. Each is in the log first, and visible to readers later, in the log's order. Those
of the ORM have captured themselves: a change becomes visible with the transaction, and the follower leaves the event
out.

The follower takes the events that are logged so far. It commits its checkpoint, which returns only when everything
before it in the log is visible. It reads the document's version, then the row, sends its write, and waits until the
majority has it; after a conflict it begins again with the version. In the next commit it advances the checkpoint, and
records a settling change if it has delivered a deletion. In an outage it records a change and advances. It can be
killed between any two steps; the next follower starts from the checkpoint.

A relay delivers the recorded changes, and sometimes the key without need (a repair, or another follower that does not
know yet that it was replaced). A write that was sent may be applied late, also if its sender was killed. A
failover reverts what the majority does not have. As in model.py, the claim of a settling change makes
earlier inserts late, and MongoDB rejects late inserts.

At rest the document must equal the row, both on the primary and on the majority. `python -m
sync.tests.support.log_model` prints the result for the protocol and each mutation, with the shortest path to the first
wrong end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from sync.tests.support.explore import Result
from sync.tests.support.explore import explore as explore_from

ABSENT = 0
FOLLOWER, RELAY = "the follower", "the relay"


class Change(NamedTuple):
    settling: bool = False
    after: int = 0  # the transactions that have to be visible before the change is


class Deliverer(NamedTuple):
    step: str = "idle"  # idle, commit, returning, version, row, send, wait, majority, save
    upto: int = 0  # the follower: the events that it has taken
    seen: int = 0  # the document's version; 0 for no document
    value: int = ABSENT  # the row
    late: bool = False  # the deadline of its insert has passed
    settling: bool = False  # the relay: its change is one


class Message(NamedTuple):
    sender: str
    number: int  # of the sender's delivery
    seen: int
    version: int
    value: int
    late: bool


class State(NamedTuple):
    log: tuple[int, ...] = ()  # the row's value after each transaction
    visible: int = 0  # of these, the number that readers see
    mark: int = 0  # the length of the log when the follower committed
    checkpoint: int = 0
    document: tuple[int, int] | None = None  # version, value
    majority: tuple[int, int] | None = None
    versions: int = 0
    follower: Deliverer = Deliverer()
    relay: Deliverer = Deliverer()
    numbers: tuple[int, int] = (0, 0)  # deliveries begun by the follower and by the relay
    changes: tuple[Change, ...] = ()
    messages: tuple[Message, ...] = ()
    captured: frozenset[int] = frozenset()  # the transactions that have captured themselves
    captures: int = 0  # those that may still do so
    writes: int = 2
    touches: int = 1
    kills: int = 1
    outages: int = 0
    failovers: int = 0
    replicated: bool = False

    @property
    def row(self) -> int:
        return self.log[self.visible - 1] if self.visible else ABSENT

    def at_rest(self) -> bool:
        is_read = self.visible == self.checkpoint == len(self.log)
        is_busy = self.follower.step != "idle" or self.relay.step != "idle"
        return is_read and not (is_busy or self.changes or self.messages or self.writes)

    def equal(self) -> bool:
        return all((copy[1] if copy else ABSENT) == self.row for copy in (self.document, self.majority))


@dataclass(frozen=True)
class Protocol:
    """The protocol, or one of its mutations."""

    own_commit: bool = True  # the follower commits between reading events and reading rows
    checkpoint_last: bool = True  # the checkpoint advances after the delivery
    await_majority: bool = True  # and only when the majority has the write
    version_first: bool = True
    compare: bool = True  # a write is applied only if the document still has the version that was read
    keep_lost: bool = True  # a conflict is tried again
    settle: bool = True  # a delivered deletion leaves a settling change
    deadline: bool = True  # MongoDB rejects an insert after its deadline
    record_in_outage: bool = True  # the key of an outage is recorded


MUTATIONS = {name: replace(Protocol(), **{name: False}) for name in Protocol.__dataclass_fields__}
FAILOVER = {"failovers": 1, "replicated": 1, "kills": 0, "touches": 0}
# The bounds in which a mutation is caught, if the default ones are too small.
CAUGHT_WITH: dict[str, dict[str, int]] = {
    "await_majority": FAILOVER,
    "record_in_outage": {"outages": 1, "kills": 0, "touches": 0},
    "version_first": {"captures": 1, "kills": 0, "touches": 0},
}


def explore(protocol: Protocol, **bounds: int) -> Result:
    """Visit every reachable state within the bounds, which are fields of State."""
    start = State(**bounds)  # type: ignore[arg-type]  # replicated may be 0 or 1
    return explore_from(
        start, lambda state: _steps(state, protocol), lambda state, is_end: state.at_rest() and not state.equal()
    )


def _steps(state: State, protocol: Protocol) -> Iterator[tuple[str, State]]:
    yield from _application(state)
    yield from _follower(state, protocol)
    yield from _relay(state, protocol)
    for message in state.messages:
        yield _mongodb(state, message, protocol)
    yield from _replica_set(state)


def _application(state: State) -> Iterator[tuple[str, State]]:
    if state.writes:
        number = len(state.log) + 1
        for value in {number, ABSENT if state.log and state.log[-1] else number}:
            logged = state._replace(log=(*state.log, value), writes=state.writes - 1)
            what = f"write {value}" if value else "delete"
            yield f"{what} is logged", logged
            if state.captures:
                both = logged._replace(captured=state.captured | {number}, captures=state.captures - 1)
                yield (
                    f"{what} is logged, captured",
                    both._replace(changes=_sorted(*state.changes, Change(after=number))),
                )
    if state.visible < len(state.log):
        yield "the next transaction becomes visible", state._replace(visible=state.visible + 1)
    if state.touches:
        touched = state._replace(changes=_sorted(*state.changes, Change()), touches=state.touches - 1)
        yield "a change is recorded without need", touched


def _sorted(*changes: Change) -> tuple[Change, ...]:
    return tuple(sorted(changes))


def _follower(state: State, protocol: Protocol) -> Iterator[tuple[str, State]]:
    me = state.follower
    logged = len(state.log)
    if me.step == "idle" and logged > state.checkpoint:
        taken = state._replace(follower=Deliverer("commit" if protocol.own_commit else "version", logged))
        if not protocol.checkpoint_last:
            taken = taken._replace(checkpoint=logged)
        yield "the follower takes the events", taken
        if state.captured.issuperset(range(state.checkpoint + 1, logged + 1)):
            yield "the follower leaves the events out", state._replace(checkpoint=logged)
    elif me.step == "commit":
        yield "the follower commits", state._replace(follower=me._replace(step="returning"), mark=logged)
    elif me.step == "returning" and state.visible >= state.mark:
        first = "version" if protocol.version_first else "row"
        yield "its commit returns", state._replace(follower=me._replace(step=first), mark=0)
    elif me.step == "save":
        settling = [Change(settling=True)] if me.value == ABSENT and protocol.settle else []
        saved = state._replace(follower=Deliverer(), changes=_sorted(*state.changes, *settling))
        yield "the follower saves its checkpoint", saved._replace(checkpoint=max(state.checkpoint, me.upto))
    else:
        yield from _deliver(state, FOLLOWER, protocol)
    if me.step != "idle" and state.kills:
        yield "the follower is killed", state._replace(follower=Deliverer(), mark=0, kills=state.kills - 1)
    if me.step in ("version", "wait", "majority") and state.outages:
        yield "an outage for the follower", _record(state, protocol)._replace(outages=state.outages - 1)


def _record(state: State, protocol: Protocol) -> State:
    """The follower cannot deliver: the relay will."""
    new = [Change()] if protocol.record_in_outage else []
    changes = _sorted(*state.changes, *new)
    return state._replace(follower=Deliverer(), changes=changes, checkpoint=max(state.checkpoint, state.follower.upto))


def _relay(state: State, protocol: Protocol) -> Iterator[tuple[str, State]]:
    me = state.relay
    if me.step == "idle":
        for change in set(state.changes):
            if change.after <= state.visible:
                yield f"the relay claims {change}", _claim(state, change)
    elif me.step == "save":
        again = [Change(settling=True)] if me.value == ABSENT and not me.settling and protocol.settle else []
        yield "the relay ends", state._replace(relay=Deliverer(), changes=_sorted(*state.changes, *again))
    else:
        yield from _deliver(state, RELAY, protocol)


def _claim(state: State, change: Change) -> State:
    rest = list(state.changes)
    rest.remove(change)
    claimed = state._replace(relay=Deliverer("version", settling=change.settling), changes=tuple(rest))
    if not change.settling:
        return claimed
    # It is claimed after SYNC_SETTLE: the deadlines of all deliverers that saw no document have passed.
    late = state.follower.step in ("row", "send", "wait", "majority")
    return claimed._replace(
        messages=tuple(message._replace(late=True) for message in state.messages),
        follower=state.follower._replace(late=late),
    )


def _deliver(state: State, who: str, protocol: Protocol) -> Iterator[tuple[str, State]]:
    """Steps 2 to 4 of the delivery protocol. A relay's mutation would be one of model.py."""
    me = state.follower if who is FOLLOWER else state.relay
    is_version_first = protocol.version_first or who is RELAY
    if me.step == "version":
        seen = state.document[0] if state.document else 0
        read = me._replace(step="row" if is_version_first else "send", seen=seen, late=False)
        yield f"{who} sees version {seen}", _put(state, who, read)
    elif me.step == "row":
        read = me._replace(step="send" if is_version_first else "version", value=state.row)
        yield f"{who} reads {state.row}", _put(state, who, read)
    elif me.step == "send" and me.value == ABSENT and me.seen == 0:
        yield f"{who} has nothing to write", _put(state, who, me._replace(step="majority"))
    elif me.step == "send":
        mine, others = state.numbers if who is FOLLOWER else state.numbers[::-1]
        numbers = (mine + 1, others) if who is FOLLOWER else (others, mine + 1)
        version = state.versions + 1
        message = Message(who, mine + 1, me.seen, version, me.value, me.late)
        sent = state._replace(messages=(*state.messages, message), versions=version, numbers=numbers)
        yield f"{who} sends {me.value or 'delete'} at {me.seen}", _put(sent, who, me._replace(step="wait"))


def _put(state: State, who: str, deliverer: Deliverer) -> State:
    return state._replace(follower=deliverer) if who is FOLLOWER else state._replace(relay=deliverer)


def _mongodb(state: State, message: Message, protocol: Protocol) -> tuple[str, State]:
    version = state.document[0] if state.document else 0
    applies = version == message.seen or not protocol.compare
    if protocol.deadline and message.late and message.seen == 0 and message.value:
        applies = False
    document = state.document
    if applies:
        document = (message.version, message.value) if message.value else None
    rest = tuple(other for other in state.messages if other != message)
    majority = state.majority if state.replicated else document
    answered = state._replace(messages=rest, document=document, majority=majority)
    what = f"MongoDB {'applies' if applies else 'rejects'} {message.value or 'delete'} of {message.sender}"
    return what, _answer(answered, message, applies, protocol)


def _answer(state: State, message: Message, applies: bool, protocol: Protocol) -> State:
    who = message.sender
    me, begun = (state.follower, state.numbers[0]) if who is FOLLOWER else (state.relay, state.numbers[1])
    if me.step != "wait" or begun != message.number:
        return state  # its sender was killed
    if applies:
        waits = state.replicated and (protocol.await_majority or who is RELAY)
        return _put(state, who, me._replace(step="majority" if waits else "save"))
    if who is RELAY:
        return _put(state, who, Deliverer())._replace(changes=_sorted(*state.changes, Change(me.settling)))
    if protocol.keep_lost:
        first = "version" if protocol.version_first else "row"
        return _put(state, who, me._replace(step=first, seen=0, value=ABSENT))
    return _put(state, who, me._replace(step="save"))


def _replica_set(state: State) -> Iterator[tuple[str, State]]:
    waiting = [who for who, one in ((FOLLOWER, state.follower), (RELAY, state.relay)) if one.step == "majority"]
    if state.document != state.majority or waiting:
        there = state._replace(majority=state.document)
        for who in waiting:
            me = there.follower if who is FOLLOWER else there.relay
            is_gone = me.seen > 0 or me.value != ABSENT or state.document is None
            there = _put(there, who, me._replace(step="save" if is_gone else "version"))
        yield "the majority has it", there
    if state.failovers:
        over = state._replace(document=state.majority, failovers=state.failovers - 1)
        if FOLLOWER in waiting:  # it gets an error, as in an outage
            over = _record(over, Protocol())
        if RELAY in waiting:
            over = over._replace(relay=Deliverer(), changes=_sorted(*over.changes, Change(over.relay.settling)))
        yield "failover", over


def main() -> None:
    runs: list[tuple[str, Protocol, dict[str, int]]] = [
        (f"the protocol, {bounds or 'default bounds'}", Protocol(), bounds) for bounds in BOUNDS
    ]
    runs += [(f"without {name}", protocol, CAUGHT_WITH.get(name, {})) for name, protocol in MUTATIONS.items()]
    for name, protocol, bounds in runs:
        result = explore(protocol, **bounds)
        print(f"{name}: {result}")


BOUNDS: list[dict[str, int]] = [
    {},
    {"captures": 1, "touches": 0},
    {"writes": 3, "touches": 0, "kills": 0},
    {"outages": 1, "kills": 0},
    FAILOVER,
    {**FAILOVER, "outages": 1},
]

if __name__ == "__main__":
    main()
