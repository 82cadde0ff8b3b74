"""The checkpoint of a long-running route as an explicit model, explored exhaustively within bounds.

A source has a log of events. Two workers follow it for one target, one at a time: the worker with the lease reads
events from the checkpoint on, and writes their effect and the new position. An operator pauses and resumes the route.
Steps are atomic and can be interleaved in any order. A worker takes a free or expired lease and loads the position;
reads the next event; saves in one transaction, if it still holds the lease and the route is not paused; is killed; or
is frozen until its lease has expired. The source removes its oldest event once. A worker whose position was removed
reads everything that the source has (a snapshot).

Invariants of every state: the target equals the source at the saved position, whichever worker wrote it; the position
never decreases; nothing is written between a pause and its resume. At rest, if the route is not paused, the target
equals the source.

`python -m sync.tests.support.checkpoint_model` prints the result for the protocol and each mutation, with the
shortest path to the first wrong state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sync.tests.support.explore import Result
from sync.tests.support.explore import explore as explore_from

NOBODY = -1


class Worker(NamedTuple):
    """A worker's memory: its position, and what it is about to write."""

    step: str = "idle"  # idle, read, save
    position: int = 0
    upto: int = 0  # the position after the events that it has read
    snapshot: bool = False  # it has read everything, because its position was removed from the log


class State(NamedTuple):
    log: int = 0  # events in the source
    forgotten: int = 0  # of these, the number that it has removed
    position: int = 0  # in the checkpoint
    furthest: int = 0  # the highest position ever saved
    target: int = 0  # the number of events whose effect the target has
    owner: int = NOBODY
    expired: bool = False
    paused: bool = False
    at_pause: int = 0  # the target when the pause was committed
    workers: tuple[Worker, ...] = (Worker(), Worker())
    events: int = 3  # left to happen
    kills: int = 1
    freezes: int = 2
    pauses: int = 2
    forgets: int = 1


@dataclass(frozen=True)
class Protocol:
    """The protocol, or one of its mutations."""

    fence: bool = True  # only the holder of the lease can save
    atomic: bool = True  # the effect and the position are written in one transaction
    pause_in_save: bool = True  # a pause also stops a save that has started
    expiry: bool = True  # another worker can take the lease of a dead worker
    load_after_lease: bool = True  # a worker loads the position after it has taken the lease
    keep_position: bool = True  # a resumed route continues from its checkpoint, not from the end of the log
    snapshot: bool = True  # a removed position leads to a snapshot, not to the oldest remaining event


def explore(protocol: Protocol, **bounds: int) -> Result:
    """Visit every reachable state within the bounds, which are fields of State."""
    start = State(**bounds)
    return explore_from(
        start,
        lambda state: _steps(state, protocol),
        lambda state, is_end: _is_wrong(state) or (is_end and _is_left_behind(state)),
    )


def _is_wrong(state: State) -> bool:
    is_written_while_paused = state.paused and state.target != state.at_pause
    return state.target != state.position or state.position < state.furthest or is_written_while_paused


def _is_left_behind(state: State) -> bool:
    return not state.paused and state.target != state.log


def _steps(state: State, protocol: Protocol) -> Iterator[tuple[str, State]]:
    if state.events:
        yield "an event happens", state._replace(log=state.log + 1, events=state.events - 1)
    if state.forgets and state.forgotten < state.log:
        yield "the source removes an event", state._replace(forgotten=state.forgotten + 1, forgets=state.forgets - 1)
    if state.pauses and not state.paused:
        yield "pause", state._replace(paused=True, at_pause=state.target, pauses=state.pauses - 1)
    if state.paused:
        position = state.position if protocol.keep_position else state.log
        yield "resume", state._replace(paused=False, position=position)
    for number, worker in enumerate(state.workers):
        yield from _worker(state, number, worker, protocol)


def _worker(state: State, number: int, me: Worker, protocol: Protocol) -> Iterator[tuple[str, State]]:
    if me.step == "idle":
        is_free = state.owner == NOBODY or (state.expired and protocol.expiry)
        if is_free and state.position < state.log:
            loaded = Worker("read", state.position if protocol.load_after_lease else me.position)
            yield f"{number} takes the lease", _put(state, number, loaded)._replace(owner=number, expired=False)
        if not protocol.load_after_lease and me.position != state.position:
            yield f"{number} loads the position", _put(state, number, me._replace(position=state.position))
        return
    if state.kills:
        killed = _put(state, number, Worker())._replace(kills=state.kills - 1)
        yield f"{number} is killed", killed._replace(expired=killed.expired or killed.owner == number)
    if state.freezes and state.owner == number and not state.expired:
        yield f"{number} is frozen", state._replace(expired=True, freezes=state.freezes - 1)
    if me.step == "read" and not state.paused:
        is_forgotten = me.position < state.forgotten
        upto = state.log if is_forgotten and protocol.snapshot else max(me.position, state.forgotten) + 1
        if upto <= state.log:
            read = me._replace(step="save", upto=upto, snapshot=is_forgotten and protocol.snapshot)
            yield f"{number} reads up to {upto}", _put(state, number, read)
        elif state.owner == number or not protocol.fence:
            yield f"{number} has caught up and releases the lease", _free(_put(state, number, Worker()), number)
        else:
            yield f"{number} has lost its lease", _put(state, number, Worker())
        yield f"{number} is stopped", _free(_put(state, number, Worker()), number)
    if me.step == "save":
        yield from _save(state, number, me, protocol)


def _save(state: State, number: int, me: Worker, protocol: Protocol) -> Iterator[tuple[str, State]]:
    if protocol.fence and state.owner != number:
        yield f"{number} has lost its lease", _put(state, number, Worker())
        return
    if state.paused and protocol.pause_in_save:
        yield f"{number} finds the route paused", _put(state, number, Worker("read", state.position))
        return
    # An event without the events before it leaves the target in a state that the source never had.
    target = me.upto if me.snapshot or me.upto == state.target + 1 or me.upto <= state.target else -1
    after = _put(state, number, Worker("read", me.upto))
    written = after._replace(target=target, owner=number, expired=False)
    if protocol.atomic:
        saved = written._replace(position=me.upto, furthest=max(me.upto, state.furthest))
        yield f"{number} saves {me.upto}", saved
    else:
        yield f"{number} writes {me.upto}, and will save the position later", written


def _put(state: State, number: int, worker: Worker) -> State:
    workers = tuple(worker if other == number else each for other, each in enumerate(state.workers))
    return state._replace(workers=workers)


def _free(state: State, number: int) -> State:
    return state._replace(owner=NOBODY, expired=False) if state.owner == number else state


MUTATIONS = {name: Protocol(**{name: False}) for name in Protocol.__dataclass_fields__}


def main() -> None:
    runs = {"the protocol": Protocol(), **{f"without {name}": each for name, each in MUTATIONS.items()}}
    for name, protocol in runs.items():
        result = explore(protocol)
        print(f"{name}: {result}")


if __name__ == "__main__":
    main()
