"""A matrix on a terminal: no line of the table is wider, a cut line says so, and the sums are never cut."""

from __future__ import annotations

from gatewright.report.matrix import MatrixRow, as_table

ROWS = [
    MatrixRow(
        "default/web", "default/db", "", "TCP 3306", "denied", "dropped", False, True, ("default/db-policy (ingress)",)
    ),
    MatrixRow("a", "b", "", "TCP 80", "allowed", "open", True, True),
]


def test_lines_wider_than_the_terminal_are_cut_and_say_so() -> None:
    whole, cut = as_table(ROWS, enforces=True).split("\n"), as_table(ROWS, enforces=True, width=70).split("\n")
    assert [len(line) > 70 for line in whole] == [False, True, False, False, False]
    assert cut[1] == whole[1][:69] + "…"
    assert cut[:1] + cut[2:] == whole[:1] + whole[2:]


def test_a_line_as_wide_as_the_terminal_stays() -> None:
    width = max(map(len, as_table(ROWS, enforces=True).split("\n")))
    assert as_table(ROWS, enforces=True, width=width) == as_table(ROWS, enforces=True)


def test_the_sums_are_never_cut() -> None:
    assert as_table(ROWS, enforces=False, width=12).endswith("forbid reached their destination.")
