"""What stands for a gradient where there is none."""

from __future__ import annotations

from dataclasses import dataclass

from gradc.ir.op import DISCONNECTED, Disconnected, Null
from gradc.ir.types import DisconnectedType, NullType


@dataclass(frozen=True, slots=True)
class NoGradient:
    """A gradient that cannot be computed (NullType, with the reason) or that is disconnected.

    It can be returned and passed on (as a known gradient), and not be computed with.
    """

    type: NullType | DisconnectedType

    @property
    def cotangent(self) -> Null | Disconnected:
        """What reverse mode passes on for it."""
        return Null(self.type.why_null) if isinstance(self.type, NullType) else DISCONNECTED

    def __repr__(self) -> str:
        return f"<no gradient: {self.type}>"
