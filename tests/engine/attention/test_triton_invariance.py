"""A token's bits in the batch-invariant mode: the same alone, in any batch, in any chunking.

On a CPU this shows that sums are taken in one order, not how a card rounds.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

pytest.importorskip("triton")

from engine.attention import triton_tiles
from engine.attention.backend import AttentionShape
from engine.attention.triton_backend import TritonAttention
from tests.engine.attention.device_batches import (
    DEVICE,
    Chunk,
    make_cache,
    make_heads,
    make_step,
    spread,
)
from tests.triton_interpreter import exact_numbers

SPLIT = 64
LENGTH = 2 * SPLIT + 22  # three splits
COMPANY = 3  # another sequence

COMPANIES: list[list[tuple[int, Chunk]]] = [
    [(0, (LENGTH, 1))],
    [(COMPANY, (70, 1)), (0, (LENGTH - 50, 1)), (4, (12, 12))],
    [(0, (LENGTH - 3, 20)), (COMPANY, (90, 9))],
    [(COMPANY, (1, 1)), (4, (20, 20)), (0, (30, 30))],
    [(0, (SPLIT + 1, 2))],
    [(0, (SPLIT, 1))],
]


@pytest.fixture(autouse=True)
def as_on_a_card(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(triton_tiles, "SPLIT_KEYS", SPLIT)
    with exact_numbers(one_order=True):
        yield


def rows(
    shape: AttentionShape, company: list[tuple[int, Chunk]], layer: int, dtype: torch.dtype
) -> dict[int, torch.Tensor]:
    """Results of sequence 0 by position."""
    names, chunks = [name for name, _ in company], [chunk for _, chunk in company]
    step = make_step(chunks, 16)
    heads = make_heads(shape, step, names).to(dtype)
    cache = make_cache(shape, step, dtype, names, DEVICE)
    backend = TritonAttention(shape, cache, batch_invariant=True)
    sizes = (shape.num_heads, shape.num_kv_heads, shape.num_kv_heads)
    q, k, v = spread(step, heads).split(sizes, 1)
    sinks = torch.linspace(-1, 2, shape.num_heads).to(DEVICE) if layer else None
    out = backend.begin(step.device()).attend(layer, q, k, v, sinks).cpu()
    mine = names.index(0)
    first = int(step.host().query_starts[mine])
    return {int(position): out[first + n] for n, position in enumerate(step.positions(mine))}


@pytest.mark.parametrize(
    "sizes, dtype", [((3, 1, 16), torch.float32), ((2, 1, 80), torch.bfloat16)]
)
def test_a_tokens_bits_do_not_tell_its_company(
    sizes: tuple[int, int, int], dtype: torch.dtype
) -> None:
    shape = AttentionShape(*sizes, sizes[2] ** -0.5, windows=(None, 70))
    for layer in range(2):
        whole = rows(shape, [(0, (LENGTH, LENGTH))], layer, dtype)
        for company in COMPANIES:
            for position, row in rows(shape, company, layer, dtype).items():
                assert torch.equal(row, whole[position]), (layer, company, position)


@pytest.mark.parametrize("programs", [1, 2])
def test_nor_how_many_programs_share_its_keys(
    programs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = AttentionShape(3, 1, 16, 0.25, windows=(None, 70))
    company: list[tuple[int, Chunk]] = [(0, (LENGTH, 1))]
    for layer in range(2):
        many = rows(shape, company, layer, torch.float32)
        with monkeypatch.context() as patch:
            patch.setattr(triton_tiles, "invariant_programs", lambda *_: programs)
            fewer = rows(shape, company, layer, torch.float32)
        assert torch.equal(many[LENGTH - 1], fewer[LENGTH - 1])
