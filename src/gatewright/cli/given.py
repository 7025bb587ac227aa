"""Where a verb's objects come from: the options that name them, the reading, and what the exit code then says.

A run never stops at the first bad document: every problem goes to standard error, the answer for the rest to standard
output, and the exit code is 2, since the answer may lack something. `--keep-going` accepts that: the exit code is then
the answer's own.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

import click

from gatewright.cli.manifests import Manifests, manifests, warn
from gatewright.cli.progress import progress
from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.snapshot import Snapshot
from gatewright.errors import InvalidInput, Problem
from gatewright.objects.meta import Object
from gatewright.objects.read import Parsed
from gatewright.sources.cluster import Where, default_namespace, read_cluster
from gatewright.sources.proposal import over

Command = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Given:
    """The objects of a run. `problems` were told already; `namespace` is that of names that do not say theirs."""

    objects: tuple[Object, ...]
    problems: tuple[Problem, ...]
    namespace: str
    keep_going: bool

    def compiled(self, pod_cidrs: Iterable[str] = ()) -> Compiled:
        """The objects, compiled."""
        with progress("compiling policies"):
            return compile_snapshot(Snapshot.of(self.objects, pod_cidrs=pod_cidrs))

    def finish(self, code: int = 0) -> NoReturn:
        """End the run: with the answer's own exit code, unless something could not be read."""
        sys.exit(2 if self.problems and not self.keep_going else code)


@dataclass(frozen=True, slots=True)
class Sources:
    """What a command line names. `where` is the live cluster, if one is asked for."""

    manifests: Manifests
    where: Where | None
    keep_going: bool

    @property
    def namespace(self) -> str:
        """The namespace of names that do not say theirs: of a cluster that of its context."""
        return default_namespace(self.where) if self.where else "default"

    def load(self, *, everything: bool = False) -> Given:
        """Read all of it, and tell every problem and warning. Raises InvalidInput when nothing could be read.

        `everything` (-A) takes no single namespace for a cluster that does not let its whole be read.
        """
        namespace = self.namespace
        return self.tell((self.read(everything=everything),), namespace)[0]

    def read(self, *, everything: bool = False) -> Parsed:
        """Read all of it, and keep what is wrong with it to the caller."""
        with progress("reading") as say:
            parsed = self.manifests.read(say)
            if self.where is not None:
                parsed = over(read_cluster(self.where, everything=everything, progress=say), parsed, self.namespace)
        return parsed

    def tell(self, states: Iterable[Parsed], namespace: str) -> list[Given]:
        """Say what is wrong with what was read, once each. Raises InvalidInput where nothing of a state could be."""
        every = list(states)
        told = Parsed(
            problems=tuple(dict.fromkeys(problem for parsed in every for problem in parsed.problems)),
            warnings=tuple(warning for parsed in every for warning in parsed.warnings),
        )
        warn(told)
        if any(parsed.problems and not parsed.objects for parsed in every):
            raise InvalidInput(told.problems)
        for problem in told.problems:
            click.echo(f"gatewright: {problem}", err=True)
        return [Given(parsed.objects, told.problems, namespace, self.keep_going) for parsed in every]


_OPTIONS = (
    manifests,
    click.option("--live", is_flag=True, help="The cluster of the current context; manifests go over its objects."),
    click.option("--context", metavar="NAME", help="The cluster of this context, as --live."),
    click.option("--kubeconfig", metavar="FILE", help="The kubeconfig to find the cluster in, as --live."),
    click.option(
        "--keep-going", is_flag=True, help="Exit with the answer's code although something could not be read."
    ),
)


def sources(command: Command) -> Command:
    """The options of `any_sources`, of which one has to name something."""

    @functools.wraps(command)
    def named(*arguments: Any, given: Sources, **rest: Any) -> Any:
        if not (given.manifests.places or given.where):
            raise click.UsageError("nothing to read: name manifests with -f or -k, or a cluster with --live")
        return command(*arguments, given=given, **rest)

    return any_sources(named)


def any_sources(command: Command) -> Command:
    """`-f`, `-R`, `-k`, `--live`, `--context`, `--kubeconfig`, `--keep-going`, as one argument `given` (Sources)."""

    @functools.wraps(command)
    def gathered(
        *arguments: Any,
        manifests: Manifests,
        live: bool,
        context: str | None,
        kubeconfig: str | None,
        keep_going: bool,
        **rest: Any,
    ) -> Any:
        where = Where(kubeconfig, context) if live or context or kubeconfig else None
        return command(*arguments, given=Sources(manifests, where, keep_going), **rest)

    wrapped: Command = gathered
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
