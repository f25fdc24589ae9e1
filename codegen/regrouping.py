"""Sums of products, regrouped as they are written: a factor that terms share is taken out.

Derivatives of products of small matrices are full of outer products: with M = e v^T the product
M L^T is e (L v)^T, and e v^T + e w^T is e (v + w)^T. Entry by entry that is distributivity,
a*b + a*c = a*(b + c), where the sum b + c is the same for all entries that differ in a. So sums
and products that come from contractions are not written at once: they stand as sums of terms, each
a product of factors, until something else needs their value.

Rounding changes in the last bits, as with any order of the terms of a contraction.
"""

from __future__ import annotations

from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Buffer, Ref
from gradc.ir.record import dataclass
from gradc.ir.types import DType

_MOST_TERMS = 12  # of a sum that is looked into
_MOST_FACTORS = 6
_LONGEST_CHAIN = 3


@dataclass(frozen=True, slots=True)
class _Term:
    """A product of factors, in the order in which they were made, added or subtracted."""

    factors: tuple[Ref, ...]
    negative: bool = False

    def opposite(self) -> _Term:
        return _Term(self.factors, not self.negative)


_Sum = tuple[_Term, ...]


class RegroupingBuilder(LoopBuilder):
    """A builder of straight-line code that takes common factors out of sums."""

    def __init__(self) -> None:
        super().__init__()
        self._sums: dict[Ref, _Sum] = {}  # what is not written yet
        self._of_sum: dict[_Sum, Ref] = {}
        self._found: dict[Ref, Ref] = {}  # what was written for it
        self._age: dict[Ref, int] = {}

    # --- what may wait -----------------------------------------------------------------------

    def term(self, a: Ref, b: Ref) -> Ref:
        """`a * b` as a term of a sum."""
        return self._multiplied(a, b) if a.dtype.is_float else super().term(a, b)

    def mul(self, a: Ref, b: Ref) -> Ref:
        waits = a in self._sums or b in self._sums
        return self._multiplied(a, b) if waits else super().mul(a, b)

    def add(self, a: Ref, b: Ref) -> Ref:
        if self._is_nothing(a) or self._is_nothing(b) or not (a in self._sums or b in self._sums):
            return super().add(a, b)
        return self._added(self._terms(a), self._terms(b), a.dtype)

    def sub(self, a: Ref, b: Ref) -> Ref:
        if self._is_nothing(b) or not (a in self._sums or b in self._sums):
            return super().sub(a, b)
        left = () if a in self._absent else self._terms(a)
        return self._added(left, tuple(t.opposite() for t in self._terms(b)), a.dtype)

    def unary(self, op: str, a: Ref) -> Ref:
        if op == "neg" and a in self._sums:
            return self._waiting(tuple(t.opposite() for t in self._sums[a]), a.dtype)
        return super().unary(op, a)

    def store(
        self, buffer: Buffer, index: Ref, value: Ref, mode: str = "set", repeat: bool = False
    ) -> None:
        super().store(buffer, index, self.written(value), mode, repeat)

    def settled(self, a: Ref) -> Ref:
        """A finished sum of products; with sums inside its factors multiplied out, if fewer terms
        are left when common factors are taken out.
        """
        terms = self._sums.get(a, ())
        if len(terms) < 2:
            return a
        spread = [product for term in terms for product in self._spread(term)]
        if len(spread) == len(terms) or len(spread) > 2 * _MOST_TERMS:
            return a
        together: _Sum = ()
        for term in spread:
            together = self._joined(together, term, a.dtype)
        return self._waiting(together, a.dtype) if len(together) < len(terms) else a

    # --- sums --------------------------------------------------------------------------------

    def _terms(self, a: Ref) -> _Sum:
        return self._sums.get(a) or (_Term((a,)),)

    def _multiplied(self, a: Ref, b: Ref) -> Ref:
        for one, other in ((a, b), (b, a)):
            if one in self._absent:
                return one
            if self._is_one(one):
                return other
        return self._waiting((self._product_of(a, b),), a.dtype)

    def _product_of(self, a: Ref, b: Ref) -> _Term:
        """The product of two values as one term; products of products are one product."""
        x, y = (self._single(ref) for ref in (a, b))
        if len(x.factors) + len(y.factors) > _MOST_FACTORS:
            x, y = _Term((a,)), _Term((b,))
        return _Term(self._ordered((*x.factors, *y.factors)), x.negative != y.negative)

    def _single(self, a: Ref) -> _Term:
        terms = self._terms(a)
        return terms[0] if len(terms) == 1 else _Term((a,))

    def _spread(self, term: _Term) -> list[_Term]:
        """The term multiplied out over the first of its factors that is a sum of two products."""
        for i, factor in enumerate(term.factors):
            inner = self._sums.get(factor, ())
            if len(inner) == 2 and all(len(t.factors) > 1 for t in inner):
                others = (*term.factors[:i], *term.factors[i + 1 :])
                return [
                    _Term(self._ordered((*t.factors, *others)), t.negative != term.negative)
                    for t in inner
                ]
        return [term]

    def _added(self, a: _Sum, b: _Sum, dtype: DType) -> Ref:
        together = a
        for term in b:
            together = self._joined(together, term, dtype)
        return self._waiting(together, dtype)

    def _joined(self, terms: _Sum, new: _Term, dtype: DType) -> _Sum:
        """The terms and a new one, which is joined with the one that shares most factors with it.

        x*f + x*g -> x*(f + g).
        """
        best = -1
        shared: tuple[Ref, ...] = ()
        for i, term in enumerate(terms):
            common = _common(term.factors, new.factors)
            if len(common) > len(shared):
                best, shared = i, common
        if not shared or len(shared) in (len(terms[best].factors), len(new.factors)):
            return (*terms, new)
        first, second = (
            self._inner(_Term(_without(t.factors, shared), t.negative)) for t in (terms[best], new)
        )
        if len(first) + len(second) > _MOST_TERMS:
            return (*terms, new)
        inner: _Sum = first
        for term in second:
            inner = self._joined(inner, term, dtype)
        negative = inner[0].negative
        if negative:
            inner = tuple(term.opposite() for term in inner)
        outer = _Term(self._ordered((*shared, self._waiting(inner, dtype))), negative)
        return (*terms[:best], outer, *terms[best + 1 :])

    def _inner(self, term: _Term) -> _Sum:
        """What is left of a term in a bracket: a single factor that is a sum is its terms."""
        (first, *others) = term.factors
        if others or first not in self._sums:
            return (term,)
        terms = self._sums[first]
        return tuple(t.opposite() for t in terms) if term.negative else terms

    def _ordered(self, factors: tuple[Ref, ...]) -> tuple[Ref, ...]:
        if len(factors) == 2:
            a, b = factors
            return factors if self._born(a) <= self._born(b) else (b, a)
        return tuple(sorted(factors, key=self._born))

    def _born(self, a: Ref) -> int:
        return self._age.setdefault(a, len(self._age))

    def _waiting(self, terms: _Sum, dtype: DType) -> Ref:
        """A ref for a sum that is not written yet: the same one for the same sum."""
        if len(terms) == 1 and len(terms[0].factors) == 1 and not terms[0].negative:
            return terms[0].factors[0]
        in_order = terms if len(terms) == 1 else tuple(sorted(terms, key=self._place))
        ref = self._of_sum.get(in_order)
        if ref is None:
            depth = max(f.depth for t in in_order for f in t.factors)
            ref = self._of_sum[in_order] = Ref(dtype, depth)
            self._sums[ref] = in_order
            self._born(ref)
        return ref

    def _place(self, term: _Term) -> tuple[int, ...]:
        return (*map(self._born, term.factors), term.negative)

    # --- writing -----------------------------------------------------------------------------

    def written(self, a: Ref) -> Ref:
        """The ref that holds the value of `a`, after its code is written."""
        stack = [a]
        while stack:
            current = stack[-1]
            if current in self._found or current not in self._sums:
                stack.pop()
                continue
            parts = [factor for term in self._sums[current] for factor in term.factors]
            waiting = [p for p in parts if p in self._sums and p not in self._found]
            if waiting:
                stack.extend(reversed(waiting))
                continue
            self._found[current] = self._write(self._sums[current])
            stack.pop()
        return self._found.get(a, a)

    def _write(self, terms: _Sum) -> Ref:
        """The code of a sum: first what is added, then what is subtracted; long sums in halves."""
        in_order = sorted(terms, key=lambda t: t.negative)
        if len(terms) > _LONGEST_CHAIN:
            half = len(terms) // 2
            first, rest = in_order[:half], in_order[half:]
            if rest[0].negative:
                rest = [term.opposite() for term in rest]
                return super().sub(self._write(tuple(first)), self._write(tuple(rest)))
            return super().add(self._write(tuple(first)), self._write(tuple(rest)))
        total: Ref | None = None
        for term in in_order:
            value = self._written_product(term.factors)
            if total is None:
                total = super().unary("neg", value) if term.negative else value
            else:
                total = (super().sub if term.negative else super().add)(total, value)
        assert total is not None
        return total

    def _written_product(self, factors: tuple[Ref, ...]) -> Ref:
        refs = [self._found.get(factor, factor) for factor in factors]
        total = refs[0]
        for ref in refs[1:]:
            total = super().term(total, ref)
        return total

    def _emit(
        self,
        op: str,
        operands: tuple[Ref, ...],
        dtype: DType,
        value: object = None,
        buffer: Buffer | None = None,
        key: object = None,
    ) -> Ref:
        ready = tuple(self.written(operand) for operand in operands)
        return super()._emit(op, ready, dtype, value, buffer, key)


def _common(a: tuple[Ref, ...], b: tuple[Ref, ...]) -> tuple[Ref, ...]:
    """The factors that both products have."""
    rest, found = list(b), []
    for factor in a:
        if factor in rest:
            rest.remove(factor)
            found.append(factor)
    return tuple(found)


def _without(a: tuple[Ref, ...], shared: tuple[Ref, ...]) -> tuple[Ref, ...]:
    rest = list(a)
    for factor in shared:
        rest.remove(factor)
    return tuple(rest)
