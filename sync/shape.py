"""What a collection is besides its documents: its options and its indexes."""

from __future__ import annotations

from typing import Any

from pymongo.collection import Collection

from sync.feed import NotFollowed, kind_of

# What collMod changes; all other options are given once, when a collection is made.
CHANGEABLE = ("validator", "validationLevel", "validationAction", "changeStreamPreAndPostImages")


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


def require_collection(collection: Collection[Any], info: Any) -> None:
    """Raises NotFollowed for a view, a time series and a capped collection."""
    if (kind := kind_of(info)) not in (None, "absent"):
        raise NotFollowed(
            f"{collection.full_name} is a {kind}, and is not copied: its documents cannot be followed one by one."
        )


def prepare(source: Collection[Any], destination: Collection[Any]) -> None:
    """Gives the destination the source's options and indexes; what it has already is left alone.

    Raises NotFollowed where one of the two is no ordinary collection, or options differ that cannot be changed.
    """
    theirs, ours = info_of(source), info_of(destination)
    require_collection(source, theirs)
    require_collection(destination, ours)
    if theirs is None:
        return
    wanted, there = options_of(theirs), options_of(ours)
    if ours is None:
        destination.database.command({"create": destination.name, **wanted})
    elif wanted != there:
        fixed = sorted(name for name in {*wanted, *there} - {*CHANGEABLE} if wanted.get(name) != there.get(name))
        if fixed:
            raise NotFollowed(
                f"{destination.full_name} has another {' and '.join(fixed)} than {source.full_name}, which only a new "
                "collection can have: drop it, or copy to another name."
            )
        unset = {"validator": {}, "validationLevel": "strict", "validationAction": "error",
                 "changeStreamPreAndPostImages": {"enabled": False}}  # fmt: skip
        changes = {name: wanted.get(name, unset[name]) for name in CHANGEABLE if wanted.get(name) != there.get(name)}
        destination.database.command({"collMod": destination.name, **changes})
    _make_indexes(indexes_of(source), destination)


def _make_indexes(wanted: dict[str, dict[str, Any]], destination: Collection[Any]) -> None:
    there = indexes_of(destination)
    missing = {name: index for name, index in wanted.items() if there.get(name) != index}
    for name in missing.keys() & there.keys():
        destination.drop_index(name)
    if missing:
        # An index without a collation has the simple one; unsaid, it would take the collection's.
        indexes = [{"collation": {"locale": "simple"}, **index} for index in missing.values()]
        destination.database.command({"createIndexes": destination.name, "indexes": indexes})


def differences(source: Collection[Any], destination: Collection[Any]) -> list[str]:
    """Which options differ and which indexes are missing or different, in words. More indexes are no difference."""
    wanted, there = options_of(info_of(source)), options_of(info_of(destination))
    options = [
        f"the option {name} differs" for name in sorted({*wanted, *there}) if wanted.get(name) != there.get(name)
    ]
    indexes = indexes_of(destination)
    return options + [
        f"the index {name} is {'different' if name in indexes else 'missing'}"
        for name, index in indexes_of(source).items()
        if indexes.get(name) != index
    ]
