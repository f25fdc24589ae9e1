"""The types of tangents and cotangents, and zeros: what both directions share."""

from __future__ import annotations

from gradc.ir.function import Value
from gradc.ir.ops.constants import full
from gradc.ir.types import ArrayType, f64

DEFAULT_FLOAT = f64


def cotangent_type(value: Value) -> ArrayType:
    """The type of a tangent or cotangent of `value`: its own, or that of the default float."""
    return value.type if value.dtype.is_float else value.type.with_dtype(DEFAULT_FLOAT)


def check_cotangent(value: Value, given: Value) -> None:
    """Raise TypeError where `given` has not the type of a tangent or cotangent of `value`."""
    wanted = cotangent_type(value)
    if given.type != wanted:
        raise TypeError(
            f"a tangent or cotangent of {value.name or 'a value'}: {value.type} has the type "
            f"{wanted}, but {given.type} was given"
        )


def zeros(type: ArrayType) -> Value:
    """The zero of `type`."""
    return full(type.shape, 0, type.dtype)
