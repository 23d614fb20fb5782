"""The tiled CPU attention against the plain reference, and its independence of batch-mates."""

from __future__ import annotations

import pytest
import torch

from engine.attention.backend import AttentionShape, ReferenceAttention
from engine.attention.cpu import CpuAttention
from engine.attention.forward_batch import BlockTables, ForwardBatch, build_forward_batch
from engine.attention.kv_cache import KVCache
from engine.sampling_params import SamplingParams
from engine.scheduling.plan import ScheduledSequence, StepPlan
from engine.scheduling.sequence import Sequence

MAX_LEN = 640
SHAPES = [(4, 2, 16), (3, 1, 16), (9, 3, 64), (2, 2, 32), (14, 2, 64)]


def make_sequence(row: int, length: int, block: int) -> Sequence:
    """A sequence of `length` known tokens whose blocks are scattered over the cache."""
    blocks = -(-length // block)
    first = row * (MAX_LEN // block)
    return Sequence(
        request_id=str(row),
        prompt_token_ids=list(range(length)),
        params=SamplingParams(),
        seed=0,
        max_new_tokens=1,
        eos_token_ids=frozenset(),
        block_ids=[1 + first + (7 * n) % (MAX_LEN // block) for n in range(blocks)],
        row=row,
    )


def make_batch(chunks: list[tuple[Sequence, int, int]], block: int) -> ForwardBatch:
    plan = StepPlan(tuple(ScheduledSequence(s, start, n, samples=True) for s, start, n in chunks))
    return build_forward_batch(plan, BlockTables(8, MAX_LEN // block), block, torch.device("cpu"))


def make_cache(shape: AttentionShape, block: int, dtype: torch.dtype = torch.float32) -> KVCache:
    cache = KVCache(
        num_layers=len(shape.windows),
        num_blocks=8 * MAX_LEN // block + 1,
        block_size=block,
        num_kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        dtype=dtype,
        device=torch.device("cpu"),
    )
    generator = torch.Generator().manual_seed(1)
    for layer in (*cache.keys, *cache.values):
        layer.copy_(torch.randn(layer.shape, generator=generator))
    return cache


def make_shape(
    heads: int, kv_heads: int, head_dim: int, cap: float | None = None
) -> AttentionShape:
    return AttentionShape(heads, kv_heads, head_dim, head_dim**-0.5, (None, 100), cap)


def inputs(shape: AttentionShape, batch: ForwardBatch) -> list[torch.Tensor]:
    """Queries, keys and values that depend on sequence and position only."""
    tensors = []
    for salt, heads in enumerate((shape.num_heads, shape.num_kv_heads, shape.num_kv_heads)):
        rows = []
        for slot in batch.slots.tolist():
            generator = torch.Generator().manual_seed(slot * 3 + salt)
            rows.append(torch.randn(heads, shape.head_dim, generator=generator))
        tensors.append(torch.stack(rows))
    return tensors


CAP = 0.7
"""Of scores, which are a few units."""

CHUNKS = [
    [(0, 1, 1)],
    [(0, 100, 1), (1, 128, 1), (2, 129, 1), (3, 639, 1)],
    [(0, 0, 1), (1, 0, 17), (2, 0, 300)],
    [(0, 500, 1), (1, 250, 33), (2, 127, 2), (3, 600, 40)],
]


@pytest.mark.parametrize("block", [16, 64, 128])
@pytest.mark.parametrize("heads", SHAPES)
@pytest.mark.parametrize("chunks", CHUNKS)
def test_equals_the_reference(
    heads: tuple[int, int, int], chunks: list[tuple[int, int, int]], block: int
) -> None:
    assert_equals_the_reference(make_shape(*heads), chunks, block)


@pytest.mark.parametrize("heads", SHAPES)
def test_scores_may_be_capped(heads: tuple[int, int, int]) -> None:
    assert_equals_the_reference(make_shape(*heads, CAP), CHUNKS[-1], 64)


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("heads", SHAPES)
def test_sinks_take_their_share(
    heads: tuple[int, int, int], chunks: list[tuple[int, int, int]]
) -> None:
    shape = make_shape(*heads)
    assert_equals_the_reference(shape, chunks, 64, make_sinks(shape))


def make_sinks(shape: AttentionShape) -> torch.Tensor:
    """Among scores, which are a few units, and far from them to both sides."""
    some = torch.tensor([0.0, 3.0, -200.0, 200.0, 1.0])
    return some.repeat(-(-shape.num_heads // len(some)))[: shape.num_heads].contiguous()


def assert_equals_the_reference(
    shape: AttentionShape,
    chunks: list[tuple[int, int, int]],
    block: int,
    sinks: torch.Tensor | None = None,
) -> None:
    batch = make_batch([(make_sequence(row, s + n, block), s, n) for row, s, n in chunks], block)
    q, k, v = inputs(shape, batch)
    for layer in range(2):
        reference = ReferenceAttention(shape, make_cache(shape, block))
        want = reference.begin(batch).attend(layer, q, k, v, sinks)
        tested = CpuAttention(shape, make_cache(shape, block))
        got = tested.begin(batch).attend(layer, q, k, v, sinks)
        torch.testing.assert_close(got, want, atol=2e-6, rtol=1e-5)


def test_blocks_that_do_not_fit_the_tile_are_refused() -> None:
    shape = make_shape(2, 2, 32)
    with pytest.raises(ValueError, match="block_size 40"):
        CpuAttention(shape, make_cache(shape, 40))


@pytest.mark.parametrize("block", [16, 64])
@pytest.mark.parametrize("heads", SHAPES)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_row_is_the_same_bits_alone_in_a_batch_and_in_any_chunking(
    heads: tuple[int, int, int], threads: int, block: int
) -> None:
    shape = make_shape(*heads)
    cache = make_cache(shape, block)
    subject = make_sequence(0, 400, block)
    others = [make_sequence(row, 640, block) for row in (1, 2, 3)]

    def rows(chunks: list[tuple[Sequence, int, int]], layer: int) -> dict[int, torch.Tensor]:
        batch = make_batch(chunks, block)
        out = CpuAttention(shape, cache).begin(batch).attend(layer, *inputs(shape, batch))
        mine = [n for n, (s, _, _) in enumerate(chunks) if s is subject][0]
        first = int(batch.query_starts[mine])
        return {chunks[mine][1] + n: out[first + n] for n in range(chunks[mine][2])}

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for layer in range(2):
            whole = rows([(subject, 0, 400)], layer)
            for chunks in (
                [(subject, 399, 1)],
                [(subject, 130, 1), (others[0], 600, 1), (others[1], 5, 1)],
                [(others[0], 639, 1), (subject, 120, 150), (others[2], 0, 333)],
                [(subject, 64, 31)],
            ):
                for position, row in rows(chunks, layer).items():
                    assert torch.equal(row, whole[position]), (layer, chunks[0][1:], position)
    finally:
        torch.set_num_threads(before)
