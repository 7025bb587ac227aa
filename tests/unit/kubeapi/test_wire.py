"""Lines of a stream, Status objects and waits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gatewright.kubeapi.backoff import FIRST, LONGEST, LONGEST_ASKED, delay, retry_after
from gatewright.kubeapi.framing import Lines, LineTooLong
from gatewright.kubeapi.status import (
    REASONS,
    Status,
    StatusCause,
    StatusDetails,
    decode,
    encode,
    failure,
    said,
)

RECORDED = Path(__file__).parents[4] / "shared" / "apiserver" / "protocol.jsonl"
LINES = b'{"a": 1}\n\n{"b": "\xc3\xa9"}\n  \n{"c": 3}'


def test_lines_are_the_same_wherever_the_stream_is_cut() -> None:
    for first in range(len(LINES) + 1):
        for second in range(first, len(LINES) + 1):
            lines = Lines()
            found = [one for part in (LINES[:first], LINES[first:second], LINES[second:]) for one in lines.feed(part)]
            assert found == [b'{"a": 1}', b'{"b": "\xc3\xa9"}'], (first, second)


def test_a_line_is_not_given_out_before_its_newline() -> None:
    lines = Lines()
    assert lines.feed(b'{"whole": true}') == []
    assert lines.feed(b"\n") == [b'{"whole": true}']


def test_a_line_without_an_end_is_refused_within_bounds() -> None:
    lines = Lines(longest=10)
    assert lines.feed(b"12345\n12345") == [b"12345"]
    with pytest.raises(LineTooLong, match="a line of more than 10 bytes"):
        lines.feed(b"678901")


STATUSES = {
    "a refusal": (
        failure(410, "too old"),
        {"status": "Failure", "message": "too old", "reason": "Expired", "code": 410},
    ),
    "a success": (Status(status="Success", code=201), {"status": "Success", "code": 201}),
    "empty details": (
        failure(405, "no", details=StatusDetails()),
        {"status": "Failure", "message": "no", "reason": "MethodNotAllowed", "details": {}, "code": 405},
    ),
    "causes": (
        failure(409, "no", "AlreadyExists", StatusDetails(name="p", kind="pods", causes=(StatusCause(field="a"),))),
        {"status": "Failure", "message": "no", "reason": "AlreadyExists",
         "details": {"name": "p", "kind": "pods", "causes": [{"field": "a"}]}, "code": 409},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STATUSES)
def test_a_status_is_written_in_the_order_of_a_real_server(name: str) -> None:
    made, fields = STATUSES[name]
    written = encode(made)
    wanted: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, **fields}
    assert written == json.dumps(wanted, separators=(",", ":")).encode() + b"\n"
    assert decode(written) == made


def recorded_statuses() -> list[str]:
    if not RECORDED.exists():
        return []
    answers = [json.loads(one)["answer"] for one in RECORDED.read_text().splitlines()]
    return [one for one in answers if one.startswith('{"kind":"Status"')]


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded answers are not beside this checkout")
def test_every_status_of_a_real_server_is_read_and_written_again_byte_for_byte() -> None:
    answers = recorded_statuses()
    assert len(answers) > 30
    for answer in answers:
        read = decode(answer.encode())
        assert read is not None
        assert encode(read).decode() == answer


@pytest.mark.parametrize("body", [b"", b"404 page not found\n", b"<html>", b"[]", b"\xff", b"{}", b'{"message": 3}'])
def test_a_refusal_without_a_status_has_that_of_its_code(body: bytes) -> None:
    assert said(body, 503) == failure(503, "the server answers 503", "ServiceUnavailable")


def test_a_status_without_a_code_has_that_of_the_answer() -> None:
    assert said(b'{"message": "m"}', 403).code == 403
    assert said(b'{"message": "m", "code": 410}', 200).code == 410


EXPIRED = {
    "the code": (Status(code=410), True),
    "the reason": (Status(reason="Expired", code=200), True),
    "its older name": (Status(reason="Gone"), True),
    "another": (Status(reason="Timeout", code=504), False),
}


@pytest.mark.parametrize("name", EXPIRED)
def test_what_is_expired(name: str) -> None:
    given, expired = EXPIRED[name]
    assert given.expired is expired


def test_a_version_that_is_not_there_yet() -> None:
    causes = (StatusCause(reason="ResourceVersionTooLarge"),)
    late = failure(504, "Timeout", details=StatusDetails(causes=causes, retry_after_seconds=1))
    assert (late.too_large, late.retry_after) == (True, 1.0)
    assert (failure(504, "Timeout").too_large, failure(504, "Timeout").retry_after) == (False, None)


def test_every_code_has_its_reason() -> None:
    assert {code: failure(code, "").reason for code in REASONS} == REASONS
    assert failure(418, "").reason == ""


WAITS = {
    "the first": (1, 0.5, None, FIRST),
    "doubles": (3, 0.5, None, 4 * FIRST),
    "spread downwards": (1, 0.0, None, FIRST / 2),
    "bounded": (10_000, 0.5, None, LONGEST),
    "what is asked for": (1, 0.0, 7.0, 7.0),
    "what is asked for is spread upwards": (1, 0.5, 8.0, 10.0),
    "own wait where it is longer": (9, 0.5, 1.0, LONGEST),
    "a day is too long": (1, 0.0, 86_400.0, LONGEST_ASKED),
}


@pytest.mark.parametrize("name", WAITS)
def test_how_long_to_wait(name: str) -> None:
    failures, chance, asked, seconds = WAITS[name]
    assert delay(failures, chance, asked) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), (" 1 ", 1.0), (None, None), ("", None), ("Wed", None), ("²", None)]
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after(header) == seconds
