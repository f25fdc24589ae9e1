"""One table drives every op: type, value, both derivatives, second order, batches, no elements.

The rows stand in `op_table.py` and `op_table_structural.py`. `test_ops_native.py` runs them
compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import op_table
import op_table_blocks
import op_table_custom
import op_table_structural
import pytest
from gradc.ir.dims import size
from gradc.ir.evaluate import bound, evaluate
from gradc.ir.function import Function, function, parameter
from gradc.ir.ops.arithmetic import mul
from gradc.ir.ops.structural import sum_
from gradc.ir.ops.table import ALL_OPS
from gradc.ir.transforms.forward import pushforward
from gradc.ir.transforms.reverse import pullback
from gradc.ir.types import ArrayType, DType, f32, f64
from op_case import Case

CASES: tuple[Case, ...] = (
    *op_table.CASES,
    *op_table_structural.CASES,
    *op_table_custom.CASES,
    *op_table_blocks.CASES,
)
BATCH = 2


def moving(case: Case, real: DType) -> list[int]:
    """The positions of the inputs that have a derivative."""
    if not case.function(real).results[0].dtype.is_float:
        return []
    return [i for i, x in enumerate(case.operands) if x.type(real).dtype.is_float]


def holds_f32(case: Case) -> bool:
    """Whether the case computes in f32 whatever the dtype under test is."""
    fn = case.function(f64)
    return any(value.dtype is f32 for value in (*fn.parameters, *fn.results))


def listed(cases: Sequence[Case], dtypes: Sequence[DType] = (f64, f32)) -> pytest.MarkDecorator:
    """Parameters `case` and `real`: in f64, and in f32 where that makes a difference."""
    chosen = [
        pytest.param(case, real, id=f"{case.name}-{real}")
        for case in cases
        for real in dtypes
        if real is f64 or any(x.dtype is None for x in case.operands)
    ]
    return pytest.mark.parametrize(("case", "real"), chosen)


DIFFERENTIABLE = tuple(case for case in CASES if moving(case, f64))
SMOOTH = tuple(case for case in DIFFERENTIABLE if not holds_f32(case))


def rounding(dtype: Any) -> float:
    """The relative rounding error of a dtype; 0 for integers."""
    return float(np.finfo(dtype).eps) if np.dtype(dtype).kind == "f" else 0.0


def along(arrays: Sequence[Any], wrt: Sequence[int], by: Sequence[Any], step: float) -> list[Any]:
    """The inputs, those in `wrt` moved by `step` along `by`."""
    moved = list(arrays)
    for i, direction in zip(wrt, by, strict=True):
        moved[i] = arrays[i] + step * direction
    return moved


def differences(fn: Callable[..., Any], arrays: Any, wrt: Any, by: Any) -> list[Any]:
    """The derivative of `fn` along `by`: central differences, error about 1e-10 relative."""
    step = 1e-5
    above, below, further, lower = (fn(*along(arrays, wrt, by, s * step)) for s in (1, -1, 2, -2))
    return [
        (8 * (a - b) - (c - d)) / (12 * step)
        for a, b, c, d in zip(above, below, further, lower, strict=True)
    ]


def directions(arrays: Sequence[Any], seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(a.shape)).astype(a.dtype) for a in arrays]


def widened(arrays: Sequence[Any]) -> list[Any]:
    """The arrays, floats as f64."""
    return [a.astype("f8") if a.dtype.kind == "f" else a for a in arrays]


def assert_near(actual: Any, wanted: Any, case: Case, *, loosened: float = 1.0) -> None:
    actual = np.asarray(actual)
    tolerance = loosened * case.tolerance * rounding(actual.dtype)
    np.testing.assert_allclose(actual, wanted, rtol=tolerance, atol=tolerance)


def test_every_op_has_a_case() -> None:
    missing = {op.name for op in ALL_OPS} - {case.op.name for case in CASES}
    assert not missing, f"add rows to tests/op_table.py for {sorted(missing)}"


def test_names_of_ops_and_cases_differ() -> None:
    assert len({op.name for op in ALL_OPS}) == len(ALL_OPS)
    assert len({case.name for case in CASES}) == len(CASES)


@listed(CASES)
def test_value(case: Case, real: DType) -> None:
    """The value is what NumPy or Python compute, in the type that the type rule says."""
    fn, arrays = case.function(real), case.arrays(real, case.sizes)
    results = evaluate(fn, *arrays)
    for value, actual, wanted in zip(
        fn.results, results, case.values(widened(arrays), case.sizes), strict=True
    ):
        assert actual.dtype == value.dtype.numpy
        assert actual.shape == bound(value.shape, case.sizes) == np.shape(wanted)
        assert_near(actual, wanted, case)


@listed([case for case in CASES if case.empty is not None])
def test_no_elements(case: Case, real: DType) -> None:
    """Arrays without elements pass through the op and both its derivatives."""
    assert case.empty is not None
    fn, arrays, wrt = case.function(real), case.arrays(real, case.empty), moving(case, real)
    results = evaluate(fn, *arrays)
    for actual, wanted in zip(results, case.values(arrays, case.empty), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=case.tolerance * rounding(actual.dtype))
    if not wrt:
        return
    tangents = directions([arrays[i] for i in wrt], 0)
    (_, tangent) = evaluate(pushforward(fn, wrt), *arrays, *tangents)
    assert tangent.shape == results[0].shape
    cotangents = evaluate(pullback(fn, wrt), *arrays, *directions(results, 1))[1:]
    assert [c.shape for c in cotangents] == [arrays[i].shape for i in wrt]


@listed(SMOOTH)
def test_forward_against_differences(case: Case, real: DType) -> None:
    """The tangent is the difference quotient, in f64; in f32 it is the f64 one."""
    wrt, arrays = moving(case, real), case.arrays(real, case.sizes)
    by = directions([arrays[i] for i in wrt], 2)
    (actual,) = evaluate(pushforward(case.function(real), wrt), *arrays, *by)[1:]
    reference = case.function(f64)
    wide, wide_by = widened(arrays), widened(by)
    (exact,) = evaluate(pushforward(reference, wrt), *wide, *wide_by)[1:]
    (quotient,) = differences(lambda *xs: evaluate(reference, *xs), wide, wrt, wide_by)
    np.testing.assert_allclose(exact, quotient, rtol=1e-7, atol=1e-7)
    assert_near(actual, exact, case, loosened=10)


@listed(DIFFERENTIABLE)
def test_reverse_is_the_adjoint_of_forward(case: Case, real: DType) -> None:
    """<cotangent, J tangent> = <J^T cotangent, tangent>, in each input alone and in all."""
    wrt, arrays, fn = moving(case, real), case.arrays(real, case.sizes), case.function(real)
    for chosen in [[i] for i in wrt] + ([wrt] if len(wrt) > 1 else []):
        tangents = directions([arrays[i] for i in chosen], 3)
        result, pushed = evaluate(pushforward(fn, chosen), *arrays, *tangents)
        (cotangent,) = directions([result], 4)
        pulled = evaluate(pullback(fn, chosen), *arrays, cotangent)[1:]
        assert [c.dtype for c in pulled] == [arrays[i].dtype for i in chosen]
        terms = cotangent.astype("f8") * pushed
        reverse = sum(np.sum(c.astype("f8") * t) for c, t in zip(pulled, tangents, strict=True))
        scale = max(float(np.sum(np.abs(terms))), 1.0)
        smallest = max(rounding(a.dtype) for a in (result, *tangents))
        assert abs(np.sum(terms) - reverse) <= 10 * case.tolerance * smallest * scale


def gradient_of_a_product(case: Case, real: DType, wrt: Sequence[int]) -> Function:
    """The gradient of sum(weights * f(...)) w.r.t. `wrt`, a function of the inputs and weights."""
    fn = case.function(real)
    weights = parameter(fn.results[0].type, "weights")
    product = mul(fn.results[0], weights)
    total = sum_(product, axes=tuple(range(product.type.rank)))
    weighted = function("weighted", (*fn.parameters, weights), (total,))
    pulled = pullback(weighted, wrt)
    return function("gradient", pulled.parameters, pulled.results[1:], pulled.requires)


@listed(SMOOTH, (f64,))
def test_second_order(case: Case, real: DType) -> None:
    """Forward over reverse: the difference of gradients. Reverse over reverse: its adjoint."""
    wrt, arrays = moving(case, real), case.arrays(real, case.sizes)
    gradient = gradient_of_a_product(case, real, wrt)
    (result,) = evaluate(case.function(real), *arrays)
    given = [*arrays, *directions([result], 5), np.ones(())]
    by = directions([arrays[i] for i in wrt], 6)
    count = len(wrt)
    pushed = evaluate(pushforward(gradient, wrt), *given, *by)[count:]
    quotients = differences(lambda *xs: evaluate(gradient, *xs), given, wrt, by)
    for actual, quotient in zip(pushed, quotients, strict=True):
        np.testing.assert_allclose(actual, quotient, rtol=1e-6, atol=1e-6)
    weights = directions(pushed, 7)
    pulled = evaluate(pullback(gradient, wrt), *given, *weights)[count:]
    forward = sum(np.sum(a * b) for a, b in zip(pushed, weights, strict=True))
    reverse = sum(np.sum(a * b) for a, b in zip(pulled, by, strict=True))
    np.testing.assert_allclose(forward, reverse, rtol=1e-9, atol=1e-9)


def batched_function(case: Case, real: DType, flags: Sequence[bool]) -> Function:
    """The op for a batch of inputs, by its batch rule."""
    b = size("batch")
    given = [
        parameter(ArrayType(t.dtype, (b, *t.shape)) if flag else t, f"x{i}")
        for i, (t, flag) in enumerate(
            zip((x.type(real) for x in case.operands), flags, strict=True)
        )
    ]
    result = case.op.batch(tuple(given), tuple(flags), b if any(flags) else BATCH, **case.attrs)
    return function("batched", given, result if isinstance(result, tuple) else (result,))


@listed(CASES)
def test_batch_is_a_loop(case: Case, real: DType) -> None:
    """A batch of any of the inputs computes what one example after another does."""
    fn, count = case.function(real), len(case.operands)
    choices = {(True,) * count, *(tuple(i == j for j in range(count)) for i in range(count))}
    single = case.arrays(real, case.sizes)
    other = [np.flip(a) if a.size else a for a in single]
    for flags in sorted(choices):
        arrays = [
            np.stack([a, b]) if flag else a for a, b, flag in zip(single, other, flags, strict=True)
        ]
        results = evaluate(batched_function(case, real, flags), *arrays)
        for example in range(BATCH):
            picked = [a[example] if flag else a for a, flag in zip(arrays, flags, strict=True)]
            for many, one in zip(results, evaluate(fn, *picked), strict=True):
                assert many.dtype == one.dtype
                assert_near(many[example], one, case)
