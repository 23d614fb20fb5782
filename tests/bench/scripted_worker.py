"""An engine process that computes nothing: every step gives each open sample one token.

It speaks the real messages over the real sockets, so that the server above it does all of its own
work: decoding, detokenizing, writing. It is never more than `AHEAD` steps ahead of a server that
says by an empty `Abort` that it has dealt with a step; without that, steps would pile up and be
merged, and a token would be no event of its own.

    python -m tests.bench.scripted_worker    (started by an `EngineProcess`, never by hand)
"""

from __future__ import annotations

import itertools
import os

import msgspec
import zmq

from engine import ipc
from engine.config import EngineConfig
from engine.text.tokenizer import Tokenizer, load_tokenizer
from engine.types import EngineStats, FinishReason, ModelCard

AHEAD = 1
TEXT = "Once upon a time there was a little dog that wanted to see the big world. "


class Sample:
    """One open sample: how many tokens are still to come, and which."""

    def __init__(self, submit: ipc.Submit, script: list[tuple[int, ...]]) -> None:
        self.request_id = submit.request_id
        self.left = submit.params.max_new_tokens or 16
        self._script = itertools.cycle(script)

    def output(self) -> ipc.SequenceOutput:
        """The next token; the last one comes with the reason."""
        self.left -= 1
        return ipc.SequenceOutput(
            request_id=self.request_id,
            token_ids=next(self._script),
            finish_reason=None if self.left else FinishReason.LENGTH,
        )


class Script:
    """The loop of the process."""

    def __init__(self, config: EngineConfig, folder: str) -> None:
        context = zmq.Context()
        self._inbox, self._outbox = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        for end, name in ((self._inbox, ipc.TO_ENGINE), (self._outbox, ipc.FROM_ENGINE)):
            end.set_hwm(0)
            end.connect(ipc.endpoint(folder, name))
        self._parent = os.getppid()
        self._samples: dict[str, Sample] = {}
        self._credit = AHEAD
        tokenizer = load_tokenizer(config.model)
        self._script = [(token_id,) for token_id in words(tokenizer)]
        card = ModelCard(
            id="diglot-mini",
            created=0,
            max_model_len=10**6,
            vocab_size=tokenizer.vocab_size,
            fingerprint="fp_scripted",
        )
        self._send(ipc.Ready(card, {}, EngineStats()))

    def run(self) -> None:
        """Step while there is something open and the server keeps up."""
        while os.getppid() == self._parent:
            busy = self._samples and self._credit > 0
            while self._inbox.poll(0 if busy else 1000):
                message = ipc.decode_to_engine(self._inbox.recv())
                if isinstance(message, ipc.Shutdown):
                    return
                self._take(message)
                busy = self._samples and self._credit > 0
            if busy:
                self._step()

    def _take(self, message: ipc.Submit | ipc.Abort) -> None:
        if isinstance(message, ipc.Submit):
            self._samples[message.request_id] = Sample(message, self._script)
        elif message.request_ids:
            for request_id in message.request_ids:
                self._samples.pop(request_id, None)
        else:
            self._credit += 1

    def _step(self) -> None:
        self._credit -= 1
        outputs = tuple([sample.output() for sample in self._samples.values()])
        self._send(ipc.StepOutputs(outputs, EngineStats(running=len(outputs))))
        for sample in [sample for sample in self._samples.values() if not sample.left]:
            del self._samples[sample.request_id]

    def _send(self, message: ipc.FromEngine) -> None:
        self._outbox.send(ipc.encode(message), zmq.NOBLOCK)


def words(tokenizer: Tokenizer) -> list[int]:
    """Tokens that each have a text of their own."""
    ids = tokenizer.encode(TEXT, add_special_tokens=False)
    return [token_id for token_id in ids if tokenizer.token_bytes(token_id).isascii()]


def main() -> None:
    """Run until the server is gone or says so."""
    config = msgspec.json.decode(os.environ[ipc.CONFIG_VARIABLE], type=EngineConfig)
    Script(config, os.environ[ipc.SOCKETS_VARIABLE]).run()


if __name__ == "__main__":
    main()
