"""What happens to request fields that nobody knows: dropped and logged once, or refused.

Clients send the extensions of other servers along; refusing them is a choice of the operator.
"""

from __future__ import annotations

import logging

from server.errors import UnknownParameter

_log = logging.getLogger("diglot.fields")
_MAX_NAMES = 1000
_MAX_NAME_LENGTH = 100


class UnknownFields:
    """One app's memory of the unknown names it has logged."""

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self._seen: set[str] = set()

    def found(self, name: str) -> None:
        """A request has this field.

        Raises:
            UnknownParameter: in strict mode.
        """
        if self.strict:
            raise UnknownParameter(name)
        name = name[:_MAX_NAME_LENGTH]
        if name not in self._seen and len(self._seen) < _MAX_NAMES:
            self._seen.add(name)
            _log.warning("ignoring the unknown request field %r", name)
