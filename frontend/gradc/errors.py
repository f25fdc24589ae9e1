"""The errors that users meet, as text and as data.

Each error names what is wrong (`message`), says at the offending place what is so (`label`), what
the operands are (`operands`), and what to do (`hint`). `str` joins the parts for a Python
traceback; the `.grad` language draws the same parts under the source line.
"""

from __future__ import annotations

from gradc.ir.record import dataclass


@dataclass(frozen=True, slots=True)
class OperandNote:
    """What an operand is: `argument` is its position in the call, or its name.

    `note` reads as a sentence: "X has 2 axes: d, n".
    """

    argument: int | str
    note: str


class GradcError(Exception):
    """The base of gradc's errors."""

    def __init__(
        self,
        message: str,
        *,
        operands: tuple[OperandNote, ...] = (),
        label: str = "",
        hint: str = "",
    ) -> None:
        self.message, self.operands, self.label, self.hint = message, operands, label, hint
        lines = [f"{message}: {label}" if label else message]
        lines += [f"  {operand.note}" for operand in operands]
        lines += [f"  help: {hint}"] if hint else []
        super().__init__("\n".join(lines))


class GradcTypeError(GradcError, TypeError):
    """An operand has a type (element type, rank or kind) that the operation does not take."""


class GradcValueError(GradcError, ValueError):
    """An operand has a right type and a wrong value, or shapes do not fit."""


class GradcIndexError(GradcError, IndexError):
    """An index or an axis is out of range."""


class DisconnectedInputError(GradcError, ValueError):
    """A gradient is asked for with respect to a variable that the cost does not depend on."""


class NullTypeGradError(GradcError, TypeError):
    """A gradient is asked for that cannot be computed; the message says why."""


class DisconnectedInputWarning(UserWarning):
    """A gradient is asked for with respect to a variable that the cost does not depend on."""


class GradientError(GradcError):
    """A gradient differs from finite differences."""
