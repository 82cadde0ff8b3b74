"""Aggregations in MongoDB over all records: trades by month, symbol, product and tier, and the top customers.

Each result is small regardless of the number of trades: months times symbols, products or tiers. Values are summed as
Decimal128 from text of up to 50 digits. A trade whose total is not a number is counted and reported.
"""

from __future__ import annotations

import datetime
from typing import Any

import pymongo
from bson import Decimal128, ObjectId

from finance.models import Account, Customer, Transaction
from finance.narrowing import ALL, NONE, Narrowing
from sync.mapping.registry import Target
from sync.mongodb import client

LONGEST = 300.0  # seconds for all of them together
TOP = 10

FIRST_MOMENT = datetime.datetime(1, 1, 1, tzinfo=datetime.UTC)
LAST_MOMENT = datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC)


def _text_or_none(value: str) -> dict[str, Any]:
    """A name; None for an empty text and for a value that is no text."""
    return {"$cond": [{"$and": [{"$eq": [{"$type": value}, "string"]}, {"$ne": [value, ""]}]}, value, None]}


def _array_or_empty(value: str) -> dict[str, Any]:
    return {"$cond": [{"$isArray": value}, value, []]}


def _is_whole(value: str) -> dict[str, Any]:
    return {"$in": [{"$type": value}, ["int", "long"]]}


def _all_are(kind: str, value: str) -> dict[str, Any]:
    """Whether each element of an array has this type."""
    return {"$eq": [[], {"$filter": {"input": _array_or_empty(value), "cond": {"$ne": [{"$type": "$$this"}, kind]}}}]}


# A single NaN would make every sum NaN; null is ignored by $sum.
VALUE: dict[str, Any] = {
    "$let": {
        # $toDecimal would convert a date or a bool, too.
        "vars": {"n": {"$cond": [
            {"$in": [{"$type": "$transactions.total"}, ["string", "int", "long", "double", "decimal"]]},
            {"$convert": {"input": "$transactions.total", "to": "decimal", "onError": None, "onNull": None}},
            None,
        ]}},
        "in": {
            "$cond": [
                {"$and": [{"$gt": ["$$n", Decimal128("-1E+60")]}, {"$lt": ["$$n", Decimal128("1E+60")]}]}, "$$n", None
            ]
        },
    }
}  # fmt: skip
# Only dates lie between two dates: BSON sorts values of other types before or after them.
MONTH: dict[str, Any] = {
    "$cond": [
        {"$and": [
            {"$gte": ["$transactions.date", FIRST_MOMENT]}, {"$lte": ["$transactions.date", LAST_MOMENT]}
        ]},
        {"$dateToString": {"format": "%Y-%m", "date": "$transactions.date"}},
        None,
    ]
}  # fmt: skip
SUMS: dict[str, Any] = {
    "trades": {"$sum": 1},
    "pieces": {"$sum": {"$cond": [_is_whole("$transactions.amount"), "$transactions.amount", 0]}},
    "value": {"$sum": VALUE},
    "unvalued": {"$sum": {"$cond": [{"$eq": [VALUE, None]}, 1, 0]}},
}
SUMS_AGAIN: dict[str, Any] = {name: {"$sum": f"${name}"} for name in SUMS}

