"""Seeded random programs over the graph IR: combinations find what tables of single ops miss.

Values stay of moderate size, and the ops are smooth where they are drawn, except for the kinks of
`abs`, `maximum`, `where` and their kin, which a random point hits with probability zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from gradc.ir.dims import Dim, Shape, evaluate_dim, is_nonnegative, product, size
from gradc.ir.function import Function, Value, function, parameter
from gradc.ir.op import Cotangent
from gradc.ir.ops import (
    arithmetic,
    composite,
    constants,
    elementwise,
    indexing,
    logarithms,
    logic,
    reductions,
    scans,
    slicing,
    sorting,
    structural,
)
from gradc.ir.ops.cast import cast
from gradc.ir.ops.contract import contract
from gradc.ir.transforms.forward import push_tangents
from gradc.ir.transforms.reverse import pull_cotangents
from gradc.ir.types import ArrayType, DType, f64, i64

N, M = size("n"), size("m")


@dataclass(slots=True)
class Generator:
    """Grows a graph: a pool of float values and what can be done with them."""

    rng: np.random.Generator
    dtype: DType
    n: Dim
    m: Dim
    pool: list[Value] = field(default_factory=list)

    def choose(self, options: list[Value]) -> Value:
        """One of them, the younger the likelier."""
        weights = np.arange(1, len(options) + 1, dtype=float)
        return options[self.rng.choice(len(options), p=weights / weights.sum())]

    def any(self, min_rank: int = 0) -> Value:
        """Some value of at least this rank (a parameter always has one)."""
        return self.choose([v for v in self.pool if v.type.rank >= min_rank])

    def like(self, value: Value) -> Value:
        """Some value of the same type."""
        return self.choose([v for v in self.pool if v.type == value.type])

    def dim(self) -> Dim:
        """The length of a new axis."""
        dims = (self.n, self.n, self.m, self.m, 3, 2)
        return dims[self.rng.integers(len(dims))]

    def axis(self, value: Value) -> int:
        return int(self.rng.integers(value.type.rank))


def _unary(g: Generator) -> Value:
    x = g.any()
    choices: list[Callable[[Value], Value]] = [
        elementwise.tanh,
        elementwise.sigmoid,
        elementwise.sin,
        elementwise.cos,
        elementwise.softplus,
        elementwise.erf,
        lambda v: elementwise.exp(elementwise.tanh(v)),
        lambda v: elementwise.expm1(elementwise.sin(v)),
        lambda v: elementwise.log(elementwise.softplus(v) + 0.5),
        lambda v: elementwise.log1p(v * v),
        lambda v: elementwise.sqrt(v * v + 0.5),
        lambda v: 1.0 / (1.5 + elementwise.cos(v)),
        lambda v: arithmetic.pow_(elementwise.softplus(v) + 0.3, _full(v, 1.7)),
        arithmetic.abs_,
        lambda v: arithmetic.clip(v, _full(v, -0.7), _full(v, 0.9)),
        lambda v: -v,
    ]
    return choices[g.rng.integers(len(choices))](x)


def _binary(g: Generator) -> Value:
    x = g.any()
    y = g.like(x)
    choices: list[Callable[[], Value]] = [
        lambda: x + y,
        lambda: x - y,
        lambda: x * y,
        lambda: x / (y * y + 0.7),
        lambda: arithmetic.maximum(x, y),
        lambda: arithmetic.minimum(x, elementwise.sin(y)),
        lambda: elementwise.arctan2(x, y * y + 0.4),
        lambda: logic.where(logic.lt(x, y), elementwise.sin(x), y * 0.5),
        lambda: logic.where(
            logic.logical_and(logic.gt(x, _full(x, 0.1)), logic.le(y, x)), y, elementwise.tanh(x)
        ),
        lambda: arithmetic.remainder(x, _full(x, 2.0)) * y,
    ]
    return choices[g.rng.integers(len(choices))]()


def _full(like: Value, value: float) -> Value:
    return constants.full(like.shape, value, like.dtype)


def _broadcast(g: Generator) -> Value:
    x = g.any()
    if x.type.rank >= 3:
        return elementwise.sin(x)
    at = int(g.rng.integers(x.type.rank + 1))
    shape = (*x.shape[:at], g.dim(), *x.shape[at:])
    return structural.broadcast(x, shape=shape, axes=_without(len(shape), at))


def _without(rank: int, axis: int) -> tuple[int, ...]:
    return tuple(a for a in range(rank) if a != axis)


def _transpose(g: Generator) -> Value:
    x = g.any(1)
    order = tuple(int(a) for a in g.rng.permutation(x.type.rank))
    return structural.transpose(x, permutation=order)


def _reshape(g: Generator) -> Value:
    x = g.any(1)
    shape: Shape = (product(x.shape),) if g.rng.random() < 0.5 else (*x.shape, 1)
    flat = structural.reshape(elementwise.sin(x), shape=shape)
    return structural.reshape(flat * 1.5, shape=x.shape)


def _slice(g: Generator) -> Value:
    x = g.any(1)
    axis = g.axis(x)
    length = x.shape[axis]
    step = int(g.rng.integers(1, 3))
    starts, stops = [0] * x.type.rank, list(x.shape)
    starts[axis] = int(g.rng.integers(0, 2))
    steps = tuple(step if a == axis else 1 for a in range(x.type.rank))
    part = slicing.slice_(x, starts=tuple(starts), stops=tuple(stops), steps=steps)
    if g.rng.random() < 0.4:
        return slicing.update_slice(x, elementwise.cos(part), starts=tuple(starts), steps=steps)
    taken = part.shape[axis]
    low = tuple(starts)
    interior = tuple(s - 1 for s in steps)
    end = length - starts[axis] - ((taken - 1) * step + 1)
    if not (isinstance(end, int) and end >= 0) and not is_nonnegative(end):
        return reductions.sum_(part, axes=(axis,))
    high = tuple(end if a == axis else 0 for a in range(x.type.rank))
    fill = constants.full((), 0.25, x.dtype)
    return slicing.pad(part, fill, low=low, high=high, interior=interior)


def _reverse(g: Generator) -> Value:
    x = g.any(1)
    return structural.reversed_(x, axes=(g.axis(x),))


def _concat(g: Generator) -> Value:
    x = g.any(1)
    axis = g.axis(x)
    y = g.like(x)
    both = slicing.concat(x, elementwise.sin(y), axis=axis)
    return reductions.max_(both, axes=(axis,)) if g.rng.random() < 0.5 else _mean(both, axis)


def _mean(x: Value, axis: int) -> Value:
    total = reductions.sum_(x, axes=(axis,))
    count = cast(constants.size_value(dim=x.shape[axis]), dtype=x.dtype)
    shape = total.shape
    return total / structural.broadcast(count, shape=shape, axes=())


def _take(g: Generator) -> Value:
    x = g.any(1)
    axis = g.axis(x)
    length = x.shape[axis]
    count = constants.size_value(dim=length)
    steps = constants.iota(size=g.m, dtype=i64)
    wide = structural.broadcast(count, shape=(g.m,), axes=())
    rows = arithmetic.remainder(steps * 7 + 1, wide)  # valid, with duplicates
    taken = indexing.take(x, rows, axis=axis)
    kind = g.rng.integers(3)
    if kind == 0:
        return _mean(taken, axis)
    op = indexing.scatter_add if kind == 1 else indexing.scatter_set
    return op(elementwise.sin(x), rows, elementwise.tanh(taken), axis=axis)


def _reduce(g: Generator) -> Value:
    x = g.any(1)
    axes = tuple(a for a in range(x.type.rank) if g.rng.random() < 0.6) or (g.axis(x),)
    kind = g.rng.integers(6)
    if kind == 0:
        return reductions.max_(x, axes=axes)
    if kind == 1:
        return reductions.min_(elementwise.sin(x), axes=axes)
    if kind == 2:
        return composite.logsumexp(x, axes=axes)
    if kind == 3:
        return composite.softmax(x, axes=axes) * elementwise.cos(x)  # sums of it alone would tie
    if kind == 4:
        return reductions.prod(1.0 + 0.1 * elementwise.sin(x), axes=axes)
    return 0.3 * reductions.sum_(elementwise.tanh(x), axes=axes)


def _contract(g: Generator) -> Value:
    a, b = g.any(1), g.any(1)
    labels = list(range(a.type.rank))
    extents = dict(zip(labels, a.shape, strict=True))
    rhs: list[int] = []
    for dim in b.shape:
        same = [x for x in labels if extents[x] == dim and x not in rhs]
        fresh = len(extents)
        label = same[0] if same and g.rng.random() < 0.8 else fresh
        extents[label] = dim
        rhs.append(label)
    lhs = tuple(labels)
    shared = [x for x in lhs if x in rhs]
    kept = [x for x in shared if g.rng.random() < 0.3]
    out = [x for x in extents if x not in shared or x in kept]
    if len(out) > 3:
        return elementwise.cos(a)
    out = [out[i] for i in g.rng.permutation(len(out))]
    scaled = 0.3 * elementwise.tanh(a)
    return contract(scaled, elementwise.sin(b), lhs=lhs, rhs=tuple(rhs), out=tuple(out))


def _scan(g: Generator) -> Value:
    x = g.any(1)
    axis = g.axis(x)
    kind = g.rng.integers(4)
    if kind == 0:
        return 0.3 * scans.cumsum(elementwise.tanh(x), axis=axis)
    if kind == 1:
        return scans.recurrence(elementwise.tanh(g.like(x)), elementwise.sin(x), axis=axis)
    if kind == 2:
        return logarithms.logaddexp(x, elementwise.sin(g.like(x)))
    line = structural.reshape(x, shape=(product(x.shape),))
    ascending = indexing.take(line, sorting.argsort(line, axis=0), axis=0)
    return structural.reshape(ascending, shape=x.shape)


def _through_integers(g: Generator) -> Value:
    x = g.any(1)
    axis = g.axis(x)
    best = cast(reductions.argmax(x, axis=axis), dtype=x.dtype)
    wide = structural.broadcast(best, shape=x.shape, axes=_without(x.type.rank, axis))
    return elementwise.sin(wide) * x


GROWERS: tuple[tuple[Callable[[Generator], Value], int], ...] = (
    (_unary, 6),
    (_binary, 6),
    (_broadcast, 3),
    (_transpose, 2),
    (_reshape, 1),
    (_slice, 2),
    (_reverse, 1),
    (_concat, 1),
    (_take, 2),
    (_reduce, 4),
    (_contract, 3),
    (_scan, 2),
    (_through_integers, 1),
)


def random_function(
    seed: int, dtype: DType = f64, equations: int = 12, n: Dim = N, m: Dim = M
) -> Function:
    """A function of four float arrays with one scalar result and two further ones."""
    rng = np.random.default_rng(seed)
    shapes: tuple[Shape, ...] = ((n, m), (m,), (n, 3), ())
    parameters = [
        parameter(ArrayType(dtype, shape), name) for shape, name in zip(shapes, "abcd", strict=True)
    ]
    g = Generator(rng, dtype, n, m, list(parameters))
    growers = [grower for grower, weight in GROWERS for _ in range(weight)]
    for _ in range(equations):
        g.pool.append(growers[rng.integers(len(growers))](g))
    ends = [g.pool[-1], g.pool[-2], g.any()]
    cost = constants.full((), 0.0, dtype)
    for value in (*g.pool[-4:], *parameters):
        bounded = elementwise.tanh(0.5 * value)
        cost = cost + reductions.sum_(bounded, axes=tuple(range(value.type.rank)))
    return function(f"random_{seed}", parameters, [cost, *ends[:2]])


def random_arguments(fn: Function, seed: int, **sizes: int) -> list[np.ndarray]:
    """Arguments for a random function, for sizes n and m."""
    rng = np.random.default_rng(seed + 1_000_003)
    return [
        rng.normal(size=[evaluate_dim(d, sizes) for d in p.shape]).astype(p.dtype.numpy)
        for p in fn.parameters
    ]


def with_derivatives(fn: Function) -> Function:
    """The function, the tangent of its cost in a direction t, its gradient, and H t.

    Parameters: those of `fn`, then a tangent for each.
    """
    tangents = [parameter(p.type, f"{p.name}_tangent") for p in fn.parameters]
    seeds = dict(zip(fn.parameters, tangents, strict=True))
    cost = fn.results[0]
    one = constants.full((), 1.0, cost.dtype)
    gradient = [_array(c, p) for c, p in _pulled(cost, one, fn.parameters)]
    pushed = push_tangents([cost, *gradient], seeds)
    moved = [_array(t, v) for t, v in zip(pushed, [cost, *gradient], strict=True)]
    results = [*fn.results, moved[0], *gradient, *moved[1:]]
    return function(fn.name, [*fn.parameters, *tangents], results, fn.requires)


def _pulled(cost: Value, one: Value, wrt: Sequence[Value]) -> list[tuple[Cotangent, Value]]:
    return list(zip(pull_cotangents([(cost, one)], wrt), wrt, strict=True))


def _array(found: Cotangent, like: Value) -> Value:
    return found if isinstance(found, Value) else constants.zeros_like(like)
