"""Stack memory in an order that is good for all sizes.

A span is memory that is in use from a first to a last step. In an order that is fixed, each falls
on those that are in use at the same time as it, and begins where the highest of them ends, whatever
the sizes of a call are. Which order is best depends on the sizes, and no order is best for all:
orders are compared at samples of sizes, by the worst ratio to the bytes that are in use at once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from gradc.ir.dims import Dim, monomials, names_of
from gradc.ir.record import dataclass

ENOUGH = 1.1  # a ratio to what is in use at once that is not worth a longer search, or more code
_POOR = 1.2  # one that is worth a long search
_ALIGNMENT = 64  # bytes: what spans are rounded up to
_SLACK = 1024  # bytes that are not worth it
# Samples: all names have one size, or one of them has the first and all others the second.
_EVEN = (5000, 1000, 300, 100, 30, 10, 3)
_LOPSIDED = ((2000, 100), (2000, 30), (2000, 1), (100, 10), (100, 1))
_MOST_NAMES = 4  # that are large in turn
_MOST_SPANS = 256  # of which the order is searched for: that takes quadratic time
_MOST_STEPS = 8_000  # of a search: a span falls

# Or ratios of them; integers would overflow.
Bytes: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"


@dataclass(frozen=True, slots=True)
class Spans:
    """When each span is in use, its bytes at samples of sizes, and the least memory at these."""

    first: Sequence[int]
    last: Sequence[int]
    bytes: Bytes  # [span, sample], multiples of the alignment
    least: Bytes  # [sample]

    def ratios(self, total: Bytes) -> Bytes:
        """How many times the least an arena of so many bytes has at the samples."""
        return np.maximum(0, total - _SLACK) / np.maximum(1, self.least)


@dataclass(frozen=True, slots=True)
class Stack:
    """Spans in the order in which they fell."""

    spans: Spans
    order: Sequence[int]
    on: Sequence[tuple[int, ...]]  # what each span lies on
    ends: Bytes  # [span, sample]
    ratios: Bytes  # to the least, [sample]

    @property
    def worst(self) -> float:
        return float(self.ratios.max())


def spans_of(firsts: Sequence[int], lasts: Sequence[int], bytes: Sequence[Dim]) -> Spans:
    """Spans with their bytes at samples of all sizes that these read."""
    kinds = dict.fromkeys(bytes)
    at = _samples(sorted(names_of(kinds)))
    zero = np.zeros(max(map(len, at.values()), default=1))
    counts = {
        size: _ALIGNMENT * np.ceil(np.maximum(zero, _values(size, at)) / _ALIGNMENT)
        for size in kinds
    }
    table = np.array([counts[size] for size in bytes])
    change = np.zeros((max(lasts) + 2, table.shape[1]))
    np.add.at(change, firsts, table)
    np.subtract.at(change, [last + 1 for last in lasts], table)
    return Spans(firsts, lasts, table, np.cumsum(change, axis=0).max(axis=0))


def _samples(names: Sequence[str]) -> dict[str, Bytes]:
    """What each name is in turn."""
    at = [dict.fromkeys(names, size) for size in _EVEN]
    for name in names[:_MOST_NAMES] if len(names) > 1 else ():
        at += ({**dict.fromkeys(names, small), name: large} for large, small in _LOPSIDED)
    return {name: np.array([sizes[name] for sizes in at], float) for name in names}


def _values(dim: Dim, at: Mapping[str, Bytes]) -> Bytes | float:
    """The values of a dimension at samples."""
    total: Bytes | float = 0.0
    for monomial, coefficient in monomials(dim):
        term: Bytes | float = float(coefficient)
        for atom in monomial:
            if isinstance(atom, str):
                term = term * at[atom]
            else:
                divisor = np.maximum(1, _values(atom.denominator, at))
                term = term * (_values(atom.numerator, at) // divisor)
        total = total + term
    return total


def fall(spans: Spans, order: Sequence[int]) -> Stack:
    """Let spans fall on each other."""
    on = _below(spans, order)
    ends = np.zeros_like(spans.bytes)
    for span in order:
        ends[span] = spans.bytes[span]
        if on[span]:
            ends[span] += ends[list(on[span])].max(axis=0)
    return Stack(spans, order, on, ends, spans.ratios(ends.max(axis=0)))


def _below(spans: Spans, order: Sequence[int]) -> list[tuple[int, ...]]:
    """What each span lies on: those that are in sight from above, while it is in use.

    In sight are `tops[i]` from step `starts[i]` to the next start. A span takes those that it
    covers out of sight, so that all together see few.
    """
    starts, tops = [0], [-1]
    on: list[tuple[int, ...]] = [()] * len(order)
    for span in order:
        first, end = spans.first[span], spans.last[span] + 1
        low, high = bisect_right(starts, first) - 1, bisect_left(starts, end)
        seen = set(tops[low:high]) - {-1}
        on[span] = tuple(sorted(seen.difference(*(on[other] for other in seen))))
        before = [(starts[low], tops[low])] if starts[low] < first else []
        is_cut = high == len(starts) or starts[high] > end
        after = [(end, tops[high - 1])] if is_cut else []
        pieces = [*before, (first, span), *after]
        starts[low:high] = [start for start, _ in pieces]
        tops[low:high] = [top for _, top in pieces]
    return on


def best_stack(spans: Spans, order: Sequence[int]) -> Stack:
    """The best of the orders that are tried, first of all this one."""
    best = fall(spans, order)
    untried = set(range(len(spans.least))) if len(order) <= _MOST_SPANS else set()
    while untried and best.worst > ENOUGH:
        sample = max(untried, key=best.ratios.__getitem__)
        if best.ratios[sample] < best.worst <= _POOR:
            return best
        untried.remove(sample)
        for urgency in _urgencies(spans, sample):
            found = fall(spans, _first_fit(spans, sorted(order, key=urgency), sample))
            best = min(best, found, key=lambda stack: stack.worst)
    return _improved(best)


def _urgencies(spans: Spans, sample: int) -> tuple[Callable[[int], float], ...]:
    """Keys by which spans are placed: first what is large and long in use, large, long in use."""
    bytes = spans.bytes[:, sample].tolist()
    steps = [last + 1 - first for first, last in zip(spans.first, spans.last, strict=True)]
    return (
        lambda span: -bytes[span] * steps[span],
        lambda span: -bytes[span],
        lambda span: -steps[span],
    )


def _first_fit(spans: Spans, urgent: Sequence[int], sample: int) -> list[int]:
    """The order from the bottom up, if each is put into the lowest gap at these sizes."""
    bytes = spans.bytes[:, sample].tolist()
    placed: list[tuple[int, int, int]] = []  # where it begins and ends, and the span
    for span in urgent:
        first, last, begin = spans.first[span], spans.last[span], 0
        for low, high, other in placed:
            if spans.first[other] <= last and first <= spans.last[other]:
                if low - begin >= bytes[span]:
                    break
                begin = max(begin, high)
        insort(placed, (begin, begin + bytes[span], span))
    return [span for *_, span in placed]


def _improved(stack: Stack) -> Stack:
    """The stack, as long as it gets better if one of the highest pile falls first, or last."""
    tries = iter(range(_MOST_STEPS // len(stack.order)))
    while stack.worst > _POOR:
        moved = (fall(stack.spans, order) for _, order in zip(tries, _moved(stack), strict=False))
        better = next((found for found in moved if found.worst < stack.worst), None)
        if better is None:
            return stack
        stack = better
    return stack


def _moved(stack: Stack) -> Iterator[Sequence[int]]:
    """The orders in which one of the highest pile falls first, or last."""
    for span in _highest_pile(stack):
        rest = [other for other in stack.order if other != span]
        yield [span, *rest]
        yield [*rest, span]


def _highest_pile(stack: Stack) -> Iterator[int]:
    """The spans that make the worst sample's arena as large as it is, from the top down."""
    ends = stack.ends[:, stack.ratios.argmax()].tolist()
    pile: Sequence[int] = range(len(ends))
    while pile:
        top = max(pile, key=lambda span: ends[span])
        yield top
        pile = stack.on[top]