# The trades of a bucket, one by one. A bucket that is not a list of trades is counted with UNREAD.
TRADES: list[dict[str, Any]] = [
    {"$unwind": "$transactions"},
    {"$match": {"$expr": {"$eq": [{"$type": "$transactions"}, "object"]}}},
]
BY_SYMBOL: list[dict[str, Any]] = [
    {"$project": {"transactions": _array_or_empty("$transactions")}},
    *TRADES,
    {
        "$group": {
            "_id": {
                "month": MONTH,
                "name": _text_or_none("$transactions.symbol"),
                "side": _text_or_none("$transactions.transaction_code"),
            },
            **SUMS,
        }
    },
]
# Each name once; [None] if there is none, so that what has no name can be added up and found like the others.
NAMED_ONCE: dict[str, Any] = {"$set": {"names": {"$let": {
    "vars": {"found": {"$setUnion": [
        {"$map": {"input": "$names", "as": "name", "in": _text_or_none("$$name")}}, [],
    ]}},
    "in": {"$cond": [{"$eq": ["$$found", []]}, [None], "$$found"]},
}}}}  # fmt: skip
PRODUCTS_OF_ACCOUNT: list[dict[str, Any]] = [
    {"$lookup": {
        "from": Account.mirror.collection, "localField": "account_id", "foreignField": "account_id", "as": "found",
    }},
    # Two accounts can have the same number.
    {"$set": {"names": {"$reduce": {
        "input": "$found", "initialValue": [], "in": {"$setUnion": ["$$value", _array_or_empty("$$this.products")]},
    }}}},
    NAMED_ONCE,
]  # fmt: skip
TIER_NAMES: dict[str, Any] = {
    "$map": {
        "input": {"$filter": {
            "input": {"$cond": [
                {"$eq": [{"$type": "$tier_and_details"}, "object"]}, {"$objectToArray": "$tier_and_details"}, [],
            ]},
            "cond": {"$eq": ["$$this.v.active", True]},
        }},
        "in": "$$this.v.tier",
    }
}  # fmt: skip
TIERS_OF_CUSTOMER: list[dict[str, Any]] = [
    {"$lookup": {
        "from": Customer.mirror.collection, "localField": "account_id", "foreignField": "accounts",
        "pipeline": [{"$project": {"names": TIER_NAMES}}], "as": "found",
    }},
    {"$set": {"names": {"$reduce": {
        "input": "$found", "initialValue": [], "in": {"$setUnion": ["$$value", "$$this.names"]},
    }}}},
    NAMED_ONCE,
]  # fmt: skip
BY_NAMES: list[dict[str, Any]] = [
    {"$project": {
        "names": {"$sortArray": {"input": "$names", "sortBy": 1}}, "transactions": _array_or_empty("$transactions"),
    }},
    *TRADES,
    # Groups by sets of names first: there are few sets, and each trade is read once.
    {"$group": {"_id": {"month": MONTH, "names": "$names"}, **SUMS}},
    {"$unwind": "$_id.names"},
    {"$group": {"_id": {"month": "$_id.month", "name": "$_id.names"}, **SUMS_AGAIN}},
]  # fmt: skip
HELD: list[dict[str, Any]] = [
    {"$project": {"limit": 1, "products": _array_or_empty("$products")}},
    {"$unwind": "$products"},
    {
        "$group": {
            "_id": "$products",
            "accounts": {"$sum": 1},
            "limit": {"$sum": {"$cond": [_is_whole("$limit"), "$limit", 0]}},
        }
    },
]
TIERED: list[dict[str, Any]] = [
    # A customer may have the same tier several times, and counts once.
    {"$project": {"name": {"$setUnion": [TIER_NAMES, []]}}},
    {"$unwind": "$name"},
    {"$group": {"_id": "$name", "customers": {"$sum": 1}}},
]

# Documents with a value that is missing from these totals because it has the wrong type.
_number = _is_whole("$account_id")
READABLE: dict[type[Account | Customer | Transaction], dict[str, Any]] = {
    Account: {"$and": [_number, _is_whole("$limit"), {"$isArray": "$products"}, _all_are("string", "$products")]},
    Customer: {"$and": [
        {"$eq": [{"$type": "$name"}, "string"]}, {"$isArray": "$accounts"},
        {"$eq": [{"$type": "$tier_and_details"}, "object"]},
    ]},
    Transaction: {"$and": [_number, {"$isArray": "$transactions"}, _all_are("object", "$transactions")]},
}  # fmt: skip
NAMED = 5  # of the documents that cannot be read


def totals() -> dict[str, Any]:
    """Everything that does not depend on a range of months, as JSON data. Raises PyMongoError.

    customers, accounts, buckets: their numbers. symbols, products, tiers: see traded().
    held: products with accounts and limit. tiered: tiers with customers.
    unread: by collection, the number of documents that could not be read in full and the _id of the first of them.
    """
    with pymongo.timeout(LONGEST):
        return {
            "customers": _collection(Customer).count_documents({}),
            "accounts": _collection(Account).count_documents({}),
            "buckets": _collection(Transaction).count_documents({}),
            **traded(ALL),
            "held": _named(Account, HELD),
            "tiered": _named(Customer, TIERED),
            "unread": {model.mirror.collection: _unread(model) for model in READABLE},
        }


def traded(only: Narrowing) -> dict[str, Any]:
    """Some of the trades, added up by month, as JSON data. Raises PyMongoError.

    symbols: lists [month, symbol, side, trades, pieces, value, unvalued].
    products and tiers: [month, name, trades, pieces, value, unvalued]. A month is "2016-01" or None; values are text.
    """
    with pymongo.timeout(LONGEST):
        ensure_indexes()
        some = narrowed(only)
        return {
            "symbols": _cells(some + BY_SYMBOL, "month", "name", "side"),
            "products": _cells(some + PRODUCTS_OF_ACCOUNT + BY_NAMES, "month", "name"),
            "tiers": _cells(some + TIERS_OF_CUSTOMER + BY_NAMES, "month", "name"),
        }


