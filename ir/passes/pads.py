"""Sums of padded blocks: blocks that do not overlap are laid side by side instead of added.

The adjoint of a slice is a pad with zeros, so that an array of which many slices are read has a
sum of as many padded arrays for a cotangent. One `concat` of all the blocks, with zeros between
them where nothing was read, takes a pass over the array instead of one a slice.

Where no entry belongs to two blocks this is exact, up to the sign of a zero. Sums in derivatives
may be reordered (nothing is promised of their last bits); sums that a user wrote are left alone
where that would change a rounding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cmp_to_key, reduce
from typing import TypeAlias

from gradc.ir.dims import Dim, Shape, is_nonnegative
from gradc.ir.function import Equation, Function, Value
from gradc.ir.ops.arithmetic import add, sub
from gradc.ir.ops.constants import full, scalar
from gradc.ir.ops.slicing import concat, pad
from gradc.ir.passes.matching import attrs_of, inputs_of, is_derived, is_number
from gradc.ir.record import dataclass
from gradc.ir.span import at
from gradc.ir.transforms.rebuild import rebuild_equation, with_results

_MOST_CONDITIONS = 16


@dataclass(frozen=True, slots=True)
class _Block:
    """`value` at `low` in an array that is zero elsewhere; `low` has one dimension an axis."""

    value: Value
    low: Shape

    def high(self, axis: int) -> Dim:
        """Where the block ends along an axis."""
        return self.low[axis] + self.value.shape[axis]


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Dimensions that are certainly not negative, by the conditions of the function."""

    known: tuple[Dim, ...]

    def are_ordered(self, low: Dim, high: Dim) -> bool:
        """Whether low <= high is certain."""
        apart = high - low
        return is_nonnegative(apart) or any(is_nonnegative(apart - dim) for dim in self.known)


Term: TypeAlias = "tuple[Value, bool]"  # a term of a sum, and whether it is subtracted


def join_pads(fn: Function) -> Function:
    """`fn` in which sums of arrays that are padded with zeros are made of as few as possible."""
    if sum(map(_is_padding, fn.equations)) < 2:
        return fn
    sums = _sums_of_pads(fn)
    if not sums:
        return fn
    conditions = dict.fromkeys(c.dim for c in fn.requires if c.relation == ">= 0")
    sizes = _Sizes(tuple(conditions)[:_MOST_CONDITIONS])
    new: dict[Value, Value] = {value: value for value in fn.parameters}
    for made in fn.equations:
        terms = sums.get(made)
        if terms is None:
            again = rebuild_equation(made, [new[value] for value in made.inputs])
            new.update(zip(made.outputs, again.outputs, strict=True))
            continue
        with at(made.span):
            renewed = [(new[value], minus) for value, minus in terms]
            joined = _joined(renewed, is_derived(made), sizes)
        new[made.outputs[0]] = (
            joined or rebuild_equation(made, [new[value] for value in made.inputs]).outputs[0]
        )
    return with_results(fn, [new[result] for result in fn.results])


def _is_padding(made: Equation) -> bool:
    """Whether an equation puts a block into zeros, its neighbours remaining neighbours."""
    return made.op is pad and is_number(made.inputs[1], 0) and not any(made.attrs["interior"])


def _sums_of_pads(fn: Function) -> dict[Equation, list[Term]]:
    """The terms of each largest sum that has two padded terms or more.

    A sum reaches through sums that nothing else reads.
    """
    uses = Counter(value for made in fn.equations for value in made.inputs)
    uses.update(fn.results)
    inner: set[Equation] = set()
    found: dict[Equation, list[Term]] = {}
    for made in reversed(fn.equations):
        if made in inner or made.op not in (add, sub):
            continue
        terms: list[Term] = []
        stack: list[Term] = [(made.outputs[0], False)]
        while stack:
            value, minus = stack.pop()
            part = value.owner
            if part is None or part.op not in (add, sub) or (uses[value] > 1 and part is not made):
                terms.append((value, minus))
                continue
            inner.add(part)
            x, y = part.inputs
            stack += [(y, minus is (part.op is add)), (x, minus)]
        padded = (1 for value, _ in terms if value.owner is not None and _is_padding(value.owner))
        if sum(padded) > 1:
            found[made] = terms
    return found


