"""Compiles grammars beside the engine's loop, and remembers them.

Knows threads, the trial and the cache; knows nothing of sequences that wait.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

from llguidance import LLMatcher, LLTokenizer

from engine.errors import EngineFault
from engine.grammar.bits import Bits, pack
from engine.grammar.exact_encoding import ExactEncoding
from engine.grammar.lowering import lowered, refusal
from engine.grammar.matcher import compile_matcher, complaint
from engine.grammar.rules import TokenRules
from engine.grammar.stack import ENGINE_STACK, new_threads_have
from engine.grammar.state import GrammarState
from engine.grammar.token_table import GrammarTokenizer, TokenTable
from engine.grammar.trial_process import TrialProcess
from engine.sampling_params import Grammar, SamplingParams

_THREADS = 2  # compiles at a time
_CACHED = 64  # grammars, of a few MB at the most ordinary


@dataclass(frozen=True, slots=True)
class CompiledGrammar:
    """A matcher that stays at the beginning, for sequences to copy, and the tokens it forces."""

    matcher: LLMatcher
    forced: tuple[int, ...]
    table: TokenTable
    blanks: Bits

    def begin(self, params: SamplingParams, end_ids: Collection[int]) -> GrammarState:
        """A state of its own for one sample; `end_ids` are the end-of-sequence ids it heeds."""
        rules = TokenRules.of(params, end_ids, self.table, self.blanks)
        return GrammarState(self.matcher.deep_copy(), rules, self.forced)


@dataclass(frozen=True, slots=True)
class _Workshop:
    """What is made of the tokenizer once, when the first grammar comes."""

    tokenizer: LLTokenizer
    table: TokenTable
    blanks: Bits
    trials: SimpleQueue[TrialProcess]


class GrammarCompiler:
    """Grammars to compiled ones, each once. All methods belong to one thread.

    Args:
        load_tokenizer: called once, in a thread, when the first grammar comes.
        vocab_size: logits of the model, which may be more than the tokenizer has ids.
        end_ids: the ids by which the model ends a text.
    """

    def __init__(
        self,
        load_tokenizer: Callable[[], GrammarTokenizer],
        vocab_size: int,
        end_ids: Collection[int],
    ) -> None:
        self.on_settled: Callable[[], None] = _nobody_waits
        """Called, in any thread, whenever a compile has ended."""
        self._load_tokenizer = load_tokenizer
        self._vocab_size = vocab_size
        self._end_ids = end_ids
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="grammar")
        self._workshop: Future[_Workshop] | None = None
        self._known: OrderedDict[Grammar, Future[CompiledGrammar]] = OrderedDict()

    def compile(self, grammar: Grammar) -> Future[CompiledGrammar]:
        """Begin to compile, or join whoever has begun before; refusals are remembered, too.

        A future that nobody needs any more may be cancelled while it has not begun. It raises:
            InvalidParameter: the grammar is wrong, too large, or takes too long.
            EngineError: it could not be tried at all.
        """
        found = self._known.get(grammar)
        if found is None or not _is_worth_keeping(found):
            with new_threads_have(ENGINE_STACK):
                if self._workshop is None:
                    self._workshop = self._pool.submit(self._open_workshop)
                found = self._pool.submit(_compile, grammar, self._workshop)
            found.add_done_callback(lambda _: self.on_settled())
            self._known[grammar] = found
        self._known.move_to_end(grammar)
        if len(self._known) > _CACHED:
            self._known.popitem(last=False)
        return found

    def _open_workshop(self) -> _Workshop:
        tokenizer = self._load_tokenizer()
        table = TokenTable.of(tokenizer, self._vocab_size, self._end_ids)
        trials: SimpleQueue[TrialProcess] = SimpleQueue()
        for _ in range(_THREADS):
            trials.put(TrialProcess(table))
        return _Workshop(
            table.llguidance_tokenizer(ExactEncoding(tokenizer, table)),
            table,
            pack(table.blank_ids, table.num_words),
            trials,
        )


def _compile(grammar: Grammar, workshop: Future[_Workshop]) -> CompiledGrammar:
    source = lowered(grammar)
    try:
        made = workshop.result()
        reason = _tried(made, source)
    except (OSError, ValueError) as error:  # of starting the trial, of making the tokenizer
        raise EngineFault("Grammars cannot be compiled here.") from error
    if not reason:
        matcher = compile_matcher(made.tokenizer, source)
        reason = complaint(matcher)
        if not reason:
            forced = tuple(matcher.compute_ff_tokens())
            return CompiledGrammar(matcher, forced, made.table, made.blanks)
    raise refusal(reason)


def _tried(made: _Workshop, source: str) -> str:
    """The verdict on a lowered grammar."""
    trial = made.trials.get()
    try:
        return trial.verdict(source)
    finally:
        made.trials.put(trial)


def _is_worth_keeping(found: Future[CompiledGrammar]) -> bool:
    """Whether another try would end no better."""
    if found.cancelled():
        return False
    return not (found.done() and isinstance(found.exception(), EngineFault))


def _nobody_waits() -> None:
    """Until somebody is told."""
