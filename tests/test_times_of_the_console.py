"""Every time on the mirror's pages names its zone: the user's own, or TIME_ZONE."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from pymongo.database import Database

from accounts.models import User
from finance.models import Account
from sync.core.clock import DatabaseNow
from sync.jobs.models import Job
from sync.monitoring.history import summarize, take
from sync.monitoring.models import Incident, Notification
from sync.outbox.models import Change
from sync.verification.models import Mismatch, Verification
from sync.workers.models import Checkpoint, ModelState

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "5ca4bbc7a2dd94ee58162391"
TIME = re.compile(r"\d\d:\d\d(?::\d\d)?(?![\d+])(?:\xa0([\w+:]+))?")
ELEMENT = re.compile(r'<time datetime="([^"]+)">([^<]+)</time>')


@pytest.fixture
def times_everywhere(mongo: Database) -> None:
    """Something with a time for every place of the pages that shows one."""
    cache.clear()
    Account.objects.create(pk=KEY, account_id=1, limit=1)  # a document with the time of its delivery
    Change.objects.all().delete()
    late, now = DatabaseNow() + timedelta(days=2), timezone.now()
    for key, values in ((KEY, {"failed": True}), ("0" * 24, {}), ("1" * 24, {"settling": True})):
        Change.objects.create(model="finance.account", key=key, due_at=late, error="MongoDB: no", attempts=1, **values)
    for days in (0, 300):
        at = now - timedelta(days=days)
        incident = Incident.objects.create(
            active=None, state="lagging", summary="It lags.", began_at=at, opened_at=at, closed_at=at
        )
        Notification.objects.create(incident=incident, event="opened", channel="mail", due_at=at, sent_at=at)
    Verification.objects.create(model="finance.account", mode="full", finished_at=now)
    Mismatch.objects.create(model="finance.account", key=KEY, kind="missing", last_seen=now)
    Job.objects.create(model="finance.account", kind="verify", finished_at=now)
    Checkpoint.objects.create(name="publish", in_sync_at=now)
    ModelState.objects.update_or_create(model="finance.account", defaults={"delivered_at": now})
    take()
    summarize()


PAGES = {  # the pages, and how many times each of them shows at least
    "/sync/?range=15m": 8, "/sync/?range=7d": 8, "/sync/live/": 8, "/sync/alerts/": 6, "/sync/changes/": 1,
    f"/sync/record/finance.account/{KEY}/": 3,
}  # fmt: skip


@pytest.mark.parametrize(("own", "zone"), [("Asia/Kuala_Lumpur", "UTC+8"), ("Asia/Kolkata", "IST"), ("", "JST")])
def test_every_time_has_the_zone_of_its_reader(
    times_everywhere: None, client: Client, settings: Any, own: str, zone: str
) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    client.force_login(User.objects.create_superuser("root", "root@example.com", "a-password-9", time_zone=own))
    for path, least in PAGES.items():
        page = client.get(path).content.decode()
        elements = ELEMENT.findall(page)
        assert len(elements) >= least, path
        texts = re.sub(r"<[^>]*>", " ", page.partition("<main")[2] or page)
        assert [(found[0], found[1]) for found in TIME.finditer(texts) if found[1] != zone] == [], path
        assert {datetime[-6:] for datetime, _text in elements} == {"+00:00"}, path
    alerts = client.get("/sync/alerts/").content.decode()
    shown = [text for _datetime, text in ELEMENT.findall(alerts)]
    assert {len(text.split("\xa0")) for text in shown} == {2, 3}, "a time of another day has its date"
