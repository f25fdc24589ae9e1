"""Scatter: a copy of the base, then a serial loop over the updates."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from gradc.codegen.nest import lower_nest
from gradc.codegen.reader import Reader
from gradc.codegen.steps import Nest, Root
from gradc.ir.function import Equation
from gradc.ir.loops import STATUS_INDEX_OUT_OF_RANGE, Ref
from gradc.ir.lowering import Index, Scatter
from gradc.ir.types import i64


def copy_base(reader: Reader, equation: Equation, vector_bits: int) -> None:
    """Write the base to the result's buffer."""
    base = equation.inputs[0]
    (result,) = equation.outputs
    axes = tuple(range(base.type.rank))
    copy = Root(result, base.shape, axes, (base,), (axes,))
    lower_nest(reader, Nest(base.shape, axes, [copy], size=2), vector_bits)


def go_together(a: Equation, b: Equation) -> bool:
    """Whether two scatters that do not need each other may update in one loop: by one index."""
    return (
        a.inputs[1] is b.inputs[1]
        and a.attrs["axis"] == b.attrs["axis"]
        and (a.inputs[2].shape == b.inputs[2].shape)
    )


def scatter_updates(
    reader: Reader,
    equations: Sequence[Equation],
    vector_bits: int,
    rows: tuple[Ref, Ref] | None = None,
) -> None:
    """Add or set the updates in row-major order; `rows`: of a block only (first row, count).

    The equations `go_together`.
    """
    _, indices, updates = equations[0].inputs
    axis, rank = equations[0].attrs["axis"], indices.type.rank
    widest = max(equation.outputs[0].dtype.itemsize for equation in equations)
    k = reader.k
    reader.begin(())
    with ExitStack() as stack:
        at: list[Ref] = []
        last = updates.type.rank - 1
        for position, extent in enumerate(updates.shape):
            in_row = position == last and position >= axis + rank
            lanes = vector_bits // (8 * widest) if in_row else 1
            if position == 0 and rows is not None and reader.block is not None:
                number = stack.enter_context(k.loop(rows[1], lanes=lanes))
                at.append(k.add(rows[0], number))
                reader.block.rows[at[0]] = number
            else:
                at.append(stack.enter_context(k.loop(k.size(extent), lanes=lanes)))
        own = at[axis : axis + rank]
        row = k.cast(reader.at(indices, Index(k, indices.shape, own)), i64)
        for equation in equations:
            _update(reader, equation, at, row)


def _update(reader: Reader, equation: Equation, at: Sequence[Ref], row: Ref) -> None:
    """Add or set one entry of the updates, if its row is there."""
    base, indices, updates = equation.inputs
    (result,) = equation.outputs
    axis, rank = equation.attrs["axis"], indices.type.rank
    assert isinstance(equation.op.lower, Scatter)
    k, length = reader.k, reader.k.size(base.shape[axis])
    valid = k.binary("and", k.compare("ge", row, k.index(0)), k.compare("lt", row, length))
    k.require(valid, STATUS_INDEX_OUT_OF_RANGE)
    value = reader.at(updates, Index(k, updates.shape, at))
    target = Index(k, base.shape, [*at[:axis], row, *at[axis + rank :]])
    with k.masked(valid):
        k.store(reader.buffers[result], target.flat, value, equation.op.lower.kind)
