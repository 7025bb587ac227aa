"""How long to wait before a server is asked again.

Waits double with every failure in a row and are spread over a factor of three, so that the thousands of nodes of a
cluster whose API server came back do not all ask in the same instant. What the server itself asks for (Retry-After) is
the least that is waited, within reason: a wrong header must not keep a node from its policies for a day.
"""

from __future__ import annotations

FIRST = 0.2
LONGEST = 30.0
"""Seconds on average before the second attempt, and before any later one."""
LONGEST_ASKED = 120.0
"""Seconds of a Retry-After that are honoured."""


def delay(failures: int, chance: float, asked: float | None = None) -> float:
    """Seconds to wait after this many failures in a row (from 1); `chance` lies in [0, 1).

    `asked` is what Retry-After asks for. Waits asked for are spread too, upwards.
    """
    own = min(LONGEST, FIRST * 2.0 ** min(failures - 1, 30)) * (0.5 + chance)
    return own if asked is None else max(own, min(asked, LONGEST_ASKED) * (1 + chance / 2))


def retry_after(header: str | None) -> float | None:
    """The seconds of a Retry-After header; None where there is none. API servers write no dates in it."""
    text = (header or "").strip()
    return float(text) if text.isascii() and text.isdigit() else None
