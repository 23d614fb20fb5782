"""Compiles kernels for a card that is not there, as far as the card's own assembler.

The interpreter takes much that the compiler does not, and knows nothing of shared memory. Here
every launch becomes a compilation of the kernel with the arguments it was given; nothing runs, so
tensors may be anywhere and hold anything. Knows the insides of Triton's launcher. Must be used in
a process where `TRITON_INTERPRET` is not set.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

CAPABILITY = int(os.environ.get("COMPUTE_CAPABILITY", "90"))
"""By default Hopper's."""

TARGET = GPUTarget("cuda", CAPABILITY, 32)

_OPTIONS = ("num_warps", "num_stages", "enable_fp_fusion", "launch_pdl")
_NAMES = {
    torch.float64: "fp64",
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.float8_e4m3fn: "fp8e4nv",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.uint8: "u8",
    torch.bool: "i1",
}


@dataclass(frozen=True)
class Compiled:
    """One kernel for one kind of arguments."""

    name: str
    shared_bytes: int
    ptx: str


@contextmanager
def compiling() -> Iterator[list[Compiled]]:
    """While this lasts, launches compile; the list fills with what they made."""
    results: list[Compiled] = []

    def take(name: str, source: ASTSource, options: dict[str, Any]) -> None:
        kernel = triton.compile(source, target=TARGET, options=options)
        results.append(Compiled(name, kernel.metadata.shared, kernel.asm["ptx"]))

    with _launches(take):
        yield results


@contextmanager
def noting() -> Iterator[list[str]]:
    """While this lasts, launches do nothing; the list fills with the names of the kernels that
    would have been compiled."""
    results: list[str] = []
    with _launches(lambda name, source, options: results.append(name)):
        yield results


@contextmanager
def _launches(take: Callable[[str, ASTSource, dict[str, Any]], None]) -> Iterator[None]:
    """While this lasts, `take` is given each kind of launch, the first time that it comes."""
    known: set[str] = set()

    def run(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        options = {name: kwargs.pop(name) for name in _OPTIONS if name in kwargs}
        source = _source(self, dict(zip(self.arg_names, args, strict=False)) | kwargs)
        key = f"{self.__name__} {source.signature} {source.constants} {source.attrs} {options}"
        if key not in known:
            known.add(key)
            take(self.__name__, source, options)

    # What the kernels would have written reads as zeros: ids must lie in their vocabularies.
    with (
        patch.object(JITFunction, "run", run),
        patch.object(torch, "empty", torch.zeros),
        patch.object(torch, "empty_like", torch.zeros_like),
        patch.object(torch.Tensor, "new_empty", torch.Tensor.new_zeros),
        patch("engine.dependent_launch._overlaps", lambda device: CAPABILITY >= 90),
        patch.object(torch.Tensor, "is_cuda", True),
    ):
        yield


def _source(function: Any, values: dict[str, Any]) -> ASTSource:
    """The kernel specialized as the launcher would: on None, on ones, and on multiples of 16."""
    signature, constants, attributes = {}, {}, {}
    for index, parameter in enumerate(function.params):
        name, value, aligned = parameter.name, values[parameter.name], False
        plain = parameter.do_not_specialize
        if parameter.is_constexpr or value is None:
            signature[name], constants[name] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[name] = "*" + _NAMES[value.dtype]
            aligned = value.data_ptr() % 16 == 0 and not parameter.do_not_specialize_on_alignment
        elif isinstance(value, float):
            signature[name] = "fp32"
        elif value == 1 and not plain:
            signature[name], constants[name] = "constexpr", value
        else:
            signature[name] = "i32"
            aligned = value % 16 == 0 and not plain
        if aligned:
            attributes[(index,)] = [["tt.divisibility", 16]]
    return ASTSource(function, signature, constants, attributes)


def report(kernels: list[Compiled]) -> None:
    """A line of JSON for each, as `tests.compiled_kernels` reads them."""
    for kernel in kernels:
        tensor_cores = "wgmma.mma_async" in kernel.ptx or "mma.sync" in kernel.ptx
        sys.stdout.write(json.dumps([kernel.name, kernel.shared_bytes, tensor_cores]) + "\n")
