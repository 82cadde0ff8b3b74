"""Formats of numbers and times on the terminal and on pages."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from sync.core.humanize import clock, moment, number, recent

pytestmark = pytest.mark.quick


def test_numbers_have_separators_and_two_significant_digits_below_ten() -> None:
    values = [None, 0, 7, 1200, 0.0, 0.25, 1.0, 9.96, 12.4, 1234.5]
    expected = ["unknown", "0", "7", "1,200", "0", "0.25", "1", "10", "12", "1,234"]
    assert [number(value) for value in values] == expected


def test_times_have_the_current_zone() -> None:
    at = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)
    assert (moment(at), clock(at)) == ("2026-01-31 23:59:59 UTC", "23:59:59 UTC")
    with timezone.override("Asia/Kolkata"):
        assert (moment(at), clock(at)) == ("2026-02-01 05:29:59 IST", "05:29:59 IST")
    assert moment(None) == "never"


@pytest.mark.parametrize(
    ("zone", "shown"),
    [("Asia/Kuala_Lumpur", "UTC+8"), ("America/Sao_Paulo", "UTC-3"), ("Asia/Kathmandu", "UTC+5:45"), ("UTC", "UTC")],
)
def test_a_zone_without_an_abbreviation_is_named_by_its_offset(zone: str, shown: str) -> None:
    with timezone.override(zone):
        assert clock(datetime(2026, 1, 31, 12, 0, tzinfo=UTC)).split()[1] == shown


def test_a_time_of_another_day_has_its_date() -> None:
    now = timezone.now()
    assert recent(now) == clock(now)
    with timezone.override("Asia/Tokyo"):
        yesterday = timezone.localtime(now).replace(hour=0, minute=0, second=0) - timedelta(seconds=1)
        assert recent(yesterday) == moment(yesterday)
    assert recent(None) == "never"
