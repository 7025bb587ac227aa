"""What survives the process: objects and their recent changes in SQLite, written in groups.

`write` returns when the group is on the disk (write-ahead log, synchronous=FULL), so that whatever was answered before
is there after any death of the process or the machine. A lab, which a reboot ends whatever its files say, does without
the disk's word: its journal outlives processes alone. The newest row of the log holds the highest revision ever made,
hence none is made twice. One process has the folder, by a lock that dies with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gatewright.lab.errors import LabError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
  resource TEXT, namespace TEXT, name TEXT, revision INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log (
  revision INTEGER PRIMARY KEY, resource TEXT, namespace TEXT, name TEXT, before_revision INTEGER, before BLOB,
  after BLOB
);
"""
_FORMAT = 1

Key = tuple[str, str, str]
"""(resource as `plural.group`, namespace, name)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One change: the object before it (with its revision) and after it, each as JSON; None where there was none."""

    revision: int
    key: Key
    before_revision: int
    before: bytes | None
    after: bytes | None


class Journal:
    """The files of one endpoint. Every method may block; `write` and `close` come from one thread at a time."""

    def __init__(self, folder: Path, *, outlives_machine: bool = True) -> None:
        """Raises LabError when the folder cannot be used, is used by another process, or holds another format."""
        self._synchronous = "FULL" if outlives_machine else "OFF"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LabError(f"{folder} is in use by another endpoint: stop it, or name another --data") from error
        except OSError as error:
            raise LabError(f"cannot keep the endpoint's state in {folder}: {error.strerror}") from error
        try:
            self._open(folder / "state.db")
        except sqlite3.Error as error:
            raise LabError(f"cannot read the endpoint's state in {folder}: {error}; name another --data") from error

    def _open(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        with contextlib.suppress(FileNotFoundError):
            path.chmod(0o600)
        run = self._connection.execute
        run("PRAGMA journal_mode=WAL")
        run(f"PRAGMA synchronous={self._synchronous}")
        (found,) = run("PRAGMA user_version").fetchone()
        if found not in (0, _FORMAT):
            raise LabError(f"{path} was written by a newer version of gatewright: name another --data")
        self._connection.executescript(_SCHEMA)
        run(f"PRAGMA user_version={_FORMAT}")

    def objects(self) -> Iterable[tuple[Key, int, bytes]]:
        """Every object with its revision."""
        for resource, namespace, name, revision, body in self._connection.execute("SELECT * FROM objects"):
            yield (resource, namespace, name), revision, body

    def changes(self) -> Iterable[Row]:
        """The changes that are remembered, oldest first."""
        rows = self._connection.execute(
            "SELECT revision, resource, namespace, name, before_revision, before, after FROM log ORDER BY revision"
        )
        for revision, resource, namespace, name, before_revision, before, after in rows:
            yield Row(revision, (resource, namespace, name), before_revision, before, after)

    def write(self, rows: list[Row], forget: int) -> None:
        """Write changes, all or none, and forget those up to a revision. Raises sqlite3.Error."""
        run = self._connection
        run.execute("BEGIN IMMEDIATE")
        try:
            for row in rows:
                if row.after is None:
                    run.execute("DELETE FROM objects WHERE resource=? AND namespace=? AND name=?", row.key)
                else:
                    run.execute("REPLACE INTO objects VALUES (?,?,?,?,?)", (*row.key, row.revision, row.after))
            values = [(r.revision, *r.key, r.before_revision, r.before, r.after) for r in rows]
            run.executemany("INSERT INTO log VALUES (?,?,?,?,?,?,?)", values)
            run.execute("DELETE FROM log WHERE revision<=?", (forget,))
            run.execute("COMMIT")
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                run.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Let go of the files."""
        self._connection.close()
        os.close(self._lock)
