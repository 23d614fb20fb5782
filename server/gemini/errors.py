"""Errors that only this dialect has, and all errors in its field names."""

from __future__ import annotations

from engine import EngineError
from server.errors import ErrorReply, gemini_error
from server.gemini.sampling import FIELD_PATHS


class VerbNotOffered(EngineError):
    """A method of the Gemini API that this server does not have."""

    def __init__(self, verb: str) -> None:
        super().__init__(f"The method '{verb}' is not implemented by this server.")


class CachedContentNotFound(EngineError):
    """Cached contents are not kept, so none is ever found."""

    def __init__(self, name: str) -> None:
        super().__init__(f"CachedContent not found: {name[:100]}. This server caches by itself.")


_OWN: dict[type[EngineError], tuple[int, str]] = {
    VerbNotOffered: (501, "UNIMPLEMENTED"),
    CachedContentNotFound: (404, "NOT_FOUND"),
}


def error_reply(error: EngineError) -> ErrorReply:
    """The error as google.rpc writes it; parameters are paths into the Gemini request."""
    own = _OWN.get(type(error))
    if own is None:
        return gemini_error(error, FIELD_PATHS)
    code, status = own
    return ErrorReply(code, {"error": {"code": code, "message": str(error), "status": status}})
