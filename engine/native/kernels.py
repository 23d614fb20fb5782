"""The compiled kernels as Python calls them.

Tensors are contiguous, on the CPU, and all of one dtype: float32 or bfloat16. Knows the C side's
structures; nothing of models.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, byref, c_float, c_int, c_int64, c_void_p
from pathlib import Path

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16)
HEAD_DIMS = (16, 32, 64, 80, 96, 128, 256)
LANES = 16


class Shape(Structure):
    """What is the same for all calls."""

    _fields_ = [
        ("heads", c_int64),
        ("kv_heads", c_int64),
        ("dim", c_int64),
        ("block_size", c_int64),
        ("threads", c_int64),
        ("scale", c_float),
        ("cap", c_float),
    ]


class Step(Structure):
    """The tokens of one step; the arrays must outlive it. See `ForwardBatch`."""

    _fields_ = [
        ("positions", c_void_p),
        ("slots", c_void_p),
        ("query_starts", c_void_p),
        ("tables", c_void_p),
        ("tokens", c_int64),
        ("sequences", c_int64),
        ("table_width", c_int64),
    ]


class Cache(Structure):
    """Keys and values of each layer, and its window (0: all keys), as arrays."""

    _fields_ = [("keys", c_void_p), ("values", c_void_p), ("windows", c_void_p)]


class Linear(Structure):
    """Weights as `engine.native.packing` lays them out; float32 bias and scale, or none."""

    _fields_ = [
        ("weight", c_void_p),
        ("bias", c_void_p),
        ("scale", c_void_p),
        ("into", c_int64),
        ("out", c_int64),
        ("four_bits", c_int),
    ]


class Expert(Structure):
    """One MLP; units of gates and of values in turn."""

    _fields_ = [("gate_up", Linear), ("down", Linear)]


class Routing(Structure):
    """See `engine.models.families.traits.Routing`."""

    _fields_ = [("experts", c_int64), ("per_token", c_int64), ("normalized", c_int)]


class Layer(Structure):
    """One decoder layer; gains of norms are float32. `mlp`, or else `router` and `experts`."""

    _fields_ = [
        ("attention_norm", c_void_p),
        ("qkv", Linear),
        ("qk_norm", c_void_p),
        ("sinks", c_void_p),
        ("output", Linear),
        ("attention_post_norm", c_void_p),
        ("mlp_norm", c_void_p),
        ("mlp", Expert),
        ("router", Linear),
        ("experts", POINTER(Expert)),
        ("mlp_post_norm", c_void_p),
        ("angles", c_void_p),
    ]


class Model(Structure):
    """A decoder without its head; `layers` is an array of `Layer`."""

    _fields_ = [
        ("layers", POINTER(Layer)),
        ("embedding", c_void_p),
        ("norm", c_void_p),
        ("num_layers", c_int64),
        ("hidden", c_int64),
        ("wide", c_int64),
        ("eps", c_float),
        ("embedding_scale", c_float),
        ("routing", Routing),
        ("gates", c_int),
    ]


class Inputs(Structure):
    """Queries, keys and values of one layer, and what is still to be done to them."""

    _fields_ = [
        ("q", c_void_p),
        ("k", c_void_p),
        ("v", c_void_p),
        ("stride", c_int64),
        ("cos", c_void_p),
        ("sin", c_void_p),
        ("angle_stride", c_int64),
        ("angle_rows", c_void_p),
        ("gain", c_void_p),
        ("sinks", c_void_p),
        ("eps", c_float),
    ]


class Draws(Structure):
    """Logits, and what their rows are drawn by; see `Kernels.draw`."""

    _fields_ = [
        ("logits", c_void_p),
        ("rows", c_int64),
        ("size", c_int64),
        ("temperature", c_void_p),
        ("top_k", c_void_p),
        ("top_p", c_void_p),
        ("log_min_p", c_void_p),
        ("uniform", c_void_p),
        ("token_ids", c_void_p),
    ]


class Scores(Structure):
    """Logits, and what is asked of them; see `Kernels.score`."""

    _fields_ = [
        ("logits", c_void_p),
        ("rows", c_int64),
        ("size", c_int64),
        ("token_ids", c_void_p),
        ("width", c_int64),
        ("table", c_void_p),
    ]


class Kernels:
    """The library of `engine.native.build`."""

    def __init__(self, path: Path) -> None:
        """Raises `OSError` when the library cannot be loaded."""
        self.name = path.name  # changes with whatever could change a result's last bits
        library = ctypes.CDLL(str(path))
        self._attend = library.diglot_attend
        self._attend.argtypes = [
            POINTER(Shape),
            POINTER(Step),
            POINTER(Inputs),
            c_void_p,
            c_void_p,
            c_int64,
            c_void_p,
            c_int,
        ]
        self._attend.restype = c_int
        self._forward = library.diglot_forward
        self._forward.argtypes = [
            POINTER(Model),
            POINTER(Shape),
            POINTER(Step),
            POINTER(Cache),
            c_void_p,
            c_void_p,
            c_int,
        ]
        self._forward.restype = None
        self._linear = library.diglot_linear
        self._linear.argtypes = [POINTER(Linear), c_void_p, c_void_p, c_int64, c_int, c_int]
        self._linear.restype = None
        self._draw = library.diglot_draw
        self._draw.argtypes = [POINTER(Draws), c_int]
        self._draw.restype = None
        self._score = library.diglot_score
        self._score.argtypes = [POINTER(Scores), c_int]
        self._score.restype = None

    def attend(
        self,
        shape: Shape,
        step: Step,
        inputs: Inputs,
        keys: Tensor,
        values: Tensor,
        window: int | None,
        out: Tensor,
    ) -> None:
        """Write a step's keys and values to the cache and its attention to `out`
        `[tokens, heads * dim]`."""
        failed = self._attend(
            byref(shape),
            byref(step),
            byref(inputs),
            keys.data_ptr(),
            values.data_ptr(),
            window or 0,
            out.data_ptr(),
            out.dtype == torch.bfloat16,
        )
        assert not failed, "heads of other sizes are not given to these kernels"

    def forward(
        self,
        model: Model,
        shape: Shape,
        step: Step,
        cache: Cache,
        token_ids: Tensor,
        hidden: Tensor,
    ) -> None:
        """All layers and the last norm for one step: writes its keys and values to the cache and
        hidden states `[tokens, hidden]` to `hidden`. token_ids: `[tokens]` int64."""
        self._forward(
            byref(model),
            byref(shape),
            byref(step),
            byref(cache),
            token_ids.data_ptr(),
            hidden.data_ptr(),
            hidden.dtype == torch.bfloat16,
        )

    def linear(self, weights: Linear, x: Tensor) -> Tensor:
        """`x W^T + b` in float32; x: `[rows, into]`."""
        y = torch.empty(x.shape[0], weights.out)
        self._linear(
            byref(weights),
            x.data_ptr(),
            y.data_ptr(),
            x.shape[0],
            torch.get_num_threads(),
            x.dtype == torch.bfloat16,
        )
        return y

    def draw(
        self,
        logits: Tensor,
        *,
        temperature: Tensor,
        top_k: Tensor,
        top_p: Tensor,
        log_min_p: Tensor,
        uniform: Tensor,
    ) -> Tensor:
        """Draw a token of each row of `logits`, float32 `[rows, vocab]`: int64 `[rows]`.

        All others are `[rows]`: temperature and log_min_p float32, top_k int64, top_p and uniform
        float64. What changes nothing is 1, minus infinity, `vocab` and 1; a row whose uniform is
        below 0 takes its likeliest token.
        """
        token_ids = torch.empty(len(logits), dtype=torch.int64)
        draws = Draws(
            logits.data_ptr(),
            *logits.shape,
            temperature.data_ptr(),
            top_k.data_ptr(),
            top_p.data_ptr(),
            log_min_p.data_ptr(),
            uniform.data_ptr(),
            token_ids.data_ptr(),
        )
        self._draw(byref(draws), torch.get_num_threads())
        return token_ids

    def score(self, logits: Tensor, token_ids: Tensor, width: int) -> Tensor:
        """See `engine.sampling.logprob_table.score_table`; both tensors are contiguous."""
        rows, size = logits.shape
        width = min(width, size)
        table = torch.empty(rows, 4 + 2 * width, dtype=torch.float64)
        scores = Scores(
            logits.data_ptr(), rows, size, token_ids.data_ptr(), width, table.data_ptr()
        )
        self._score(byref(scores), torch.get_num_threads())
        return table
