"""The engine as it runs on a GPU, a step ahead of the host: on one where there is one, else on CPU
tensors by Triton's interpreter. What it gives is what the CPU's engine gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("triton")

from engine.core import EngineCore
from engine.execution.build import assemble
from engine.execution.build_device import load_device_runner
from engine.execution.device_runner import DeviceRunner
from engine.execution.setup import resolve
from engine.ipc import Submit
from engine.models.triton_decoder import TritonDecoder
from engine.models.weights import WeightsReader, open_weights
from engine.sampling_params import Grammar, SamplingParams
from tests.engine.laws import chosen_logprobs, make_config, make_core, run, sampled, tokens
from tests.tiny_models import Family, make_tiny_model
from tests.triton_interpreter import exact_numbers

ON_GPU = torch.cuda.is_available()
TOLERANCE = 1e-3 if ON_GPU else 2e-5  # of logprobs: sums are taken in other orders than on a CPU
PROMPT = [(7 * n) % 251 for n in range(150)]


@pytest.fixture(autouse=True)
def exactly() -> Iterator[None]:
    with nullcontext() if ON_GPU else exact_numbers(one_order=True):
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("qwen3"), "qwen3", num_hidden_layers=1)


def device_core(model: Path, **settings: Any) -> EngineCore:
    """Small: the interpreter takes a tenth of a second for a step."""
    small = {"max_num_sequences": 8, "max_num_batched_tokens": 64, "kv_cache_tokens": 512}
    settings = {"batch_invariant": True, "block_size": 16, **small, **settings}
    setup = resolve(make_config(model, device="cuda" if ON_GPU else "cpu", **settings))
    return EngineCore(*assemble(setup, load_device_runner(setup, lambda phase: None)))


def greedy(request_id: str, prompt: list[int], count: int, **params: Any) -> Submit:
    made = SamplingParams(temperature=0, max_new_tokens=count, ignore_eos=True, **params)
    return Submit(request_id, tuple(prompt), made)


def assert_same(model: Path, requests: list[Submit], **settings: Any) -> EngineCore:
    """As on a CPU, each request alone there; returns the core that ran them all together."""
    core, cpu = device_core(model, **settings), make_core(model)
    outputs = run(core, requests)
    for request in requests:
        alone = run(cpu, [request])[request.request_id]
        ours = outputs[request.request_id]
        assert tokens(ours) == tokens(alone), request.request_id
        assert ours[-1].finish_reason == alone[-1].finish_reason
        expected = pytest.approx(chosen_logprobs(alone), abs=TOLERANCE)
        assert chosen_logprobs(ours) == expected, request.request_id
    assert core.stats.running == core.stats.blocks_used == 0
    return core


def test_chunks_decodes_and_all_controls_give_what_a_cpu_gives(model: Path) -> None:
    requests = [greedy(f"g{n}", PROMPT[n : 20 + 30 * n], 3 + n, logprobs=2) for n in range(4)]
    requests += [sampled(f"s{n}", PROMPT[n : 9 + n], seed=n, count=5 + n) for n in range(3)]
    mates = SamplingParams(temperature=0.7, top_k=20, min_p=0.01, seed=9, max_new_tokens=6)
    assert_same(model, [*requests, Submit("mate", (1, 2, 3), mates)])


@pytest.mark.parametrize(
    ("family", "batch_invariant"),
    [
        ("gemma2", False),
        ("gemma3_text", True),
        ("gpt_oss", False),
        ("gpt_oss", True),
    ],
)
def test_other_families_give_what_they_give_on_a_cpu(
    family: Family, batch_invariant: bool, tmp_path: Path
) -> None:
    model = make_tiny_model(tmp_path, family)
    requests = [greedy("g", PROMPT[:50], 3), sampled("s", PROMPT[:9], seed=1, count=3)]
    assert_same(model, requests, batch_invariant=batch_invariant)


@pytest.mark.skipif(ON_GPU, reason="a card may add in other orders")
def test_weights_of_four_bits_give_what_their_expansion_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"num_hidden_layers": 1, "quantization_config": {"quant_method": "mxfp4"}}
    model = make_tiny_model(tmp_path, "gpt_oss", **sizes)
    requests = [greedy("g", PROMPT[:20], 2, logprobs=1), sampled("s", PROMPT[:9], seed=1, count=2)]
    kept = run(device_core(model, dtype="bfloat16"), requests)
    read = []

    def expanding(*args: Any, keeps_four_bits: bool) -> AbstractContextManager[WeightsReader]:
        read.append(keeps_four_bits)
        return open_weights(*args)

    monkeypatch.setattr("engine.models.triton_decoder.open_weights", expanding)
    expanded = run(device_core(model, dtype="bfloat16"), requests)
    assert read == [True]
    for request_id, outputs in kept.items():
        assert tokens(outputs) == tokens(expanded[request_id])
        assert chosen_logprobs(outputs) == chosen_logprobs(expanded[request_id])


@pytest.mark.parametrize(
    "settings",
    [{}, pytest.param({"cuda_graphs": False}, marks=pytest.mark.skipif(not ON_GPU, reason="GPU"))],
)
def test_one_step_at_a_time_gives_the_same(
    model: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither running ahead nor, on a GPU, replaying graphs is seen in a result."""
    requests = [greedy("g", PROMPT[:20], 5), sampled("s", PROMPT[:9], seed=1, count=4)]
    ahead = run(device_core(model, **settings), requests)
    monkeypatch.setattr(DeviceRunner, "max_plans_ahead", 0)
    in_turn = run(device_core(model), requests)
    for request_id, outputs in ahead.items():
        assert tokens(outputs) == tokens(in_turn[request_id])
        assert chosen_logprobs(outputs) == chosen_logprobs(in_turn[request_id])