def _joined(terms: Sequence[Term], may_reorder: bool, sizes: _Sizes) -> Value | None:
    """The sum of the terms, the padded ones joined; None where nothing is won, or not allowed."""
    blocks = [block for value, minus in terms if (block := _block(value, minus)) is not None]
    others = [term for term in terms if _block(*term) is None]
    shape = terms[0][0].shape
    layers = blocks
    for axis in reversed(range(len(shape))):
        layers = list(_merged(layers, axis, sizes))
    keeps_order = not others or (len(others) == 1 and not _has_repeated_places(blocks))
    is_exact = len(layers) == 1 and keeps_order
    if len(layers) == len(blocks) or not (may_reorder or is_exact):
        return None
    zero = scalar(0, terms[0][0].dtype)
    total = [_placed(layer, shape, zero) for layer in layers]
    positive = [value for value, minus in others if not minus]
    result = reduce(lambda a, b: a + b, (*positive, *total))
    return reduce(lambda a, b: a - b, (value for value, minus in others if minus), result)


def _has_repeated_places(blocks: Sequence[_Block]) -> bool:
    return len({(block.low, block.value.shape) for block in blocks}) < len(blocks)


def _block(value: Value, minus: bool) -> _Block | None:
    operands = inputs_of(value, pad)
    if operands is None or value.owner is None or not _is_padding(value.owner):
        return None
    return _Block(-operands[0] if minus else operands[0], attrs_of(value)["low"])


def _placed(block: _Block, shape: Shape, zero: Value) -> Value:
    """The block in an array of zeros; itself where it fills that."""
    if block.value.shape == shape:
        return block.value
    axes = range(len(shape))
    high = tuple(shape[axis] - block.high(axis) for axis in axes)
    result: Value = pad(block.value, zero, low=block.low, high=high, interior=(0,) * len(shape))
    return result


def _merged(blocks: Sequence[_Block], axis: int, sizes: _Sizes) -> Iterable[_Block]:
    """The blocks, those in one line along `axis` joined as far as they do not overlap."""
    lines: dict[object, list[_Block]] = {}
    for block in blocks:
        place = (*block.low[:axis], *block.low[axis + 1 :])
        size = (*block.value.shape[:axis], *block.value.shape[axis + 1 :])
        lines.setdefault((place, size), []).append(block)
    for line in lines.values():
        yield from _joined_line(_summed_equal(line, axis), axis, sizes)


def _summed_equal(line: Sequence[_Block], axis: int) -> list[_Block]:
    """Blocks at the same place are added."""
    found: dict[object, _Block] = {}
    for block in line:
        key = (block.low[axis], block.value.shape[axis])
        first = found.get(key)
        found[key] = block if first is None else _Block(first.value + block.value, first.low)
    return list(found.values())


def _joined_line(line: Sequence[_Block], axis: int, sizes: _Sizes) -> Iterable[_Block]:
    """The blocks of a line in order of their places, each behind the first that it does not meet.

    What cannot be told apart for all sizes counts as overlapping.
    """

    def compare(a: _Block, b: _Block) -> int:
        return -1 if sizes.are_ordered(a.low[axis], b.low[axis]) else 1

    chains: list[list[_Block]] = []
    for block in sorted(line, key=cmp_to_key(compare)):
        for chain in chains[-2:]:
            if sizes.are_ordered(chain[-1].high(axis), block.low[axis]):
                chain.append(block)
                break
        else:
            chains.append([block])
    for chain in chains:
        yield _side_by_side(chain, axis) if len(chain) > 1 else chain[0]


def _side_by_side(chain: Sequence[_Block], axis: int) -> _Block:
    """Blocks that follow one another as one, with zeros in the gaps."""
    parts: list[Value] = []
    for i, block in enumerate(chain):
        gap = block.low[axis] - chain[i - 1].high(axis) if i else 0
        if gap != 0:
            shape = block.value.shape
            parts.append(full((*shape[:axis], gap, *shape[axis + 1 :]), 0, block.value.dtype))
        parts.append(block.value)
    return _Block(concat(*parts, axis=axis), chain[0].low)
