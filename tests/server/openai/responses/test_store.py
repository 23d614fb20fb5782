"""Keeping responses: how many, how long, and over a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from server.openai.responses.store import ResponseStore, StoredResponse


def stored(name: str) -> StoredResponse:
    item: dict[str, Any] = {"id": f"msg_{name}", "type": "message"}
    return StoredResponse({"id": name, "output": [item]}, (), (item,))


def test_the_oldest_go_when_there_are_too_many() -> None:
    async def run() -> None:
        store = ResponseStore(None, limit=2, seconds=60)
        for name in "abc":
            await store.put(stored(name))
        assert await store.get("a") is None and await store.item("msg_a") is None
        assert await store.get("b") == stored("b") and await store.item("msg_c") is not None
        await store.close()

    asyncio.run(run())


def test_all_go_after_a_time() -> None:
    async def run() -> None:
        store = ResponseStore(None, limit=2, seconds=0.05)
        await store.put(stored("a"))
        assert await store.get("a") is not None
        await asyncio.sleep(0.1)
        assert await store.get("a") is None and await store.item("msg_a") is None

    asyncio.run(run())


def test_a_file_keeps_them_over_a_restart(tmp_path: Path) -> None:
    async def run() -> None:
        path = tmp_path / "responses.db"
        store = ResponseStore(path, limit=9, seconds=60)
        await store.put(stored("a"))
        await store.put(stored("b"))
        await store.delete("b")
        await store.close()
        again = ResponseStore(path, limit=9, seconds=60)
        assert await again.get("a") == stored("a")
        assert await again.get("b") is None and await again.item("msg_b") is None
        await again.close()

    asyncio.run(run())


def test_none_is_kept_where_none_may_be() -> None:
    async def run() -> None:
        store = ResponseStore(None, limit=0, seconds=60)
        await store.put(stored("a"))
        assert await store.get("a") is None

    asyncio.run(run())


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, but a text that is long enough to be read")
    with pytest.raises(OSError, match="cannot keep responses"):
        ResponseStore(tmp_path / "text", limit=1, seconds=1)
