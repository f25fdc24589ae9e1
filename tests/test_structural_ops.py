"""Ops on axes where they are hard: ties, zeros, infinities, repeated indices, open sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from gradc.ir.dims import Dim, evaluate_dim, is_nonnegative, size
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function, Value, function, parameter
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Ref
from gradc.ir.lowering import Index, IndexMap, Operand
from gradc.ir.ops.composite import logsumexp, softmax
from gradc.ir.ops.constants import scalar
from gradc.ir.ops.contract import T, contract, matmul
from gradc.ir.ops.elementwise import log
from gradc.ir.ops.indexing import scatter_add, scatter_set, take
from gradc.ir.ops.reductions import argmax, argmin, max_, min_, prod
from gradc.ir.ops.slicing import concat, pad, slice_, update_slice
from gradc.ir.ops.structural import assume_shape, broadcast, reshape, reversed_, sum_, transpose
from gradc.ir.transforms.batch import batch
from gradc.ir.transforms.expand import expand_composites
from gradc.ir.transforms.forward import pushforward
from gradc.ir.transforms.reverse import pullback
from gradc.ir.types import ArrayType, TypeRuleError, bool_, f32, f64, i32, i64
from op_case import Case
from op_table_structural import CASES

n, m = size("n"), size("m")


def of(build: Callable[..., Value], *types: ArrayType) -> Function:
    """The function of parameters of these types that `build` makes of them."""
    given = [parameter(type, f"x{i}") for i, type in enumerate(types)]
    return function("f", given, [build(*given)])


def run(build: Callable[..., Value], *arrays: Any) -> Any:
    """The value of `build` for arrays whose lengths are all static."""
    given = [np.asarray(a) for a in arrays]
    (result,) = evaluate(of(build, *(static(a) for a in given)), *given)
    return result


def static(array: Any) -> ArrayType:
    dtypes = {"f8": f64, "f4": f32, "i8": i64, "i4": i32, "b1": bool_}
    return ArrayType(dtypes[array.dtype.str[1:]], array.shape)


def total(x: Value) -> Value:
    result: Value = sum_(x, axes=tuple(range(x.type.rank)))
    return result


def gradient(build: Callable[..., Value], *types: ArrayType, wrt: int = 0) -> Function:
    """The gradient of the sum over all entries of `build` w.r.t. one parameter."""
    fn = of(lambda *xs: total(build(*xs)), *types)
    pulled = pullback(fn, [wrt])
    *given, seed = pulled.parameters
    one = scalar(1, seed.dtype)
    inner = function("g", (*given, seed), pulled.results[1:], pulled.requires)
    assert seed.type == one.type
    return inner


def derivatives(build: Callable[..., Value], x: Any) -> Any:
    """The gradient of a scalar `build` at x, by reverse and by forward mode, which must agree."""
    x = np.asarray(x)
    (reverse,) = evaluate(gradient(build, static(x)), x, np.ones((), x.dtype))
    pushed = pushforward(of(lambda v: total(build(v)), static(x)), [0])
    forward = np.zeros_like(x)
    for position in np.ndindex(*x.shape):
        direction = np.zeros_like(x)
        direction[position] = 1
        forward[position] = evaluate(pushed, x, direction)[1]
    np.testing.assert_allclose(forward, reverse, rtol=1e-6 if x.dtype == "f4" else 1e-14)
    return reverse


# --- the conventions for derivatives at hard points ---------------------------------------------


@pytest.mark.parametrize("dtype", ("f8", "f4"))
@pytest.mark.parametrize(
    ("build", "x", "wanted"),
    [
        (lambda x: max_(x, axes=(0,)), [2.0, 2.0, 1.0], [0.5, 0.5, 0]),
        (lambda x: max_(x, axes=(0,)), [2.0, nan, 1.0], [0, nan, 0]),
        (lambda x: max_(x, axes=(0,)), [inf, 1.0, inf], [0.5, 0, 0.5]),
        (lambda x: max_(x, axes=(0,)), [-inf, -inf], [0.5, 0.5]),
        (lambda x: max_(x, axes=(0, 1)), [[2.0, 3.0], [3.0, 3.0]], [[0, 1 / 3], [1 / 3, 1 / 3]]),
        (lambda x: min_(x, axes=(1,)), [[2.0, 3.0], [1.0, 1.0]], [[1, 0], [0.5, 0.5]]),
        (lambda x: max_(x, axes=()), [1.0, 2.0], [1, 1]),
        (lambda x: prod(x, axes=(0,)), [0.0, 2.0, 3.0], [6, 0, 0]),
        (lambda x: prod(x, axes=(0,)), [0.0, 2.0, 0.0], [0, 0, 0]),
        (lambda x: prod(x, axes=(0,)), [5.0], [1]),
        (lambda x: prod(x, axes=(0,)), [0.0, 1e15, 1e15, 1e-15], [1e15, 0, 0, 0]),
        (lambda x: logsumexp(x, axes=(0,)), [-inf, -inf], [0, 0]),
        (lambda x: logsumexp(x, axes=(0,)), [inf, 0.0], [1, 0]),
        (lambda x: logsumexp(x, axes=(0,)), [inf, inf, -inf], [0.5, 0.5, 0]),
        (lambda x: logsumexp(x, axes=(0,)), [3.0, -inf], [1, 0]),
        (lambda x: logsumexp(x, axes=(0,)), [1.0, nan], [nan, nan]),
        (lambda x: logsumexp(x, axes=(0,)), [1e4, 1e4], [0.5, 0.5]),
        (lambda x: logsumexp(x, axes=()), [3.0, -inf], [1, 0]),
        # What max leaves out stays out, also where its own derivative is infinite.
        (lambda x: max_(log(x), axes=(0,)), [0.0, 1.0], [0, 1]),
    ],
)
def test_gradient_at_hard_points(build: Any, x: Any, wanted: Any, dtype: str) -> None:
    found = derivatives(build, np.array(x, dtype))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("x", "value", "weights"),
    [
        ([-inf, -inf], -inf, [0, 0]),
        ([inf, 0.0], inf, [1, 0]),
        ([inf, inf], inf, [0.5, 0.5]),
        ([inf, nan], nan, [nan, nan]),
        ([inf, -inf], inf, [1, 0]),
        ([1e4, 1e4 - 1e3], 1e4, [1, 0]),
        ([-1e4, -1e4], -1e4 + np.log(2), [0.5, 0.5]),
        ([], -inf, []),
    ],
)
@pytest.mark.parametrize("expanded", (False, True))
def test_logsumexp_and_softmax_at_infinities(
    x: Any, value: float, weights: Any, expanded: bool
) -> None:
    form = expand_composites if expanded else (lambda fn: fn)
    x = np.array(x, "f8")
    for type in (f64["n"], static(x)):
        (found,) = evaluate(form(of(lambda v: logsumexp(v, axes=(0,)), type)), x)
        np.testing.assert_allclose(found, value, rtol=1e-15)
        (shares,) = evaluate(form(of(lambda v: softmax(v, axes=(0,)), type)), x)
        np.testing.assert_allclose(shares, weights, rtol=1e-15)


def test_expansions_are_the_reference() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4, 2)) * 20
    for op in (logsumexp, softmax, argmax, argmin):
        attrs = {"axis": 1} if op in (argmax, argmin) else {"axes": (0, 1)}
        fn = of(lambda v, op=op, attrs=attrs: op(v, **attrs), f64["n", 4, "m"])
        (plain,), (expanded,) = evaluate(fn, x), evaluate(expand_composites(fn), x)
        np.testing.assert_allclose(expanded, plain, rtol=1e-14)


@pytest.mark.parametrize("op, reference", [(argmax, np.argmax), (argmin, np.argmin)])
def test_argmax_takes_the_first_of_equals_and_nan_before_all(op: Any, reference: Any) -> None:
    x = np.array([[1.0, 3, 3, 1], [nan, 9, nan, 0], [inf, -inf, inf, -inf], [2, 2, 2, 2]])
    for form in (lambda fn: fn, expand_composites):
        (found,) = evaluate(form(of(lambda v: op(v, axis=1), f64["n", "m"])), x)
        assert found.tolist() == reference(x, axis=1).tolist()


# --- prod at every order -------------------------------------------------------------------------


@pytest.mark.parametrize("length", (1, 2, 3, 4, 5, 8, 9))
@pytest.mark.parametrize("symbolic", (False, True))
def test_products_of_others_differentiate_twice_beside_zeros(length: int, symbolic: bool) -> None:
    """d^2 prod / dx_i dx_j is the product of all other entries, whichever of them are zero."""
    type = f64["n"] if symbolic else f64[length]
    first = gradient(lambda x: prod(x, axes=(0,)), type)
    second = pushforward(first, [0])
    rng = np.random.default_rng(length)
    for zeros in range(min(length, 3) + 1):
        x = rng.uniform(0.5, 2, length)
        x[:zeros] = 0
        for j in range(length):
            direction = np.zeros(length)
            direction[j] = 1
            column = evaluate(second, x, np.ones(()), direction)[1]
            wanted = [
                0.0 if i == j else float(np.prod(np.delete(x, [i, j]))) for i in range(length)
            ]
            np.testing.assert_allclose(column, wanted, rtol=1e-13)


@pytest.mark.parametrize("length", (15, 16, 17, 300))
@pytest.mark.parametrize("zeros", (0, 1, 2))
def test_products_of_others_of_any_length(length: int, zeros: int) -> None:
    x = np.random.default_rng(length).uniform(0.5, 1.5, (2, length))
    x[1, 7 : 7 + zeros] = 0
    wanted = [[np.prod(np.delete(row, i)) for i in range(length)] for row in x]
    (found,) = evaluate(gradient(lambda v: prod(v, axes=(1,)), f64["k", "n"]), x, np.ones(()))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


# --- repeated and invalid indices ---------------------------------------------------------------


def test_the_last_of_repeated_indices_wins() -> None:
    base, indices = np.array([1.0, 2, 3]), np.array([[2, 0], [2, 2]])
    updates = np.array([[10.0, 20], [30, 40]])
    fn = of(lambda b, i, u: scatter_set(b, i, u, axis=0), f64["n"], i64[2, 2], f64[2, 2])
    result, to_base, to_updates = evaluate(
        pullback(fn, [0, 2]), base, indices, updates, np.array([5.0, 6, 7])
    )
    assert result.tolist() == [20, 2, 40]
    assert to_base.tolist() == [0, 6, 0]
    assert to_updates.tolist() == [[0, 5], [0, 7]]
    _, pushed = evaluate(
        pushforward(fn, [0, 2]), base, indices, updates, np.array([1.0, 2, 3]), updates
    )
    assert pushed.tolist() == [20, 2, 40]


def test_repeated_indices_collect_all_cotangents() -> None:
    fn = of(lambda x, i: take(x, i, axis=0), f64["n"], i32[3])
    x, indices = np.array([1.0, 2]), np.array([1, 1, 0], "i4")
    taken, pulled = evaluate(pullback(fn, [0]), x, indices, np.array([1.0, 10, 100]))
    assert taken.tolist() == [2, 2, 1]
    assert pulled.tolist() == [100, 11]


@pytest.mark.parametrize("bad", (-1, 3))
def test_an_index_out_of_range_is_named(bad: int) -> None:
    x, indices = np.zeros((2, 3)), np.array([0, bad])
    with pytest.raises(IndexError, match=f"take: the index {bad} .* axis 1 with length 3"):
        run(lambda v, i: take(v, i, axis=1), x, indices)
    for op in (scatter_add, scatter_set):
        with pytest.raises(IndexError, match=f"{op.name}: the index {bad} "):
            run(lambda v, i, u, op=op: op(v, i, u, axis=1), x, indices, np.zeros((2, 2)))


@pytest.mark.parametrize("bad", (-1, 3))
def test_an_index_in_a_batch_does_not_reach_the_next_example(bad: int) -> None:
    x, indices = np.zeros((2, 3)), np.array([[0], [1]])
    taking = batch(of(lambda v, i: take(v, i, axis=0), f64[3], i64[1]), [0, 0], size("b"))
    writing = batch(
        of(lambda v, i, u: scatter_add(v, i, u, axis=0), f64[3], i64[1], f64[1]),
        [0, 0, 0],
        size("b"),
    )
    evaluate(taking, x, indices)
    indices[0] = bad
    with pytest.raises(IndexError):
        evaluate(taking, x, indices)
    with pytest.raises(IndexError):
        evaluate(writing, x, indices, np.ones((2, 1)))


# --- matmul --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((3,), (3, 4)),
        ((2, 3), (3, 4)),
        ((5, 2, 3), (5, 3, 4)),
        ((6, 5, 2, 3), (6, 5, 3, 4)),
        ((5, 2, 3), (3,)),
        ((3,), (5, 3, 4)),
        ((5, 2, 3), (3, 4)),
        ((2, 3), (6, 5, 3, 4)),
        ((1, 2, 3), (5, 3, 4)),
        ((6, 1, 2, 3), (5, 3, 4)),
        ((1, 1, 3), (1, 3, 1)),
        ((0, 3), (3, 4)),
        ((2, 0), (0, 4)),
    ],
)
def test_matmul_is_numpys(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=a), rng.normal(size=b)
    for dtype, tolerance in (("f8", 1e-14), ("f4", 1e-5), ("i8", 0)):
        left, right = (5 * x).astype(dtype), (5 * y).astype(dtype)
        found = run(matmul, left, right)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, left @ right, rtol=tolerance, atol=tolerance)
    assert run(T, x).tolist() == x.T.tolist()
    found = run(matmul, x > 0, y > 0)
    assert found.dtype == bool
    assert np.array_equal(found, (x > 0) @ (y > 0))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (f64["d", "n"], f64["d"], r"last axis of the left operand has the length n, the only"),
        (f64[3], f64[4, 5], r"has the length 3, the last but one axis of the right one 4"),
        (f64[2, 3, 4], f64[3, 4, 5], r"the leading axes 2 and 3 differ"),
        (f64[3], f32[3], r"one dtype"),
        (f64[()], f64[3], r"at least one axis"),
    ],
)
def test_matmul_says_what_does_not_fit(a: ArrayType, b: ArrayType, message: str) -> None:
    with pytest.raises(TypeRuleError, match=message):
        matmul(parameter(a), parameter(b))


# --- conditions on sizes -------------------------------------------------------------------------


def conditions(build: Callable[..., Value], *types: ArrayType) -> list[str]:
    return [f"{r.dim} {r.relation}" for r in of(build, *types).requires]


def test_conditions_are_those_that_the_types_leave_open() -> None:
    assert conditions(lambda x: x_slice(x, 5, 7), f64["n"]) == ["n - 7 >= 0"]
    assert conditions(lambda x: x_slice(x, 0, n), f64["n"]) == []
    assert conditions(lambda x: x_slice(x, 1, n), f64["n"]) == ["n - 1 >= 0"]
    assert conditions(lambda x: reshape(x, shape=(3, 4)), f64["n", 2]) == ["2*n - 12 == 0"]
    assert conditions(lambda x: reshape(x, shape=(2, n)), f64["n", 2]) == []
    assert conditions(lambda x: assume_shape(x, shape=(n, 3)), f64["m", 3]) == ["m - n == 0"]
    assert conditions(lambda x: max_(x, axes=(0, 1)), f64["n", 3]) == ["n - 1 >= 0"]
    assert conditions(lambda x: max_(x, axes=(0,)), f64["n+1"]) == []
    assert conditions(lambda x: argmin(x, axis=0), f64["n"]) == ["n - 1 >= 0"]
    update = conditions(
        lambda x, u: update_slice(x, u, starts=(2,), steps=(3,)), f64["n"], f64["m"]
    )
    assert update == ["-3*m + n >= 0"]


def x_slice(x: Value, start: Dim, stop: Dim, step: int = 1) -> Value:
    result: Value = slice_(x, starts=(start,), stops=(stop,), steps=(step,))
    return result


def test_a_condition_that_fails_says_what_was_needed() -> None:
    fn = of(lambda x: x_slice(x, 5, 7), f64["n"])
    with pytest.raises(ValueError, match=r"slice 5:7 of axis 0 .* needs n >= 7"):
        evaluate(fn, np.zeros(6))
    assert evaluate(fn, np.arange(7.0))[0].tolist() == [5, 6]


@pytest.mark.parametrize("step", (1, 2, 3, 5))
@pytest.mark.parametrize("start", (0, 1, 2))
def test_symbolic_strided_slices_and_their_adjoints(start: int, step: int) -> None:
    """x[start::step] for every length, the empty slice included."""
    fn = of(lambda x: x_slice(x, start, n, step), f64["n"])
    pulled = pullback(fn, [0])
    for length in range(max(start - step + 1, 0), 9):
        x = np.arange(length) + 1.0
        (value,) = evaluate(fn, x)
        assert value.tolist() == x[start::step].tolist()
        cotangent = np.zeros(length)
        cotangent[start::step] = value
        assert evaluate(pulled, x, value)[1].tolist() == cotangent.tolist()
    assert pulled.requires == fn.requires  # the adjoint needs nothing else


@pytest.mark.parametrize(
    ("dim", "certain"),
    [
        (n - 2 * (n // 2), True),
        (16 * ((n + 15) // 16) - n, True),
        ((n + 1) // 2 - n // 2, True),
        ((n * m) // 3 + n, True),
        (n - 2 * ((n + 1) // 2), False),
        (n // 2 - 1, False),
        (n - m // 2, False),
    ],
)
def test_signs_of_sizes_with_divisions(dim: Dim, certain: bool) -> None:
    assert is_nonnegative(dim) == certain
    below = -1 - dim
    assert isinstance(below, int) or below.is_negative == certain
    values = [evaluate_dim(dim, {"n": i, "m": j}) for i in range(9) for j in range(9)]
    assert certain == all(value >= 0 for value in values)


a, b = parameter(f64[3, "n"]), parameter(f64["n", 4])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: broadcast(a, shape=(3, 5), axes=(0, 1)), r"f64\[3, n\] cannot become f64\[3, 5\]"),
        (lambda: broadcast(a, shape=(n, 3), axes=(1, 0)), "must ascend"),
        (lambda: broadcast(a, shape=(3, n), axes=(0,)), "1 axes"),
        (lambda: sum_(a, axes=(2,)), r"axes \(2,\) of an array f64\[3, n\]"),
        (lambda: sum_(parameter(f64[()]), axes=(0,)), "a scalar, which has none"),
        (lambda: sum_(parameter(bool_[3]), axes=(0,)), "cast it first"),
        (lambda: sum_(a, axes=[0]), r"a tuple of integers, not \[0\]"),
        (lambda: max_(a, axes=(0.5,)), r"a tuple of integers, not \(0.5,\)"),
        (lambda: broadcast(a, shape=(-1, 3, n), axes=(1, 2)), "a length is not negative"),
        (lambda: reshape(a, shape=("n", 3)), "a tuple of integers and sizes"),
        (lambda: transpose(a, permutation=(0, 0)), "no permutation"),
        (lambda: reshape(parameter(f64[3, 2]), shape=(5,)), "6 elements, but"),
        (lambda: reshape(parameter(f64["n"]), shape=(n + 1,)), "n elements, but"),
        (lambda: assume_shape(a, shape=(4, n)), "must have the length 4"),
        (lambda: assume_shape(a, shape=(3,)), "2 axes, 1 were expected"),
        (lambda: reversed_(a, axes=(1, 0)), "must ascend"),
        (lambda: slice_(a, starts=(0,), stops=(1,), steps=(1,)), "starts has 1 entries"),
        (lambda: slice_(a, starts=(0, 0), stops=(4, n), steps=(1, 1)), "needs 3 >= 4"),
        (lambda: slice_(a, starts=(-1, 0), stops=(1, n), steps=(1, 1)), "needs -1 >= 0"),
        (lambda: slice_(a, starts=(2, 0), stops=(1, n), steps=(1, 1)), "needs 1 >= 2"),
        (lambda: slice_(a, starts=(0, 0), stops=(1, n), steps=(0, 1)), "positive integers"),
        (lambda: slice_(a, starts=(0, 0), stops=(3, n + 1), steps=(1, 1)), r"needs n >= n \+ 1"),
        (lambda: pad(a, a, low=(0, 0), high=(0, 0), interior=(0, 0)), "fill of"),
        (lambda: pad_all(a, -1), "needs -1 >= 0"),
        (lambda: update_slice(a, a, starts=(1, 0), steps=(1, 1)), "needs 3 >= 4"),
        (lambda: update_slice(a, sum_(a, axes=(0,)), starts=(0, 0), steps=(1, 1)), "rank"),
        (lambda: concat(a, b, axis=0), "may differ only in the length of axis 0"),
        (lambda: concat(axis=0), "at least one"),
        (lambda: concat(a, axis=2), "no axis 2"),
        (lambda: take(a, a, axis=0), "integer indices"),
        (lambda: take(a, parameter(i64[()]), axis=2), "no axis 2"),
        (lambda: scatter_add(a, parameter(i64[5]), a, axis=1), r"updates of type f64\[3, 5\]"),
        (lambda: max_(parameter(f64[0, 3]), axes=(0,)), "needs at least one entry there: 0 >= 1"),
        (lambda: max_(parameter(bool_[3]), axes=(0,)), "numbers"),
        (lambda: argmax(parameter(f64[0]), axis=0), "at least one entry"),
        (lambda: logsumexp(parameter(i64[3]), axes=(0,)), "floats"),
        (lambda: softmax(a, axes=(5,)), "axes"),
        (lambda: contract(a, a, lhs=(0, 1), rhs=(1, 2), out=(0, 2)), "axis 1 of .* length n"),
        (lambda: contract(a, b, lhs=(0, 0), rhs=(0, 1), out=(1,)), "repeats"),
        (lambda: contract(a, b, lhs=(0, 1), rhs=(1, 2), out=(0,)), "label 2 stands only once"),
        (lambda: contract(a, b, lhs=(0,), rhs=(0, 1), out=(1,)), "one label an axis"),
    ],
)
def test_type_rules_refuse_with_the_reason(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeRuleError, match=message):
        build()


def pad_all(x: Value, width: int) -> Value:
    widths = (width,) * x.type.rank
    none = (0,) * x.type.rank
    result: Value = pad(x, scalar(0, x.dtype), low=widths, high=widths, interior=none)
    return result


# --- how they are read ---------------------------------------------------------------------------


def reads_of(case: Case) -> tuple[Index, Sequence[list[tuple[Ref, ...]]], Sequence[Any]]:
    """The coordinates at which a reading rule reads each operand, for a position of the result."""
    made = case.function(f64).results[0].owner
    assert made is not None
    k = LoopBuilder()
    position = tuple(k.size(size(f"i{axis}")) for axis in range(made.outputs[0].type.rank))
    index = Index(k, made.outputs[0].shape, position)
    reads: list[list[tuple[Ref, ...]]] = [[] for _ in made.inputs]

    def operand(number: int, value: Value) -> Operand:
        def read(at: Index) -> Ref:
            reads[number].append(at.coordinates)
            return k.const(0, value.dtype)

        return Operand(value.type, read, k)

    rule = made.op.lower
    assert isinstance(rule, IndexMap)
    operands = [operand(i, value) for i, value in enumerate(made.inputs)]
    rule.read(k, index, operands, **made.attrs)
    alignment = rule.align(*(value.type for value in made.inputs), **made.attrs)
    return index, reads, alignment


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if isinstance(case.op.lower, IndexMap)],
    ids=lambda case: case.name,
)
def test_aligned_axes_are_read_at_the_same_coordinate(case: Case) -> None:
    """What `align` claims of an axis is what the reading rule does: the very same ref."""
    index, reads, alignment = reads_of(case)
    assert len(alignment) == len(reads)
    for own, read in zip(alignment, reads, strict=True):
        for coordinates in read:
            assert len(own) == len(coordinates)
            for axis, coordinate in zip(own, coordinates, strict=True):
                assert axis is None or coordinate is index.coordinates[axis]


def test_a_flat_position_passes_through_reshapes_undivided() -> None:
    k = LoopBuilder()
    flat = k.size(size("i"))
    index = Index(k, (n, 6), flat=flat).reshaped((n, 2, 3)).reshaped((6 * n,))
    assert index.flat is flat
    assert not k.divided


def test_only_axes_that_are_split_are_divided() -> None:
    k = LoopBuilder()
    row, column = k.size(size("i")), k.size(size("j"))
    index = Index(k, (n, 6), (row, column)).reshaped((n, 1, 2, 3))
    assert index.coordinates[0] is row
    assert k.divided
    assert index.flat is Index(k, (n, 6), (row, column)).flat


def test_a_row_keeps_its_coordinate_when_its_columns_are_reshaped() -> None:
    k = LoopBuilder()
    row, column = k.size(size("i")), k.size(size("j"))
    index = Index(k, (n, 6), (row, column)).reshaped((1, n, 2, 3)).reshaped((n, 1, 6))
    assert index.coordinates[0] is row
    assert index.coordinates[2] is column
    assert not k.divided


def test_what_would_be_wrong_is_not_said_of_what_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Type rules run for every equation: messages are written where they are needed."""
    x, zero = parameter(f64[n, 6]), scalar(0.0, f64)
    monkeypatch.setattr(ArrayType, "__str__", None)
    part = slice_(x, starts=(0, 1), stops=(n, 5), steps=(1, 2))
    assert pad(part, zero, low=(0, 1), high=(n, 0), interior=(0, 0)).shape == (2 * n, 3)
    assert update_slice(x, part, starts=(0, 1), steps=(1, 2)).shape == x.shape
    assert reshape(x, shape=(n, 2, 3)).shape == (n, 2, 3)
