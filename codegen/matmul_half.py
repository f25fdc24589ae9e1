"""The lower half of a symmetric matrix product, as LLVM text, from calls of the whole product.

The result is cut into quarters: the one below the diagonal is a product like any other, the two on
the diagonal are cut again, until they are small. Entries above the diagonal are computed only as
far as they lie in the last quarters. Long sums are cut before: what the quarters read again and
again stays in the caches.
"""

from __future__ import annotations

from gradc.codegen.loop_text import LoopText
from gradc.codegen.matmul import ENTRY_PARAMETERS
from gradc.codegen.matmul_tile import BLOCK_BYTES, Tile, internal, tile_for
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
    held = body.emit(f"udiv i64 {BLOCK_BYTES // dtype.itemsize}, {body.add('%m', 1)}")
    depth = body.select("i64", body.is_less(held, tile.depth_block), tile.depth_block, held)
    is_long = body.both(body.negation(is_small), body.is_less(depth, "%k"))
    with body.when(is_long), body.loop(0, "%k", depth) as pc:
        _call(body, tile, half, ("%m", "%m"), (0, 0), (pc, depth))
    with body.unless(body.either(is_small, is_long)):
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
    terms: tuple[str, str] | None = None,
) -> None:
    """Compute as many rows and columns of the result from a row and a column on.

    Of the sums all `terms`, or those from one on, as many as are given, added to those before.
    """
    row, column = place
    own = {parameter.split()[1]: parameter.split()[1] for parameter in ENTRY_PARAMETERS.split(", ")}
    own["%m"], own["%n"] = lengths
    for operand, stride, at in (
        *(("%a", "%a_row", row), ("%c", "%c_row", row)),
        *(("%b", "%b_col", column), ("%c", "%c_col", column)),
    ):
        if at:
            own[operand] = body.address(tile.element, own[operand], body.mul(at, stride))
    if terms is not None:
        first, most = terms
        own["%a"] = body.address(tile.element, own["%a"], body.mul(first, "%a_col"))
        own["%b"] = body.address(tile.element, own["%b"], body.mul(first, "%b_row"))
        own["%k"] = body.minimum(body.sub("%k", first), most)
        own["%accumulate"] = body.either(body.is_less(0, first), "%accumulate")
    body.call(symbol, ENTRY_PARAMETERS, *own.values())
