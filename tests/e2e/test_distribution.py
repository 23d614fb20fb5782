"""The controls seen at work from outside: what is drawn fits what the logprobs predict."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import httpx
import pytest
from scipy import stats

DRAWS = 2000
PROMPT = "Once upon a time there was a"


@pytest.fixture(scope="module")
def model(live_server: str) -> str:
    return httpx.get(f"{live_server}/v1/models").json()["data"][0]["id"]


def complete(url: str, **body: Any) -> dict[str, Any]:
    answer = httpx.post(f"{url}/v1/completions", json=body, timeout=300)
    assert answer.status_code == 200, answer.text
    return answer.json()


def logprobs(url: str, model: str) -> dict[int, float]:
    """The 20 most likely first tokens by id, as the model itself sees them."""
    body = complete(
        url, model=model, prompt=PROMPT, max_tokens=1, logprobs=20, return_tokens_as_token_ids=True
    )
    top = body["choices"][0]["logprobs"]["top_logprobs"][0]
    return {int(name.removeprefix("token_id:")): value for name, value in top.items()}


def draw(url: str, model: str, **controls: Any) -> Counter[int]:
    """How often each token came first in `DRAWS` samples."""
    counts: Counter[int] = Counter()
    for batch in range(DRAWS // 100):
        body = complete(
            url,
            model=model,
            prompt=PROMPT,
            max_tokens=1,
            n=100,
            seed=batch,
            logprobs=0,
            return_tokens_as_token_ids=True,
            **controls,
        )
        for choice in body["choices"]:
            counts[int(choice["logprobs"]["tokens"][0].removeprefix("token_id:"))] += 1
    return counts


def predicted(raw: dict[int, float], temperature: float, keep: list[int]) -> dict[int, float]:
    weights = {token: math.exp(raw[token] / temperature) for token in keep}
    total = sum(weights.values())
    return {token: weight / total for token, weight in weights.items()}


def assert_fits(counts: Counter[int], expected: dict[int, float]) -> None:
    """Chi-square over the categories, the rare ones pooled; p above one in ten thousand."""
    assert set(counts) <= set(expected), "a token was drawn that the controls exclude"
    common = [token for token, p in expected.items() if p * DRAWS >= 5]
    seen = [counts[token] for token in common]
    hoped = [expected[token] * DRAWS for token in common]
    rest_seen, rest_hoped = DRAWS - sum(seen), DRAWS - sum(hoped)
    if rest_hoped > 1:
        seen.append(rest_seen)
        hoped.append(rest_hoped)
    scale = sum(seen) / sum(hoped)
    assert stats.chisquare(seen, [value * scale for value in hoped]).pvalue > 1e-4


@pytest.mark.parametrize("temperature", [0.7, 1.5])
def test_top_k_draws_fit_the_logprobs(live_server: str, model: str, temperature: float) -> None:
    raw = logprobs(live_server, model)
    keep = sorted(raw, key=lambda token: -raw[token])[:12]
    counts = draw(live_server, model, top_k=12, temperature=temperature)
    assert_fits(counts, predicted(raw, temperature, keep))


def test_top_p_keeps_the_smallest_set_that_reaches_p(live_server: str, model: str) -> None:
    raw = logprobs(live_server, model)
    ranked = sorted(raw, key=lambda token: -raw[token])
    mass, keep = 0.0, []
    for token in ranked:
        keep.append(token)
        mass += math.exp(raw[token])
        if mass >= 0.4:
            break
    assert mass >= 0.4, "the prompt's distribution is too flat for this test"
    assert_fits(draw(live_server, model, top_p=0.4), predicted(raw, 1.0, keep))


def test_a_bias_moves_a_logit_by_exactly_its_value(live_server: str, model: str) -> None:
    raw = logprobs(live_server, model)
    first, second = sorted(raw, key=lambda token: -raw[token])[:2]
    gap = raw[first] - raw[second]
    keep = sorted(raw, key=lambda token: -raw[token])[:5]
    biased = {**raw, second: raw[second] + 1.5}
    counts = draw(live_server, model, top_k=5, logit_bias={str(second): 1.5})
    order = sorted(biased, key=lambda token: -biased[token])[:5]
    assert set(order) == set(keep) or second in order
    assert_fits(counts, predicted(biased, 1.0, order))
    # Just short of the gap the greedy choice stays, just past it it turns.
    for bias, winner in ((gap - 0.01, first), (gap + 0.01, second)):
        body = complete(
            live_server,
            model=model,
            prompt=PROMPT,
            max_tokens=1,
            temperature=0,
            logprobs=0,
            logit_bias={str(second): bias},
            return_tokens_as_token_ids=True,
        )
        assert body["choices"][0]["logprobs"]["tokens"] == [f"token_id:{winner}"]
