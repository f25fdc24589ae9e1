"""What stands for a gradient where there is none, and what the sweeps pass on for it."""

from __future__ import annotations

from gradc.ir.op import DISCONNECTED, Disconnected, Null
from gradc.ir.types import NoGradient, NullType

__all__ = ["NoGradient", "cotangent_of"]


def cotangent_of(gradient: NoGradient) -> Null | Disconnected:
    """What reverse mode passes on for a gradient that is none."""
    kind = gradient.type
    return Null(kind.why_null) if isinstance(kind, NullType) else DISCONNECTED
