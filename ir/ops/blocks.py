"""`map_blocks`: a function of row numbers that runs for one block of rows after the other.

    body  (numbers: i64[r], inputs...) -> (results...)

The rows are numbered from 0 to n - 1, n = product(lead), and `body` computes those with the given
numbers. Each row depends on its own number only, so that the op means `body(iota(n), inputs...)`,
whatever `block` is; but it runs for the numbers 0 to block - 1, then for the next ones, and what
lies between inputs and results is as long as one block. There may be fewer rows in the last one.
The size r is the body's own: no size outside has its name, and no length shrinks as it grows.

    takes  for each input the axis along which it is cut into rows, where it has the axes `lead` and
           the body's parameter the axis r; None: every block is given the whole
    gives  for each result the axis along which its rows are laid; None: it is summed over the rows

The set is closed under differentiation. The cotangent of what is taken whole is a sum and that of
what is cut is laid, the cotangent of a sum is taken whole and that of what is laid is cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from gradc.ir.dims import (
    Dim,
    Shape,
    SizeExpr,
    evaluate_dim,
    is_nonnegative,
    names_of,
    product,
    size,
    substitute,
)
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Equation, Function, Requirement, Value, function, parameter
from gradc.ir.lowering import Blocks
from gradc.ir.op import Cotangent, Null, Op
from gradc.ir.ops.constants import iota
from gradc.ir.ops.structural import reshape
from gradc.ir.transforms.batch import batch
from gradc.ir.transforms.forward import push_tangents
from gradc.ir.transforms.inline import inline
from gradc.ir.transforms.reverse import NullGradientError, pull_cotangents
from gradc.ir.types import ArrayType, TypeRuleError, i64

Axes: TypeAlias = "tuple[int | None, ...]"
Array: TypeAlias = "np.ndarray[Any, Any]"


def rows_of(body: Function) -> str:
    """The name of the size that is the number of rows in a block."""
    dims = body.parameters[0].shape if body.parameters else ()
    if len(dims) == 1 and body.parameters[0].dtype is i64 and isinstance(dims[0], SizeExpr):
        (name, *others) = dims[0].names
        if not others and dims[0] == size(name):
            return name
    raise TypeRuleError("map_blocks: the body's first parameter is the row numbers, i64[r]")


def free_sizes(fn: Function) -> frozenset[str]:
    """The sizes that a function reads anywhere, but for those that regions in it have for rows."""
    found: set[str] = set(names_of(dim for p in fn.parameters for dim in p.shape))
    for made in fn.equations:
        found.update(sizes_read(made))
    return frozenset(found)


def sizes_read(made: Equation, *, bound: bool = False) -> frozenset[str]:
    """The sizes that an equation reads; with `bound` also those of the regions in it for rows."""
    found = set(names_of(dim for output in made.outputs for dim in output.shape))
    pending = list(made.attrs.values())
    while pending:
        part = pending.pop()
        if isinstance(part, SizeExpr):
            found.update(part.names)
        elif isinstance(part, tuple):
            pending.extend(part)
        elif isinstance(part, ArrayType):
            pending.extend(part.shape)
        elif isinstance(part, Function):
            inner = free_sizes(part) if not bound else _every_size(part)
            own = made.op is map_blocks and not bound
            found |= inner - {rows_of(part)} if own else inner
    return frozenset(found)


def _every_size(fn: Function) -> frozenset[str]:
    names = set(fn.sizes)
    return frozenset(names.union(*(sizes_read(made, bound=True) for made in fn.equations)))


def new_rows(equations: Iterable[Equation]) -> SizeExpr:
    """A size for the rows of a body that is made of these equations: none of them reads it."""
    taken: set[str] = set()
    for made in equations:
        taken |= sizes_read(made, bound=True)
    number = next(i for i in range(len(taken) + 1) if f"__rows{i}" not in taken)
    return size(f"__rows{number}")


def _infer(
    *types: ArrayType, body: Function, lead: Shape, block: int, takes: Axes, gives: Axes
) -> ArrayType | tuple[ArrayType, ...]:
    """The types of the body's results, with the axes `lead` for the rows."""
    rows = rows_of(body)
    if type(block) is not int or block < 1:
        raise TypeRuleError(f"map_blocks: a block has at least one row, not {block!r}")
    inside = [p.type for p in body.parameters[1:]]
    if not len(types) == len(inside) == len(takes) or len(gives) != len(body.results):
        raise TypeRuleError(
            f"map_blocks: {len(types)} inputs and {len(takes)} axes for {len(inside)} parameters, "
            f"{len(gives)} axes for {len(body.results)} results"
        )
    for i, (given, part, axis) in enumerate(zip(types, inside, takes, strict=True)):
        wanted = _outside(part, axis, rows, lead)
        if given != wanted:
            raise TypeRuleError(f"map_blocks: input {i} is to be {wanted}, not {given}")
    for condition in body.requires:
        _check_condition(condition, rows)
    found = [
        _outside(r.type, axis, rows, lead) for r, axis in zip(body.results, gives, strict=True)
    ]
    summed = (kind for kind, axis in zip(found, gives, strict=True) if axis is None)
    if not found or any(kind.dtype.kind == "b" for kind in summed):
        raise TypeRuleError("map_blocks: there are results, and those that are summed are numbers")
    return found[0] if len(found) == 1 else tuple(found)


