"""The channels of exec and attach, message by message."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kubeapi import channels
from gatewright.kubeapi.channels import V4, V5, ChannelError, Closed, Event, Input, Resized


@pytest.mark.parametrize(
    ("offered", "spoken"),
    [([V5], V5), ([V4, V5], V4), (["other", V5, V4], V5), (["base64.channel.k8s.io"], None), ([], None)],
)
def test_the_first_protocol_that_is_known_is_spoken(offered: list[str], spoken: str | None) -> None:
    assert channels.chosen(offered) == spoken


@pytest.mark.parametrize(
    ("received", "meant"),
    [
        (b"\x00data", Input(b"data")),
        (b"\x00", Input(b"")),
        (b'\x04{"Width":80,"Height":24}', Resized(80, 24)),
        (b'\x04{"Width":80,"Height":24,"Depth":1}', Resized(80, 24)),
        (b"\x04", None),
        (b"\xff\x00", Closed()),
        (b"\xff\x01", None),
        (b"\x01what clients do not say", None),
        (b"\x03{}", None),
    ],
)
def test_what_a_client_says(received: bytes, meant: Event | None) -> None:
    assert channels.event(received, V5) == meant


@pytest.mark.parametrize(
    ("received", "protocol"),
    [
        (b"", V5),
        (b"\x05", V5),
        (b"\xfe", V5),
        (b"\xff", V5),
        (b"\xff\x05", V5),
        (b"\xff\x00\x00", V5),
        (b"\xff\x00", V4),
        (b"\x04nothing", V5),
        (b'\x04{"Width":80}', V5),
        (b'\x04{"Width":65536,"Height":1}', V5),
        (b'\x04{"Width":-1,"Height":1}', V5),
        (b'\x04{"Width":"80","Height":"24"}', V5),
        (b"\x04" + b"[" * 100_000, V5),
    ],
)
def test_what_no_client_says(received: bytes, protocol: str) -> None:
    with pytest.raises(ChannelError):
        channels.event(received, protocol)


@given(st.binary(max_size=40), st.sampled_from([V4, V5]))
def test_random_messages_mean_something_or_are_refused(received: bytes, protocol: str) -> None:
    try:
        assert channels.event(received, protocol) is None or received[0] in (0, 4, 255)
    except ChannelError:
        return


def test_the_end_of_a_program_is_a_status() -> None:
    well, badly, never = channels.ended(0), channels.ended(7), channels.failed("why")
    assert well[0] == badly[0] == never[0] == channels.ERROR
    assert json.loads(well[1:]) == {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    said = json.loads(badly[1:])
    assert (said["status"], said["reason"]) == ("Failure", "NonZeroExitCode")
    assert said["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]
    refused = json.loads(never[1:])
    assert (refused["code"], refused["reason"]) == (500, "InternalError")
    assert refused["message"] == "Internal error occurred: why"
