"""Documents built of several tables as an explicit model, explored exhaustively within bounds.

Two parent rows, 0 and 1, each with a document. A child row belongs to one of them, or does not exist. A grandchild
belongs to the child. A branch is embedded in both parents' documents. So the document of a parent has the child's and
the grandchild's values if the child is its own, and the branch's.

Transactions move the child, change its value, delete it, and change the grandchild or the branch. Each takes the lock
of its row, and commits later. It records the parents that the child belonged to and belongs to now. What depends on
another row is recorded as a fan-out, "via" that row: a deliverer looks up the parents after the commit.

A deliverer takes a change and reads the document's version, the child and the grandchild in steps of their own, then
writes if the version is still the same; otherwise the change stays. Changes of parents are not claimed, so two
deliverers may have the same one. A fan-out is claimed for a lease, which expires if its holder is killed or slow. It
is delivered one parent after the other; after each, its cursor moves on. A deliverer that begins a fan-out absorbs the
others of the same row that have not begun. It may also claim fan-outs of other rows that have not begun: then it looks
up the parents of all of them at once, delivers each parent once, and removes the fan-outs when it has delivered all.

At rest each document must equal its rows. `python -m sync.tests.support.composed_model` prints the result for the
protocol and each mutation, with the shortest path to the first wrong end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from sync.tests.support.explore import Result
from sync.tests.support.explore import explore as explore_from

NOBODY = -1
NO_PARENT = -1
PARENTS = (0, 1)
CHILD, BRANCH = "the child", "the branch"  # what a fan-out goes through
Content = tuple[int, ...]  # the values of the child, the grandchild (absent without a child) and the branch


class Child(NamedTuple):
    parent: int = 0
    value: int = 1


class Document(NamedTuple):
    version: int
    content: Content


class Transaction(NamedTuple):
    """One that has begun. read: the child's parent as it has read it. is_locked: whether it has its row's lock."""

    what: str
    read: int
    value: int = 0
    is_locked: bool = True


class Change(NamedTuple):
    """key: a parent, as text, or what a fan-out goes through. cursor: the first parent that is not delivered yet."""

    id: int
    key: str
    cursor: int = 0
    owner: int = NOBODY


class Deliverer(NamedTuple):
    step: str  # expand, look up, version, child, grandchild, write, end
    change: int
    key: str
    parent: int = NO_PARENT
    seen: int = 0
    child: Child = Child()
    grandchild: int = 0
    branch: int = 0
    won: bool = False
    others: tuple[tuple[int, str], ...] = ()  # fan-outs that are delivered together with this one
    rest: tuple[int, ...] = ()  # the parents that follow, of fan-outs delivered together


class State(NamedTuple):
    child: Child = Child()
    grandchild: int = 1
    branch: int = 1
    documents: tuple[Document, ...] = (Document(1, (1, 1, 1)), Document(1, (1,)))
    open: tuple[Transaction, ...] = ()
    changes: tuple[Change, ...] = ()
    deliverers: tuple[Deliverer | None, ...] = (None, None)
    left: tuple[str, ...] = ()  # transactions that have not begun
    values: int = 2
    kills: int = 0
    expiries: int = 0


@dataclass(frozen=True)
class Protocol:
    """The protocol, or one of its mutations."""

    record_before: bool = True  # a move records the parent that the child leaves
    record_after: bool = True  # and the one that it joins
    read_under_lock: bool = True  # the old parent is read with the row's lock, not taken from an instance in memory
    expand_after_commit: bool = True  # parents of other rows are looked up after the commit, not before
    version_first: bool = True  # the version is read before all rows
    read_after_version: bool = True  # every row is read after the version, the child too
    compare: bool = True  # a write is applied only if the document still has the version that was read
    remove_last: bool = True  # a fan-out is removed when its parents are delivered
    cursor_last: bool = True  # the cursor passes a parent when it is delivered
    absorb_new: bool = True  # a fan-out absorbs others only when it begins, not when it continues
    hold_to_move: bool = True  # the cursor is moved, or the fan-out removed, only by its holder
    claim_before_look_up: bool = True  # fan-outs delivered together are all claimed before their parents are looked up
    remove_together_last: bool = True  # and removed when the parents of all are delivered


MUTATIONS = {name: replace(Protocol(), **{name: False}) for name in Protocol.__dataclass_fields__}
DEFAULT = ("move", "change the grandchild", "change the child")
# The transactions and faults with which a mutation is caught.
CAUGHT_WITH: dict[str, tuple[tuple[str, ...], dict[str, int]]] = {
    "record_before": (("move",), {}),
    "record_after": (("move",), {}),
    "read_under_lock": (("move", "move"), {}),
    "expand_after_commit": (("move", "change the grandchild"), {}),
    "version_first": (("change the child", "change the grandchild"), {}),
    "read_after_version": (("change the child", "change the child"), {}),
    "compare": (("change the child", "change the child"), {}),
    "remove_last": (("change the grandchild",), {"kills": 1}),
    "cursor_last": (("change the branch",), {"kills": 1}),
    "absorb_new": (("change the branch", "change the branch"), {"kills": 1}),
    "hold_to_move": (("change the branch", "change the branch"), {"expiries": 1}),
    "claim_before_look_up": (("change the grandchild", "change the branch"), {}),
    "remove_together_last": (("change the grandchild", "change the branch"), {"kills": 1}),
}
BOUNDS: list[tuple[tuple[str, ...], dict[str, int]]] = [
    (("move", "move", "change the child"), {}),
    (("move", "change the grandchild", "change the child"), {}),
    (("move", "change the grandchild", "delete"), {}),
    (("move", "change the grandchild"), {"kills": 1, "expiries": 1}),
    (("move", "change the branch"), {"kills": 1}),
    (("change the branch", "change the branch"), {"kills": 1, "expiries": 1}),
    (("change the grandchild", "change the branch"), {"kills": 1, "expiries": 1}),
]
# Takes minutes: only the command explores it.
LARGEST: tuple[tuple[str, ...], dict[str, int]] = (("change the grandchild", "change the branch", "move"), {})


def explore(protocol: Protocol, transactions: tuple[str, ...] = DEFAULT, **faults: int) -> Result:
    """Visits every state that these transactions can reach with so many kills and expiries."""
    return explore_from(
        State(left=transactions, **faults),
        lambda state: _steps(state, protocol),
        lambda state, is_end: _is_at_rest(state) and not _is_equal(state),
        same=_renumber,
    )


def _is_at_rest(state: State) -> bool:
    return not (state.left or state.open or state.changes or any(state.deliverers))


def _is_equal(state: State) -> bool:
    return all(
        document.content == _content(parent, state.child, state.grandchild, state.branch)
        for parent, document in enumerate(state.documents)
    )


def _content(parent: int, child: Child, grandchild: int, branch: int) -> Content:
    return (child.value, grandchild, branch) if child.parent == parent else (branch,)


def _renumber(state: State) -> State:
    """The same state with the smallest versions: deliverers may reject each other's writes any number of
    times.
    """
    documents, deliverers = list(state.documents), list(state.deliverers)
    for parent, document in enumerate(documents):
        mine = [number for number, one in enumerate(deliverers) if one and one.parent == parent]
        seen = sorted({document.version, *(one.seen for number in mine if (one := deliverers[number]) and one.seen)})
        documents[parent] = document._replace(version=seen.index(document.version) + 1)
        for number in mine:
            if (one := deliverers[number]) and one.seen:
                deliverers[number] = one._replace(seen=seen.index(one.seen) + 1)
    return state._replace(documents=tuple(documents), deliverers=tuple(deliverers))


def _steps(state: State, protocol: Protocol) -> Iterator[tuple[str, State]]:
    yield from _begin(state)
    for transaction in state.open:
        yield from _continue(state, transaction, protocol)
    for number, deliverer in enumerate(state.deliverers):
        if deliverer is None:
            yield from _take(state, number, protocol)
        else:
            yield from _deliver(state, number, deliverer, protocol)
    if state.expiries:
        for change in state.changes:
            if change.owner != NOBODY:
                freed = _with(state, change._replace(owner=NOBODY))
                yield f"the lease of {change.key} expires", freed._replace(expiries=state.expiries - 1)


ROWS = {"move": "child", "change the child": "child", "delete": "child", "change the grandchild": "grandchild"}


def _is_locked(state: State, what: str) -> bool:
    row = ROWS.get(what, "branch")
    return any(one.is_locked and ROWS.get(one.what, "branch") == row for one in state.open)


def _begin(state: State) -> Iterator[tuple[str, State]]:
    for place, what in enumerate(state.left):
        rest = state._replace(left=state.left[:place] + state.left[place + 1 :])
        parent = state.child.parent
        if ROWS.get(what) == "child" and parent == NO_PARENT:
            yield f"there is nothing to {what}", rest
        elif what == "move":
            loaded = Transaction(what, parent, is_locked=False)
            yield "load the child for a move", rest._replace(open=(*state.open, loaded))
        elif not _is_locked(state, what):
            begun = Transaction(what, parent, state.values)
            yield f"begin to {what}", rest._replace(open=(*state.open, begun), values=state.values + 1)


def _continue(state: State, mine: Transaction, protocol: Protocol) -> Iterator[tuple[str, State]]:
    rest = tuple(other for other in state.open if other is not mine)
    if not mine.is_locked:
        if state.child.parent == NO_PARENT:
            yield "the move finds no row", state._replace(open=rest)
        elif not _is_locked(state, mine.what):
            read = state.child.parent if protocol.read_under_lock else mine.read
            locked = Transaction("move", read, 1 - state.child.parent)
            yield "begin to move", state._replace(open=(*rest, locked))
        return
    committed = state._replace(open=rest)
    keys: set[str]
    if mine.what == "move":
        committed = committed._replace(child=state.child._replace(parent=mine.value))
        keys = {str(mine.read)} if protocol.record_before else set()
        keys |= {str(mine.value)} if protocol.record_after else set()
    elif mine.what == "change the child":
        committed = committed._replace(child=state.child._replace(value=mine.value))
        keys = {str(mine.read)}
    elif mine.what == "delete":
        committed = committed._replace(child=Child(NO_PARENT, state.child.value))
        keys = {str(mine.read)}
    elif mine.what == "change the grandchild":
        committed = committed._replace(grandchild=mine.value)
        keys = {CHILD} if protocol.expand_after_commit else {str(mine.read)} - {str(NO_PARENT)}
    else:
        committed = committed._replace(branch=mine.value)
        keys = {BRANCH}
    yield f"commit: {mine.what} ({mine.value})", _record(committed, keys)


def _record(state: State, keys: set[str]) -> State:
    changes = state.changes
    # An id is not given again while anybody knows it.
    held = {number for one in state.deliverers if one for number in (one.change, *(other for other, _ in one.others))}
    for key in sorted(keys):
        used = held | {change.id for change in changes}
        changes = tuple(sorted((*changes, Change(min(set(range(len(used) + 1)) - used), key))))
    return state._replace(changes=changes)


def _take(state: State, number: int, protocol: Protocol) -> Iterator[tuple[str, State]]:
    if None in state.deliverers[:number]:
        return  # the deliverers are alike
    for change in state.changes:
        if change.key not in (CHILD, BRANCH):
            yield f"{number} takes {change.key}", _begin_delivery(state, number, change, int(change.key), protocol)
        elif change.owner == NOBODY:
            taken = _with(state, change._replace(owner=number))
            if change.cursor == 0 or not protocol.absorb_new:
                taken = taken._replace(changes=tuple(each for each in taken.changes if not _is_absorbed(each, change)))
            expanding = Deliverer("expand", change.id, change.key)
            yield f"{number} claims the fan-out of {change.key}", _put(taken, number, expanding)
            if change.cursor == 0:
                yield from _take_together(taken, number, change, protocol)


def _take_together(state: State, number: int, change: Change, protocol: Protocol) -> Iterator[tuple[str, State]]:
    """Claims the fan-outs of other rows that have not begun, too."""
    others = [each for each in state.changes if each.key in (CHILD, BRANCH) and each.key != change.key]
    for other in [each for each in others if each.cursor == 0 and each.owner == NOBODY]:
        taken = _with(state, other._replace(owner=number))
        taken = taken._replace(changes=tuple(each for each in taken.changes if not _is_absorbed(each, other)))
        known = change.key if not protocol.claim_before_look_up else ""
        looking = Deliverer("look up", change.id, change.key, others=((other.id, other.key),))
        found = _look_up(taken, number, looking, protocol, [known]) if known else _put(taken, number, looking)
        yield f"{number} claims the fan-outs of {change.key} and {other.key}", found


def _look_up(state: State, number: int, me: Deliverer, protocol: Protocol, keys: list[str]) -> State:
    """Finds the parents of all these fan-outs, and begins with the first."""
    parents = sorted({parent for key in keys for parent in _parents(state, key)})
    if not parents:
        return _put(_removed(state, number, me, protocol), number, None)
    if not protocol.remove_together_last:
        state = _removed(state, number, me, protocol)
    return _begin_next(state, number, me._replace(rest=tuple(parents)), protocol)


def _begin_next(state: State, number: int, me: Deliverer, protocol: Protocol) -> State:
    first, *rest = me.rest
    begun = _begin_delivery(state, number, Change(me.change, me.key), first, protocol)
    deliverer = begun.deliverers[number]
    assert deliverer
    return _put(begun, number, deliverer._replace(others=me.others, rest=tuple(rest)))


def _removed(state: State, number: int, me: Deliverer, protocol: Protocol) -> State:
    """Without the fan-outs delivered together, of those that it still holds."""
    mine = ((me.change, me.key), *me.others)
    return state._replace(
        changes=tuple(
            each
            for each in state.changes
            if (each.id, each.key) not in mine or (each.owner != number and protocol.hold_to_move)
        )
    )


def _parents(state: State, key: str) -> list[int]:
    return list(PARENTS) if key == BRANCH else [each for each in PARENTS if each == state.child.parent]


def _is_absorbed(other: Change, by: Change) -> bool:
    return other.key == by.key and other.id != by.id and other.cursor == 0 and other.owner == NOBODY


def _begin_delivery(state: State, number: int, change: Change, parent: int, protocol: Protocol) -> State:
    first = "version" if protocol.version_first and protocol.read_after_version else "child"
    return _put(state, number, Deliverer(first, change.id, change.key, parent))


def _deliver(state: State, number: int, me: Deliverer, protocol: Protocol) -> Iterator[tuple[str, State]]:
    if state.kills:
        killed = _put(_free(state, number), number, None)
        yield f"{number} is killed", killed._replace(kills=state.kills - 1)
    if me.step == "expand":
        yield from _expand(state, number, me, protocol)
    elif me.step == "look up":
        found = _look_up(state, number, me, protocol, [me.key, *(key for _, key in me.others)])
        yield f"{number} looks up the parents of both", found
    elif me.step == "version":
        following = "child" if protocol.version_first and protocol.read_after_version else "grandchild"
        following = following if protocol.version_first else "write"
        seen = state.documents[me.parent].version
        yield f"{number} sees {me.parent} at {seen}", _put(state, number, me._replace(step=following, seen=seen))
    elif me.step == "child":
        following = "grandchild" if protocol.read_after_version else "version"
        read = me._replace(step=following, child=state.child)
        yield f"{number} reads the child, {state.child}", _put(state, number, read)
    elif me.step == "grandchild":
        following = "write" if protocol.version_first else "version"
        read = me._replace(step=following, grandchild=state.grandchild, branch=state.branch)
        yield f"{number} reads the grandchild, {state.grandchild}", _put(state, number, read)
    elif me.step == "write":
        yield _write(state, number, me, protocol)
    elif me.step == "end":
        yield f"{number} ends", _end(state, number, me, protocol)


def _expand(state: State, number: int, me: Deliverer, protocol: Protocol) -> Iterator[tuple[str, State]]:
    """Finds the next parent of a fan-out, whose delivery follows."""
    change = _change(state, me)
    if change is None or change.owner != number:
        yield f"{number} has lost the fan-out", _put(state, number, None)
        return
    following = [parent for parent in _parents(state, me.key) if parent >= change.cursor]
    if not following:
        yield f"{number} has ended the fan-out of {me.key}", _put(_without(state, change), number, None)
        return
    if not protocol.remove_last:
        state = _without(state, change)
    elif not protocol.cursor_last:
        state = _with(state, change._replace(cursor=following[0] + 1))
    found = _begin_delivery(state, number, change, following[0], protocol)
    yield f"{number} finds the parent {following[0]}", found


def _write(state: State, number: int, me: Deliverer, protocol: Protocol) -> tuple[str, State]:
    document = state.documents[me.parent]
    won = document.version == me.seen or not protocol.compare
    content = _content(me.parent, me.child, me.grandchild, me.branch)
    if won:
        written = Document(document.version + 1, content)
        documents = tuple(written if parent == me.parent else state.documents[parent] for parent in PARENTS)
        state = state._replace(documents=documents)
    what = f"{number} {'writes' if won else 'has lost'} {me.parent}: {content}"
    return what, _put(state, number, me._replace(step="end", won=won, seen=0))


def _end(state: State, number: int, me: Deliverer, protocol: Protocol) -> State:
    change = _change(state, me)
    if me.key not in (CHILD, BRANCH):
        ended = _put(state, number, None)
        return _without(ended, change) if me.won and change else ended
    if me.others:
        ended = state if me.won else _record(state, {str(me.parent)})
        if me.rest:
            return _begin_next(ended, number, me, protocol)
        return _put(_removed(ended, number, me, protocol), number, None)
    again = _put(state, number, Deliverer("expand", me.change, me.key))
    if not me.won:  # the real code records a change for the key instead
        again = _record(again, {str(me.parent)})
    if change is None or (change.owner != number and protocol.hold_to_move):
        return _put(again, number, None)
    return _with(again, change._replace(cursor=me.parent + 1))


def _change(state: State, me: Deliverer) -> Change | None:
    return next((each for each in state.changes if (each.id, each.key) == (me.change, me.key)), None)


def _with(state: State, change: Change) -> State:
    changes = tuple(change if each.id == change.id else each for each in state.changes)
    return state._replace(changes=changes)


def _without(state: State, change: Change) -> State:
    return state._replace(changes=tuple(each for each in state.changes if each.id != change.id))


def _free(state: State, number: int) -> State:
    freed = (each._replace(owner=NOBODY) if each.owner == number else each for each in state.changes)
    return state._replace(changes=tuple(freed))


def _put(state: State, number: int, deliverer: Deliverer | None) -> State:
    return state._replace(
        deliverers=(*state.deliverers[:number], deliverer, *state.deliverers[number + 1 :]),
    )


def main() -> None:
    for transactions, faults in [*BOUNDS, LARGEST]:
        print(f"{', '.join(transactions)} {faults or ''}: {explore(Protocol(), transactions, **faults)}", flush=True)
    for name, protocol in MUTATIONS.items():
        transactions, faults = CAUGHT_WITH[name]
        print(f"without {name}: {explore(protocol, transactions, **faults)}", flush=True)


if __name__ == "__main__":
    main()