def test_a_step_gives_the_same_each_time_it_comes(model: Path) -> None:
    """With chunks, padded, beside decodes: the first time it runs, on a GPU the second time it is
    captured and from then on replayed."""
    core = device_core(model, prefix_cache=False, max_num_batched_tokens=48)
    requests = [greedy("long", PROMPT[:70], 6), sampled("late", PROMPT[7:20], seed=4, count=4)]
    requests.append(greedy("short", PROMPT[3:8], 9))
    first, *others = [run(core, requests) for _ in range(4 if ON_GPU else 2)]
    for again in others:
        for request_id, outputs in first.items():
            assert tokens(again[request_id]) == tokens(outputs)
            assert chosen_logprobs(again[request_id]) == chosen_logprobs(outputs)
    assert_same(model, requests, prefix_cache=False, max_num_batched_tokens=48)


def test_preempted_sequences_come_back_as_they_were(model: Path) -> None:
    requests = [sampled(f"s{n}", PROMPT[n : 30 + n], seed=n, count=6) for n in range(3)]
    core = assert_same(model, requests, kv_cache_tokens=7 * 16)
    assert core.stats.preemptions > 0, "the cache is too large for this test"


def repeating(request_id: str, **controls: Any) -> Submit:
    """A request whose text comes to repeat itself, more or less so by its temperature."""
    chosen = {"temperature": 0.1, "max_new_tokens": 24, "ignore_eos": True, "logprobs": 1}
    return Submit(request_id, tuple(PROMPT[:24]) * 3, SamplingParams(**{**chosen, **controls}))


