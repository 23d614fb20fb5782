"""Puts together what runs plans on a GPU.

Imported where there is one only: CPU builds of torch come without Triton.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from engine.attention.triton_backend import TritonAttention
from engine.execution.device_runner import DeviceRunner
from engine.execution.loaded import Loaded
from engine.execution.row_tables import RowTables
from engine.execution.setup import Setup, attention_shape, make_cache
from engine.execution.step_size import StepSizes
from engine.grammar.masks import GrammarMasks
from engine.models.triton_decoder import load_triton_decoder
from engine.sampling.sampling_rows import SamplingRows
from engine.scheduling.speculation import MOST_ROWS

_PADDED_OPERATIONS = 6e12
"""Of a step with chunks. A fast card does this much in 8 ms; the host takes 15 ms to launch the
kernels of one. So up to here steps are worth being padded, by half at most, and captured."""


def load_device_runner(setup: Setup, announce: Callable[[str], None]) -> Loaded:
    """Load the model and make its cache.

    Raises:
        EngineError: the model cannot be loaded, or its cache does not fit.
    """
    config, device = setup.config, setup.device
    announce("loading weights")
    decoder = load_triton_decoder(
        setup.model_dir,
        setup.spec,
        dtype=setup.dtype,
        device=device,
        max_model_len=setup.max_model_len,
        batch_invariant=setup.batch_invariant,
        fp8=config.quantization == "fp8",
    )
    announce("making the key-value cache")
    cache = make_cache(setup)
    num_rows = config.max_num_sequences
    num_draft_rows = MOST_ROWS if config.speculative_tokens else 0
    sizes = StepSizes(max(num_rows, num_draft_rows), _padded_tokens(setup))
    tables = RowTables(
        num_rows,
        max_model_len=setup.max_model_len,
        max_step_tokens=max(setup.max_num_batched_tokens, sizes.most),
        block_size=config.block_size,
        device=device,
    )
    on_gpu = device.type == "cuda"
    runner = DeviceRunner(
        decoder,
        TritonAttention(attention_shape(setup.spec), cache, batch_invariant=setup.batch_invariant),
        tables,
        SamplingRows(num_rows + num_draft_rows, setup.spec.vocab_size, device),
        GrammarMasks(),
        num_rows=num_rows,
        num_draft_rows=num_draft_rows,
        device=device,
        sizes=sizes,
        capture=on_gpu and config.cuda_graphs,
    )
    if on_gpu:  # elsewhere nothing is compiled
        announce("compiling and capturing the first steps")
        runner.warm_up()
    kind = f"{torch.cuda.get_device_name(device) if on_gpu else 'interpreted'} {setup.kv_dtype}"
    return Loaded(runner, cache.num_blocks, kind)


def _padded_tokens(setup: Setup) -> int:
    """The largest size that chunks are padded to. It may be larger than any step: the largest step
    must fit into one, too."""
    tokens = int(_PADDED_OPERATIONS / (2 * setup.spec.layer_weights))
    return min(tokens, max(256, 2 * setup.max_num_batched_tokens))
