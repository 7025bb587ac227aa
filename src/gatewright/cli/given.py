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
from pathlib import Path
from typing import Any, NoReturn

import click

from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.snapshot import Snapshot
from gatewright.errors import InvalidInput, Problem
from gatewright.objects.meta import Object
from gatewright.objects.read import Parsed
from gatewright.sources.cluster import Where, default_namespace, read_cluster
from gatewright.sources.files import read
from gatewright.sources.proposal import over
from gatewright.sources.render import read_kustomization

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
        return compile_snapshot(Snapshot.of(self.objects, pod_cidrs=pod_cidrs))

    def finish(self, code: int = 0) -> NoReturn:
        """End the run: with the answer's own exit code, unless something could not be read."""
        sys.exit(2 if self.problems and not self.keep_going else code)


@dataclass(frozen=True, slots=True)
class Sources:
    """What a command line names. `where` is the live cluster, if one is asked for."""

    filenames: tuple[str, ...] = ()
    recursive: bool = False
    kustomizations: tuple[str, ...] = ()
    where: Where | None = None
    keep_going: bool = False

    def load(self, *, everything: bool = False) -> Given:
        """Read all of it, and tell every problem and warning. Raises InvalidInput when nothing could be read.

        `everything` (-A) takes no single namespace for a cluster that does not let its whole be read.
        """
        parsed, namespace = self._manifests(), "default"
        if self.where is not None:
            namespace = default_namespace(self.where)
            parsed = over(read_cluster(self.where, everything=everything), parsed)
        for warning in parsed.warnings:
            click.echo(f"gatewright: warning: {warning}", err=True)
        if parsed.problems and not parsed.objects:
            raise InvalidInput(parsed.problems)
        for problem in parsed.problems:
            click.echo(f"gatewright: {problem}", err=True)
        return Given(parsed.objects, parsed.problems, namespace, self.keep_going)

    def _manifests(self) -> Parsed:
        files = read(self.filenames, self.recursive)
        if not self.kustomizations:
            return files
        return Parsed.merge([files, *(read_kustomization(Path(directory)) for directory in self.kustomizations)])


_OPTIONS = (
    click.option(
        "-f",
        "--filename",
        "filenames",
        multiple=True,
        metavar="PATH",
        help="A file or directory of manifests, a Helm chart, or - for standard input. May be given more than once.",
    ),
    click.option("-R", "--recursive", is_flag=True, help="Look into the folders of a directory named by -f, too."),
    click.option(
        "-k",
        "--kustomize",
        "kustomizations",
        multiple=True,
        metavar="DIR",
        help="A kustomization, built by kubectl or kustomize. May be given more than once.",
    ),
    click.option("--live", is_flag=True, help="The cluster of the current context; manifests go over its objects."),
    click.option("--context", metavar="NAME", help="The cluster of this context, as --live."),
    click.option("--kubeconfig", metavar="FILE", help="The kubeconfig to find the cluster in, as --live."),
    click.option(
        "--keep-going", is_flag=True, help="Exit with the answer's code although something could not be read."
    ),
)


def sources(command: Command) -> Command:
    """`-f`, `-R`, `-k`, `--live`, `--context`, `--kubeconfig`, `--keep-going`, as one argument `given` (Sources)."""

    @functools.wraps(command)
    def gathered(
        *arguments: Any,
        filenames: tuple[str, ...],
        recursive: bool,
        kustomizations: tuple[str, ...],
        live: bool,
        context: str | None,
        kubeconfig: str | None,
        keep_going: bool,
        **rest: Any,
    ) -> Any:
        where = Where(kubeconfig, context) if live or context or kubeconfig else None
        if not (filenames or kustomizations or where):
            raise click.UsageError("nothing to read: name manifests with -f or -k, or a cluster with --live")
        given = Sources(filenames, recursive, kustomizations, where, keep_going)
        return command(*arguments, given=given, **rest)

    wrapped: Command = gathered
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
