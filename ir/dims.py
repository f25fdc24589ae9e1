"""Dimensions: integers, or polynomials over named sizes (`n`, `2*n + 1`, `(n + 1)//2`).

A dimension is a plain `int` wherever its value is known, else a `SizeExpr` in normal form, so two
dimensions are equal exactly when `==` says so. Sizes are non-negative integers bound at a call.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from math import prod
from numbers import Integral
from typing import TypeAlias, TypeGuard

from gradc.ir.record import dataclass

Dim: TypeAlias = "int | SizeExpr"
Shape: TypeAlias = "tuple[Dim, ...]"
Atom: TypeAlias = "str | FloorDiv"
Monomial: TypeAlias = "tuple[Atom, ...]"  # sorted, with repetition; () is the constant term

_NOMINAL = 100  # what a size counts whose value only a call tells


@dataclass(frozen=True, slots=True)
class FloorDiv:
    """`numerator // denominator`, kept whole because it is no polynomial."""

    numerator: Dim
    denominator: Dim

    def __str__(self) -> str:
        return f"{_parenthesise(self.numerator)}//{_parenthesise(self.denominator)}"


@dataclass(frozen=True, eq=False)
class SizeExpr:
    """A polynomial with integer coefficients: `terms` maps monomials to non-zero coefficients.

    Build with `size`, arithmetic and `parse_dim`; never directly, so that the form stays normal.
    """

    terms: tuple[tuple[Monomial, int], ...]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SizeExpr):
            return NotImplemented
        return self.terms == other.terms

    def __add__(self, other: Dim) -> Dim:
        if not _is_dim(other):
            return NotImplemented
        return _from_terms((*self.terms, *monomials(other)))

    def __sub__(self, other: Dim) -> Dim:
        if not _is_dim(other):
            return NotImplemented
        return self + -1 * other

    def __rsub__(self, other: int) -> Dim:
        return -1 * self + other

    def __mul__(self, other: Dim) -> Dim:
        if not _is_dim(other):
            return NotImplemented
        return _from_terms(
            (tuple(sorted((*a, *b), key=str)), p * q)
            for a, p in self.terms
            for b, q in monomials(other)
        )

    def __floordiv__(self, other: Dim) -> Dim:
        if not _is_dim(other):
            return NotImplemented
        return floor_divide(self, other)

    def __rfloordiv__(self, other: int) -> Dim:
        return floor_divide(other, self)

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> Dim:
        return -1 * self

    @cached_property
    def names(self) -> frozenset[str]:
        """The size names this expression reads."""
        found: set[str] = set()
        for monomial, _ in self.terms:
            for atom in monomial:
                if isinstance(atom, str):
                    found.add(atom)
                else:
                    found |= names_of((atom.numerator, atom.denominator))
        return frozenset(found)

    @cached_property
    def is_negative(self) -> bool:
        """Whether this is below zero for all sizes (a False means: not known)."""
        return is_nonnegative(-1 * self - 1)

    @cached_property
    def _hash(self) -> int:
        return hash(self.terms)

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        text = ""
        for monomial, coefficient in self.terms:
            factors = [
                f"({a})" if isinstance(a, FloorDiv) and len(monomial) > 1 else str(a)
                for a in monomial
            ]
            if abs(coefficient) != 1 or not factors:
                if len(factors) == 1 and isinstance(monomial[0], FloorDiv):
                    factors = [f"({factors[0]})"]
                factors.insert(0, str(abs(coefficient)))
            term = "*".join(factors)
            if text:
                text += f" - {term}" if coefficient < 0 else f" + {term}"
            else:
                text = f"-{term}" if coefficient < 0 else term
        return text

    __repr__ = __str__


def size(name: str) -> SizeExpr:
    """The size called `name`."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(f"a size name is an identifier, not {name!r}")
    return SizeExpr((((name,), 1),))


