"""The one error tree of the product, and the shape in which faults of the input are collected.

Every error a user can meet is a `GatewrightError` whose text is one line that says what is wrong, where, and what to
do. Faults found in input are values first (`Problem`), so that a run can collect all of them; they become an error
(`InvalidInput`) only when the run has seen everything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class GatewrightError(Exception):
    """Base of every error that the command line prints as one line and answers with exit code 2."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of the input: where it stands (`file:line`, empty when unknown) and what is wrong with which object.

    Its text is one line that moves no cursor, whatever stands in the names of files and objects.
    """

    where: str
    what: str

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class InvalidInput(GatewrightError):
    """Input that cannot be used. `problems` holds every fault that was found, in the order of the input."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def line(error: object) -> str:
    """An error's text as one line of bounded length."""
    text = " ".join(str(error).split())
    return text if len(text) <= 500 else f"{text[:500]}..."
