"""Causal attention over the paged cache, for decodes and for chunks of prompts alike: one kernel.

A program takes a tile of queries, all heads of one kv head of some neighbouring tokens of a
sequence, and runs over keys in tiles with the online softmax of FlashAttention (arXiv 2205.14135),
in base 2. Decodes are tiles with one token. Their keys may be cut into splits, which programs of
their own read (Flash-Decoding); `engine.attention.triton_reduce` then merges what they leave.

Knows nothing of how a batch came
to be; which tiles and how many splits is the caller's choice.
"""

from __future__ import annotations

import triton
import triton.language as tl

from engine.attention.triton_cap import capped
from engine.attention.triton_reduce import merge, merge_sink
from engine.dependent_launch import follow, lead
from engine.float8 import unpacked


# One binary whatever the step: these differ from step to step, and so would where they lie in a
# packet. Another binary is a compilation while requests wait, and perhaps another rounding.
@triton.jit(
    do_not_specialize=["first_sequence", "num_tiles", "num_programs", "num_splits"],
    do_not_specialize_on_alignment=["rows", "query_starts", "lengths"],
)
def attend_kernel(
    queries,  # [tokens, heads, HEAD_DIM]
    out,  # the same; written if num_programs is 1
    partials,  # [tokens, heads, num_splits, HEAD_DIM] float32; else these
    stats,  # [tokens, heads, num_splits, 2] float32: largest score and sum of each
    keys,  # [blocks, KV_HEADS, BLOCK_SIZE, HEAD_DIM]; of eight bits: words [..., HEAD_DIM / 4]
    values,
    block_tables,  # [rows, table_width] int32
    rows,  # [sequences] int32
    query_starts,  # [sequences + 1] int32
    lengths,  # [sequences] int32
    table_width,
    first_sequence,
    num_tiles,  # of the longest chunk
    num_programs,  # that share the keys of a tile
    num_splits,  # that there is room for; num_programs, unless SPLIT_KEYS says what a split is
    scale,  # of scores, times log2(e)
    sinks,  # [heads] float32, see `merge_sink`; not read unless HAS_SINKS
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    WINDOW: tl.constexpr,  # 0: sees all
    CAP: tl.constexpr,  # soft cap of scores, times log2(e), too; 0: none
    SPLIT_KEYS: tl.constexpr,  # keys of a split; 0: as many as cut the sequence evenly
    TILE_ROWS: tl.constexpr,
    TILE_KEYS: tl.constexpr,
    TILE_DIM: tl.constexpr,
    IN_WORD: tl.constexpr,  # numbers of the cache in what is loaded: 1, or 4 of eight bits
    ON_CARD: tl.constexpr,
    HAS_SINKS: tl.constexpr,
    CHAINED: tl.constexpr,
):
    """Grid: (num_tiles * num_programs, KV_HEADS, sequences)."""
    lead(CHAINED)
    follow(CHAINED)
    TILE_TOKENS: tl.constexpr = TILE_ROWS // GROUP
    # The last tile has the most keys to read, so it goes first.
    tile = num_tiles - 1 - tl.program_id(0) // num_programs
    program = tl.program_id(0) % num_programs
    kv_head = tl.program_id(1)
    sequence = first_sequence + tl.program_id(2)
    start = tl.load(query_starts + sequence)
    count = tl.load(query_starts + sequence + 1) - start
    first = tile * TILE_TOKENS
    if first >= count:
        return
    length = tl.load(lengths + sequence)
    table = block_tables + tl.load(rows + sequence).to(tl.int64) * table_width

    row = tl.arange(0, TILE_ROWS)
    token = first + row // GROUP
    is_query = (row < TILE_TOKENS * GROUP) & (token < count)
    position = tl.where(is_query, length - count + token, -1)
    column = tl.arange(0, TILE_DIM)
    head = (start + token).to(tl.int64) * (KV_HEADS * GROUP) + kv_head * GROUP + row % GROUP
    inside = is_query[:, None] & (column < HEAD_DIM)[None, :]
    place = head[:, None] * HEAD_DIM + column[None, :]
    q = tl.load(queries + place, inside, other=0.0)
    if IN_WORD > 1 and q.dtype == tl.bfloat16:
        # To which the cache's numbers widen in half as many instructions; no query of a model that
        # works comes near its end.
        q = tl.clamp(q.to(tl.float32), -65504.0, 65504.0).to(tl.float16)

    # What any row of the tile sees is [oldest, end); all see [oldest, common) if no window ends it.
    common = length - count + first + 1
    end = tl.minimum(common + TILE_TOKENS - 1, length)
    oldest = 0
    if WINDOW > 0:
        oldest = tl.maximum(common - WINDOW, 0)
    begin = oldest // TILE_KEYS * TILE_KEYS

    m = tl.full([TILE_ROWS], float("-inf"), tl.float32)
    total = tl.zeros([TILE_ROWS], tl.float32)
    acc = tl.zeros([TILE_ROWS, TILE_DIM], tl.float32)
    if SPLIT_KEYS == 0:
        span = tl.cdiv(tl.cdiv(end - begin, num_programs), TILE_KEYS) * TILE_KEYS
        low = begin + program * span
        high = tl.minimum(low + span, end)
        middle = low
        if WINDOW == 0:
            middle = tl.maximum(low, tl.minimum(common, high) // TILE_KEYS * TILE_KEYS)
            m, total, acc = _attend_range(
                q, m, total, acc, low, middle, oldest, position, kv_head, table, keys, values,
                scale, KV_HEADS, HEAD_DIM, BLOCK_SIZE, WINDOW, CAP, TILE_KEYS, TILE_DIM,
                IN_WORD, ON_CARD, False, False,
            )  # fmt: skip
        m, total, acc = _attend_range(
            q, m, total, acc, middle, high, oldest, position, kv_head, table, keys, values,
            scale, KV_HEADS, HEAD_DIM, BLOCK_SIZE, WINDOW, CAP, TILE_KEYS, TILE_DIM,
            IN_WORD, ON_CARD, True, False,
        )  # fmt: skip
        if num_programs > 1:
            _store_part(
                partials, stats, head * num_splits + program, m, total, acc, is_query, HEAD_DIM
            )
    else:
        # Splits begin at the same keys whatever the tile, and merge one after the other, here or
        # in the reduction: a query's bits do not tell in which company it was computed. Keys that
        # a row does not see leave its numbers exactly as they were.
        past_split = tl.cdiv(end, SPLIT_KEYS)
        for split in range(begin // SPLIT_KEYS + program, past_split, num_programs):
            low = tl.maximum(split * SPLIT_KEYS, begin)
            high = tl.minimum((split + 1) * SPLIT_KEYS, end)
            part_m = tl.full([TILE_ROWS], float("-inf"), tl.float32)
            part_total = tl.zeros([TILE_ROWS], tl.float32)
            part_acc = tl.zeros([TILE_ROWS, TILE_DIM], tl.float32)
            part_m, part_total, part_acc = _attend_range(
                q, part_m, part_total, part_acc, low, high, oldest, position, kv_head, table,
                keys, values, scale, KV_HEADS, HEAD_DIM, BLOCK_SIZE, WINDOW, CAP, TILE_KEYS,
                TILE_DIM, IN_WORD, ON_CARD, True, True,
            )  # fmt: skip
            if num_programs > 1:
                part = head * num_splits + split
                _store_part(partials, stats, part, part_m, part_total, part_acc, is_query, HEAD_DIM)
            m, total, acc = merge(m, total, acc, part_m, part_total, part_acc)

    if num_programs == 1:
        of_head = kv_head * GROUP + row % GROUP
        m, total, acc = merge_sink(m, total, acc, sinks, of_head, HAS_SINKS)
        result = acc / tl.where(total == 0, 1.0, total)[:, None]
        tl.store(out + place, result.to(out.dtype.element_ty), inside)


@triton.jit
def _store_part(partials, stats, part, m, total, acc, is_query, HEAD_DIM: tl.constexpr):
    """Leave what was found among some keys to the reduction, by row."""
    column = tl.arange(0, acc.shape[1])
    tl.store(stats + part * 2, m, is_query)
    tl.store(stats + part * 2 + 1, total, is_query)
    some = is_query & (m > float("-inf"))  # what sees no key is not read either
    some = some[:, None] & (column < HEAD_DIM)[None, :]
    tl.store(partials + part[:, None] * HEAD_DIM + column[None, :], acc, some)


@triton.jit
def _attend_range(
    q,
    m,
    total,
    acc,
    low,  # a multiple of TILE_KEYS
    high,
    oldest,
    position,
    kv_head,
    table,
    keys,
    values,
    scale,
    KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    WINDOW: tl.constexpr,
    CAP: tl.constexpr,
    TILE_KEYS: tl.constexpr,
    TILE_DIM: tl.constexpr,
    IN_WORD: tl.constexpr,
    ON_CARD: tl.constexpr,
    IS_MASKED: tl.constexpr,  # else all rows see all keys, and whole tiles of them
    IN_ORDER: tl.constexpr,
):
    """Add the keys in [low, high) to each row's largest score, sum and weighted values.

    `IN_ORDER`: weights are summed as a product with ones, key after key. A reduction would take
    them in an order that hangs on how the tile lies in the threads.
    """
    column = tl.arange(0, TILE_DIM // IN_WORD)
    ones = tl.full([TILE_KEYS, 16], 1.0, tl.float32).to(q.dtype)
    sums = tl.broadcast_to(total[:, None], [q.shape[0], 16])
    inside = (column < HEAD_DIM // IN_WORD)[None, :]
    for base in range(low, high, TILE_KEYS):
        key = base + tl.arange(0, TILE_KEYS)
        if IS_MASKED:
            # Nothing outside is read: it may be anything, and no weight of zero mends a NaN.
            present = (key >= oldest) & (key < high)
            block = tl.load(table + key // BLOCK_SIZE, present, other=0).to(tl.int64)
            wanted = present[:, None] & inside
        else:
            block = tl.load(table + key // BLOCK_SIZE).to(tl.int64)
            wanted = inside
        place = (block * KV_HEADS + kv_head) * BLOCK_SIZE + key % BLOCK_SIZE
        place = place[:, None] * (HEAD_DIM // IN_WORD) + column[None, :]
        k = unpacked(tl.load(keys + place, wanted, other=0), IN_WORD, ON_CARD).to(q.dtype)
        scores = tl.dot(q, tl.trans(k), input_precision="tf32x3") * scale
        if CAP > 0:
            scores = capped(scores, CAP)
        if IS_MASKED:
            sees = (key[None, :] <= position[:, None]) & present[None, :]
            if WINDOW > 0:
                sees = sees & (key[None, :] > position[:, None] - WINDOW)
            scores = tl.where(sees, scores, float("-inf"))
        larger = tl.maximum(m, tl.max(scores, 1))
        shift = tl.where(larger == float("-inf"), 0.0, larger)
        weights = tl.exp2(scores - shift[:, None])
        shrink = tl.exp2(m - shift)
        v = unpacked(tl.load(values + place, wanted, other=0), IN_WORD, ON_CARD).to(q.dtype)
        rounded = weights.to(q.dtype)
        if IN_ORDER:
            sums = tl.dot(rounded, ones, sums * shrink[:, None], input_precision="tf32x3")
        else:
            total = total * shrink + tl.sum(weights, 1)
        acc = tl.dot(rounded, v, acc * shrink[:, None], input_precision="tf32x3")
        m = larger
    if IN_ORDER:
        total = tl.max(sums, 1)  # all are the same
    return m, total, acc
