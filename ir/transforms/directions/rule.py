"""How ops act on derivatives in compressed form (`block.py`): linear rules, block by block.

A rule is given an equation and, for each input, the blocks of its derivative, or None for an input
that no direction moves. It returns the blocks of the result, or None where it knows no better way
than that of all directions. Booleans that directions move are false outside their one block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from gradc.ir.function import Equation, Value
from gradc.ir.ops.constants import constant_number
from gradc.ir.transforms.directions.block import (
    Blocks,
)

Flows: TypeAlias = "Sequence[Blocks | None]"
Rule: TypeAlias = "Callable[[Equation, Flows], Blocks | None]"


def is_zero(x: Value) -> bool:
    return constant_number(x) == 0
