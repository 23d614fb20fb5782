#!/bin/sh
# Environment to arguments, then exec, so that the server is process 1 and gets SIGTERM itself.
#
# PORT, as container platforms set it, becomes --port; DIGLOT_* variables the server reads itself.
# Arguments are those of `diglot serve`, or begin with another of the program's commands.
set -eu

case "${1:-}" in
  '' | -*) ;;
  serve) shift ;;
  *) exec python -m server "$@" ;;
esac
exec python -m server serve ${PORT:+--port "$PORT"} "$@"