def test_guessed_tokens_change_nothing(model: Path) -> None:
    """Alone, where guesses are decodes of one row, and beside chunks, grammars and penalties."""
    alone = assert_same(model, [repeating("greedy", temperature=0)], speculative_tokens=7)
    assert alone.stats.steps < 24 + 3 and alone.stats.accepted_draft_tokens > 0
    requests = [
        repeating("drawn", seed=3),
        repeating("kept going", seed=4, ignore_eos=False, min_tokens=16, top_k=9, top_p=0.9),
        repeating("biased", temperature=0, logit_bias={5: 1.0}, stop_token_ids=(9,)),
        sampled("penalties", PROMPT[:40], seed=2, count=9),
        greedy("late", PROMPT, 4),
    ]
    mixed = assert_same(model, requests, speculative_tokens=7, max_num_sequences=5)
    assert mixed.stats.accepted_draft_tokens > 0


def test_guessed_tokens_survive_preemption(model: Path) -> None:
    requests = [repeating(f"r{n}", seed=n, temperature=0) for n in range(3)]
    small = {"kv_cache_tokens": 16 * 16, "prefix_cache": False}
    core = assert_same(model, requests, speculative_tokens=7, **small)
    assert core.stats.preemptions > 0, "the cache is too large for this test"
    assert core.stats.accepted_draft_tokens > 0


def test_what_a_grammar_forces_reaches_the_device(model: Path) -> None:
    grammar = Grammar("choice", '["a certain answer", "a certain other answer"]')
    params = SamplingParams(grammar=grammar, seed=3, frequency_penalty=0.5, max_new_tokens=40)
    assert_same(model, [Submit("bound", (1, 2, 3), params), greedy("free", PROMPT[:5], 7)])


def test_scored_prompts_are_those_of_a_cpu(model: Path) -> None:
    scoring = SamplingParams(max_new_tokens=0, prompt_logprobs=2)
    request = Submit("score", tuple(PROMPT[:80]), scoring)
    ours = run(device_core(model), [request, greedy("mate", PROMPT[:3], 2)])["score"]
    expected = run(make_core(model), [request])["score"]
    assert ours[0].prompt_logprobs is not None and expected[0].prompt_logprobs is not None
    for entry, wanted in zip(ours[0].prompt_logprobs, expected[0].prompt_logprobs, strict=True):
        assert (entry is None) == (wanted is None)
        if entry and wanted:
            assert entry.token_id == wanted.token_id
            assert entry.logprob == pytest.approx(wanted.logprob, abs=TOLERANCE)


@pytest.mark.parametrize(
    "dtype",
    ["float32", pytest.param("bfloat16", marks=pytest.mark.skipif(not ON_GPU, reason="GPU"))],
)
def test_a_request_is_bit_for_bit_the_same_in_any_company(model: Path, dtype: str) -> None:
    subject = sampled("subject", PROMPT[:70], seed=5, count=6)
    core = device_core(model, dtype=dtype)
    cold = run(core, [subject])["subject"]
    warm = run(core, [subject])["subject"]
    assert warm[-1].num_cached_tokens == 64
    mates = [greedy(f"m{n}", PROMPT[n : 8 + 9 * n], 4 + n) for n in range(5)]
    crowded = device_core(model, dtype=dtype, max_num_batched_tokens=40)
    beside = run(crowded, [*mates[:3], subject, *mates[3:]])["subject"]
    for other in (warm, beside):
        assert tokens(other) == tokens(cold)
        assert chosen_logprobs(other) == chosen_logprobs(cold)


@pytest.mark.gpu
@pytest.mark.skipif(not ON_GPU, reason="needs CUDA")
def test_steps_of_decodes_never_wait_for_the_device(model: Path) -> None:
    core = device_core(model)
    for n in range(4):
        core.submit(sampled(f"s{n}", PROMPT[n : 9 + n], seed=n, count=40))
    for _ in range(8):
        core.step()
    torch.cuda.set_sync_debug_mode("error")  # of whatever waits without being asked to
    try:
        for _ in range(8):
            core.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert core.stats.running == 4, "the steps that must not wait had nothing to do"


