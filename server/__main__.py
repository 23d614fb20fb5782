"""The `diglot` command: `serve` and `version`.

Knows which commands there are; each of them is elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Sequence

import uvloop
from pydantic import ValidationError
from pydantic_settings import CliApp

from engine import __version__
from server.settings import ServerSettings, engine_config

_BEGAN = time.monotonic()

USAGE = """usage: diglot COMMAND

commands:
  serve     serve a model over HTTP; `diglot serve --help` lists every setting
  version   print the version
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    command, *rest = list(sys.argv[1:] if arguments is None else arguments) or [""]
    if command == "serve":
        return serve(rest)
    if command in ("version", "--version"):
        sys.stdout.write(f"diglot {__version__}\n")
        return 0
    wanted = command in ("help", "--help", "-h")
    (sys.stdout if wanted else sys.stderr).write(USAGE)
    return 0 if wanted else 2


def serve(arguments: Sequence[str]) -> int:
    """Serve until a signal comes."""
    try:
        settings = CliApp.run(ServerSettings, cli_args=list(arguments))
    except ValidationError as error:
        for problem in error.errors():
            flag = "-".join(map(str, problem["loc"])).replace("_", "-")
            place = f"--{flag}: " if flag else ""
            sys.stderr.write(f"diglot serve: {place}{problem['msg']}\n")
        return 2
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings))


async def _serve(settings: ServerSettings) -> int:
    """Launch the engine, then load the server: both take their time, on two processors."""
    from engine import EngineClient  # late: `version` and `--help` need no engine

    engine = EngineClient(engine_config(settings))
    await engine.start()
    from server.serve import DrainingServer

    try:
        server = DrainingServer(engine, settings, began=_BEGAN)
    except OSError as error:  # a file that a setting names
        sys.stderr.write(f"diglot serve: {error}\n")
        await engine.stop()
        return 2
    await server.serve()
    return 0 if server.started and not server.engine_failed else 3


if __name__ == "__main__":
    sys.exit(main())
