"""Copies of blocks of the operands of a matrix product into the order in which tiles read them."""

from __future__ import annotations

from dataclasses import replace

from gradc.codegen.loop_text import LoopText
from gradc.codegen.matmul_tile import (
    PADDING,
    Tile,
    column_mask,
    fetch,
    internal,
    load,
    neighbours,
    shuffled,
    store,
)
from gradc.codegen.target import LINE_BYTES

PACK_PARAMETERS = "i64 %depth, i64 %columns, ptr %b, i64 %b_row, i64 %b_col, ptr %to"
PACK_B_PARAMETERS = f"{PACK_PARAMETERS}, i64 %width"
SPREAD_BYTES, SPREAD_COLUMNS = 1_024, 64  # between columns of A, columns of C for packing to pay
COLLIDING_BYTES = 2_048  # apart, rows fall on two sets of the first cache, twice as far, on one
COLLIDING_ROWS, COLLIDING_COLUMNS = 8, 16  # of C for which packing such rows of B or A^T pays
COLLIDING_PAIRS = 128  # of rows of C and terms: fewer do not pay for packing
CACHE_WAYS = 8  # lines of a set
FEWEST_TERMS = 64  # of a sum, for which entries of C are loaded and stored, or operands packed
RUN_BYTES = 1_536  # of a row that is copied to several panels: a part of a page
ROWS_AHEAD = 6  # that are fetched meanwhile


def pack_functions(tile: Tile) -> str:
    """`strips` of A, as high as a tile, `panels` of B, as wide as a tile, and one panel of any."""
    parts = [
        panels_function(tile, "strips", tile.rows),
        panels_function(tile, "panels", tile.width),
    ]
    return "\n".join([*parts, pack_b_function(tile)])


def panels_function(tile: Tile, name: str, width: int) -> str:
    """depth x columns of B to panels [k, width], one behind the other.

    Where rows are contiguous, a part of a row goes to several panels: memory is read by long lines.
    """
    body, e, size = LoopText(), tile.element, tile.dtype.itemsize
    piece = replace(tile, lanes=min(tile.lanes, width))
    length = body.add("%depth", PADDING)
    rest = body.emit(f"urem i64 %columns, {width}")
    whole = body.select("i64", body.is_equal("%b_col", 1), body.sub("%columns", rest), 0)
    group = max(1, RUN_BYTES // (width * size)) * width
    with body.loop(0, whole, group) as jc:
        end = body.minimum(body.add(jc, group), whole)
        with body.loop(0, "%depth", 1) as k, body.loop(jc, end, width) as j:
            source = body.address(e, "%b", body.mul(k, "%b_row"), j)
            target = body.address(e, "%to", body.mul(j, length), body.mul(k, width))
            for first in range(0, width, piece.lanes):
                value = load(body, piece, body.address(e, source, first))
                store(body, piece, body.address(e, target, first), value)
            ahead = body.address(e, source, body.mul("%b_row", ROWS_AHEAD))
            for first in range(0, width, LINE_BYTES // size):
                fetch(body, body.address(e, ahead, first), for_store=False)
    with body.loop(whole, "%columns", width) as j:
        few = body.minimum(body.sub("%columns", j), width)
        source = body.address(e, "%b", body.mul(j, "%b_col"))
        target = body.address(e, "%to", body.mul(j, length))
        given = ("%depth", few, source, "%b_row", "%b_col", target, width)
        body.call(tile.symbol("pack_b"), PACK_B_PARAMETERS, *given)
    return body.function(internal(tile, name, PACK_PARAMETERS))


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


def pack_panels(body: LoopText, tile: Tile, columns: str, jc: str, place: tuple[str, str]) -> None:
    """The panels of B from column jc on, those that are packed: all, or one that has an edge."""
    packed, length = place
    first = columns
    if not tile.masks_loads:
        rest = body.emit(f"urem i64 {columns}, {tile.width}")
        fits = body.is_equal(body.emit(f"and i64 {columns}, {tile.lanes - 1}"), 0)
        first = body.select("i64", fits, columns, body.sub(columns, rest))
    first = body.select("i64", "%pack", 0, first)
    source = body.address(tile.element, "%b", body.mul(body.add(jc, first), "%b_col"))
    target = body.address(tile.element, packed, body.mul(first, length))
    values = ("%depth", body.sub(columns, first), source, "%b_row", "%b_col", target)
    body.call(tile.symbol("panels"), PACK_PARAMETERS, *values)


def is_spread(body: LoopText, tile: Tile, n: str, a: tuple[str, str]) -> str:
    """Whether enough columns of C meet an A by columns, of which a tile reads a line each."""
    long = body.is_less(SPREAD_BYTES // tile.dtype.itemsize - 1, a[1])
    colliding = collide(body, tile, a[1], 2 * COLLIDING_BYTES)
    least = body.select("i64", colliding, COLLIDING_COLUMNS, SPREAD_COLUMNS)
    enough = body.both(long, body.is_less(body.sub(least, 1), n))
    return body.both(enough, body.is_equal(a[0], 1))


def rows_collide(body: LoopText, tile: Tile, m: str, k: str, b_row: str) -> str:
    """Whether enough rows of A meet rows of B that push one another out of the caches."""
    enough = body.both(body.is_less(COLLIDING_ROWS - 1, m), body.is_less(CACHE_WAYS, k))
    enough = body.both(enough, body.is_less(COLLIDING_PAIRS, body.mul(m, k)))
    return body.both(enough, collide(body, tile, b_row, 2 * COLLIDING_BYTES))


def collide(body: LoopText, tile: Tile, stride: str, distance: int) -> str:
    """Whether rows lie a multiple of so many bytes apart."""
    rest = body.emit(f"and i64 {stride}, {distance // tile.dtype.itemsize - 1}")
    return body.is_equal(rest, 0)


def pack_b_function(tile: Tile) -> str:
    """depth x columns of B to a panel [k, width], width >= columns whole vectors.

    What stands in the panel's further columns is of no account. Up to `lanes` rows behind the panel
    are overwritten.
    """
    body = LoopText()
    contiguous, turned = body.is_equal("%b_col", 1), body.is_equal("%b_row", 1)
    other = body.negation(body.either(contiguous, turned))
    turned = body.both(turned, body.negation(contiguous))
    with body.when(contiguous), body.loop(0, "%columns", tile.lanes) as j:
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
