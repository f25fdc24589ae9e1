"""Runs loop IR one iteration after another on NumPy scalars: what compiled kernels must compute."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gradc.ir.dims import evaluate_dim
from gradc.ir.loops import (
    Accumulator,
    Buffer,
    Fill,
    Finish,
    For,
    If,
    Instruction,
    MatMul,
    Program,
    Ref,
    Require,
    Statement,
    Store,
)
from gradc.ir.types import DType, i64


class Failed(Exception):
    """A `Require` did not hold; the status is its argument."""


def run_program(program: Program, sizes: Mapping[str, int], arrays: dict[Buffer, Any]) -> int:
    """Run the kernels on flat arrays, one a buffer (outputs are written); gives the status."""
    for i, requirement in enumerate(program.requires):
        if not requirement.holds(evaluate_dim(requirement.dim, sizes)):
            return -1 - i
    for buffer in program.temporaries:
        count = evaluate_dim(buffer.type.size, sizes)
        arrays[buffer] = np.zeros(count, buffer.type.dtype.numpy)
    for buffer in program.constants:
        arrays[buffer] = np.frombuffer(buffer.data, buffer.type.dtype.numpy)
    try:
        with np.errstate(all="ignore"):
            for kernel in program.kernels:
                _Run(sizes, arrays).block(kernel.body)
    except Failed as failed:
        return int(failed.args[0])
    return 0


class _Run:
    def __init__(self, sizes: Mapping[str, int], arrays: dict[Buffer, Any]) -> None:
        self.sizes, self.arrays = sizes, arrays
        self.values: dict[Ref, Any] = {}

    def block(self, statements: Sequence[Statement]) -> None:
        for statement in statements:
            match statement:
                case Instruction():
                    self.values[statement.result] = self.instruction(statement)
                case Store():
                    self.store(statement)
                case For():
                    self.loop(statement)
                case If():
                    if self.values[statement.condition]:
                        self.block(statement.body)
                case Require():
                    counts = statement.mask is None or self.values[statement.mask]
                    if counts and not self.values[statement.condition]:
                        raise Failed(statement.status)
                case Fill():
                    self.array(statement.buffer)[:] = 0
                case MatMul():
                    self.matmul(statement)

    def array(self, buffer: Buffer) -> Any:
        if buffer.kind == "scratch" and buffer not in self.arrays:
            assert isinstance(buffer.type.size, int)
            self.arrays[buffer] = np.zeros(buffer.type.size, buffer.type.dtype.numpy)
        return self.arrays[buffer]

    def instruction(self, s: Instruction) -> Any:
        kind = s.result.dtype.numpy.type
        args = [self.values[operand] for operand in s.operands]
        if s.op == "const":
            return kind(s.value)
        if s.op == "size":
            return kind(evaluate_dim(s.value, self.sizes))  # type: ignore[arg-type]
        if s.op == "load":
            assert s.buffer is not None
            if len(args) > 1 and not args[1]:
                return kind(0)
            return self.element(s.buffer, args[0])
        if s.op == "select":
            return args[1] if args[0] else args[2]
        if s.op == "cast":
            return convert(args[0], s.operands[0].dtype, s.result.dtype)
        if s.op == "call":
            return kind(_call(str(s.value), [float(a) for a in args]))
        return compute(s.op, s.operands[0].dtype, args)

    def element(self, buffer: Buffer, index: Any) -> Any:
        array = self.array(buffer)
        assert 0 <= index < len(array), f"{buffer.name}[{index}] of {len(array)}"
        return array[index]

    def store(self, s: Store) -> None:
        if s.mask is not None and not self.values[s.mask]:
            return
        index, value = self.values[s.index], self.values[s.value]
        old = self.element(s.buffer, index)
        added = compute("add", s.buffer.type.dtype, [old, value]) if s.mode == "add" else value
        self.array(s.buffer)[index] = added

    def loop(self, s: For) -> None:
        totals = [self.initial(a) for a in s.accumulators]
        for i in range(self.values[s.start], self.values[s.stop], s.step):
            if s.bits is not None and not int(self.values[s.bits]) >> i - self.values[s.start] & 1:
                continue
            self.values[s.variable] = np.int64(i)
            self.block(s.body)
            for position, a in enumerate(s.accumulators):
                value = self.values[a.value]
                if a.kind == "bits":
                    value = _wrap(i64, int(value) << int(i - self.values[s.start]))
                    totals[position] |= value
                    continue
                totals[position] = compute(a.kind, a.value.dtype, [totals[position], value])
        for a, total in zip(s.accumulators, totals, strict=True):
            self.values[a.result] = total

    def initial(self, a: Accumulator) -> Any:
        return self.values[a.initial] if a.initial is not None else identity(a.kind, a.value.dtype)

    def matmul(self, s: MatMul) -> None:
        batch, m, n, k = (int(self.values[r]) for r in (s.batch, s.m, s.n, s.k))
        a = self.view(s.a, (batch, m, k))
        b = self.view(s.b, (batch, k, n))
        c = self.view(s.c, (batch, m, n))
        product = np.einsum("bik,bkj->bij", a, b)
        if s.half:
            product = np.where(np.tri(m, dtype=bool), product, np.nan)
        c[...] = c + product if s.accumulate else product
        if s.finish is not None:
            self.finish(s.finish, (batch, m, n))

    def finish(self, finish: Finish, shape: tuple[int, int, int]) -> None:
        """Run the statements for parts of odd sizes, last ones first: no order is promised."""
        batch, m, n = shape
        refs = (finish.batch, finish.row, finish.rows, finish.column, finish.columns)
        for index in range(batch):
            for row in reversed(range(0, m, 3)):
                for column in reversed(range(0, n, 5)):
                    part = (index, row, min(3, m - row), column, min(5, n - column))
                    self.values.update(zip(refs, map(np.int64, part), strict=True))
                    self.block(finish.body)

    def view(self, operand: Any, shape: tuple[int, ...]) -> Any:
        buffer, first, strides = operand
        array = np.atleast_1d(self.array(buffer))[int(self.values[first]) :]
        steps = tuple(int(self.values[r]) * array.itemsize for r in strides)
        return np.lib.stride_tricks.as_strided(array, shape, steps)


def identity(kind: str, dtype: DType) -> Any:
    """What a reduction of nothing gives."""
    if kind == "bits":
        return np.int64(0)
    if kind in ("add", "mul", "and", "or"):
        return dtype.numpy.type(kind in ("mul", "and"))
    if dtype.kind == "b":
        return np.bool_(kind == "min")
    if dtype.is_float:
        return dtype.numpy.type(math.inf if kind == "min" else -math.inf)
    info = np.iinfo(dtype.numpy)
    return dtype.numpy.type(info.max if kind == "min" else info.min)


def convert(value: Any, source: DType, target: DType) -> Any:
    """A cast as in C; floats out of range saturate, NaN gives 0."""
    if target.kind == "b":
        return np.bool_(value != 0)
    if source.is_float and target.kind == "i":
        if np.isnan(value):
            return target.numpy.type(0)
        info = np.iinfo(target.numpy)
        whole = math.inf if math.isinf(value) else math.trunc(float(abs(value)))
        return target.numpy.type(int(max(info.min, min(info.max, whole if value > 0 else -whole))))
    return np.asarray(value).astype(target.numpy)[()]


def compute(op: str, dtype: DType, args: Sequence[Any]) -> Any:
    """One arithmetic instruction on operands of one dtype."""
    if op in ("floordiv", "mod") and not dtype.is_float:
        return _divide(op, dtype, *args)
    if dtype.kind == "i" and op in ("add", "sub", "mul", "term", "neg", "abs", "fma"):
        return _wrap(dtype, int(_NUMBERS[op](*map(int, args))))
    if dtype.kind == "b":
        return np.bool_(_LOGIC[op](*args))
    result = _NUMBERS[op](*args)
    return np.bool_(result) if op in _TESTS else dtype.numpy.type(result)


def _wrap(dtype: DType, value: int) -> Any:
    half = 1 << 8 * dtype.itemsize - 1
    return dtype.numpy.type((value + half) % (2 * half) - half)


def _divide(op: str, dtype: DType, a: Any, b: Any) -> Any:
    if b == 0:
        return dtype.numpy.type(0)
    return _wrap(dtype, int(a) // int(b) if op == "floordiv" else int(a) % int(b))


def _call(name: str, args: list[float]) -> float:
    if any(map(math.isnan, args)):
        return math.nan
    return float(_FUNCTIONS[name](*map(np.float64, args)))


_TESTS = {"isnan", "eq", "ne", "lt", "le", "gt", "ge"}
_NUMBERS: Mapping[str, Any] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "term": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "min": np.minimum,
    "max": np.maximum,
    "neg": lambda a: -a,
    "abs": abs,
    "fma": lambda a, b, c: a * b + c,
    "exact_quotient": lambda a, b, reciprocal: a / b,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "round": np.rint,
    "sqrt": np.sqrt,
    "copysign": np.copysign,
    "isnan": np.isnan,
    "popcount": lambda a: (int(a) & (2**64 - 1)).bit_count(),
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}
_LOGIC: Mapping[str, Any] = {
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "add": lambda a, b: a or b,
    "xor": lambda a, b: a != b,
    "not": lambda a: not a,
    "min": lambda a, b: a and b,
    "max": lambda a, b: a or b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}
_FUNCTIONS: Mapping[str, Any] = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.logaddexp(0, x),
    "sin": np.sin,
    "cos": np.cos,
    "erf_from": lambda x, _: math.erf(x),
    "atan2": np.arctan2,
    "pow": np.power,
}
