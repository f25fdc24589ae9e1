"""Errors of `gradc.tensor` and of derivative forms as diagnostics at the place in the source."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from gradc.diagnostics import Label, Refused, refuse
from gradc.errors import GradcError, GradcIndexError, GradcTypeError
from gradc.ir.span import Span, at
from gradc.ir.types import TypeRuleError


@contextmanager
def located(
    here: Span,
    primary: Span,
    operands: Sequence[Span] | Mapping[str | int, Span],
    code: str = "",
) -> Iterator[None]:
    """Give the equations built inside the span `here`; turn errors into diagnostics at `primary`.

    `operands` are the places of the operands, by position or name.
    """
    places: dict[str | int, Span] = {}
    places.update(operands if isinstance(operands, Mapping) else enumerate(operands))
    with at(here):
        try:
            yield
        except GradcError as error:
            raise _refusal(error, primary, places, code) from error
        except TypeRuleError as error:
            raise refuse(code or "G0201", str(error), primary) from error


def _refusal(
    error: GradcError, primary: Span, places: Mapping[str | int, Span], code: str
) -> Refused:
    """The diagnostic for an error of `gradc.tensor` or a derivative form."""
    causes = [
        Label(places[note.argument], re.sub(r"^operand \d+ ", "this ", note.note))
        for note in error.operands
        if note.argument in places
    ]
    left_out = [note.note for note in error.operands if note.argument not in places]
    kinds = ((GradcTypeError, "G0201"), (GradcIndexError, "G0204"), (GradcError, "G0202"))
    return refuse(
        code or next(code for kind, code in kinds if isinstance(error, kind)),
        _in_the_language(error.message),
        _blamed(error.message, primary, places),
        _in_the_language(error.label),
        causes=causes,
        help=(_in_the_language(error.hint),) if error.hint else (),
        notes=left_out,
    )


# How messages for Python begin that speak of one argument, and what that argument is called.
_ABOUT = (
    (("a length is",), ("shape", "repeats", "pad_width", "n")),
    (("there is no axis", "an axis is"), ("axis", "axes")),
    (("there is no element type", "the element type"), ("dtype",)),
)


def _blamed(message: str, primary: Span, places: Mapping[str | int, Span]) -> Span:
    """The argument that the message speaks of, where it is plain which one that is."""
    for beginnings, names in _ABOUT:
        if message.startswith(beginnings):
            return next((places[name] for name in names if name in places), primary)
    return primary


def _in_the_language(text: str) -> str:
    """A message for Python's users in the words of the language."""
    text = re.sub(r"<([^<>:]+): ([^<>]+)>", r"`\1`, which is \2", text)
    text = text.replace(
        "a size name like 'n' or '2*n+1', or None", "or made of sizes, like 2*n + 1"
    )
    text = re.sub(r"\bgt\.", "", text)
    for python, here in (("None", "none"), ("True", "true"), ("False", "false")):
        text = re.sub(rf"\b{python}\b", here, text)
    return text
