"""The server of `tests.bench.http`: all of it real but the engine process, which is scripted.

python -m tests.bench.scripted_server PORT
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from functools import partial

from engine import EMBEDDED_MODEL, ipc
from engine.client import EngineClient
from engine.config import EngineConfig
from engine.process import EngineProcess
from server.serve import DrainingServer
from server.settings import ServerSettings


class PacedProcess(EngineProcess):
    """Tells the script that a step has been dealt with."""

    async def messages(self) -> AsyncIterator[ipc.FromEngine]:
        """See `EngineProcess.messages`."""
        async for message in super().messages():
            yield message
            if isinstance(message, ipc.StepOutputs):
                self.send(ipc.Abort(()))


def main() -> None:
    """Serve until a signal comes."""
    config = EngineConfig(model=str(EMBEDDED_MODEL))
    process = partial(PacedProcess, worker="tests.bench.scripted_worker")
    settings = ServerSettings(port=int(sys.argv[1]), max_num_sequences=4096)
    DrainingServer(EngineClient(config, process), settings).run()


if __name__ == "__main__":
    main()
