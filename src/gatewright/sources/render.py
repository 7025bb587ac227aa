"""Helm charts and kustomizations: built into manifests by the programs that own their meaning, then read like a file.

Findings in a chart point at its template: helm writes `# Source: CHART/templates/x.yaml` above every document, and that
is the file that is named, with lines counted in the rendered text below that comment. What a kustomization gives has no
such mark: it is named `DIR (kustomize)`, with the line of the whole output.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from gatewright.errors import Problem
from gatewright.objects.read import Parsed, parse
from gatewright.sources.programs import ProgramFailed, run
from gatewright.sources.progress import Progress, unheard

CHART = "Chart.yaml"
KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
MOST_RENDERED = 50 * 1024 * 1024
"""Bytes of manifests that one chart or kustomization may make."""

_SOURCE = re.compile(r"^---[ \t]*\r?\n# Source: (?P<file>[!-~](?:[ -~]{0,400}[!-~])?)\r?\n", re.MULTILINE)


def is_chart(directory: Path) -> bool:
    """Whether a directory is a Helm chart."""
    return (directory / CHART).is_file()


def kustomization_of(directory: Path) -> Path | None:
    """The kustomization file of a directory, if it has one."""
    return next((directory / name for name in KUSTOMIZATIONS if (directory / name).is_file()), None)


def read_chart(directory: Path, progress: Progress = unheard) -> Parsed:
    """The objects of a chart as `helm template` renders it with its own values."""
    if shutil.which("helm") is None:
        pipe = f"helm template {directory} | gatewright list -f -"
        return _problem(directory, f"a Helm chart, and helm is not installed here; pipe it: {pipe}")
    progress(f"helm template {directory}")
    rendered = _rendered(directory, ("helm", "template", str(directory.resolve())))
    if isinstance(rendered, Parsed):
        return rendered
    return parse_helm_output(rendered, f"{directory} (helm)", directory)


def read_kustomization(directory: Path, progress: Progress = unheard) -> Parsed:
    """The objects that a kustomization builds."""
    if not directory.is_dir():
        missing = "no such directory" if not directory.exists() else "not a directory"
        return _problem(directory, f"{missing}; -k names the directory of a kustomization")
    if kustomization_of(directory) is None:
        return _problem(directory, f"no {KUSTOMIZATIONS[0]} in this directory; -f reads plain manifests")
    command = _kustomize()
    if command is None:
        pipe = f"kubectl kustomize {directory} | gatewright list -f -"
        return _problem(directory, f"neither kubectl nor kustomize is installed here; pipe it: {pipe}")
    progress(f"{' '.join(command)} {directory}")
    rendered = _rendered(directory, (*command, str(directory.resolve())))
    if isinstance(rendered, Parsed):
        return rendered
    return parse(rendered, f"{directory} (kustomize)")


def parse_helm_output(text: bytes, name: str, directory: Path | None = None) -> Parsed:
    """Objects of what `helm template` printed, each named after its template.

    `name` is for text without a mark. With `directory`, where the chart is, `CHART/templates/x.yaml` becomes that
    directory's own file.
    """
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        return parse(text, name)
    return Parsed.merge(parse(part, _template(file, directory) or name) for file, part in _parts(decoded))


def has_sources(text: bytes) -> bool:
    """Whether the text is what `helm template` prints: its documents name their templates."""
    return b"\n# Source: " in text[: 1 << 20]


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """(template, text below its mark); the template is empty for what stands before the first mark."""
    file, begin = "", 0
    for mark in _SOURCE.finditer(text):
        if text[begin : mark.start()].strip():
            yield file, text[begin : mark.start()]
        file, begin = mark["file"], mark.end()
    if text[begin:].strip():
        yield file, text[begin:]


def _template(file: str, directory: Path | None) -> str:
    """The template's file below the chart's directory: helm names it after the chart, not after the directory."""
    _, slash, below = file.partition("/")
    return str(directory / below) if directory is not None and slash else file


def _kustomize() -> Sequence[str] | None:
    if shutil.which("kubectl"):
        return ("kubectl", "kustomize")
    return ("kustomize", "build") if shutil.which("kustomize") else None


def _rendered(directory: Path, command: Sequence[str]) -> bytes | Parsed:
    """What the command prints, or why there is nothing to read."""
    try:
        rendered = run(command, MOST_RENDERED)
    except ProgramFailed as failed:
        return _problem(directory, str(failed))
    return rendered if rendered.strip() else _problem(directory, f"{command[0]} makes no objects of it")


def _problem(directory: Path, what: str) -> Parsed:
    return Parsed(problems=(Problem(str(directory), what),))
