"""What can go wrong between us and the kernel; each a single line that says what to do."""

from __future__ import annotations

from gatewright.errors import GatewrightError


class KernelError(GatewrightError):
    """Base of the errors of this room."""


class NftMissing(KernelError):
    """Neither libnftables nor the nft command is there."""

    def __init__(self) -> None:
        super().__init__(
            "nftables is not installed: neither libnftables.so.1 nor the nft command was found; "
            "install the Debian package nftables"
        )


class NftRefused(KernelError):
    """nftables or the kernel refused a transaction, all of it. `line` is the refused line, where it is known."""

    def __init__(self, message: str, line: str = "") -> None:
        self.message, self.line = message, line
        at = f" at `{line}`" if line else ""
        super().__init__(f"nftables refused the change{at}: {message}; the kernel keeps the program it had")


class NftTooLarge(NftRefused):
    """The transaction does not fit into one netlink message of an unprivileged process."""

    def __init__(self) -> None:
        super().__init__("the change is too large for one transaction; run as root, or raise net.core.wmem_default")


class NotPermitted(KernelError):
    """The process may not change packet filters in this network namespace."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"no permission to {what} in this network namespace: run as root, or inside a user namespace that owns it"
        )


class NetlinkFailed(KernelError):
    """The kernel answered a netlink request with an error."""
