"""A matrix on a terminal: no line is longer than the terminal is wide, and a cut line says that it is cut."""

from __future__ import annotations

import pytest

from gatewright.report.matrix import fit


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        pytest.param("abcdef", 6, "abcdef", id="as long as the terminal is wide"),
        pytest.param("abcdefg", 6, "abcde…", id="one more"),
        pytest.param("abcdefgh\n\nab", 4, "abc…\n\nab", id="each line on its own"),
    ],
)
def test_fit(text: str, width: int, expected: str) -> None:
    assert fit(text, width) == expected
