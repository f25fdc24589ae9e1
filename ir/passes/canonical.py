"""Canonical form: constants folded, and chains of shape operations made short, in one sweep.

Both look at every equation and mostly leave it, and what one of them does at the seed of a
derivative would be done again for all that depends on it.
"""

from __future__ import annotations

from gradc.ir.function import Function
from gradc.ir.passes.fold import CONSTANTS
from gradc.ir.passes.rewrite import joined, rewrite
from gradc.ir.passes.shapes import SHAPES


def canonicalize(fn: Function) -> Function:
    """`fn` with constants folded, and broadcasts, transposes, reshapes, ... in canonical form."""
    return rewrite(fn, _RULES)


_RULES = joined(SHAPES, CONSTANTS)
