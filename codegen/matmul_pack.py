"""Copies of blocks of the operands of a matrix product into the order in which tiles read them."""

from __future__ import annotations

from gradc.codegen.loop_text import LoopText
from gradc.codegen.matmul_tile import (
    Tile,
    column_mask,
    fetch,
    internal,
    load,
    neighbours,
    shuffled,
    store,
)

PACK_A_PARAMETERS = (
    "i64 %rows, i64 %depth, ptr %a, i64 %a_row, i64 %a_col, ptr %to, i64 %to_row, i64 %to_col, "
    "i1 %by_rows"
)
PACK_B_PARAMETERS = "i64 %depth, i64 %columns, ptr %b, i64 %b_row, i64 %b_col, ptr %to, i64 %width"


def pack_functions(tile: Tile) -> str:
    return "\n".join([pack_a_function(tile), pack_b_function(tile)])


def pack_a_function(tile: Tile) -> str:
    """rows x depth of A to scratch, [i, k] at i * to_row + k * to_col; `by_rows`: i innermost."""
    body = LoopText()
    outer = body.select("i64", "%by_rows", "%depth", "%rows")
    inner = body.select("i64", "%by_rows", "%rows", "%depth")
    outer_step = body.select("i64", "%by_rows", "%a_col", "%a_row")
    inner_step = body.select("i64", "%by_rows", "%a_row", "%a_col")
    to_step = body.select("i64", "%by_rows", "%to_col", "%to_row")
    with body.loop(0, outer, 1) as i:
        source = body.address(tile.element, "%a", body.mul(i, outer_step))
        target = body.address(tile.element, "%to", body.mul(i, to_step))
        copy_line(body, tile, source, inner_step, target, inner)
    return body.function(internal(tile, "pack_a", PACK_A_PARAMETERS))


def copy_line(
    body: LoopText, tile: Tile, source: str, stride: str, target: str, length: str
) -> None:
    """`length` elements to contiguous scratch, by vectors where they are contiguous."""
    e = tile.element
    whole = body.emit(f"and i64 {length}, {-tile.lanes}")
    whole = body.select("i64", body.is_equal(stride, 1), whole, 0)
    with body.loop(0, whole, tile.lanes) as i:
        value = load(body, tile, body.address(e, source, i))
        store(body, tile, body.address(e, target, i), value)
    with body.loop(whole, length, 1) as i:
        value = body.emit(f"load {e}, ptr {body.address(e, source, body.mul(i, stride))}")
        body.do(f"store {e} {value}, ptr {body.address(e, target, i)}")


def is_packed(body: LoopText, tile: Tile, columns: str, pack: str) -> str:
    """Whether a panel is packed: if all are, or where its edge cannot be masked."""
    if tile.masks_loads:
        return pack
    rest = body.emit(f"and i64 {columns}, {tile.lanes - 1}")
    return body.either(body.negation(body.is_equal(rest, 0)), pack)


def pack_b_function(tile: Tile) -> str:
    """depth x columns of B to a panel [k, width], width >= columns whole vectors.

    What stands in the panel's further columns is of no account. Up to `lanes` rows behind the panel
    are overwritten.
    """
    body = LoopText()
    contiguous, turned = body.is_equal("%b_col", 1), body.is_equal("%b_row", 1)
    other = body.negation(body.either(contiguous, turned))
    turned = body.both(turned, body.negation(contiguous))
    whole = body.both(contiguous, body.is_equal("%columns", tile.width))
    with body.when(whole), body.loop(0, "%depth", 1) as k:
        source = body.address(tile.element, "%b", body.mul(k, "%b_row"))
        target = body.address(tile.element, "%to", body.mul(k, "%width"))
        for first in range(0, tile.width, tile.lanes):
            value = load(body, tile, body.address(tile.element, source, first))
            store(body, tile, body.address(tile.element, target, first), value)
        for first in (tile.width, 2 * tile.width - 1):
            fetch(body, body.address(tile.element, source, first), for_store=False)
    partly = body.both(contiguous, body.negation(whole))
    with body.when(partly), body.loop(0, "%columns", tile.lanes) as j:
        mask = column_mask(body, tile, body.sub("%columns", j))
        with body.loop(0, "%depth", 1) as k:
            source = body.address(tile.element, "%b", body.mul(k, "%b_row"), j)
            target = body.address(tile.element, "%to", body.mul(k, "%width"), j)
            store(body, tile, target, load(body, tile, source, mask))
    with body.when(turned):
        pack_transposed(body, tile.square)
    with body.when(other), body.loop(0, "%columns", 1) as j, body.loop(0, "%depth", 1) as k:
        places = body.mul(j, "%b_col"), body.mul(k, "%b_row")
        value = body.emit(f"load {tile.element}, ptr {body.address(tile.element, '%b', *places)}")
        place = body.address(tile.element, "%to", body.mul(k, "%width"), j)
        body.do(f"store {tile.element} {value}, ptr {place}")
    return body.function(internal(tile, "pack_b", PACK_B_PARAMETERS))


def pack_transposed(body: LoopText, square: Tile) -> None:
    """The panel from columns of B that are contiguous, by squares that are turned in registers.

    Meanwhile the next panel is fetched: the machine does not guess it behind short columns.
    """
    e, side = square.element, square.lanes
    whole = body.emit(f"and i64 %depth, {-side}")
    with body.loop(0, "%columns", side) as j:
        start, there = body.address(e, "%b", body.mul(j, "%b_col")), body.sub("%columns", j)
        lines = neighbours(body, square, start, side, "%b_col", there)

        with body.loop(0, whole, side) as k:
            pack_square(body, square, lines, (k, j))
            ahead = body.add(k, body.mul("%width", "%b_col"))
            for line in lines:
                fetch(body, body.address(e, line, ahead), for_store=False)
        with body.when(body.is_less(whole, "%depth")):
            rest = column_mask(body, square, body.sub("%depth", whole))
            pack_square(body, square, lines, (whole, j), rest)


def pack_square(
    body: LoopText, square: Tile, lines: list[str], at: tuple[str, str], mask: str | None = None
) -> None:
    """Rows from k on of columns of B, to column j of the panel on; zeros without the mask."""
    k, j = at
    rows = [load(body, square, body.address(square.element, line, k), mask) for line in lines]
    start = body.address(square.element, "%to", body.mul(k, "%width"), j)
    places = neighbours(body, square, start, square.lanes, "%width")
    for place, row in zip(places, transposed(body, square, rows), strict=True):
        store(body, square, place, row)


def transposed(body: LoopText, square: Tile, rows: list[str]) -> list[str]:
    """The columns of a square of vectors: in each step blocks off the diagonal change places."""
    side, kind = square.lanes, square.vector
    distance = side // 2
    while distance:
        upper = [x if not x & distance else x - distance + side for x in range(side)]
        lower = [x + distance if not x & distance else x + side for x in range(side)]
        found = list(rows)
        for i in range(side):
            if not i & distance:
                pair = f"{kind} {rows[i]}, {kind} {rows[i + distance]}"
                found[i] = shuffled(body, pair, upper)
                found[i + distance] = shuffled(body, pair, lower)
        rows, distance = found, distance // 2
    return rows
