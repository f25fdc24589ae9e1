"""Numbers and strings in the text form: exact both ways."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from gradc.ir.types import DType


class TextFormError(ValueError):
    """The text is no function; the message gives line and column."""


_BITS = {4: np.uint32, 8: np.uint64}


def quote(text: str) -> str:
    """The text in double quotes, with JSON's escapes."""
    return json.dumps(text)


def format_number(number: Any) -> str:
    """The shortest text that `parse_number` reads back as the same bits."""
    if isinstance(number, bool | np.bool_):
        return "true" if number else "false"
    if isinstance(number, int | np.integer):
        return str(int(number))
    scalar = number if isinstance(number, np.floating) else np.float64(number)
    if np.isnan(scalar):
        bits = int(scalar.view(_BITS[scalar.itemsize]))
        usual = int(type(scalar)(np.nan).view(_BITS[scalar.itemsize]))
        return "nan" if bits == usual else f"nan:{bits:x}"
    if np.isinf(scalar):
        return "inf" if scalar > 0 else "-inf"
    text = repr(scalar.item())
    if isinstance(scalar, np.float32):
        short = np.format_float_positional(scalar, unique=True, trim="0")
        short = short if len(short) < 20 else np.format_float_scientific(scalar, unique=True)
        text = short if np.float32(float(short)) == scalar else text
    return text


def parse_number(text: str, dtype: DType) -> Any:
    """The number of `dtype` that `format_number` wrote. Raises ValueError for any other text."""
    if dtype.kind == "b":
        if text not in ("true", "false"):
            raise ValueError(f"a bool is true or false, not {text!r}")
        return np.bool_(text == "true")
    if text.startswith("nan:"):
        bits = np.array(int(text[4:], 16), dtype=_BITS[dtype.itemsize])
        return bits.view(dtype.numpy)[()]
    if dtype.kind == "i":
        number, limits = int(text), np.iinfo(dtype.numpy)
        if not limits.min <= number <= limits.max:
            raise ValueError(f"{text} does not fit into {dtype}")
        return dtype.numpy.type(number)
    return dtype.numpy.type(float(text))
