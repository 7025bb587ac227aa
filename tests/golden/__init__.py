"""Golden files: what the product prints, kept as it should be.

`GATEWRIGHT_WRITE_GOLDEN=1 python -m pytest` writes them again; the difference is then read like any other change.
"""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).parent


def assert_golden(name: str, text: str) -> None:
    """Compare a text with the golden file of this name, or write it when asked to."""
    path = HERE / name
    if os.environ.get("GATEWRIGHT_WRITE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"no golden file {name}: run with GATEWRIGHT_WRITE_GOLDEN=1 and read what it writes"
    assert text == path.read_text(encoding="utf-8"), f"{name} differs"
