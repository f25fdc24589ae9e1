"""Conditions on sizes: decided where the types decide them, left to the call where they do not."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from gradc.ir.dims import Dim, is_nonnegative
from gradc.ir.function import Requirement
from gradc.ir.types import TypeRuleError


def is_ascending(*dims: Dim) -> bool:
    """Whether it is certain that no dimension is larger than the next."""
    return all(is_nonnegative(after - before) for before, after in pairwise(dims))


def at_least(dim: Dim, bound: Dim, why: str) -> Iterator[Requirement]:
    """The condition `dim >= bound`: nothing if it is certain, TypeRuleError if it cannot be."""
    excess = dim - bound
    if is_nonnegative(-excess - 1):
        raise TypeRuleError(why)
    if not is_nonnegative(excess):
        yield Requirement(excess, ">= 0", why)


def equal(a: Dim, b: Dim, why: str) -> Iterator[Requirement]:
    """The condition `a == b`: nothing if it is certain, TypeRuleError if it cannot be."""
    difference = a - b
    if isinstance(difference, int):
        if difference:
            raise TypeRuleError(why)
        return
    if is_nonnegative(difference - 1) or is_nonnegative(-difference - 1):
        raise TypeRuleError(why)
    yield Requirement(difference, "== 0", why)
