"""The engine process: construct, announce, loop, leave.

One thread runs the loop: ZMQ's own I/O threads read and write the sockets, so it only ever takes
what has arrived and hands over what it made. Threads that work beside it wake it when they are
done. Knows nothing of text or HTTP.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import time

import msgspec
import zmq

from engine import ipc
from engine.config import EngineConfig
from engine.core import EngineCore
from engine.errors import EngineError
from engine.execution.build import build_parts

log = logging.getLogger(__name__)

_IDLE_MILLISECONDS = 1000
"""How often an idle engine looks whether its server is still there."""


class Waker:
    """Ends a poll from another thread."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        """Readable after `wake`."""
        return self._reader.fileno()

    def wake(self) -> None:
        """From any thread; never blocks."""
        with contextlib.suppress(BlockingIOError):  # full of calls that nobody has heard yet
            self._writer.send(b"!")

    def rest(self) -> None:
        """Everything that `wake` was called for is seen to."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(4096)


class Worker:
    """Carries messages between the sockets and the core."""

    def __init__(self, config: EngineConfig, sockets: str) -> None:
        self._config = config
        self._context = zmq.Context()
        self._inbox = self._context.socket(zmq.PULL)
        self._outbox = self._context.socket(zmq.PUSH)
        for end, name in ((self._inbox, ipc.TO_ENGINE), (self._outbox, ipc.FROM_ENGINE)):
            end.set_hwm(0)
            end.connect(ipc.endpoint(sockets, name))
        self._waker = Waker()
        self._poller = zmq.Poller()
        self._poller.register(self._inbox, zmq.POLLIN)
        self._poller.register(self._waker, zmq.POLLIN)
        self._parent = os.getppid()
        self._phases: dict[str, float] = {}
        self._phase_began = time.perf_counter()
        self._phase = "starting"

    def announce(self, phase: str) -> None:
        """Tell the server what start-up is busy with, and time the phase before."""
        now = time.perf_counter()
        self._phases[self._phase] = now - self._phase_began
        self._phase, self._phase_began = phase, now
        self._send(ipc.Loading(phase))

    def run(self) -> None:
        """Load, then serve until told to leave or left alone."""
        core = EngineCore(*build_parts(self._config, self.announce))
        core.when_woken(self._waker.wake)
        gc.freeze()  # torch and the model stay: a collection between two steps need not walk them
        self.announce("ready")
        self._send(ipc.Ready(core.model, self._phases, core.stats))
        while self._receive(core):
            outputs = core.step()
            if outputs is not None:
                self._send(outputs)

    def fail(self, error: EngineError) -> None:
        """Last words."""
        self._send(ipc.Fatal(str(error)))

    def close(self) -> None:
        """Let what was sent leave, then free the sockets."""
        self._context.destroy(linger=1000)

    def _receive(self, core: EngineCore) -> bool:
        """Take all that has arrived, waiting while there is nothing to do; False to leave."""
        while True:
            if os.getppid() != self._parent:
                return False
            if core.has_work or self._poller.poll(_IDLE_MILLISECONDS):
                break
        self._waker.rest()
        while self._inbox.poll(0):
            match ipc.decode_to_engine(self._inbox.recv()):
                case ipc.Submit() as submit:
                    core.submit(submit)
                case ipc.Abort(request_ids):
                    core.abort(request_ids)
                case ipc.Shutdown():
                    return False
        return True

    def _send(self, message: ipc.FromEngine) -> None:
        self._outbox.send(ipc.encode(message), zmq.NOBLOCK)


def main() -> int:
    """Run the engine process; the exit status is 1 when it could not start or go on."""
    logging.basicConfig(level=logging.INFO, format="engine: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server says when to leave
    config = msgspec.json.decode(os.environ[ipc.CONFIG_VARIABLE], type=EngineConfig)
    worker = Worker(config, os.environ[ipc.SOCKETS_VARIABLE])
    try:
        worker.run()
    except EngineError as error:
        log.error("%s", error)
        worker.fail(error)
        return 1
    finally:
        worker.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
