"""Responses that are kept, so that they can be read again and gone on from.

An SQLite database, in memory or in a file; the oldest go when there are too many, and all after a
time. Each entry holds the whole conversation up to its own output, so that it does not depend on
earlier entries. Knows nothing of what items mean.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS responses (
    id TEXT PRIMARY KEY, created REAL NOT NULL,
    response BLOB NOT NULL, input BLOB NOT NULL, context BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_age ON responses (created);
CREATE TABLE IF NOT EXISTS items (
    id TEXT NOT NULL, response_id TEXT NOT NULL REFERENCES responses (id) ON DELETE CASCADE,
    item BLOB NOT NULL, PRIMARY KEY (id, response_id)
);
CREATE INDEX IF NOT EXISTS of_response ON items (response_id);
"""


class StoredResponse(msgspec.Struct, frozen=True):
    """One response, its own input, and all items before it and of it, in order."""

    response: dict[str, Any]
    input: tuple[dict[str, Any], ...]
    context: tuple[dict[str, Any], ...]


class ResponseStore:
    """The kept responses. All methods may be awaited from one event loop."""

    def __init__(self, path: Path | None, *, limit: int, seconds: float) -> None:
        """`limit` responses are kept, each for `seconds`; in memory when `path` is None.

        Raises:
            OSError: the file cannot be opened or is no database.
        """
        self._limit = limit
        self._seconds = seconds
        self._lock = threading.Lock()
        try:
            self._database = sqlite3.connect(
                ":memory:" if path is None else path, check_same_thread=False, isolation_level=None
            )
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
                self._database.execute(f"PRAGMA {pragma}")
            self._database.executescript(_SCHEMA)
            weakref.finalize(self, self._database.close)
        except sqlite3.Error as error:
            raise OSError(f"cannot keep responses in {path}: {error}") from error

    async def put(self, stored: StoredResponse) -> None:
        """Keep a response."""
        await self._work(lambda: self._put(stored))

    async def get(self, response_id: str) -> StoredResponse | None:
        """A response, unless it is unknown, deleted or too old."""
        return await self._work(lambda: self._get(response_id))

    async def item(self, item_id: str) -> dict[str, Any] | None:
        """An item of some kept response, its own input or output."""
        return await self._work(lambda: self._item(item_id))

    async def delete(self, response_id: str) -> bool:
        """Forget a response; False when there was none."""
        return await self._work(lambda: self._delete(response_id))

    async def close(self) -> None:
        """Write out what is to be written."""
        await self._work(self._database.close)

    async def _work(self, task: Callable[[], T]) -> T:
        return await asyncio.to_thread(self._locked, task)

    def _locked(self, task: Callable[[], T]) -> T:
        with self._lock:
            return task()

    def _put(self, stored: StoredResponse) -> None:
        response_id = str(stored.response["id"])
        row = (
            response_id,
            time.time(),
            msgspec.json.encode(stored.response),
            msgspec.json.encode(stored.input),
            msgspec.json.encode(stored.context),
        )
        own: Sequence[dict[str, Any]] = [*stored.input, *stored.response["output"]]
        items = [(item["id"], response_id, msgspec.json.encode(item)) for item in own]
        database = self._database
        database.execute("BEGIN")
        database.execute("INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?, ?)", row)
        database.executemany("INSERT OR REPLACE INTO items VALUES (?, ?, ?)", items)
        database.execute("DELETE FROM responses WHERE created < ?", (self._oldest(),))
        database.execute(
            "DELETE FROM responses WHERE id IN"
            " (SELECT id FROM responses ORDER BY created DESC, rowid DESC LIMIT -1 OFFSET ?)",
            (self._limit,),
        )
        database.execute("COMMIT")

    def _get(self, response_id: str) -> StoredResponse | None:
        row = self._database.execute(
            "SELECT response, input, context FROM responses WHERE id = ? AND created >= ?",
            (response_id, self._oldest()),
        ).fetchone()
        if row is None:
            return None
        response, own, context = (msgspec.json.decode(part) for part in row)
        return StoredResponse(response, tuple(own), tuple(context))

    def _item(self, item_id: str) -> dict[str, Any] | None:
        row = self._database.execute(
            "SELECT item FROM items JOIN responses ON responses.id = response_id"
            " WHERE items.id = ? AND created >= ?",
            (item_id, self._oldest()),
        ).fetchone()
        return None if row is None else msgspec.json.decode(row[0])

    def _delete(self, response_id: str) -> bool:
        found = self._database.execute("DELETE FROM responses WHERE id = ?", (response_id,))
        return found.rowcount > 0

    def _oldest(self) -> float:
        return time.time() - self._seconds
