"""Sizes that kernels can take, and splits that fill a card."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.attention.triton_tiles import (
    MOST_SPLITS,
    SPLIT_KEYS,
    chunk_tiles,
    decode_splits,
    decode_tiles,
    invariant_chunk_tiles,
    invariant_decode_tiles,
    invariant_programs,
    padded,
)


@pytest.mark.parametrize(
    "choose",
    [
        partial(decode_tiles, is_split=True, eight_bit=False),
        partial(decode_tiles, is_split=False, eight_bit=False),
        partial(decode_tiles, is_split=True, eight_bit=True),
        partial(decode_tiles, is_split=False, eight_bit=True),
        chunk_tiles,
        invariant_decode_tiles,
        invariant_chunk_tiles,
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tile_holds_a_token_and_is_a_power_of_two(choose, dtype: torch.dtype) -> None:
    for head_dim in (16, 64, 80, 128, 256):
        for group in (1, 3, 7, 8, 16, 71):
            tiles = choose(head_dim, group, dtype)
            assert tiles.rows >= max(16, group)
            assert padded(tiles.rows) == tiles.rows and padded(tiles.keys) == tiles.keys
            assert SPLIT_KEYS % tiles.keys == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_invariant_tiles_take_one_kind_of_instruction_and_as_many_keys(dtype: torch.dtype) -> None:
    for head_dim in (16, 64, 80, 128, 256):
        for group in (1, 3, 8, 16, 32, 33, 71):
            decode = invariant_decode_tiles(head_dim, group, dtype)
            chunk = invariant_chunk_tiles(head_dim, group, dtype)
            assert decode.keys == chunk.keys
            assert (decode.rows >= 64) == (chunk.rows >= 64)  # from there on it is `wgmma`


@given(st.integers(1, 512), st.sampled_from([1, 2, 8, 32]), st.integers(1, 200_000))
def test_splits_are_few_enough_and_none_where_rows_are_many(
    num_decodes: int, kv_heads: int, longest: int
) -> None:
    splits = decode_splits(num_decodes, kv_heads, longest)
    assert 1 <= splits <= MOST_SPLITS
    if num_decodes * kv_heads >= 400 or longest < 256:
        assert splits == 1
    shared = invariant_programs(num_decodes, kv_heads, longest)
    assert shared == 1 or (shared - 1) * SPLIT_KEYS < longest
    assert shared == 1 or shared * num_decodes * kv_heads < 400


def test_one_long_sequence_is_read_by_many_programs() -> None:
    assert decode_splits(1, 8, 32_768) == MOST_SPLITS
