"""Matrix products: a contraction as calls of the packed kernel."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import reduce
from math import prod

from gradc.codegen.reader import Reader
from gradc.codegen.steps import Nest, ProductStep, extents_of, in_layout, reads
from gradc.codegen.symmetric import computes_half, mirror
from gradc.ir.dims import product
from gradc.ir.function import Equation, Value
from gradc.ir.loops import Buffer, Finish, MatMul, Ref
from gradc.ir.record import dataclass

Labels = Sequence[int]
Run = tuple[list[int], list[int]]
Runs = tuple[Run, Run, Run, Run]


@dataclass(frozen=True, slots=True)
class ProductRows:
    """The rows of a block: the label that runs over them, the first row, and how many there are."""

    label: int
    start: Ref
    count: Ref


def lower_product(
    reader: Reader,
    equation: Equation,
    rows: ProductRows | None = None,
    finish: Finish | None = None,
) -> None:
    """Write out[...] = sum over k of lhs * rhs; of a block of rows only, where `rows` are given.

    Of a symmetric result, summed over all blocks, `rows` leave the upper half to `mirror`.

    The labels are sorted into batch, row (lhs and out), column (rhs and out) and sum labels. Of
    each a run that is contiguous in all operands becomes one dimension of the kernel (see `runs`);
    the others are loops around the call, the innermost over what lies nearest in memory. If it
    `accumulates`, the result is zero before.
    """
    k, values = reader.k, (*equation.inputs, *equation.outputs)
    lhs, rhs, out = labels = [
        in_layout(equation.attrs[name], reader.is_by_columns(value))
        for name, value in zip(("lhs", "rhs", "out"), values, strict=True)
    ]
    where = tuple(zip(labels, values, strict=True))
    extents = {label: k.size(dim) for label, dim in extents_of(equation).items()}
    if rows is not None:
        extents[rows.label] = rows.count
    lengths = estimated_lengths(equation)
    label = None if rows is None else rows.label
    batch, first, second, sums = runs((lhs, rhs, out), lengths, label)
    looped = [*batch[0], *first[0], *second[0], *sums[0]]
    looped.sort(key=lambda x: distance(x, labels, lengths), reverse=True)
    with ExitStack() as stack:
        at = {label: stack.enter_context(k.loop(extents[label])) for label in looped}
        a, b, c = (
            _operand(reader, value, labels, at, (batch[1], along, across), rows)
            for (labels, value), along, across in zip(
                where, (first[1], sums[1], first[1]), (sums[1], second[1], second[1]), strict=True
            )
        )
        m, n, depth, count = (
            reduce(k.mul, (extents[x] for x in part[1]), k.index(1))
            for part in (first, second, sums, batch)
        )
        adds = accumulates(equation, label)
        half = finish is None and computes_half(equation, label)
        k.append(MatMul(count, m, n, depth, a, b, c, adds, finish, half))
    if half and rows is None:
        mirror(reader, equation)


def runs(
    labels: tuple[Labels, Labels, Labels], lengths: Mapping[int, int], rows: int | None = None
) -> Runs:
    """The batch, row, column and sum labels: those to loop over, and those of the kernel.

    Neighbours in every operand are one dimension; of a block, where the label `rows` may fill a
    part of its axis, only what follows it. The kernel gets the longest one of rows, columns
    and sums, and of the batch the one whose entries lie nearest to one another.
    """
    lhs, rhs, out = labels
    batch = _chains([x for x in out if x in lhs and x in rhs], (lhs, rhs, out), rows)
    groups = (
        _chains([x for x in out if x in lhs and x not in rhs], (lhs, out), rows),
        _chains([x for x in out if x in rhs and x not in lhs], (rhs, out), rows),
        _chains([x for x in lhs if x in rhs and x not in out], (lhs, rhs), rows),
    )
    near = min(reversed(batch), key=lambda c: distance(c[-1], labels, lengths), default=[])
    longest = (
        max(reversed(chains), key=lambda c: prod(lengths[x] for x in c), default=[])
        for chains in groups
    )
    chosen = zip((batch, *groups), (near, *longest), strict=True)
    first, second, third, fourth = (
        ([x for chain in chains if chain is not own for x in chain], own) for chains, own in chosen
    )
    return first, second, third, fourth


def distance(label: int, operands: Sequence[Labels], lengths: Mapping[int, int]) -> int:
    """About how far apart neighbours along a label lie, added up over the operands."""
    return sum(
        prod(lengths[x] for x in own[own.index(label) + 1 :]) for own in operands if label in own
    )


def estimated_lengths(equation: Equation) -> dict[int, int]:
    """The length of each label of a contraction; a symbolic one counts as 64."""
    found = extents_of(equation)
    return {label: dim if isinstance(dim, int) else 64 for label, dim in found.items()}


def runs_of(equation: Equation) -> Runs:
    """The labels of a contraction as the kernel takes them."""
    lhs, rhs, out = (equation.attrs[name] for name in ("lhs", "rhs", "out"))
    return runs((lhs, rhs, out), estimated_lengths(equation))


def accumulates(equation: Equation, row_label: int | None = None) -> bool:
    """Whether several calls of the kernel add to the same result, which then starts from zero."""
    lhs, rhs, out = (equation.attrs[name] for name in ("lhs", "rhs", "out"))
    is_summed = row_label in lhs and row_label in rhs and row_label not in out
    return is_summed or bool(runs_of(equation)[3][0])


def can_finish(step: ProductStep, nest: Nest, stored: Collection[Value]) -> bool:
    """Whether the nest needs only the entry of the product that stands at its own point.

    Half of a product is worth more than a pass over its result.
    """
    if computes_half(step.equation):
        return False
    (value,) = step.equation.outputs
    axes = tuple(range(value.type.rank))
    if nest.space != value.shape or nest.points > 1 or accumulates(step.equation):
        return False
    if nest.scattered or nest.selects or not all(r.kind is None or r.adds_up for r in nest.roots):
        return False
    read = {read for root in nest.roots for read in reads(root, stored) if read[0] is value}
    return read == {(value, axes)} and _is_one_call(step.equation)


def _is_one_call(equation: Equation) -> bool:
    """Whether one call of the kernel computes it, whose rows or columns are its last axis."""
    found = runs_of(equation)
    if any(part[0] for part in found):
        return False
    _, first, second, _ = (part[1] for part in found)
    return list(equation.attrs["out"][-1:]) in (first, second)


def _chains(labels: Labels, operands: Sequence[Labels], begins: int | None) -> list[list[int]]:
    """The labels in runs that are adjacent, in order, in every operand; `begins` begins one."""
    found: list[list[int]] = []
    for label in labels:
        last = found[-1][-1] if found else None
        follows = last is not None and label != begins
        if follows and all(own.index(label) == own.index(last) + 1 for own in operands):
            found[-1].append(label)
        else:
            found.append([label])
    return found


def _operand(
    reader: Reader,
    value: Value,
    labels: Labels,
    at: dict[int, Ref],
    runs: tuple[Labels, Labels, Labels],
    rows: ProductRows | None,
) -> tuple[Buffer, Ref, tuple[Ref, Ref, Ref]]:
    """The buffer, the flat index of its first element here, and the strides of the three runs."""
    k, offset = reader.k, reader.k.index(0)
    for label, position in at.items():
        offset = k.add(offset, k.mul(position, _stride(reader, value, labels, label)))
    if rows is not None and not reader.is_local(value):
        offset = k.add(offset, k.mul(rows.start, _stride(reader, value, labels, rows.label)))
    strides = [_stride(reader, value, labels, run[-1]) if run else k.index(0) for run in runs]
    return reader.buffers[value], offset, (strides[0], strides[1], strides[2])


def _stride(reader: Reader, value: Value, labels: Labels, label: int) -> Ref:
    """The distance in elements between neighbours along a label (0 where the operand lacks it)."""
    if label not in labels:
        return reader.k.index(0)
    axis = list(labels).index(label)
    return reader.k.size(product(reader.layout(value)[axis + 1 :]))
