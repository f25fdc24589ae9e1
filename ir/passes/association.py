"""Products of several arrays in the order that is least work: vectors before matrices.

Two identities, used where they save multiplications:

    (A B) x          = A (B x)
    A x + (A B) y    = A (x + B y)

By the second, s + A t + A B u + A B C v, the end of a chain of joints, is s + A (t + B (u + C v)):
no matrix is multiplied by another, nor has one a derivative. What is added up first changes, so the
last bits may.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from heapq import heappop, heappush
from itertools import count
from typing import TypeAlias

from gradc.ir.dims import Dim, volume
from gradc.ir.function import Equation, Function, Value
from gradc.ir.ops.arithmetic import add, neg, sub
from gradc.ir.ops.contract import contract
from gradc.ir.record import dataclass
from gradc.ir.span import at, move_to
from gradc.ir.transforms.rebuild import rebuild_equation, with_results

Labels: TypeAlias = "tuple[int, ...]"
Signed: TypeAlias = "tuple[Value, bool]"  # a term, and whether it is subtracted


def associate_products(fn: Function) -> Function:
    """`fn` with sums of products of several arrays multiplied from the cheaper end."""
    if not any(made.op is contract for made in fn.equations):
        return fn
    readers = _readers(fn)
    place = {made.outputs[0]: i for i, made in enumerate(fn.equations, 1)}
    final: dict[Value, Value] = {}
    with at(None):
        for made in fn.equations:
            again = rebuild_equation(made, [final.get(value, value) for value in made.inputs])
            final.update(zip(made.outputs, again.outputs, strict=True))
            if _ends_sum(made, readers):
                move_to(made.span)
                found = _Sum(readers, place, final).ordered(made.outputs[0])
                if found is not None:
                    final[made.outputs[0]] = found
    results = [final.get(result, result) for result in fn.results]
    if all(new is old for new, old in zip(results, fn.results, strict=True)):
        return fn
    return with_results(fn, results)


_Readers: TypeAlias = "Mapping[Value, Sequence[Equation | None]]"


def _readers(fn: Function) -> _Readers:
    """What reads each value, once for each time; None for a result."""
    found: dict[Value, list[Equation | None]] = {}
    for made in fn.equations:
        for value in made.inputs:
            found.setdefault(value, []).append(made)
    for value in fn.results:
        found.setdefault(value, []).append(None)
    return found


def _adds(made: Equation | None) -> bool:
    return made is not None and made.op in (add, sub, neg)


def _ends_sum(made: Equation, readers: _Readers) -> bool:
    """Whether a sum, or a product, is no part of a larger sum."""
    value = made.outputs[0]
    if not value.dtype.is_float or not (made.op is contract or _adds(made)):
        return False
    own = readers.get(value, ())
    return len(own) != 1 or not _adds(own[0])


@dataclass(frozen=True, slots=True)
class _Form:
    """The labels of a matrix, of what it is multiplied with, and of the product."""

    own: Labels
    other: Labels
    out: Labels

    @staticmethod
    def of(own: Labels, other: Labels, out: Labels) -> _Form:
        """Numbered by the product first, then by the matrix: equal if products may be added."""
        number: dict[int, int] = {}
        for label in (*out, *own, *other):
            number.setdefault(label, len(number))
        own, other, out = (tuple(number[x] for x in part) for part in (own, other, out))
        return _Form(own, other, out)

    def product(self, matrix: Value, x: Value) -> Value:
        """The product of a matrix and what it is multiplied with."""
        result: Value = contract(matrix, x, lhs=self.own, rhs=self.other, out=self.out)
        return result


_Key: TypeAlias = "tuple[Value, _Form]"


@dataclass(slots=True)
class _Sum:
    """The terms of one sum that are products: for each matrix what it is multiplied with.

    Matrices are values of the function as it was; all others are what replaces them (`final`).
    """

    readers: _Readers
    place: Mapping[Value, int]  # in the function: a product comes after its factors
    final: Mapping[Value, Value]
    products: dict[_Key, list[Signed]] = field(default_factory=dict)
    waiting: list[tuple[int, int, _Key]] = field(default_factory=list)  # the last matrix first
    numbers: Iterator[int] = field(default_factory=count)
    lost: dict[Value, int] = field(default_factory=dict)  # how many readers of a matrix are gone

    def ordered(self, total: Value) -> Value | None:
        """The sum, where its terms are multiplied in another order; None if that saves nothing."""
        found = self._take_apart(total)
        changes = 0
        while self.waiting:
            *_, key = heappop(self.waiting)
            terms = self.products.pop(key)
            if _is_less_together(key, terms):
                changes += len(terms) - 1
                terms = [_total(terms)]
            if len(terms) == 1 and self._move(key, terms[0]):
                changes += 1
                continue
            matrix, form = self._now(key[0]), key[1]
            found += [(form.product(matrix, x), negative) for x, negative in terms]
        if not changes:
            return None
        value, negative = _total(found)
        return -value if negative else value

    def _now(self, value: Value) -> Value:
        return self.final.get(value, value)

    def _owner(self, value: Value) -> Equation | None:
        """What defines a value within the function, of which it may be a parameter."""
        return value.owner if value in self.place else None

    def _take_apart(self, total: Value) -> list[Signed]:
        """Enter the terms that are products; gives the others, and what has more readers."""
        found: list[Signed] = []
        stack = [(total, False)]
        while stack:
            value, negative = stack.pop()
            made = self._owner(value)
            if value is not total and len(self.readers[value]) > 1:
                made = None
            if made is not None and made.op is contract:
                self._enter_product(made, negative)
            elif made is None or not _adds(made):
                found.append((self._now(value), negative))
            else:
                first, *others = made.inputs
                stack += [(x, negative != (made.op is sub)) for x in others]
                stack.append((first, negative != (made.op is neg)))
        return found

    def _enter_product(self, made: Equation, negative: bool) -> None:
        (a, lhs), (b, rhs) = _sides(made)
        if _weight(b) > _weight(a):
            a, lhs, b, rhs = b, rhs, a, lhs
        self._enter(a, _Form.of(lhs, rhs, made.attrs["out"]), (self._now(b), negative))

    def _enter(self, matrix: Value, form: _Form, term: Signed) -> None:
        key = (matrix, form)
        if key not in self.products:
            heappush(self.waiting, (-self.place.get(matrix, 0), next(self.numbers), key))
        self.products.setdefault(key, []).append(term)
        self.lost[matrix] = self.lost.get(matrix, 0) + 1

    def _move(self, key: _Key, term: Signed) -> bool:
        """Enter (A B) x as A (B x), if nothing else reads A B, and if it is less work."""
        (matrix, form), (x, negative) = key, term
        made = self._owner(matrix)
        if made is None or made.op is not contract or self.lost[matrix] < len(self.readers[matrix]):
            return False
        names = dict(zip(made.attrs["out"], form.own, strict=True))
        first = len({*form.own, *form.other})
        sides = [
            (value, tuple([names.setdefault(label, first + len(names)) for label in labels]))
            for value, labels in _sides(made)
        ]
        summed = set(form.own) - set(form.out)
        if summed.isdisjoint(sides[1][1]):
            sides.reverse()
        (far, outer), (near, inner) = sides
        if not summed or not summed.isdisjoint(outer):
            return False
        kept = {*outer, *form.out}
        left = tuple(label for label in dict.fromkeys((*inner, *form.other)) if label in kept)
        extents = dict(zip((*outer, *inner), (*far.shape, *near.shape), strict=True))
        extents |= zip(form.other, x.shape, strict=True)
        before = _work(extents, outer, inner) + _work(extents, form.own, form.other)
        if _work(extents, inner, form.other) + _work(extents, outer, left) >= before:
            return False
        product = contract(self._now(near), x, lhs=inner, rhs=form.other, out=left)
        self._enter(far, _Form.of(outer, left, form.out), (product, negative))
        return True


def _sides(made: Equation) -> tuple[tuple[Value, Labels], tuple[Value, Labels]]:
    a, b = made.inputs
    return (a, made.attrs["lhs"]), (b, made.attrs["rhs"])


def _weight(value: Value) -> tuple[int, bool]:
    """What makes the matrix of two factors: its size, or that it is a product itself."""
    return volume(value.shape), value.owner is not None and value.owner.op is contract


def _work(extents: Mapping[int, Dim], *labels: Labels) -> int:
    """About the number of multiplications over these labels."""
    every = dict.fromkeys(label for part in labels for label in part)
    return volume(extents[label] for label in every)


def _is_less_together(key: _Key, terms: Sequence[Signed]) -> bool:
    """Whether A x + A y is less work as A (x + y)."""
    (matrix, form), x = key, terms[0][0]
    extents = dict(zip((*form.own, *form.other), (*matrix.shape, *x.shape), strict=True))
    return len(terms) > 1 and _work(extents, form.own, form.other) > volume(x.shape)


def _total(terms: Sequence[Signed]) -> Signed:
    """The sum of the terms, begun with one that is added, if there is one."""
    (total, negative), *others = sorted(terms, key=lambda term: term[1])
    for x, opposite in others:
        total = total + x if opposite == negative else total - x
    return total, negative