def narrowed(only: Narrowing) -> list[dict[str, Any]]:
    """The stages that leave only these trades in the buckets. Raises PyMongoError.

    What a user has chosen is compared as a value: it never becomes an operator or a field.
    """
    stages: list[dict[str, Any]] = []
    if only.customer:
        found = _collection(Customer).find_one({"_id": ObjectId(only.customer)}, {"accounts": 1}) or {}
        numbers = found.get("accounts")  # a join also finds a number that stands alone
        stages.append({"$match": {"account_id": {"$in": numbers if isinstance(numbers, list) else [numbers]}}})
    for name, names_of in ((only.product, PRODUCTS_OF_ACCOUNT), (only.tier, TIERS_OF_CUSTOMER)):
        if name:
            stages += [*names_of, {"$match": {"$expr": {"$in": [_wanted(name), "$names"]}}}]
    if only.symbol:
        has_symbol = {"$eq": [_text_or_none("$$this.symbol"), _wanted(only.symbol)]}
        stages.append({"$set": {"transactions": _those("$transactions", has_symbol)}})
    return stages


def _wanted(name: str) -> dict[str, Any]:
    return {"$literal": None if name == NONE else name}


def _those(array: str, condition: dict[str, Any]) -> dict[str, Any]:
    """The elements of an array for which a condition on `$$this` holds."""
    return {"$filter": {"input": _array_or_empty(array), "cond": condition}}


def during(start: datetime.datetime, end: datetime.datetime) -> dict[str, Any]:
    """The stage that leaves only the trades from `start` to before `end` in the buckets."""
    dates = {"$and": [{"$gte": ["$$this.date", start]}, {"$lt": ["$$this.date", end]}]}
    return {"$project": {"account_id": 1, "transactions": _those("$transactions", dates)}}


def top_customers(start: datetime.datetime, end: datetime.datetime, only: Narrowing) -> list[list[Any]]:
    """The customers with the highest value of trades from `start` to before `end`: [_id, name, trades, pieces, value].

    Sorted by value, the largest first. Raises PyMongoError. An account of two customers counts for both.
    """
    pipeline: list[dict[str, Any]] = [
        *narrowed(only),
        during(start, end),
        *TRADES,
        {"$group": {"_id": "$account_id", **SUMS}},
        {"$lookup": {
            "from": Customer.mirror.collection, "localField": "_id", "foreignField": "accounts",
            "pipeline": [{"$project": {"name": 1}}], "as": "customer",
        }},
        {"$unwind": "$customer"},
        {"$group": {"_id": "$customer._id", "name": {"$first": _text_or_none("$customer.name")}, **SUMS_AGAIN}},
        {"$sort": {"value": -1, "_id": 1}},
        {"$limit": TOP},
    ]  # fmt: skip
    with pymongo.timeout(LONGEST):
        ensure_indexes()
        return [
            [str(row["_id"]), row["name"] or str(row["_id"]), row["trades"], row["pieces"], str(row["value"])]
            for row in buckets().aggregate(pipeline, allowDiskUse=True)
        ]


def buckets() -> Any:
    """The collection of transactions."""
    return _collection(Transaction)


def _collection(model: Any) -> Any:
    return client.collection(Target(model))


def _unread(model: Any) -> dict[str, Any]:
    odd = {"$expr": {"$not": [READABLE[model]]}}
    collection = _collection(model)
    first = [str(found["_id"]) for found in collection.find(odd, {"_id": 1}).sort("_id", 1).limit(NAMED)]
    return {"count": collection.count_documents(odd) if len(first) == NAMED else len(first), "first": first}


def ensure_indexes() -> None:
    """Creates the indexes of the joins, and of the search for one customer's trades, unless they exist."""
    _collection(Account).create_index("account_id")
    _collection(Customer).create_index("accounts")
    buckets().create_index("account_id")


def _cells(pipeline: list[dict[str, Any]], *key: str) -> list[list[Any]]:
    rows = buckets().aggregate(pipeline, allowDiskUse=True)
    return [
        [*(row["_id"].get(name) for name in key), row["trades"], row["pieces"], str(row["value"]),
         row["unvalued"]]
        for row in rows
    ]  # fmt: skip


def _named(model: Any, pipeline: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = [{"name": row.pop("_id"), **row} for row in _collection(model).aggregate(pipeline, allowDiskUse=True)]
    return sorted((row for row in rows if isinstance(row["name"], str)), key=lambda row: row["name"])
