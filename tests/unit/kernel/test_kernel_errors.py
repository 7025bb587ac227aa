"""What stands in the way of the kernel is said in one line that tells what to do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewright.kernel import nft as nft_module
from gatewright.kernel.errors import KernelError, NftMissing, NftRefused, NftTooLarge, NotPermitted
from gatewright.kernel.nft import Command, Library, Mode, Nft, Outcome
from gatewright.kernel.preflight import BridgeNotFiltered, bridge_problems, preflight


class Fixed:
    """A back end that always says the same."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def execute(self, text: str, mode: Mode) -> Outcome:
        return self.outcome


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    nft_module.load_library.cache_clear()
    monkeypatch.setattr(nft_module, "LIBRARY", "libnftables.so.none")
    yield
    nft_module.load_library.cache_clear()


@pytest.fixture
def no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft_module, "COMMAND", "nft-that-is-not-there")


def test_the_library_is_preferred() -> None:
    if nft_module.load_library() is None:
        pytest.skip("libnftables is not installed")
    assert isinstance(Nft().backend, Library)


def test_the_command_stands_in_for_the_library(no_library: None) -> None:
    if shutil.which("nft") is None:
        pytest.skip("the nft command is not installed")
    assert isinstance(Nft().backend, Command)


def test_without_library_and_command_the_package_is_named(no_library: None, no_command: None) -> None:
    with pytest.raises(NftMissing, match="install the Debian package nftables"):
        Nft()
    assert [type(error) for error in preflight()] == [NftMissing]


@pytest.mark.parametrize("backend", [Library, Command])
def test_a_back_end_that_is_gone_is_missing(
    backend: type[Library] | type[Command], no_library: None, no_command: None
) -> None:
    with pytest.raises(NftMissing):
        Nft(backend()).run("")


def test_a_refusal_has_the_kernel_s_words_and_our_line() -> None:
    error = "/dev/stdin:2:5-9: Error: Could not process rule: File exists\nadd chain\n    ^^^^^\n"
    with pytest.raises(NftRefused) as refused:
        Nft(Fixed(Outcome(False, "", error))).run("first\n  second\n")
    assert refused.value.line == "second"
    assert refused.value.message == "Could not process rule: File exists"
    assert "\n" not in str(refused.value)


def test_a_refusal_without_a_line_keeps_every_word() -> None:
    with pytest.raises(NftRefused, match=r"netlink: Error: No buffer space; the kernel keeps the program it had"):
        Nft(Fixed(Outcome(False, "", "netlink: Error:\nNo buffer space\n"))).run("x")


def test_a_transaction_that_is_too_large_says_what_helps() -> None:
    with pytest.raises(NftTooLarge, match=r"run as root, or raise net\.core\.wmem_default"):
        Nft(Fixed(Outcome(False, "", "netlink: Error: Could not process rule: Message too long\n"))).run("x")


def test_a_lack_of_permission_says_what_helps() -> None:
    outcome = Outcome(False, "", "Error: Could not process rule: Operation not permitted\n")
    with pytest.raises(NotPermitted, match="run as root, or inside a user namespace"):
        Nft(Fixed(outcome)).run("x")
    assert issubclass(NotPermitted, KernelError)


def test_a_bridge_that_is_not_filtered_is_named_for_each_family(tmp_path: Path) -> None:
    (tmp_path / "bridge-nf-call-iptables").write_text("1\n")
    (tmp_path / "bridge-nf-call-ip6tables").write_text("0\n")
    (problem,) = bridge_problems(switches=tmp_path)
    assert isinstance(problem, BridgeNotFiltered)
    assert "set net.bridge.bridge-nf-call-ip6tables to 1" in str(problem)
    (missing,) = bridge_problems(switches=tmp_path / "nowhere")
    assert "load br_netfilter" in str(missing)


def test_only_the_families_that_pods_have_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "bridge-nf-call-iptables").write_text("1\n")
    (tmp_path / "bridge-nf-call-ip6tables").write_text("0\n")
    assert bridge_problems({4}, tmp_path) == []
    assert len(bridge_problems({4, 6}, tmp_path)) == 1
