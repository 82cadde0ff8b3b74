"""Keeps figures ready, so that no visitor waits for MongoDB to compute them.

A page takes the figures as they are, from MySQL. When they are due, whoever asks first claims them by a conditional
update, and computes them in a thread of its own: one process at a time, and the others go on with what there is. A
claim is a lease: one whose process died is taken over when it has run out. How long figures stay fresh grows with the
time that they took, so that computing them never keeps MongoDB busy for more than a small share of its time.
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
from finance.periods import Month, Range
from sync.core.clock import DatabaseNow, database_now
from sync.mapping.fields import new_object_id
from sync.mongodb import client, errors

logger = logging.getLogger(__name__)

TOTALS = "totals"
PARTS = {"customers", "accounts", "buckets", "symbols", "products", "tiers", "held", "tiered"}
FRESH = 60.0  # seconds for which figures are good at least
SHARE = 20  # and this many times as long as they took
LEASE = aggregations.LONGEST + 30
PAUSE = 10.0  # seconds after a failure
FIRST_WAIT = 2.0  # seconds that a visitor waits where there are no figures at all yet
AT_ONCE = 2  # claims of ranges in the whole portal: what one asks for shall not hold up MongoDB
KEPT = timedelta(days=7)
PING = 0.5  # seconds in which MongoDB says whether it is there


def of_totals(*, compute: bool) -> CachedReport:
    """The totals as they are known; see aggregations.totals for their data.

    compute: begin to compute them where they are due; not while MongoDB is known to be away.
    """
    return _current(TOTALS, compute)


def of_top_customers(asked: Range, *, compute: bool) -> CachedReport:
    """Who traded most in a range; see aggregations.top_customers for the data."""
    return _current(f"top {asked.first}..{asked.last}", compute)


def trouble() -> str:
    """Why MongoDB does not answer now; empty when it does."""
    try:
        with pymongo.timeout(PING):
            client.client().admin.command("ping")
    except PyMongoError as error:
        return errors.reason(error)
    return ""


def refresh(key: str = TOTALS, *, force: bool = False) -> bool:
    """Computes figures now; False when somebody else is doing so, or when they are not due and it is not forced.

    Raises PyMongoError; it is also noted with the figures, which stay as they were.
    """
    _row(key)
    token = _claim(key, force=force)
    if not token:
        return False
    _compute(key, token)
    return True


def unread() -> dict[str, dict[str, Any]]:
    """Of the totals as they are known: by collection the number of documents that could not be read, and the first."""
    row = CachedReport.objects.filter(key=TOTALS).first()
    return (row.data or {}).get("unread", {}) if row else {}


def kept() -> list[str]:
    """The keys of the figures that there are, the totals among them in any case."""
    return [TOTALS, *CachedReport.objects.exclude(key=TOTALS).order_by("key").values_list("key", flat=True)]


def _current(key: str, compute: bool) -> CachedReport:
    row = _row(key)
    if not compute or row.due_at > database_now("default") or (key != TOTALS and _computing() >= AT_ONCE):
        return row
    token = _claim(key)
    if token:
        done = threading.Event()
        thread = threading.Thread(target=_in_background, args=(key, token, done), name=f"figures {key}", daemon=True)
        # Not before the claim is committed, which the thread could not see.
        transaction.on_commit(thread.start)
        if row.as_of is None and not connections["default"].in_atomic_block:
            done.wait(FIRST_WAIT)
        row.refresh_from_db()
    return row


def _row(key: str) -> CachedReport:
    row = CachedReport.objects.filter(key=key).first()
    if row is not None and (row.unreadable or not _is_known(row)):  # SQL has written to it: it is computed anew
        row.delete()
        row = None
    if row is None:
        CachedReport.objects.exclude(key=TOTALS).filter(asked_at__lt=DatabaseNow() - KEPT).delete()
        try:
            with transaction.atomic():
                CachedReport.objects.create(key=key, due_at=DatabaseNow(), asked_at=DatabaseNow())
        except IntegrityError:
            pass  # somebody else was first
        row = CachedReport.objects.get(key=key)
    return row


def _is_known(row: CachedReport) -> bool:
    """Whether these are figures, or none yet."""
    if row.data is None:
        return True
    return isinstance(row.data, dict) and row.data.keys() >= PARTS if row.key == TOTALS else isinstance(row.data, list)


def _computing() -> int:
    return CachedReport.objects.exclude(claim="").exclude(key=TOTALS).filter(due_at__gt=DatabaseNow()).count()


def _claim(key: str, *, force: bool = False) -> str:
    """A token when the figures are ours to compute, else nothing."""
    token = new_object_id()
    rows = CachedReport.objects.filter(key=key)
    # Forced is also what is fresh or pauses, but never what somebody else is at.
    rows = rows.filter(due_at__lte=DatabaseNow()) | (rows.filter(claim="") if force else rows.none())
    until = DatabaseNow() + timedelta(seconds=LEASE)
    return token if rows.update(claim=token, due_at=until, asked_at=DatabaseNow()) else ""


def _in_background(key: str, token: str, done: threading.Event) -> None:
    try:
        _compute(key, token)
    except PyMongoError:
        pass  # is noted with the figures
    except Exception:
        logger.exception("The figures %s were not computed", key)
    finally:
        connections.close_all()
        done.set()


def _compute(key: str, token: str) -> None:
    ours = CachedReport.objects.filter(key=key, claim=token)
    as_of = database_now("default")
    began = time.monotonic()
    try:
        data = _data(key)
    except PyMongoError as error:
        reason = errors.reason(error)
        logger.warning("No figures %s: %s", key, reason)
        ours.update(claim="", due_at=_in(PAUSE), error=reason[:255])
        raise
    fresh = max(FRESH, SHARE * (time.monotonic() - began))
    ours.update(claim="", due_at=_in(fresh), data=data, as_of=as_of, error="")


def _in(seconds: float) -> Any:
    return DatabaseNow() + timedelta(seconds=seconds)


def _data(key: str) -> Any:
    if key == TOTALS:
        return aggregations.totals()
    first, last = (Month.parse(text) for text in key.removeprefix("top ").split(".."))
    return aggregations.top_customers(first.start, (last + 1).start)
