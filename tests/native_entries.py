"""Manifest entries from short texts, for tests of the call path."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from gradc.runtime._core import NativeFunction
from gradc.runtime.manifest import ArrayEntry

Make: TypeAlias = "Callable[..., NativeFunction]"

DTYPES = {"f64": "f8", "f32": "f4", "i64": "i8", "i32": "i4", "bool": "?"}


def arrays(*texts: str) -> tuple[ArrayEntry, ...]:
    """Entries from "x: f64[n, 2*n + 1]"; integers become integers."""
    found = []
    for text in texts:
        name, _, kind = text.partition(": ")
        dtype, _, shape = kind.rstrip("]").partition("[")
        dims = [int(d) if d.isdigit() else d for d in shape.split(", ") if d]
        found.append(ArrayEntry(name, dtype, tuple(dims)))
    return tuple(found)
