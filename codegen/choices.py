"""The scheduler's choices, which cost alone decides unless they are forced.

Whatever is chosen, results agree up to rounding: the tests force each choice in turn.
"""

from __future__ import annotations

from gradc.ir.record import dataclass


@dataclass(frozen=True, slots=True)
class Choices:
    """How a graph is cut into kernels.

    vector_bits: the width of a vector register; 64 writes scalar loops.
    store: which values get a buffer: "by cost", "everything", or the "least" that is possible.
    share: whether values over the same space share a nest.
    rows: whether steps over the same rows run block by block.
    block: the number of rows of a block; None: as many as the first cache holds.
    short: whether calls that find short rows have loops of their own: "by cost", "always" where
        a length is not known, or "never".
    straight: whether small arrays of known shape are held in registers.
    turn: whether arrays with a short last axis that are read for every pair are turned.
    select: whether sums whose terms are mostly known zeros compute the others only.
    finish: whether what follows a product entry by entry runs on the parts of it in the cache.
    ends: whether the first and last iterations of loops that differ from the others stand apart.
    phases: whether loops run in phases over blocks: "by cost", "always" that can, or "never".
    stack: whether the parts of the arena that are in use at the same time are stacked, or all:
        "by cost", "always", or "never".
    """

    vector_bits: int = 512
    store: str = "by cost"
    share: bool = True
    rows: bool = True
    block: int | None = None
    short: str = "by cost"
    straight: bool = True
    turn: bool = True
    select: bool = True
    finish: bool = True
    ends: bool = True
    phases: str = "by cost"
    stack: str = "by cost"
