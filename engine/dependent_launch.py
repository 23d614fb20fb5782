"""Lets a kernel start while the one before it still ends: programmatic dependent launch.

On Hopper and later a kernel may be resident, its first weights on the way, before its predecessor
is done; it then waits before it touches what that one writes. In a step of a hundred short kernels
this hides most of what their starts cost (CUDA programming guide, "Programmatic Dependent Launch").

The rule that makes a chain of such kernels safe: every program of each of them calls `follow`
before anything else that depends on an earlier kernel, and none returns without. So when a kernel
is done, all before it are. Knows nothing of what kernels compute.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

_HOPPER = (9, 0)


def chained(tensor: Tensor) -> dict[str, Any]:
    """What a launch is told beside its arguments, by the device of one of its tensors. The kernel
    has a constant `CHAINED`, which it hands to `lead` and `follow`."""
    overlaps = _overlaps(tensor.device)
    return {"CHAINED": overlaps, "launch_pdl": overlaps}


@triton.jit
def lead(CHAINED: tl.constexpr):
    """The next kernel may become resident once all programs of this one have come here."""
    if CHAINED:
        gdc_launch_dependents()


@triton.jit
def follow(CHAINED: tl.constexpr):
    """Wait until the kernel before this one is done and its writes are seen."""
    if CHAINED:
        gdc_wait()


@cache
def _overlaps(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= _HOPPER
