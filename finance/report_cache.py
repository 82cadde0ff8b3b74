"""Keeps totals ready, so that no visitor waits for MongoDB to compute them.

A page shows the totals stored in MySQL. When they are due, the first request claims them by a conditional update and
computes them in a thread: one process at a time, while the others show what is stored. A claim is a lease: another
process takes over when the lease of a dead one has expired. The longer totals take to compute, the longer they stay
fresh, so that computing them never takes more than a small share of MongoDB's time.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta
from typing import Any

import pymongo
from django.db import IntegrityError, connections, transaction
from pymongo.errors import PyMongoError

from finance import aggregations
from finance.models import CachedReport
from finance.narrowing import ALL, Narrowing
from finance.periods import Month, Range
from sync.core.clock import DatabaseNow, database_now
from sync.mapping.fields import new_object_id
from sync.mongodb import client, errors

logger = logging.getLogger(__name__)

TOTALS = "totals"
TOP = "top "
NARROWED = "only "  # begins the key of a result that does not cover all trades
TRADED = {"symbols", "products", "tiers"}
PARTS = TRADED | {"customers", "accounts", "buckets", "held", "tiered"}
FRESH = 60.0  # seconds for which totals stay fresh, at least
SHARE = 20  # and this many times as long as they took
LEASE = aggregations.LONGEST + 30
PAUSE = 10.0  # seconds after a failure
FIRST_WAIT = 2.0  # seconds that a visitor waits if there are no totals yet
AT_ONCE = 2  # claims besides that of the totals, in the whole portal: one user's questions do not keep MongoDB busy
KEPT = timedelta(days=7)
MOST_NARROWED = 200  # results that are kept besides those of all trades
PING = 0.5  # seconds within which MongoDB must respond


def of_totals(*, compute: bool) -> CachedReport:
    """The totals as they are stored; see aggregations.totals for their data.

    compute: start a computation if they are due, unless MongoDB is known to be unreachable.
    """
    return _current(TOTALS, compute)


def of_traded(only: Narrowing, *, compute: bool) -> CachedReport:
    """Some of the trades, added up; see aggregations.traded for the data."""
    return _current(f"{NARROWED}{only.digest}", compute, only)


def of_top_customers(asked: Range, only: Narrowing, *, compute: bool) -> CachedReport:
    """The customers who traded most in a range; see aggregations.top_customers for the data."""
    narrowed = f"{NARROWED}{only.digest} " if only != ALL else ""
    return _current(f"{narrowed}{TOP}{asked.first}..{asked.last}", compute, only)


def trouble() -> str:
    """Why MongoDB does not respond now; empty if it does."""
    try:
        with pymongo.timeout(PING):
            client.client().admin.command("ping")
    except PyMongoError as error:
        return errors.reason(error)
    return ""


def refresh(key: str = TOTALS, *, force: bool = False) -> bool:
    """Computes totals now. Returns False if another process does, or if they are not due and it is not forced.

    Raises PyMongoError, and stores its reason with the totals, which stay unchanged.
    """
    _row(key)
    token = _claim(key, force=force)
    if not token:
        return False
    _compute(key, token, ALL)
    return True


def unread() -> dict[str, dict[str, Any]]:
    """For each collection, the number of documents missing from the stored totals and the first of them."""
    row = CachedReport.objects.filter(key=TOTALS).first()
    return (row.data or {}).get("unread", {}) if row else {}


def kept() -> list[str]:
    """The keys of the stored results that cover all trades; the totals are always among them."""
    others = CachedReport.objects.exclude(key=TOTALS).exclude(key__startswith=NARROWED)
    return [TOTALS, *others.order_by("key").values_list("key", flat=True)]


def _current(key: str, compute: bool, only: Narrowing = ALL) -> CachedReport:
    row = _row(key)
    if not compute or row.due_at > database_now("default") or (key != TOTALS and _computing() >= AT_ONCE):
        return row
    token = _claim(key)
    if token:
        done = threading.Event()
        thread = threading.Thread(
            target=_in_background, args=(key, token, only, done), name=f"figures {key}", daemon=True
        )
        # After the commit of the claim, which the thread could not see before.
        transaction.on_commit(thread.start)
        if row.as_of is None and not connections["default"].in_atomic_block:
            done.wait(FIRST_WAIT)
        row.refresh_from_db()
    return row


def _row(key: str) -> CachedReport:
    row = CachedReport.objects.filter(key=key).first()
    if row is not None and (row.unreadable or not _is_known(row)):  # SQL has changed it: computed again
        row.delete()
        row = None
    if row is None:
        _forget()
        try:
            with transaction.atomic():
                CachedReport.objects.create(key=key, due_at=DatabaseNow(), asked_at=DatabaseNow())
        except IntegrityError:
            pass  # another process was first
        row = CachedReport.objects.get(key=key)
    return row


def _forget() -> None:
    """Removes results that nobody has asked for lately."""
    others = CachedReport.objects.exclude(key=TOTALS)
    others.filter(asked_at__lt=DatabaseNow() - KEPT).delete()
    narrowed = others.filter(key__startswith=NARROWED).order_by("-asked_at").values_list("key", flat=True)
    CachedReport.objects.filter(key__in=list(narrowed[MOST_NARROWED - 1 :])).delete()


def _is_known(row: CachedReport) -> bool:
    """Whether this holds what its key says."""
    if row.data is None:
        return True
    if TOP in row.key:
        return isinstance(row.data, list)
    return isinstance(row.data, dict) and row.data.keys() >= (PARTS if row.key == TOTALS else TRADED)


def _computing() -> int:
    return CachedReport.objects.exclude(claim="").exclude(key=TOTALS).filter(due_at__gt=DatabaseNow()).count()


def _claim(key: str, *, force: bool = False) -> str:
    """Returns a token if this process may compute the totals, otherwise an empty string."""
    token = new_object_id()
    rows = CachedReport.objects.filter(key=key)
    # Forcing includes fresh and paused totals, but never those that another process is computing.
    rows = rows.filter(due_at__lte=DatabaseNow()) | (rows.filter(claim="") if force else rows.none())
    until = DatabaseNow() + timedelta(seconds=LEASE)
    return token if rows.update(claim=token, due_at=until, asked_at=DatabaseNow()) else ""


def _in_background(key: str, token: str, only: Narrowing, done: threading.Event) -> None:
    try:
        _compute(key, token, only)
    except PyMongoError:
        pass  # is stored with the totals
    except Exception:
        logger.exception("The totals %s could not be computed", key)
    finally:
        connections.close_all()
        done.set()


def _compute(key: str, token: str, only: Narrowing) -> None:
    ours = CachedReport.objects.filter(key=key, claim=token)
    as_of = database_now("default")
    began = time.monotonic()
    try:
        data = _data(key, only)
    except PyMongoError as error:
        reason = errors.reason(error)
        logger.warning("Totals %s not computed: %s", key, reason)
        ours.update(claim="", due_at=_in(PAUSE), error=reason[:255])
        raise
    fresh = max(FRESH, SHARE * (time.monotonic() - began))
    ours.update(claim="", due_at=_in(fresh), data=data, as_of=as_of, error="")


def _in(seconds: float) -> Any:
    return DatabaseNow() + timedelta(seconds=seconds)


def _data(key: str, only: Narrowing) -> Any:
    if key == TOTALS:
        return aggregations.totals()
    if TOP not in key:
        return aggregations.traded(only)
    first, last = (Month.parse(text) for text in key.rpartition(TOP)[2].split(".."))
    return aggregations.top_customers(first.start, (last + 1).start, only)
