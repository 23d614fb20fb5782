"""What happens to request fields that nobody knows: dropped and logged once, or refused.

Clients send the extensions of other servers along; refusing them is a choice of the operator.
"""

from __future__ import annotations

import logging
import re

from engine import InvalidRequest
from server.errors import UnknownParameter

_log = logging.getLogger("diglot.fields")
_MAX_NAMES = 1000
_MAX_NAME_LENGTH = 100
_POSITION = re.compile(r"\[[0-9]+\]")


class UnknownFields:
    """One app's memory of the unknown names it has logged."""

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self._seen: set[str] = set()

    def found(self, path: str, refusal: InvalidRequest | None = None) -> None:
        """A request has this field, `messages[0].foo`. It is the same in every place of a list.

        Raises:
            UnknownParameter: in strict mode, unless the dialect has a `refusal` of its own.
        """
        if self.strict:
            raise refusal or UnknownParameter(path)
        name = _POSITION.sub("[]", path[:_MAX_NAME_LENGTH])
        if name not in self._seen and len(self._seen) < _MAX_NAMES:
            self._seen.add(name)
            _log.warning("ignoring the unknown request field %r", name)
