"""Write the pages that come from the code, or say that they are stale.

The command line's reference is the click commands themselves, and the pages of the lint rules are the rules, printed
as Markdown: what `--help` and `--explain` say and what the pages say cannot differ. `make docs` writes, `make lint`
checks.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from gatewright.cli.main import cli
from gatewright.findings.registry import DESCRIPTIONS, FAMILIES
from gatewright.report.rules import to_page

DOCS = Path(__file__).parents[1] / "docs"
RULES = """\
# Lint rules

Written by `make docs` from the rules themselves. `gatewright lint --explain ID` prints the same.
"""

OPENING = """\
# Command line reference

Written by `make docs` from the commands' own help.

Exit codes: 0 for clean or allowed, 1 for findings, a difference or denied, 2 for a usage or runtime error. Errors go
to stderr, one line each, and say what to do; `gatewright --debug VERB` adds the traceback. `kubectl gatewright VERB` is
the same program.
"""


def commands(context: click.Context, command: click.Command) -> Iterator[tuple[click.Context, click.Command]]:
    """The command and everything below it, in the order that help lists them."""
    yield context, command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from commands(click.Context(child, info_name=name, parent=context), child)


def prose(text: str) -> Iterator[str]:
    """Help text as Markdown: its paragraphs, and the ones that click keeps as they are as code."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        lines = paragraph.splitlines()
        if lines and lines[0] == "\b":
            yield "```text\n" + inspect.cleandoc("\n".join(lines[1:])) + "\n```"
        else:
            yield paragraph


def options(context: click.Context, command: click.Command) -> str:
    """The command's options as a table."""
    records = (parameter.get_help_record(context) for parameter in command.get_params(context))
    rows = [[cell.replace("|", "\\|") for cell in record] for record in records if record is not None]
    return "\n".join(["| option | meaning |", "|---|---|", *(f"| `{names}` | {text} |" for names, text in rows)])


def section(context: click.Context, command: click.Command) -> Iterator[str]:
    """One command: how it is called, what it does, its options."""
    words = context.command_path.split()
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"{'#' * min(len(words) + 1, 4)} {context.command_path}"
    yield f"```text\n{usage}\n```"
    yield from prose(command.help or "")
    yield options(context, command)


def page() -> str:
    """The whole reference."""
    root = click.Context(cli, info_name="gatewright", **cli.context_settings)
    parts = (part for context, command in commands(root, cli) for part in section(context, command))
    return "\n\n".join([OPENING.strip(), *parts]) + "\n"


def rules() -> str:
    """The list of the lint rules, family by family."""
    parts = [RULES.strip()]
    for family, title in FAMILIES.items():
        rows = ["| id | name | severity | finds |", "|---|---|---|---|"]
        for ident, text in DESCRIPTIONS.items():
            if ident.startswith(family):
                severity = str(text.severity) if text.default else f"{text.severity}, off by default"
                rows.append(f"| [{ident}]({ident}.md) | {text.name} | {severity} | {text.summary} |")
        parts += [f"## {title}", "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def pages() -> dict[str, str]:
    """Every page that comes from the code, by its name below docs."""
    return {
        "cli.md": page(),
        "rules/index.md": rules(),
        **{f"rules/{ident}.md": to_page(text) for ident, text in DESCRIPTIONS.items()},
    }


def main(arguments: list[str]) -> int:
    """Write the pages; with `--check` only compare them."""
    os.environ["COLUMNS"] = "100"
    written = pages()
    gone = [path for path in DOCS.glob("rules/*.md") if f"rules/{path.name}" not in written]
    if "--check" not in arguments:
        (DOCS / "rules").mkdir(parents=True, exist_ok=True)
        for name, text in written.items():
            (DOCS / name).write_text(text)
        for path in gone:
            path.unlink()
        return 0
    stale = [name for name, text in written.items() if not _says(DOCS / name, text)] + [path.name for path in gone]
    if not stale:
        return 0
    print(f"docs/{stale[0]} is not what the code says: run make docs", file=sys.stderr)
    return 1


def _says(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
