"""Nests over a block of rows that are better written as two.

A sum over another axis than the rows keeps the rows outermost, one vector of them at a time. What
is computed for it entry by entry, and stored, may have its loops as the arrays lie.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gradc.codegen.loop_plan import USUAL_LENGTH, cost_in_block, lanes_of
from gradc.codegen.steps import Nest, Root, Step, reads
from gradc.ir.function import Value


def split_sums(
    nest: Step,
    stored: Collection[Value],
    columns: Collection[Value],
    vector_bits: int,
    usual: int = USUAL_LENGTH,
) -> tuple[Step, ...]:
    """The entries and the sums of a nest as two nests, if that costs less; else the step itself.

    The sums must only add up what is stored.
    """
    if not isinstance(nest, Nest) or nest.scattered or nest.parts:
        return (nest,)
    inner = nest.order[1:]
    entries = [root for root in nest.roots if all(axis in root.placement for axis in inner)]
    sums = [root for root in nest.roots if root not in entries]
    summed = {operand for root in sums for operand in root.operands}
    in_memory = all(value.owner is None or value in stored for value in summed)
    if not entries or not sums or not in_memory:
        return (nest,)
    size = 2 * len(sums)
    parts = (
        _nest(nest, entries, stored, max(1, nest.size - size), max(1, nest.cost - len(sums))),
        _nest(nest, sums, stored, size, len(sums)),
    )
    lanes = lanes_of(nest, vector_bits)
    costs = [cost_in_block(part, lanes, columns, usual) for part in parts]
    return parts if sum(costs) < cost_in_block(nest, lanes, columns, usual) else (nest,)


def _nest(
    nest: Nest, roots: Sequence[Root], stored: Collection[Value], size: int, cost: int
) -> Nest:
    """The loops of a nest with some of its roots."""
    found = {read for root in roots for read in reads(root, stored)}
    space = max((root.space for root in roots), key=len)
    return Nest(space, nest.order, list(roots), size, cost, nest.widest, nest.hardest, found)
