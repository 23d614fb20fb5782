"""Compiles kernels for a card on a machine that has none.

Triton's interpreter takes much that its compiler refuses: operands whose types do not meet, values
whose types change on the way through a branch. While `compiling` lasts, a launch compiles the
kernel for its arguments, down to machine code, and runs nothing. The interpreter must be off,
which is decided when a kernel is defined: so this is for processes of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

HOPPER = GPUTarget("cuda", 90, 32)
_POINTERS = {
    torch.float64: "*fp64",
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int64: "*i64",
    torch.int32: "*i32",
}
_OPTIONS = {"num_warps", "num_stages", "enable_fp_fusion"}


@contextmanager
def compiling(target: GPUTarget = HOPPER) -> Iterator[list[str]]:
    """Gives the names of the kernels compiled so far; what does not compile raises."""
    compiled: list[str] = []

    def run(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        options = {name: kwargs.pop(name) for name in _OPTIONS & kwargs.keys()}
        values = dict(zip(self.arg_names, args, strict=False)) | kwargs
        triton.compile(_source(self, values), target=target, options=options)
        compiled.append(self.__name__)

    # What the kernels would have written reads as zeros: ids must lie in their vocabularies.
    with patch.object(JITFunction, "run", run), patch.object(torch, "empty", torch.zeros):
        yield compiled


def _source(kernel: Any, values: dict[str, Any]) -> ASTSource:
    """The kernel with its arguments' types; None and 1 are built in, as in a launch."""
    signature: dict[str, str] = {}
    constants: dict[tuple[int, ...], Any] = {}
    for place, parameter in enumerate(kernel.params):
        value = values[parameter.name]
        if isinstance(value, Tensor):
            signature[parameter.name] = _POINTERS[value.dtype]
        elif parameter.is_constexpr or value is None or value == 1:
            signature[parameter.name] = "constexpr"
            constants[(place,)] = value
        else:
            assert isinstance(value, int), f"{parameter.name} is a {type(value)}"
            signature[parameter.name] = "i32"
    return ASTSource(kernel, signature, constants)
