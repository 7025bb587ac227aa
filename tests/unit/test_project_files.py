"""The project's own files: locks that hold hashes and no address, documents whose links and examples are true."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from gatewright.cli.main import cli
from scripts import gen_docs

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)


def lock(name: str) -> dict[str, str]:
    """A lock file as package: version; refuses a package without hash."""
    text = (ROOT / "requirements" / name).read_text()
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    return dict(entry.split()[0].split("==") for entry in entries)


def names(requirements: list[str]) -> set[str]:
    """The packages that requirements name, as lock files write them."""
    return {re.split(r"[<>=!~\[; ]", one)[0].lower() for one in requirements}


@pytest.mark.parametrize("name", ["runtime.txt", "dev.txt", "side-by-side.txt"])
def test_a_lock_holds_no_address_and_no_path(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    assert not re.search(r"https?:|file:|--index|--find-links|^/| /", text, re.MULTILINE)


def test_the_locks_cover_what_the_project_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = names([*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["lab"]])
    runtime, development = lock("runtime.txt"), lock("dev.txt")
    assert wanted <= runtime.keys()
    assert names(project["dependency-groups"]["dev"]) <= development.keys()
    assert names(project["build-system"]["requires"]) <= development.keys()
    assert runtime.items() <= development.items()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    missing = [
        target
        for target in LINK.findall(page.read_text())
        if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_command_of_a_page_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = set(re.findall(r"(?:^\$ |`)make ([a-z]+)", page.read_text(), re.MULTILINE))
    assert used <= targets


def shown() -> list[tuple[str, str]]:
    """Every `gatewright list` and `explain` that a page shows with its output. Three dots stand for lines left out."""
    found = []
    for page in PAGES:
        for block in CONSOLE.findall(page.read_text()):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                if output and re.match(r"gatewright (list|explain) .*-f examples/", command):
                    found.append((command, output))
    return found


def test_the_pages_show_commands_with_their_output() -> None:
    assert {command.split()[1] for command, _ in shown()} == {"list", "explain"}


@pytest.mark.parametrize(("command", "output"), shown())
def test_a_page_shows_what_the_command_prints(command: str, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    printed = CliRunner().invoke(cli, shlex.split(command)[1:]).stdout
    pattern = ".*".join(re.escape(part) for part in re.split(r"^ *\.\.\.\n", output, flags=re.MULTILINE))
    assert re.fullmatch(pattern, printed, re.DOTALL), printed


def test_a_stale_reference_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "cli.md"
    monkeypatch.setattr(gen_docs, "DOCS", tmp_path)
    assert gen_docs.main(["--check"]) == 1
    assert gen_docs.main([]) == 0
    assert gen_docs.main(["--check"]) == 0
    page.write_text(page.read_text().replace("## gatewright list", "## gatewright lists"))
    assert gen_docs.main(["--check"]) == 1
    assert gen_docs.main([]) == 0
    (tmp_path / "rules" / "GW000.md").write_text("a rule that is no more\n")
    assert gen_docs.main(["--check"]) == 1


def test_the_reference_has_every_verb_and_keeps_examples_as_they_are() -> None:
    text = gen_docs.page()
    assert "### gatewright list\n" in text
    assert "```text\ngatewright list -f manifests/\n" in text
    assert "`-f, --filename PATH`" in text
