"""Symmetric matrix products: one half is computed, and the other is its mirror image."""

from __future__ import annotations

from gradc.codegen.reader import Reader
from gradc.ir.dims import product
from gradc.ir.function import Equation
from gradc.ir.symmetry import is_symmetric_product

WHOLE = 32  # rows up to which a product is computed whole
_FEW_TERMS = 64  # of an entry: up to here they cost about what two passes over it do
_TILE = 16  # rows and columns that are mirrored at once: both lie in the first cache


def computes_half(made: Equation, rows: int | None = None) -> bool:
    """Whether only the lower half of a product is computed: that it is symmetric, and pays.

    `rows` is the label that runs over blocks of rows, if there are any.
    """
    lhs, out = made.attrs["lhs"], made.attrs["out"]
    if rows in out:
        return False
    terms = product(d for x, d in zip(lhs, made.inputs[0].shape, strict=True) if x not in out)
    height = made.outputs[0].shape[0] if out else 0
    pays = all(
        not isinstance(length, int) or length > most
        for length, most in ((terms, _FEW_TERMS), (height, WHOLE))
    )
    return pays and is_symmetric_product(made)


def mirror(reader: Reader, made: Equation) -> None:
    """Copy what is below the diagonal of a product to its other half."""
    k, (value,) = reader.k, made.outputs
    buffer, length = reader.buffers[value], k.size(value.shape[0])
    with k.loop(length, step=_TILE) as top:
        bottom = k.binary("min", k.add(top, k.index(_TILE)), length)
        with (
            k.loop(bottom, step=_TILE) as left,
            k.loop(bottom, top) as row,
            k.loop(k.binary("min", k.add(left, k.index(_TILE)), row), left) as column,
        ):
            entry = k.load(buffer, k.add(k.mul(row, length), column), stable=False)
            k.store(buffer, k.add(k.mul(column, length), row), entry)