@pytest.mark.gpu
@pytest.mark.skipif(not ON_GPU, reason="needs CUDA")
def test_nor_do_prompts_beside_them_once_their_size_is_known(model: Path) -> None:
    core = device_core(model, prefix_cache=False)
    core.submit(sampled("decode", PROMPT[:9], seed=1, count=90))

    def arrive(name: str) -> None:
        core.submit(sampled(name, PROMPT[:30], seed=2, count=5))
        for _ in range(8):
            core.step()

    for n in range(3):
        arrive(f"before {n}")
    torch.cuda.set_sync_debug_mode("error")
    try:
        arrive("now")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert core.stats.running == 1, "the prompt was not computed among the steps that must not wait"


def test_an_abort_frees_everything_while_steps_are_under_way(model: Path) -> None:
    core = device_core(model)
    for n in range(4):
        core.submit(greedy(f"r{n}", PROMPT[: 9 + n], 30))
    for _ in range(3):
        core.step()
    core.abort(f"r{n}" for n in range(4))
    assert (core.stats.running, core.stats.waiting, core.stats.blocks_used) == (0, 0, 0)
    while core.has_work:
        core.step()
    later = run(core, [greedy("later", PROMPT[:9], 5)])["later"]
    assert tokens(later) == tokens(run(make_core(model), [greedy("a", PROMPT[:9], 5)])["a"])


def test_a_fault_ends_the_requests_of_all_steps_under_way(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = device_core(model)
    core.submit(greedy("first", PROMPT[:9], 30))
    core.step()

    def fail(*args: object) -> torch.Tensor:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(TritonDecoder, "forward", fail)
        core.submit(greedy("second", PROMPT[:9], 30))
        failed = core.step()
    assert failed is not None
    assert {one.request_id for one in failed.outputs if one.error} == {"first", "second"}
    while core.has_work:
        core.step()
    assert core.stats.blocks_used == 0
    assert len(tokens(run(core, [greedy("third", PROMPT[:9], 3)])["third"])) == 3


def test_with_an_8_bit_cache_results_stay_close(model: Path) -> None:
    """A cache of 3-bit mantissas moves logits a little; what is stored is what is read."""
    config = make_config(model, block_size=16, max_num_sequences=4, kv_cache_tokens=256)
    setup = replace(resolve(config), kv_dtype=torch.float8_e4m3fn)
    if ON_GPU:
        setup = replace(setup, device=torch.device("cuda"))
    core = EngineCore(*assemble(setup, load_device_runner(setup, lambda phase: None)))
    ours = run(core, [greedy("r", PROMPT[:40], 1, logprobs=0)])["r"]
    exact = run(make_core(model), [greedy("r", PROMPT[:40], 1, logprobs=0)])["r"]
    assert chosen_logprobs(ours) == pytest.approx(chosen_logprobs(exact), abs=0.5)


@pytest.mark.parametrize("family", ["qwen3", "qwen3_moe"])
def test_with_8_bit_weights_results_stay_close(family: Family, tmp_path: Path) -> None:
    """Prompts by rounded activations, decodes of one row, but for experts, by the weights alone."""
    model = make_tiny_model(tmp_path, family, num_hidden_layers=1)
    small = {"block_size": 16, "max_num_sequences": 4, "kv_cache_tokens": 256}
    setup = resolve(make_config(model, dtype="bfloat16", **small))
    config = make_config(model, dtype="bfloat16", quantization="fp8", **small)
    setup = replace(setup, config=config, batch_invariant=False)
    if ON_GPU:
        setup = replace(setup, device=torch.device("cuda"))
    core = EngineCore(*assemble(setup, load_device_runner(setup, lambda phase: None)))
    [first, *more] = chosen_logprobs(run(core, [greedy("r", PROMPT[:40], 3, logprobs=0)])["r"])
    assert len(more) == 2
    exact = chosen_logprobs(run(make_core(model), [greedy("r", PROMPT[:40], 1, logprobs=0)])["r"])
    assert first == pytest.approx(exact[0], abs=0.5)
