"""Vector functions over whole arrays: a loop around each, compiled for a target and loaded here."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from gradc.codegen.jit import Library, load_object
from gradc.codegen.math_ir import symbol_of
from gradc.codegen.target import Target, compile_to_object, host
from gradc.codegen.vector_math import ARITY, JOINT, math_text, result_type
from gradc.ir.types import DType

X86 = host().triple.startswith("x86_64")
WITHOUT_FMA = Target(host().triple, "x86-64", "", 128) if X86 else host()


@dataclass(frozen=True, slots=True)
class NativeFunction:
    """A math function of `lanes` elements, applied to arrays of any length."""

    address: int
    dtype: DType
    lanes: int
    library: Library

    def __call__(self, *arguments: Any) -> np.ndarray[Any, Any]:
        """The values at flat arrays of equal length; padded to whole vectors by ones."""
        length = len(arguments[0])
        padded = [np.ones(length + self.lanes, self.dtype.numpy) for _ in range(2)]
        for target, argument in zip(padded, arguments, strict=False):
            target[:length] = argument
        result = np.empty(length + self.lanes, self.dtype.numpy)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (*padded, result)]
        kinds = (*[ctypes.c_void_p] * 3, ctypes.c_int64)
        ctypes.CFUNCTYPE(None, *kinds)(self.address)(*pointers, length)
        return result[:length]


@cache
def native_function(
    name: str, dtype: DType, lanes: int, target: Target | None = None, result: int = 0
) -> NativeFunction:
    """The function (of a joint one a result) compiled for `target`, or for this machine."""
    target = target or host()
    constants = not target.repeats_numbers
    text = math_text(
        [(name, dtype, lanes)],
        fma=target.has_fma,
        table=constants,
        wide=target.has_wide_products,
    )
    text += loop_text(name, dtype, lanes, result)
    library = load_object(compile_to_object(text, target), ["run"])
    return NativeFunction(library.addresses["run"], dtype, lanes, library)


def loop_text(name: str, dtype: DType, lanes: int, result: int = 0) -> str:
    """`void run(x0, x1, result, n)`: the function on vector after vector for n elements.

    A third operand is the first one again.
    """
    element = {"f64": "double", "f32": "float"}[dtype.name]
    kind = element if lanes == 1 else f"<{lanes} x {element}>"
    arity = ARITY.get(name, 1)
    loads = [
        f"  %p{k} = getelementptr {element}, ptr %x{k}, i64 %i\n"
        f"  %v{k} = load {kind}, ptr %p{k}, align {dtype.itemsize}"
        for k in range(min(arity, 2))
    ]
    arguments = ", ".join(f"{kind} %v{k % 2}" for k in range(arity))
    returned = result_type(name, kind)
    value = f"call {returned} {symbol_of(name, dtype, lanes)}({arguments})"
    if name in JOINT:
        value += f"\n  %value = extractvalue {returned} %results, {result}"
    return "\n".join(
        [
            "define void @run(ptr %x0, ptr %x1, ptr %result, i64 %n) {",
            "entry:\n  br label %head",
            "head:\n  %i = phi i64 [0, %entry], [%next, %body]",
            "  %more = icmp slt i64 %i, %n\n  br i1 %more, label %body, label %end",
            "body:",
            *loads,
            f"  %{'results' if name in JOINT else 'value'} = {value}",
            f"  %place = getelementptr {element}, ptr %result, i64 %i",
            f"  store {kind} %value, ptr %place, align {dtype.itemsize}",
            f"  %next = add i64 %i, {lanes}\n  br label %head",
            "end:\n  ret void\n}\n",
        ]
    )
