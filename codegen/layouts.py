"""Arrays with a short last axis, turned: entries that one vector needs lie side by side.

Positions `x: f64[n, 3]` that a loop over all pairs reads for each body again, or forces that it
adds up there, are three strided vectors a point as they are, and three plain ones as `f64[3, n]`.
An array that is read so is copied once, a sum over pairs is computed and kept that way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from gradc.codegen.steps import Nest, Root, Schedule, is_short, reads
from gradc.ir.dims import Dim
from gradc.ir.function import Equation, Function, Value
from gradc.ir.lowering import Contraction, Reduction
from gradc.ir.ops.structural import transpose
from gradc.ir.span import at
from gradc.ir.transforms.rebuild import rebuild_equation, with_results

_OFTEN = 16  # as often must an entry be read or added to for a copy to pay


def turn_arrays(
    fn: Function, cut: Schedule, forced: Collection[Value] = ()
) -> tuple[Function, frozenset[Value]]:
    """The function with turned arrays; what is to be stored: those arrays, and what is `forced`."""
    computed = (value for made in fn.equations for value in made.outputs)
    if not any(map(_has_short_rows, (*fn.parameters, *computed))):
        return fn, frozenset(forced)
    wanted = {
        value
        for step in cut.steps
        if isinstance(step, Nest)
        for root in step.roots
        for value in _strided(step, root, cut.stored)
    } - set(fn.results)
    if not wanted:
        return fn, frozenset(forced)
    values: dict[Value, Value] = {}
    stored: set[Value] = set()
    for parameter in fn.parameters:
        if parameter in wanted:
            turned = transpose(parameter, permutation=(1, 0))
            stored.add(turned)
            values[parameter] = transpose(turned, permutation=(1, 0))
    for made in fn.equations:
        inputs = [values.get(value, value) for value in made.inputs]
        with at(made.span):
            if made.outputs[0] in wanted:
                turned = _turned(made, inputs)
                stored.add(turned)
                values[made.outputs[0]] = transpose(turned, permutation=(1, 0))
            else:
                again = rebuild_equation(made, inputs).outputs
                values.update(zip(made.outputs, again, strict=True))
    stored.update(values[value] for value in forced)
    return with_results(fn, [values.get(v, v) for v in fn.results]), frozenset(stored)


def _strided(nest: Nest, root: Root, stored: Collection[Value]) -> Iterator[Value]:
    """What a root reads, or adds to, with a stride in its innermost loop, again and again."""
    if not nest.order or nest.has_own_loops:
        return
    touched = set(reads(root, stored))
    if root.kind is not None:
        touched.add((root.value, root.placement))
    for value, axes in touched:
        again = [nest.space[axis] for axis in nest.order if axis not in axes]
        if _has_short_rows(value) and axes[0] == nest.order[-1] and any(map(_is_often, again)):
            yield value


def _has_short_rows(value: Value) -> bool:
    shape = value.shape
    return len(shape) == 2 and is_short(shape[1]) and shape[1] != 1 and not is_short(shape[0])


def _is_often(extent: Dim) -> bool:
    return not isinstance(extent, int) or extent >= _OFTEN


def _turned(made: Equation, inputs: list[Value]) -> Value:
    """The transpose of an equation's result, as directly as can be."""
    result: Value
    if isinstance(made.op.lower, Contraction):
        out = made.attrs["out"]
        result = made.op(*inputs, **{**made.attrs, "out": (out[1], out[0])})
    elif isinstance(made.op.lower, Reduction):
        (operand,) = inputs
        order = list(range(operand.type.rank))
        first, second = (axis for axis in order if axis not in made.attrs["axes"])
        order[first], order[second] = second, first
        result = made.op(transpose(operand, permutation=tuple(order)), **made.attrs)
    else:
        (again,) = rebuild_equation(made, inputs).outputs
        result = transpose(again, permutation=(1, 0))
    return result
