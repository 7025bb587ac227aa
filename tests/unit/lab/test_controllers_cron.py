"""Cron schedules: what they say and when they are due."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from gatewright.lab.controllers.cron import BadSchedule, parse

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo | None = None, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone or UTC, fold=fold).timestamp()


@pytest.mark.parametrize(
    ("schedule", "after", "due"),
    [
        ("* * * * *", "2026-01-01T00:00", "2026-01-01T00:01"),
        ("*/15 * * * *", "2026-01-01T00:50", "2026-01-01T01:00"),
        ("5/20 * * * *", "2026-01-01T00:06", "2026-01-01T00:25"),
        ("0 9-17/4 * * *", "2026-01-01T10:00", "2026-01-01T13:00"),
        ("30 4 1,15 * *", "2026-01-02T00:00", "2026-01-15T04:30"),
        ("0 0 * * mon", "2026-01-01T00:00", "2026-01-05T00:00"),
        ("0 0 * * SUN", "2026-01-01T00:00", "2026-01-04T00:00"),
        ("0 0 13 * fri", "2026-01-03T00:00", "2026-01-09T00:00"),
        ("0 0 */2 * mon", "2026-01-02T00:00", "2026-01-03T00:00"),
        ("0 0 ? * mon-fri", "2026-01-03T00:00", "2026-01-05T00:00"),
        ("0 0 29 2 *", "2026-01-01T00:00", "2028-02-29T00:00"),
        ("0 0 1 jan *", "2026-01-01T00:00", "2027-01-01T00:00"),
        ("@hourly", "2026-01-01T00:10", "2026-01-01T01:00"),
        ("@weekly", "2026-01-01T00:10", "2026-01-04T00:00"),
        ("@yearly", "2026-01-01T00:10", "2027-01-01T00:00"),
        ("@every 1h30m", "2026-01-01T00:00", "2026-01-01T01:30"),
    ],
)
def test_the_next_time(schedule: str, after: str, due: str) -> None:
    assert parse(schedule).next(at(after), UTC) == at(due)


def test_a_schedule_that_is_never_due() -> None:
    assert parse("0 0 30 2 *").next(at("2026-01-01T00:00"), UTC) is None
    assert parse("0 0 30 2 *").latest(at("2026-01-01T00:00"), at("2026-03-01T00:00"), UTC) is None


@pytest.mark.parametrize(
    ("schedule", "what"),
    [
        ("", "expected exactly 5 fields, found 0"),
        ("* * * *", "expected exactly 5 fields, found 4"),
        ("60 * * * *", "60: not within 0-59"),
        ("* * * * 7", "7: not within 0-6"),
        ("5-1 * * * *", "5-1: not within"),
        ("*/0 * * * *", "a range or step that holds nothing"),
        ("* * * foo *", "failed to parse int from 'foo'"),
        ("-1 * * * *", "failed to parse int from ''"),
        ("@every", "expected exactly 5 fields"),
        ("@every soon", "failed to parse duration 'soon'"),
        ("@fortnightly", "expected exactly 5 fields"),
    ],
)
def test_what_cannot_be_read(schedule: str, what: str) -> None:
    with pytest.raises(BadSchedule) as raised:
        parse(schedule)
    assert what in str(raised.value)


def test_a_zone_decides_what_the_clock_shows() -> None:
    due = parse("0 9 * * *").next(at("2026-07-01T00:00"), BERLIN)
    assert due == at("2026-07-01T09:00", BERLIN) == at("2026-07-01T07:00")


def test_an_hour_that_the_clock_skips_is_skipped() -> None:
    due = parse("30 2 * * *").next(at("2026-03-28T12:00", BERLIN), BERLIN)
    assert due == at("2026-03-30T02:30", BERLIN)


def test_an_hour_that_the_clock_repeats_counts_twice() -> None:
    schedule = parse("30 2 * * *")
    first = schedule.next(at("2026-10-25T00:00", BERLIN), BERLIN)
    assert first == at("2026-10-25T02:30", BERLIN)
    assert schedule.next(first, BERLIN) == at("2026-10-25T02:30", BERLIN, fold=1)


@pytest.mark.parametrize(
    ("schedule", "after", "now", "due"),
    [
        ("* * * * *", "2026-01-01T00:00", "2026-01-01T00:00:59", None),
        ("* * * * *", "2026-01-01T00:00", "2026-01-01T00:01", "2026-01-01T00:01"),
        ("* * * * *", "2026-01-01T00:00", "2026-03-01T05:06:07", "2026-03-01T05:06"),
        ("0 0 1 * *", "2025-01-01T00:00", "2026-03-09T00:00", "2026-03-01T00:00"),
        ("0 0 29 2 *", "2020-01-01T00:00", "2026-03-09T00:00", "2024-02-29T00:00"),
        ("@every 10m", "2026-01-01T00:00", "2026-01-01T00:35", "2026-01-01T00:30"),
        ("@every 10m", "2026-01-01T00:00", "2026-01-01T00:09", None),
    ],
)
def test_the_latest_time_that_was_missed(schedule: str, after: str, now: str, due: str | None) -> None:
    assert parse(schedule).latest(at(after), at(now), UTC) == (at(due) if due else None)
