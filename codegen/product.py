"""Matrix products: a contraction as calls of the packed kernel."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from gradc.codegen.reader import Reader
from gradc.ir.dims import Dim, product
from gradc.ir.function import Equation, Value
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Buffer, Fill, MatMul, Ref

Labels = Sequence[int]


def lower_product(reader: Reader, equation: Equation) -> None:
    """Write out[...] = sum over k of lhs * rhs.

    The labels are sorted into batch, row (lhs and out), column (rhs and out) and sum labels. Of
    each the longest run that is contiguous in all operands becomes one dimension of the kernel; the
    labels before it are loops around the call.
    """
    k = reader.k
    a, b = equation.inputs
    (c,) = equation.outputs
    lhs, rhs, out = (equation.attrs[name] for name in ("lhs", "rhs", "out"))
    extents = dict(zip(lhs, a.shape, strict=True)) | dict(zip(rhs, b.shape, strict=True))
    where = ((lhs, a), (rhs, b), (out, c))
    batch = _split([x for x in out if x in lhs and x in rhs], (lhs, rhs, out))
    rows = _split([x for x in out if x in lhs and x not in rhs], (lhs, out))
    columns = _split([x for x in out if x in rhs and x not in lhs], (rhs, out))
    sums = _split([x for x in lhs if x in rhs and x not in out], (lhs, rhs))
    c_buffer = reader.buffers[c]
    if sums[0]:
        k.append(Fill(c_buffer))
    with ExitStack() as stack:
        at: dict[int, Ref] = {}
        for label in (*batch[0], *rows[0], *columns[0], *sums[0]):
            at[label] = stack.enter_context(k.loop(k.size(extents[label])))
        first, second, target = (
            _operand(k, reader.buffers[value], value, labels, at, (batch[1], along, across))
            for (labels, value), along, across in zip(
                where, (rows[1], sums[1], rows[1]), (sums[1], columns[1], columns[1]), strict=True
            )
        )
        m, n, depth, count = (
            k.size(product(extents[x] for x in part[1])) for part in (rows, columns, sums, batch)
        )
        k.append(MatMul(count, m, n, depth, first, second, target, accumulate=bool(sums[0])))


def _split(labels: Labels, operands: Sequence[Labels]) -> tuple[list[int], list[int]]:
    """Labels to loop over, and the run at the end that is adjacent, in order, in every operand."""
    start = max(len(labels) - 1, 0)
    while start > 0 and all(
        own.index(labels[start]) == own.index(labels[start - 1]) + 1 for own in operands
    ):
        start -= 1
    return list(labels[:start]), list(labels[start:])


def _operand(
    k: LoopBuilder,
    buffer: Buffer,
    value: Value,
    labels: Labels,
    at: dict[int, Ref],
    runs: tuple[Labels, Labels, Labels],
) -> tuple[Buffer, Ref, tuple[Ref, Ref, Ref]]:
    """The buffer, the flat index of its first element here, and the strides of the three runs."""
    offset = k.index(0)
    for label, position in at.items():
        if label in labels:
            offset = k.add(offset, k.mul(position, _stride(k, value, labels, label)))
    strides = [_stride(k, value, labels, run[-1]) if run else k.index(0) for run in runs]
    return buffer, offset, (strides[0], strides[1], strides[2])


def _stride(k: LoopBuilder, value: Value, labels: Labels, label: int) -> Ref:
    """The distance in elements between neighbours along a label (0 where the operand lacks it)."""
    if label not in labels:
        return k.index(0)
    axis = list(labels).index(label)
    stride: Dim = product(value.shape[axis + 1 :])
    return k.size(stride)
