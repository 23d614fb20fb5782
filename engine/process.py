"""Starts and watches one engine process, and carries messages to and from it.

The process is `python -m engine.worker`, so torch is never imported on this side. Knows nothing of
requests: what the messages mean is the client's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator

import msgspec
import zmq

from engine import ipc
from engine.config import EngineConfig

_STOP_SECONDS = 5.0
_LAST_WORDS_SECONDS = 0.1
"""How long after the end of the process its last messages may still be on their way."""


class EngineProcess:
    """One life of the engine process. Create by `start`, read by `messages`, end by `stop`."""

    def __init__(self, config: EngineConfig, worker: str = "engine.worker") -> None:
        """`worker` is the module to run; a benchmark has one that computes nothing."""
        self._config = config
        self._worker = worker
        self._folder = tempfile.mkdtemp(prefix="diglot-")  # mode 0700: the sockets are private
        self._context = zmq.Context()
        self._to_engine = self._context.socket(zmq.PUSH)
        self._from_engine = self._context.socket(zmq.PULL)
        for socket, name in (
            (self._to_engine, ipc.TO_ENGINE),
            (self._from_engine, ipc.FROM_ENGINE),
        ):
            socket.set_hwm(0)  # admission bounds the queues, not the socket
            socket.bind(ipc.endpoint(self._folder, name))
        self._process: asyncio.subprocess.Process | None = None
        self._loaded = False
        self._news = asyncio.Event()  # a message may be there, or the process has ended

    async def start(self) -> None:
        """Launch the process; it announces itself by messages."""
        environment = {
            **os.environ,
            ipc.CONFIG_VARIABLE: msgspec.json.encode(self._config).decode(),
            ipc.SOCKETS_VARIABLE: self._folder,
        }
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._worker,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is the server's to handle
        )
        asyncio.get_running_loop().add_reader(self._from_engine.FD, self._news.set)

    def send(self, message: ipc.ToEngine) -> None:
        """Queue a message; never blocks and never awaits (ZMQ's own thread writes it).

        Without a process at the other end it is dropped: `messages` ends then, which says so.
        """
        with contextlib.suppress(zmq.Again):
            self._to_engine.send(ipc.encode(message), zmq.NOBLOCK)

    async def messages(self) -> AsyncIterator[ipc.FromEngine]:
        """Messages until the process has ended and its last words are read."""
        assert self._process is not None
        ended = asyncio.ensure_future(self._process.wait())
        ended.add_done_callback(lambda _: self._news.set())
        try:
            while not ended.done():
                self._news.clear()
                for message in self._arrived():
                    yield message
                    await asyncio.sleep(0)  # whom it woke comes first: a step is an event
                await self._news.wait()
            await asyncio.sleep(_LAST_WORDS_SECONDS)
            for message in self._arrived():
                yield message
        finally:
            ended.cancel()

    def _arrived(self) -> Iterator[ipc.FromEngine]:
        """What is there now. Reading on until nothing is left is what makes ZMQ's descriptor
        tell of the next message."""
        while True:
            try:
                data = self._from_engine.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            message = ipc.decode_from_engine(data)
            self._loaded |= isinstance(message, ipc.Ready)
            yield message

    async def stop(self) -> None:
        """Ask the process to leave, then make it; free sockets and folder.

        While it loads it hears nothing, and has nothing to finish: it is ended at once.
        """
        process = self._process
        if process is not None and process.returncode is None:
            if self._loaded:
                self.send(ipc.Shutdown())
            else:
                process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            if process.returncode is None:
                process.kill()
                await process.wait()
        asyncio.get_running_loop().remove_reader(self._from_engine.FD)
        for socket in (self._to_engine, self._from_engine):
            socket.close(linger=0)
        self._context.term()
        shutil.rmtree(self._folder, ignore_errors=True)
