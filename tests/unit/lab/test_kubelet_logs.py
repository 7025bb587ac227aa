"""Container logs as files: what is written comes back, also from a file that grows or is moved aside."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.lab.kubelet import logs
from gatewright.lab.kubelet.containers import Missing
from gatewright.lab.kubelet.logs import LogFile, LogOptions, read_log, timestamp


def read(path: Path, **options: object) -> bytes:
    async def all_of_it() -> bytes:
        pieces = read_log(path, LogOptions(**options), lambda: False)  # type: ignore[arg-type]
        return b"".join([piece async for piece in pieces])

    return asyncio.run(all_of_it())


def written(path: Path, *pieces: tuple[str, bytes]) -> Path:
    file = LogFile(path)
    for stream, data in pieces:
        file.write(stream, data)
    file.close()
    return path


def test_lines_have_their_time_stream_and_tag(tmp_path: Path) -> None:
    path = written(tmp_path / "log", ("stdout", b"one\ntw"), ("stderr", b"bad\n"), ("stdout", b"o\nrest"))
    fields = [line.split(b" ", 3) for line in path.read_bytes().splitlines()]
    assert [(stream, tag, text) for _, stream, tag, text in fields] == [
        (b"stdout", b"F", b"one"),
        (b"stderr", b"F", b"bad"),
        (b"stdout", b"F", b"two"),
        (b"stdout", b"P", b"rest"),
    ]
    assert read(path) == b"one\nbad\ntwo\nrest"
    assert read(path, stream="stderr") == b"bad\n"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=50_000), max_size=6))
def test_what_is_written_comes_back(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    path = written(tmp_path_factory.mktemp("logs") / "log", *(("stdout", piece) for piece in pieces))
    assert read(path) == b"".join(pieces)


@pytest.mark.parametrize("lines", [0, 1, 2, 3000, 4000, 5000])
def test_the_last_lines_over_many_blocks(tmp_path: Path, lines: int) -> None:
    text = [b"line %05d %b\n" % (number, b"x" * (number % 97)) for number in range(4000)]
    path = written(tmp_path / "log", ("stdout", b"".join(text)))
    assert read(path, tail=lines) == b"".join(text[max(0, 4000 - lines) :])


def test_the_last_lines_of_an_empty_log(tmp_path: Path) -> None:
    assert read(written(tmp_path / "log"), tail=3) == b""


def test_a_limit_cuts_within_a_line(tmp_path: Path) -> None:
    path = written(tmp_path / "log", ("stdout", b"one\ntwo\n"))
    assert [read(path, limit=size) for size in (1, 4, 6, 100)] == [b"o", b"one\n", b"one\ntw", b"one\ntwo\n"]


def test_times_order_as_their_texts_do() -> None:
    moments = [0, 1, 999_999_999, 1_000_000_000, 1_767_225_599_999_999_999, 1_767_225_600_000_000_000]
    texts = [timestamp(moment) for moment in moments]
    assert texts == sorted(texts)
    assert texts[-2:] == ["2025-12-31T23:59:59.999999999Z", "2026-01-01T00:00:00.000000000Z"]


def test_a_long_line_has_one_time(tmp_path: Path) -> None:
    path = written(tmp_path / "log", ("stdout", b"a" * 40_000 + b"\nb\n"))
    lines = read(path, timestamps=True).split(b"\n")
    assert [line.split(b" ")[1][:2] for line in lines[:2]] == [b"aa", b"b"]
    assert lines[0].count(b"Z ") == 1


def test_who_follows_misses_nothing_when_a_full_file_is_moved_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LARGEST_LOG", 4000)
    monkeypatch.setattr(logs, "_PAUSE", 0.001)
    path = tmp_path / "log"

    async def follow() -> bytes:
        file, running = LogFile(path), True
        pieces = read_log(path, LogOptions(follow=True), lambda: running)
        read = asyncio.ensure_future(_joined(pieces))
        for number in range(300):
            file.write("stdout", b"line %d\n" % number)
            await asyncio.sleep(0.002)
        file.close()
        running = False
        return await read

    async def _joined(pieces: object) -> bytes:
        return b"".join([piece async for piece in pieces])  # type: ignore[attr-defined]

    assert asyncio.run(follow()) == b"".join(b"line %d\n" % number for number in range(300))
    assert sum(one.stat().st_size for one in tmp_path.iterdir()) <= 2 * 4000


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="cannot be read"):
        read(tmp_path / "log")