def _outside(part: ArrayType, axis: int | None, rows: str, lead: Shape) -> ArrayType:
    """The type outside of what the body has for one block."""
    kept = part.shape if axis is None else (*part.shape[:axis], *part.shape[axis + 1 :])
    if axis is not None and (axis >= part.rank or part.shape[axis] != size(rows)):
        raise TypeRuleError(f"map_blocks: axis {axis} of {part} is not the rows, {rows}")
    if rows in names_of(kept):
        raise TypeRuleError(f"map_blocks: {part} depends on the number of rows, {rows}")
    return part if axis is None else part.with_shape((*part.shape[:axis], *lead, *kept[axis:]))


def _check_condition(condition: Requirement, rows: str) -> None:
    """Raise TypeRuleError for a condition that some number of rows, at least one, does not meet."""
    if rows not in names_of((condition.dim,)):
        return
    least = substitute(condition.dim, {rows: size(rows) + 1})
    if condition.relation != ">= 0" or not is_nonnegative(least):
        raise TypeRuleError(f"map_blocks: a condition on the rows of a block: {condition.why}")


def _requires(*types: ArrayType, body: Function, **attrs: Any) -> Iterable[Requirement]:
    rows = rows_of(body)
    return [condition for condition in body.requires if rows not in names_of((condition.dim,))]


def _evaluate(
    *arrays: Array,
    body: Function,
    lead: tuple[int, ...],
    block: int,
    takes: Axes,
    gives: Axes,
) -> Any:
    count = int(np.prod(lead, dtype=int))
    given = [x if a is None else _merged(x, a, lead) for x, a in zip(arrays, takes, strict=True)]
    rows = {rows_of(body): count}
    totals: list[Array] = [
        np.zeros([evaluate_dim(dim, rows) for dim in r.shape], r.dtype.numpy) for r in body.results
    ]
    for start in range(0, count, block):
        numbers = np.arange(start, min(start + block, count))
        cut = [
            x if axis is None else np.take(x, numbers, axis)
            for x, axis in zip(given, takes, strict=True)
        ]
        for total, part, axis in zip(totals, evaluate(body, numbers, *cut), gives, strict=True):
            if axis is None:
                total += part
            else:
                total[(slice(None),) * axis + (numbers,)] = part
    found = [
        total if a is None else total.reshape(*total.shape[:a], *lead, *total.shape[a + 1 :])
        for total, a in zip(totals, gives, strict=True)
    ]
    return found[0] if len(found) == 1 else tuple(found)


def _merged(x: Array, axis: int, lead: Sequence[int]) -> Array:
    """The axes `lead`, which begin at `axis`, as one."""
    count = int(np.prod(lead, dtype=int))
    return x.reshape(*x.shape[:axis], count, *x.shape[axis + len(lead) :])


