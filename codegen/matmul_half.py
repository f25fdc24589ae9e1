"""The lower half of a symmetric matrix product, as LLVM text, from calls of the whole product.

The result is cut into quarters: the one below the diagonal is a product like any other, the two on
the diagonal are cut again, until they are small. Entries above the diagonal are computed only as
far as they lie in the last quarters.
"""

from __future__ import annotations

from gradc.codegen.loop_text import LoopText
from gradc.codegen.matmul import ENTRY_PARAMETERS
from gradc.codegen.matmul_tile import Tile, internal, tile_for
from gradc.codegen.symmetric import WHOLE
from gradc.ir.types import DType


def half_symbol(dtype: DType) -> str:
    """The symbol of the function that computes the lower half."""
    return f"gradc.matmul.half.{dtype.name}"


def half_function(dtype: DType, vector_bits: int) -> str:
    """The text of the function: it takes what the whole product takes, m and n equal."""
    tile, body = tile_for(dtype, vector_bits), LoopText()
    half, whole = tile.symbol("half"), tile.symbol()
    is_small = body.is_less("%m", WHOLE + 1)
    with body.when(is_small):
        _call(body, tile, whole, ("%m", "%m"), (0, 0))
    with body.unless(is_small):
        tiles = body.emit(f"udiv i64 {body.add('%m', 2 * tile.width - 1)}, {2 * tile.width}")
        first = body.mul(tiles, tile.width)
        rest = body.sub("%m", first)
        _call(body, tile, half, (first, first), (0, 0))
        _call(body, tile, whole, (rest, first), (first, 0))
        _call(body, tile, half, (rest, rest), (first, first))
    return body.function(internal(tile, "half", ENTRY_PARAMETERS))


def _call(
    body: LoopText,
    tile: Tile,
    symbol: str,
    lengths: tuple[str, str],
    place: tuple[str | int, str | int],
) -> None:
    """Compute as many rows and columns of the result from a row and a column on."""
    row, column = place
    own = {parameter.split()[1]: parameter.split()[1] for parameter in ENTRY_PARAMETERS.split(", ")}
    own["%m"], own["%n"] = lengths
    for operand, stride, at in (
        *(("%a", "%a_row", row), ("%c", "%c_row", row)),
        *(("%b", "%b_col", column), ("%c", "%c_col", column)),
    ):
        if at:
            own[operand] = body.address(tile.element, own[operand], body.mul(at, stride))
    body.call(symbol, ENTRY_PARAMETERS, *own.values())
