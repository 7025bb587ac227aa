"""What can go wrong with a lab, in words for the person who runs it."""

from __future__ import annotations

from gatewright.errors import GatewrightError


class LabError(GatewrightError):
    """A lab that cannot be started, found or asked; the text is one line and says what to do."""
