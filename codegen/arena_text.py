"""The bytes of an arena as a formula that people read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from gradc.ir.dims import Dim, Monomial, floor_divide, monomials, product, size
from gradc.ir.loops import Slot, tops_of

_MOST_TERMS = 6  # of which the largest counts

_Terms: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"  # [term, monomial]: coefficients


def arena_text(slots: Sequence[Slot]) -> str:
    """The bytes of all slots, before they are rounded up: `max(8*d + 512, 16*n)`.

    Where that would be the largest of many terms, it is one that is as large: `at most 16*n + 8*m`.
    """
    basis = sorted({m for slot in slots for m, _ in monomials(slot.bytes)}, key=str)
    is_exact, ends = True, list[_Terms]()
    for slot in slots:
        own = dict(monomials(slot.bytes))
        below, is_fine = _highest(ends, slot.on, len(basis))
        is_exact &= is_fine
        ends.append(below + np.array([own.get(m, 0) for m in basis], np.int64))
    terms, is_fine = _highest(ends, tops_of(slots), len(basis))
    texts = sorted(str(_dim(term, basis)) for term in terms.tolist())
    text = texts[0] if len(texts) == 1 else f"max({', '.join(texts)})"
    return text if is_exact and is_fine else f"at most {text}"


def _highest(ends: Sequence[_Terms], on: Sequence[int], width: int) -> tuple[_Terms, bool]:
    """The terms of which the largest is where the highest of some slots ends; if that is exact.

    A term is left out where another one, or the mean of two others, is not less for any sizes.
    """
    if len(on) < 2:
        return ends[on[0]] if on else np.zeros((1, width), np.int64), True
    terms = np.unique(np.concatenate([ends[i] for i in on]), axis=0)
    least = (terms[:, None] <= terms).all(axis=2)
    terms = terms[least.sum(axis=1) == 1]
    if len(terms) > 2:
        means = terms[:, None, None] * 2 <= terms[:, None] + terms
        others = ~np.eye(len(terms), dtype=bool)
        pairs = means.all(axis=3) & others[:, None, :] & others[:, :, None] & others
        terms = terms[~pairs.any(axis=(1, 2))]
    if len(terms) > _MOST_TERMS:
        return terms.max(axis=0, keepdims=True), False
    return terms, True


def _dim(coefficients: Sequence[int], basis: Sequence[Monomial]) -> Dim:
    total: Dim = 0
    for monomial, coefficient in zip(basis, coefficients, strict=True):
        factors = (
            size(a) if isinstance(a, str) else floor_divide(a.numerator, a.denominator)
            for a in monomial
        )
        total = total + product(factors) * coefficient
    return total
