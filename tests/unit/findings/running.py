"""Linting a text inside a test."""

from __future__ import annotations

from itertools import pairwise

from gatewright.findings.lint import Report, Settings, lint
from gatewright.findings.model import Finding
from gatewright.findings.networks import network_named
from gatewright.findings.registry import choose
from gatewright.objects.read import Parsed, parse

FILE = "all.yaml"


def report(text: str, *options: str, select: tuple[str, ...] = ("ALL",)) -> Report:
    """What the rules find in a text. Options are as on the command line: --complete, --network X, --pod-cidr X."""
    values = dict(pairwise(options))
    cidrs = tuple(options[i + 1] for i, one in enumerate(options) if one == "--pod-cidr")
    network = network_named(values["--network"]) if "--network" in values else None
    return lint(Parsed.merge([parse(text, FILE)]), Settings(choose(select), cidrs, "--complete" in options, network))


def findings(text: str, ident: str, *options: str) -> list[Finding]:
    """The findings of one rule."""
    return [one for one in report(text, *options).findings if one.id == ident]


def found(text: str, ident: str, *options: str) -> list[str]:
    """The lines of the findings of one rule."""
    return [str(one.place.line) for one in findings(text, ident, *options)]