def floor_divide(numerator: Dim, denominator: Dim) -> Dim:
    """`numerator // denominator`, a polynomial where the division is exact."""
    if isinstance(numerator, int) and isinstance(denominator, int):
        return numerator // denominator
    quotient = divide_exactly(numerator, denominator)
    if quotient is not None:
        return quotient
    return SizeExpr((((FloorDiv(numerator, denominator),), 1),))


def divide_exactly(numerator: Dim, denominator: Dim) -> Dim | None:
    """The polynomial q with q * denominator == numerator, or None; the denominator is one term."""
    divisor_terms = monomials(denominator)
    if len(divisor_terms) != 1:
        return 1 if numerator == denominator and divisor_terms else None
    ((divisor, divisor_coefficient),) = divisor_terms
    quotient = []
    for monomial, coefficient in monomials(numerator):
        rest = list(monomial)
        for atom in divisor:
            if atom not in rest:
                return None
            rest.remove(atom)
        if coefficient % divisor_coefficient:
            return None
        quotient.append((tuple(rest), coefficient // divisor_coefficient))
    return _from_terms(quotient)


def product(dims: Iterable[Dim]) -> Dim:
    """The product; 1 when there are none."""
    dims = tuple(dims)
    return prod(dims[1:], start=dims[0]) if dims else 1


def volume(shape: Iterable[Dim]) -> int:
    """About how many entries an array has: sizes that only a call tells count as a hundred."""
    dim = product(shape)
    if isinstance(dim, int):
        return dim
    return evaluate_dim(dim, dict.fromkeys(names_of((dim,)), _NOMINAL))


def is_static(shape: Iterable[Dim]) -> TypeGuard[tuple[int, ...]]:
    """Whether every dimension is an integer."""
    return all(isinstance(dim, int) for dim in shape)


def is_nonnegative(dim: Dim) -> bool:
    """Whether `dim` >= 0 is certain for all sizes (a False means: not known)."""
    if isinstance(dim, int):
        return dim >= 0
    below: Dim | None = dim
    while below is not None:
        if all(
            coefficient >= 0 and all(_atom_is_nonnegative(a) for a in monomial)
            for monomial, coefficient in monomials(below)
        ):
            return True
        below = _without_division(below)
    return False


def _without_division(dim: Dim) -> Dim | None:
    """A multiple of a lower bound of `dim`, with one division less: a - d < d*(a//d) <= a."""
    for monomial, coefficient in monomials(dim):
        match monomial:
            case (FloorDiv(numerator, int() as d) as atom,) if d > 0:
                bound = numerator if coefficient < 0 else numerator - (d - 1)
                whole = SizeExpr((((atom,), 1),))
                return (dim - coefficient * whole) * d + coefficient * bound
    return None


def names_of(dims: Iterable[Dim]) -> frozenset[str]:
    """All size names the dimensions read."""
    return frozenset().union(*(dim.names for dim in dims if isinstance(dim, SizeExpr)))


def substitute(dim: Dim, sizes: Mapping[str, Dim]) -> Dim:
    """`dim` with the named sizes replaced; names not in `sizes` stay."""
    if isinstance(dim, int) or dim.names.isdisjoint(sizes):
        return dim
    total: Dim = 0
    for monomial, coefficient in dim.terms:
        term: Dim = coefficient
        for atom in monomial:
            if isinstance(atom, str):
                term = term * sizes.get(atom, size(atom))
            else:
                term = term * floor_divide(
                    substitute(atom.numerator, sizes), substitute(atom.denominator, sizes)
                )
        total = total + term
    return total


def evaluate_dim(dim: Dim, sizes: Mapping[str, int]) -> int:
    """The value of `dim`; KeyError names a size that is not bound."""
    value = substitute(dim, sizes)
    if isinstance(value, int):
        return value
    raise KeyError(next(iter(sorted(value.names))))


_TOKEN = re.compile(r"\s*(?:(\d+)|([A-Za-z_]\w*)|(//|[-+*()]))")


def parse_dim(text: str) -> Dim:
    """Read a dimension as `str` prints it: integers, names, `+ - * //` and parentheses.

    Raises ValueError, naming what was not understood.
    """
    tokens: list[str] = []
    position = 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if match is None:
            rest = text[position:]
            raise ValueError(f"cannot read the dimension {text!r} at {rest!r}{_hint(text)}")
        tokens.append(match.group().strip())
        position = match.end()
    dim = _parse_sum(tokens, text, depth=0)
    if tokens:
        raise ValueError(f"cannot read the dimension {text!r} at {tokens[0]!r}{_hint(text)}")
    return dim


def _hint(text: str) -> str:
    """What to write instead of several dimensions in one text."""
    parts = re.split(r"[\s,]+", text.strip())
    if len(parts) < 2 or not all(part.isidentifier() or part.isdigit() for part in parts):
        return ""
    separate = ", ".join(part if part.isdigit() else f'"{part}"' for part in parts)
    return f"; several dimensions are several texts, as in f64[{separate}]"


def _parse_sum(tokens: list[str], text: str, depth: int) -> Dim:
    negative = bool(tokens) and tokens[0] == "-"
    if negative:
        tokens.pop(0)
    total = _parse_product(tokens, text, depth)
    total = -total if negative else total
    while tokens and tokens[0] in "+-":
        sign = tokens.pop(0)
        term = _parse_product(tokens, text, depth)
        total = total + term if sign == "+" else total - term
    return total


def _parse_product(tokens: list[str], text: str, depth: int) -> Dim:
    value = _parse_atom(tokens, text, depth)
    while tokens and tokens[0] in ("*", "//"):
        operator = tokens.pop(0)
        factor = _parse_atom(tokens, text, depth)
        if operator == "//" and factor == 0:
            raise ValueError(f"the dimension {text!r} divides by zero")
        value = value * factor if operator == "*" else floor_divide(value, factor)
    return value


def _parse_atom(tokens: list[str], text: str, depth: int) -> Dim:
    if not tokens or depth > 50:
        raise ValueError(f"cannot read the dimension {text!r}")
    token = tokens.pop(0)
    if token == "(":
        value = _parse_sum(tokens, text, depth + 1)
        if not tokens or tokens.pop(0) != ")":
            raise ValueError(f"a parenthesis is not closed in the dimension {text!r}")
        return value
    if token.isdigit():
        return int(token)
    if token[0].isalpha() or token[0] == "_":
        return size(token)
    raise ValueError(f"cannot read the dimension {text!r} at {token!r}")


def _is_dim(other: object) -> bool:
    """Whether arithmetic with `other` gives a dimension; else it is left to `other` (an array)."""
    return isinstance(other, int | SizeExpr | Integral)


def monomials(dim: Dim) -> tuple[tuple[Monomial, int], ...]:
    """The monomials and coefficients of which a dimension is the sum."""
    if isinstance(dim, SizeExpr):
        return dim.terms
    return (((), int(dim)),) if dim else ()


def _from_terms(terms: Iterable[tuple[Monomial, int]]) -> Dim:
    collected: dict[Monomial, int] = {}
    for monomial, coefficient in terms:
        collected[monomial] = collected.get(monomial, 0) + coefficient
    kept = {m: c for m, c in collected.items() if c}
    if kept.keys() <= {()}:
        return kept.get((), 0)
    ordered = sorted(kept.items(), key=lambda item: (-len(item[0]), [str(a) for a in item[0]]))
    return SizeExpr(tuple(ordered))


def _atom_is_nonnegative(atom: Atom) -> bool:
    return isinstance(atom, str) or (
        is_nonnegative(atom.numerator) and is_nonnegative(atom.denominator)
    )


def _parenthesise(dim: Dim) -> str:
    text = str(dim)
    return text if text.isidentifier() or text.isdigit() else f"({text})"
