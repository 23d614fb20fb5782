"""Takes out of Triton's interpreter what it does again at each operation, to the same end.

Nearly all of its time goes to the types of tensors, not to their numbers. What they tell is kept
here by type; asserts that it makes and never reads are not made. Knows the interpreter's inside.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from functools import cache
from typing import Any

from triton import language
from triton._utils import validate_block_shape
from triton.language import core
from triton.runtime import interpreter


def make_quick() -> None:
    """For this process, as long as it lives."""
    interpreter._patch_builtin = _patch_builtin
    interpreter._patch_lang = _patch_lang
    interpreter._get_np_dtype = _np_dtype
    core.block_type.__init__ = _block_type
    core.tensor.__init__ = _tensor
    core._unwrap_if_constexpr = _unwrapped
    builder = interpreter.interpreter_builder
    # It computes whether a sum overflows, for an assert that is made in debugging only.
    builder.options = dataclasses.replace(builder.options, sanitize_overflow=False)


@cache
def _builtins(package: Any) -> list[str]:
    return [name for name, member in inspect.getmembers(package) if core.is_builtin(member)]


def _patch_builtin(package: Any, builder: Any, scope: Any) -> None:
    for name in _builtins(package):
        interpreter._patch_attr(package, name, getattr(package, name), builder, scope)


_patch_all = interpreter._patch_lang


@cache
def _languages(function: Any) -> list[Any]:
    modules = [value for value in function.__globals__.values() if inspect.ismodule(value)]
    return [module for module in modules if module in (language, core)]


def _patch_lang(function: Any) -> Any:
    """Within a kernel the language is replaced already when it calls a function."""
    if any(core.is_builtin(module.load) for module in _languages(function)):
        return _patch_all(function)
    return interpreter._LangPatchScope()


_plain_np_dtype = interpreter._get_np_dtype
_known_np_dtypes: dict[str, Any] = {}


def _np_dtype(dtype: Any) -> Any:
    name = dtype.scalar.name
    if name not in _known_np_dtypes:
        _known_np_dtypes[name] = _plain_np_dtype(dtype)
    return _known_np_dtypes[name]


_known_blocks: dict[Any, tuple[Any, int, str]] = {}


def _block_type(self: Any, element_ty: Any, shape: Any) -> None:
    sizes = tuple([size.value if type(size) is core.constexpr else size for size in shape])
    key = (element_ty.name, sizes)
    if key not in _known_blocks:
        if not sizes:
            raise TypeError("0d block_type is forbidden")
        kept = core.tuple(sizes)
        _known_blocks[key] = (kept, validate_block_shape(list(sizes)), f"<{kept}, {element_ty}>")
    self.element_ty = element_ty
    self.shape, self.numel, self.name = _known_blocks[key]


_known_shapes: dict[tuple[int, ...], tuple[Any, Any]] = {}


def _tensor(self: Any, handle: Any, type: Any) -> None:
    sizes = tuple(type.shape.values) if type.is_block() else ()
    if sizes not in _known_shapes:
        shape = core.tuple([core.constexpr(size) for size in sizes])
        _known_shapes[sizes] = (shape, core.constexpr(math.prod(sizes)))
    self.handle, self.type, self.dtype = handle, type, type.scalar
    self.shape, self.numel = _known_shapes[sizes]


_plain_unwrap = core._unwrap_if_constexpr


def _unwrapped(value: Any) -> Any:
    if type(value) is core.constexpr:
        return value.value
    return value if type(value) in (int, core.tensor) else _plain_unwrap(value)
