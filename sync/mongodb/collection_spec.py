"""A collection's options and indexes, and which of them are withheld from a copy.

A copy deletes nothing on its own: its deletes come from the source. So `expireAfterSeconds`, of an index or of a
clustered collection, is withheld from it, and stored beside it for its promotion to a primary (`promote`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from sync.mongodb.change_stream import NotFollowed, kind_of
from sync.mongodb.errors import SERVERS_FAULT

# What collMod changes; all other options are set once, when a collection is created.
CHANGEABLE = ("validator", "validationLevel", "validationAction", "changeStreamPreAndPostImages")
EXPIRES = "expireAfterSeconds"
CLUSTERED = ""  # in Kept.expires: the collection itself, whose documents expire by their `_id`


@dataclass
class Kept:
    """What is stored beside a copy about its indexes.

    indexes: names of those that came from the source, and are dropped when the source drops them.
    expires: `expireAfterSeconds` by the name of the index that lacks it while this is a copy.
    """

    indexes: list[str] = field(default_factory=list)
    expires: dict[str, Any] = field(default_factory=dict)


def info_of(collection: Collection[Any]) -> Any:
    """The collection's entry of listCollections; None if it does not exist."""
    return next(iter(collection.database.list_collections(filter={"name": collection.name})), None)


def options_of(info: Any) -> dict[str, Any]:
    return dict(info["options"]) if info else {}


def indexes_of(collection: Collection[Any]) -> dict[str, dict[str, Any]]:
    """Specifications by name, without that of `_id`, which every collection has."""
    return {
        index["name"]: {name: value for name, value in index.items() if name != "ns"}
        for index in collection.list_indexes()
        if index["name"] != "_id_" and not index.get("clustered")
    }


def inert(specification: dict[str, Any]) -> dict[str, Any]:
    """An index or a collection's options without what deletes documents."""
    return {name: value for name, value in specification.items() if name != EXPIRES}


def require_collection(collection: Collection[Any], info: Any) -> None:
    """Raises NotFollowed for a view, a time series and a capped collection."""
    if (kind := kind_of(info)) not in (None, "absent"):
        raise NotFollowed(
            f"{collection.full_name} is a {kind} and is not copied: its changes are not reported by document."
        )


def prepare(source: Collection[Any], destination: Collection[Any], kept: Kept) -> tuple[Kept, list[str]]:
    """Gives the destination the source's options and indexes, without what would delete its documents.

    Other indexes of the destination stay. Returns what to store, and what the destination refuses, in words. Raises
    NotFollowed if one of the two is not an ordinary collection, or options differ that cannot be changed.
    """
    theirs, ours = info_of(source), info_of(destination)
    require_collection(source, theirs)
    require_collection(destination, ours)
    wanted, there = indexes_of(source) if theirs else {}, indexes_of(destination)
    expires = kept.expires | _expires(options_of(ours), there)
    if theirs is not None:
        # The destination's own are remembered while they exist; for all others the source decides.
        own = there.keys() - wanted.keys() - {*kept.indexes}
        expires = {name: expires[name] for name in own & expires.keys()} | _expires(options_of(theirs), wanted)
        _set_options(source, destination, inert(options_of(theirs)), ours)
    elif EXPIRES in options_of(ours):
        destination.database.command({"collMod": destination.name, EXPIRES: "off"})
    indexes = {name: inert(index) for name, index in {**there, **wanted}.items()}
    dropped = {name for name in kept.indexes if theirs and name in there and name not in wanted}
    for name in dropped:
        destination.drop_index(name)
    refused = []
    for name, index in indexes.items():
        if name not in dropped and there.get(name) != index:
            refused += _make_index(destination, index, exists=name in there)
    return Kept(sorted(wanted) if theirs else kept.indexes, expires), refused


def _expires(options: dict[str, Any], indexes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {name: what[EXPIRES] for name, what in {CLUSTERED: options, **indexes}.items() if EXPIRES in what}


def _set_options(source: Collection[Any], destination: Collection[Any], wanted: dict[str, Any], ours: Any) -> None:
    if ours is None:
        destination.database.command({"create": destination.name, **wanted})
        return
    there = options_of(ours)
    names = {*wanted, *there} - {EXPIRES}
    fixed = sorted(name for name in names - {*CHANGEABLE} if wanted.get(name) != there.get(name))
    if fixed:
        raise NotFollowed(
            f"{destination.full_name} has another {' and '.join(fixed)} than {source.full_name}, which only a new "
            "collection can have: drop it, or copy to another name."
        )
    unset = {"validator": {}, "validationLevel": "strict", "validationAction": "error",
             "changeStreamPreAndPostImages": {"enabled": False}}  # fmt: skip
    changes = {name: wanted.get(name, unset[name]) for name in CHANGEABLE if wanted.get(name) != there.get(name)}
    if EXPIRES in there:
        changes[EXPIRES] = "off"
    if changes:
        destination.database.command({"collMod": destination.name, **changes})


def _make_index(destination: Collection[Any], index: dict[str, Any], *, exists: bool) -> list[str]:
    """Creates an index, or recreates it; returns [the reason] if the destination refuses it."""
    if exists:
        destination.drop_index(index["name"])
    # An index without a collation has the simple one; if omitted, it would take the collection's.
    command = {"createIndexes": destination.name, "indexes": [{"collation": {"locale": "simple"}, **index}]}
    try:
        destination.database.command(command)
    except OperationFailure as error:
        if error.code in SERVERS_FAULT:
            raise
        message = (error.details or {}).get("errmsg", str(error))
        return [f"the index {index['name']} cannot be created: {message}"]
    return []


def promote(destination: Collection[Any], expires: dict[str, Any]) -> list[str]:
    """Restores what was withheld from the copy, and returns it in words."""
    there = indexes_of(destination)
    done = []
    for name, seconds in expires.items():
        if name != CLUSTERED and name not in there:
            continue  # it was dropped
        value: Any = seconds if name == CLUSTERED else {"name": name, EXPIRES: seconds}
        destination.database.command({"collMod": destination.name, EXPIRES if name == CLUSTERED else "index": value})
        what = f"the index {name}" if name != CLUSTERED else "the collection"
        done.append(f"{what} deletes documents again: {EXPIRES} is {seconds}")
    return done


def differences(source: Collection[Any], destination: Collection[Any]) -> list[str]:
    """Which options and indexes differ from what `prepare` creates, in words.

    An additional index in the destination is a difference if it deletes or refuses documents: one that expires, is
    unique, or is of a special kind (2dsphere, text, hashed), which not every document suits.
    """
    wanted, there = inert(options_of(info_of(source))), options_of(info_of(destination))
    found = [
        f"the option {name} differs"
        for name in sorted({*wanted, *there} - {EXPIRES})
        if wanted.get(name) != there.get(name)
    ]
    theirs, ours = indexes_of(source), indexes_of(destination)
    found += [
        f"the index {name} is {'different' if name in ours else 'missing'}"
        for name, index in theirs.items()
        if name not in ours or inert(ours[name]) != inert(index)
    ]
    for name, seconds in _expires(there, ours).items():
        what = f"the index {name}" if name != CLUSTERED else "the collection"
        found.append(f"{what} of the destination deletes documents ({EXPIRES} is {seconds})")
    found += [
        f"the index {name} exists in the destination only and may reject documents"
        for name in ours.keys() - theirs.keys()
        if ours[name].get("unique") or any(isinstance(kind, str) for kind in ours[name]["key"].values())
    ]
    return found
