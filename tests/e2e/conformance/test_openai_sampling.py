"""What the controls of completions do to the real engine; numbers as in the OpenAI contract."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from engine import EMBEDDED_MODEL
from tests.e2e.conformance.wire import STORY, Api


def test_f1_all_prompt_forms_mean_the_same(api: Api) -> None:
    ids = api.ids(STORY)
    forms = (STORY, [STORY], ids, [ids])
    texts = {api.text(f, temperature=0, add_special_tokens=False) for f in forms}
    assert len(texts) == 1


def test_f6_f7_scoring_entries_are_complete_and_exact(api: Api) -> None:
    ids = api.ids(STORY + " who liked to play.")
    body = api.complete(ids, echo=True, max_tokens=1, logprobs=1, temperature=0)
    entries = body["choices"][0]["logprobs"]
    assert {len(entries[key]) for key in entries} == {len(ids) + 1}
    assert entries["token_logprobs"][0] is None
    best = [max(top.values()) for top in entries["top_logprobs"][1:]]
    matches = [a == b for a, b in zip(entries["token_logprobs"][1:], best, strict=True)]
    assert any(matches) and not all(matches)
    assert matches[-1], "the greedy token is the most likely one, to the last bit"
    end = api.ids("<|im_end|>")
    forced = {"logit_bias": {str(end[0]): 100}, "max_tokens": 1, "logprobs": 1, "echo": True}
    choice = api.complete(ids, temperature=0, **forced)["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert {len(entries) for entries in choice["logprobs"].values()} == {len(ids) + 1}
    assert choice["logprobs"]["tokens"][-1] == "<|im_end|>"


def test_f13_a_bias_forces_and_forbids_a_token(api: Api) -> None:
    token = api.ids(" dog")[0]
    forced = api.text(temperature=0, max_tokens=5, logit_bias={str(token): 100})
    assert forced == " dog" * 5
    usual = api.ids(api.text(temperature=0, max_tokens=1))[0]
    banned = api.text(temperature=0, max_tokens=1, logit_bias={str(usual): -100})
    assert api.ids(banned)[0] != usual


def test_f20_f22_stop_strings_at_every_cut_of_the_text(api: Api) -> None:
    whole = api.text(temperature=0, max_tokens=24)
    for start in range(2, len(whole) - 6, 5):
        stop = whole[start : start + 4]
        wanted = whole[: whole.index(stop)]
        body = {"temperature": 0, "max_tokens": 24, "stop": [stop, "never said"]}
        assert api.text(**body) == wanted
        deltas = api.stream(**body)
        assert "".join(deltas) == wanted
    held = whole[-1] + "and more that does not come"
    assert "".join(api.stream(temperature=0, max_tokens=24, stop=held)) == whole


def test_f23_f24_greedy_and_seeded_texts_stay_the_same_in_a_busy_batch(api: Api) -> None:
    greedy = {"temperature": 0, "max_tokens": 40}
    seeded = {"temperature": 1.2, "max_tokens": 40, "seed": 11}
    alone = api.text(**greedy), api.text(**seeded)
    with ThreadPoolExecutor(24) as pool:
        noise = [
            pool.submit(api.text, STORY[: 5 + n], max_tokens=60, temperature=1.5, ignore_eos=True)
            for n in range(20)
        ]
        busy = pool.submit(api.text, **greedy), pool.submit(api.text, **seeded)
        assert (busy[0].result(), busy[1].result()) == alone
        assert all(len(future.result()) > 0 for future in noise)
    assert api.text(**{**seeded, "seed": 12}) != alone[1]
    pair = [choice["text"] for choice in api.complete(**seeded, n=2)["choices"]]
    assert pair[0] == alone[1] != pair[1]
    assert pair == [choice["text"] for choice in api.complete(**seeded, n=2)["choices"]]


def test_f25_temperature_does_not_move_reported_logprobs(api: Api) -> None:
    tops = [
        api.complete(max_tokens=1, logprobs=5, temperature=t)["choices"][0]["logprobs"][
            "top_logprobs"
        ][0]
        for t in (0, 0.5, 2)
    ]
    common = set(tops[0]) & set(tops[1]) & set(tops[2])
    assert len(common) >= 5
    assert all(tops[0][name] == tops[1][name] == tops[2][name] for name in common)


def test_f27_f28_which_penalty_counts_the_prompt(api: Api) -> None:
    prompt = STORY + " named Max. Max"
    plain = api.text(prompt, temperature=0, max_tokens=1)
    assert api.text(prompt, temperature=0, max_tokens=1, frequency_penalty=2) == plain
    repeating = "The dog, the cat, the dog, the cat, the dog, the"
    favourite = api.text(repeating, temperature=0, max_tokens=1)
    assert favourite.strip() in repeating, "the model repeats the prompt when nothing keeps it"
    assert api.text(repeating, temperature=0, max_tokens=1, frequency_penalty=2) == favourite
    penalized = api.text(repeating, temperature=0, max_tokens=1, repetition_penalty=5)
    assert penalized != favourite
    forced = {"logit_bias": {str(api.ids(" dog")[0]): 60}, "temperature": 0, "max_tokens": 8}
    assert api.text(**forced) == " dog" * 8
    assert api.text(**forced, frequency_penalty=2, presence_penalty=2) == " dog" * 8
    lighter = {**forced, "logit_bias": {str(api.ids(" dog")[0]): 12}}
    assert api.text(**lighter, frequency_penalty=2).count(" dog") < api.text(**lighter).count(
        " dog"
    )


def test_f75_f76_ends_can_be_put_off(api: Api) -> None:
    body = api.complete(ignore_eos=True, max_tokens=50)
    assert body["usage"]["completion_tokens"] == 50
    assert body["choices"][0]["finish_reason"] == "length"
    whole = api.text(temperature=0, max_tokens=30, ignore_eos=True)
    stop = whole[3:5]
    early = api.complete(temperature=0, max_tokens=30, ignore_eos=True, stop=stop)
    assert early["usage"]["completion_tokens"] < 20
    late = api.complete(temperature=0, max_tokens=30, ignore_eos=True, stop=stop, min_tokens=20)
    assert late["usage"]["completion_tokens"] >= 20


def test_f81_a_second_long_prompt_is_cached_and_answered_alike(api: Api) -> None:
    prompt = "The cat and the dog went to the park to play with the red ball. " * 12
    first = api.complete(prompt, temperature=0, max_tokens=20)
    second = api.complete(prompt, temperature=0, max_tokens=20)
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    assert second["choices"][0]["text"] == first["choices"][0]["text"]


def test_f83_scores_equal_those_of_transformers(api: Api) -> None:
    from transformers import AutoModelForCausalLM

    ids = [4088, *api.ids(STORY + ". He was very happy. One day, he found a big red ball.")]
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED_MODEL, dtype=torch.float32)
    with torch.inference_mode():
        logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    wanted = [logprobs[n, token].item() for n, token in enumerate(ids[1:])]
    body = api.complete(ids, echo=True, max_tokens=1, logprobs=1, temperature=0)
    got = body["choices"][0]["logprobs"]["token_logprobs"][1:-1]
    assert got == pytest.approx(wanted, abs=1e-3)
