"""Cron schedules as CronJobs have them: five fields, names such as `@daily`, or `@every 90m`; and when they are due.

The rules are those of the library in Kubernetes' controller (robfig/cron v3): a day is due if it is one of the month's
or of the week's days where both are restricted; hours that a clock skips are skipped, hours that it repeats count
twice. Pure; times are seconds since 1970.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_FARTHEST = 5 * 366
"""Days after which a schedule counts as one that is never due (30 February)."""
_WINDOWS = (3600.0, 86400.0, 35 * 86400.0, _FARTHEST * 86400.0)


class BadSchedule(ValueError):
    """A schedule that cannot be read; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something is due: by minutes, hours and days of a zone's clock, or every so many seconds."""

    minutes: tuple[int, ...] = ()
    hours: tuple[int, ...] = ()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    """Sunday is 0."""
    any_day: bool = False
    """Whether one of the two fields of days is `*`: then both must hold."""
    every: float = 0.0

    def next(self, after: float, zone: tzinfo) -> float | None:
        """The first due time after a time; None where there is none."""
        if self.every:
            return float(int(after + self.every))
        day = datetime.fromtimestamp(after, zone).date()
        for _ in range(_FARTHEST):
            if self._due(day):
                found = min((at for at in self._times(day, zone) if at > after), default=None)
                if found is not None:
                    return found
            day += timedelta(days=1)
        return None

    def latest(self, after: float, now: float, zone: tzinfo) -> float | None:
        """The last due time after a time and not after now."""
        if self.every:
            count = int((now - after) / self.every)
            return float(int(after + count * self.every)) if count > 0 else None
        for window in _WINDOWS:
            start = max(after, now - window)
            found, due = None, self.next(start, zone)
            while due is not None and due <= now:
                found, due = due, self.next(due, zone)
            if found is not None or start == after:
                return found
        return None

    def _due(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return in_month and in_week if self.any_day else in_month or in_week

    def _times(self, day: date, zone: tzinfo) -> Iterator[float]:
        """The due times of a day: those that its clock shows, twice where it shows them twice."""
        for hour in self.hours:
            for minute in self.minutes:
                for fold in (0, 1):
                    local = datetime.combine(day, time(hour, minute, fold=fold), zone)
                    moment = local.timestamp()
                    if datetime.fromtimestamp(moment, zone).replace(tzinfo=None) == local.replace(tzinfo=None):
                        yield moment


def parse(text: str) -> Schedule:
    """The schedule that a text describes. Raises BadSchedule."""
    text = text.strip()
    if text.startswith("@every "):
        return Schedule(every=_duration(text.removeprefix("@every ").strip()))
    text = _NAMED.get(text, text)
    fields = text.split()
    if len(fields) != 5:
        raise BadSchedule(f"expected exactly 5 fields, found {len(fields)}: {text}")
    minutes, hours, days, months, weekdays = fields
    return Schedule(
        tuple(sorted(_field(minutes, 0, 59))),
        tuple(sorted(_field(hours, 0, 23))),
        _field(days, 1, 31),
        _field(months, 1, 12, _MONTHS),
        _field(weekdays, 0, 6, _DAYS),
        any_day=_open(days) or _open(weekdays),
    )


def _open(field: str) -> bool:
    """Whether a field restricts nothing; `*/2` does."""
    return any(part.removesuffix("/1") in ("*", "?") for part in field.split(","))


def _field(text: str, low: int, high: int, names: tuple[str, ...] = ()) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        body, slash, step = part.partition("/")
        if body in ("*", "?"):
            first, last = low, high
        else:
            start, dash, end = body.partition("-")
            first = _number(start, low, names)
            last = _number(end, low, names) if dash else high if slash else first
        width = _number(step, 0, ()) if slash else 1
        if not low <= first <= last <= high or not width:
            raise BadSchedule(f"{part}: not within {low}-{high}, or a range or step that holds nothing")
        found.update(range(first, last + 1, width))
    return frozenset(found)


def _number(text: str, low: int, names: tuple[str, ...]) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + low
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise BadSchedule(f"failed to parse int from {text!r}")
    return int(text)


def _duration(text: str) -> float:
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ms|h|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise BadSchedule(f"failed to parse duration {text!r}")
    return max(1.0, sum(float(number) * _UNITS[unit] for number, unit in parts))


DEFAULT_ZONE = UTC
"""The zone of schedules that name none: a lab's controllers run by UTC, wherever the machine stands."""
