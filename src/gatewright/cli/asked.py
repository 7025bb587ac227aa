"""The part of an answer that a command line asks for: the filters that `list` and `diff` share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from gatewright.engine.compile import Compiled
from gatewright.engine.filters import Filter, label_filter, port_filter
from gatewright.engine.ports import PortSet
from gatewright.engine.targets import Target, UnknownTarget, find
from gatewright.objects.meta import LabelSelector

Command = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """The filters as they were written; names are looked up once there is something to find them in.

    `everything` is -A. `namespace` is then empty, as it is without -n.
    """

    origins: tuple[str, ...]
    destinations: tuple[str, ...]
    focus: tuple[str, ...]
    ports: PortSet
    namespace: str
    labels: LabelSelector | None
    everything: bool

    def filter(self, states: Sequence[Compiled], namespace: str) -> Filter:
        """The filter over one state or several; `namespace` is that of names that do not say theirs.

        Raises UnknownTarget for a name that none of the states has.
        """

        def named(names: tuple[str, ...]) -> tuple[Target, ...]:
            return tuple(_find(states, name, self.namespace or namespace) for name in names)

        ends = (named(self.origins), named(self.destinations), named(self.focus))
        return Filter(*ends, self.ports, self.namespace, self.labels)


def _find(states: Sequence[Compiled], name: str, namespace: str) -> Target:
    """Whatever the name stands for in any of the states; what is new or gone is in one of them alone."""
    found: list[Target] = []
    unknown: list[UnknownTarget] = []
    for compiled in states:
        try:
            found.append(find(compiled, name, namespace))
        except UnknownTarget as error:
            unknown.append(error)
    if not found:
        raise unknown[-1]
    return Target(name, tuple(party for target in found for party in target.parties))


_OPTIONS = (
    click.option("--from", "origins", multiple=True, metavar="NAME", help="Only connections that NAME opens."),
    click.option("--to", "destinations", multiple=True, metavar="NAME", help="Only connections to NAME."),
    click.option("--focus", multiple=True, metavar="NAME", help="Only connections of NAME, in both directions."),
    click.option("--port", "ports", multiple=True, metavar="[PROTO/]PORT", help="Only this port of each connection."),
    click.option(
        "-n", "--namespace", help="Only connections with an end in this namespace; names without one are in it."
    ),
    click.option("-A", "--all-namespaces", is_flag=True, help="Every namespace, as without -n; overrides it."),
    click.option(
        "-l", "--selector", default="", help="Only connections with an end of these labels: app=web,tier!=front."
    ),
)


def filters(command: Command) -> Command:
    """`--from`, `--to`, `--focus`, `--port`, `-n`, `-A` and `-l` as one argument `asked` (Asked)."""

    @functools.wraps(command)
    def gathered(
        *arguments: Any,
        origins: tuple[str, ...],
        destinations: tuple[str, ...],
        focus: tuple[str, ...],
        ports: tuple[str, ...],
        namespace: str | None,
        all_namespaces: bool,
        selector: str,
        **rest: Any,
    ) -> Any:
        within = "" if all_namespaces else namespace or ""
        wanted, labels = port_filter(ports), label_filter(selector)
        asked = Asked(origins, destinations, focus, wanted, within, labels, all_namespaces)
        return command(*arguments, asked=asked, **rest)

    wrapped: Command = gathered
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
