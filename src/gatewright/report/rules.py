"""Rules for people: what one finds, why that is a fault, what to do, and an example; as text and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from gatewright.findings.rule import Description, Example


def to_text(rules: Iterable[Description]) -> str:
    """A rule a block, as `--explain` prints it."""
    return "\n".join(_text(text) for text in rules)


def to_list(rules: Iterable[Description]) -> str:
    """A line each."""
    return "".join(f"{one.id} {one.severity:8}{one.name}: {one.summary}{_aside(one)}\n" for one in rules)


def to_page(one: Description) -> str:
    """A page of its own, as the documentation has it."""
    parts = [f"# {one.id}: {one.name}", f"**{one.severity}**{_off(one)}: {one.summary}", one.why]
    parts.append(f"**Remedy:** {one.remedy}.")
    if one.example is not None:
        parts += [f"Found in{_under(one.example)}:", _fenced(one.example.fault)]
        parts += ["Mended:", _fenced(one.example.mended)] if one.example.mended else []
    return "\n\n".join(part for part in parts if part) + "\n"


def _text(one: Description) -> str:
    blocks = [f"{one.id} {one.name} ({one.severity}{_off(one)})", one.summary, one.why, f"Remedy: {one.remedy}."]
    if one.example is not None:
        blocks.append(f"Found in{_under(one.example)}:\n\n{_indented(one.example.fault)}")
        blocks += [f"Mended:\n\n{_indented(one.example.mended)}"] if one.example.mended else []
    return "\n\n".join(block for block in blocks if block) + "\n"


def _off(one: Description) -> str:
    return "" if one.default else ", asked only where it is selected"


def _aside(one: Description) -> str:
    return "" if one.default else " (asked only where it is selected)"


def _under(example: Example) -> str:
    return f" (with `{' '.join(example.options)}`)" if example.options else ""


def _fenced(text: str) -> str:
    return f"```yaml\n{text.strip()}\n```"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.strip().splitlines())