def all_at_once(
    *inputs: Value, body: Function, lead: Shape, block: int, takes: Axes, gives: Axes
) -> tuple[Value, ...]:
    """What the op means: the body for all rows, as values of the graph around it."""
    count, rows = product(lead), rows_of(body)
    given = [
        x if a is None else _shaped(x, (*x.shape[:a], count, *x.shape[a + len(lead) :]))
        for x, a in zip(inputs, takes, strict=True)
    ]
    found = inline(body, (iota(size=count, dtype=i64), *given), {rows: count})
    return tuple(
        r if a is None else _shaped(r, (*r.shape[:a], *lead, *r.shape[a + 1 :]))
        for r, a in zip(found, gives, strict=True)
    )


def _shaped(x: Value, shape: Shape) -> Value:
    result: Value = x if x.shape == shape else reshape(x, shape=shape)
    return result


# --- derivatives -------------------------------------------------------------------------------


def _jvp(
    primals: Sequence[Value],
    result: Value | tuple[Value, ...],
    tangents: Sequence[Value | None],
    *,
    body: Function,
    takes: Axes,
    gives: Axes,
    **attrs: Any,
) -> Any:
    moving = [i for i, t in enumerate(tangents) if t is not None]
    seeds = {x: parameter(x.type) for x in (body.parameters[1 + i] for i in moving)}
    try:
        pushed = push_tangents(body.results, seeds)
    except NullGradientError as error:
        return _each(result, [Null(str(error)) if r.dtype.is_float else None for r in body.results])
    laid = [axis for axis, t in zip(gives, pushed, strict=True) if t is not None]
    if not laid:
        return _each(result, pushed)
    found = map_blocks(
        *primals,
        *(t for t in tangents if t is not None),
        body=_rule(body, seeds.values(), [t for t in pushed if t is not None]),
        takes=(*takes, *(takes[i] for i in moving)),
        gives=tuple(laid),
        **attrs,
    )
    rest = iter(found if len(laid) > 1 else (found,))
    return _each(result, [None if t is None else next(rest) for t in pushed])


def _vjp(
    primals: Sequence[Value],
    result: Value | tuple[Value, ...],
    cotangent: Any,
    *,
    body: Function,
    takes: Axes,
    gives: Axes,
    **attrs: Any,
) -> Sequence[Cotangent]:
    given = cotangent if isinstance(cotangent, tuple) else (cotangent,)
    inputs = body.parameters[1:]
    live = [i for i, c in enumerate(given) if c is not None]
    seeds = [(body.results[i], parameter(body.results[i].type)) for i in live]
    pulled = [
        c if x.dtype.is_float else None
        for x, c in zip(inputs, pull_cotangents(seeds, inputs), strict=True)
    ]
    laid = [axis for axis, c in zip(takes, pulled, strict=True) if isinstance(c, Value)]
    if not laid:
        return pulled
    found = map_blocks(
        *primals,
        *(given[i] for i in live),
        body=_rule(body, (s for _, s in seeds), [c for c in pulled if isinstance(c, Value)]),
        takes=(*takes, *(gives[i] for i in live)),
        gives=tuple(laid),
        **attrs,
    )
    rest = iter(found if len(laid) > 1 else (found,))
    return [next(rest) if isinstance(c, Value) else c for c in pulled]


def _rule(body: Function, seeds: Iterable[Value], results: Sequence[Value]) -> Function:
    return function(body.name, (*body.parameters, *seeds), results, body.requires)


def _each(result: Value | tuple[Value, ...], found: Sequence[Any]) -> Any:
    return tuple(found) if isinstance(result, tuple) else found[0]


def _batch(
    inputs: Sequence[Value],
    batched: Sequence[bool],
    size: Dim,
    *,
    body: Function,
    takes: Axes,
    gives: Axes,
    **attrs: Any,
) -> Any:
    """The same blocks of rows, with the batch in front of what each of them has."""
    return map_blocks(
        *inputs,
        body=batch(body, [None, *(0 if b else None for b in batched)], size),
        takes=tuple(
            axis if axis is None or not b else axis + 1
            for axis, b in zip(takes, batched, strict=True)
        ),
        gives=tuple(axis if axis is None else axis + 1 for axis in gives),
        **attrs,
    )


map_blocks = Op(
    name="map_blocks",
    infer=_infer,
    evaluate=_evaluate,
    jvp=_jvp,
    vjp=_vjp,
    batch=_batch,
    lower=Blocks(),
    requires=_requires,
)
