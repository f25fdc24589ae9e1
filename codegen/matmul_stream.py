"""Few rows of A times a large B by rows, each entry of which is fetched from memory once."""

from __future__ import annotations

from gradc.codegen.loop_text import LoopText
from gradc.codegen.matmul_finish import FINISH, call_finish, is_given
from gradc.codegen.matmul_lines import LINE_PARAMETERS
from gradc.codegen.matmul_pack import (
    COLLIDING_BYTES,
    FEWEST_TERMS,
    PACK_B_PARAMETERS,
    collide,
    is_packed,
)
from gradc.codegen.matmul_tile import (
    HUGE,
    Tile,
    call_kernel,
    fetch,
    internal,
    neighbours,
    store_sum,
)
from gradc.codegen.target import LINE_BYTES

# Rows of A from which packing blocks of B pays; columns of B from which packing a large A does.
STREAMED_ROWS, STREAMED_COLUMNS = 32, 41
LARGE = 1 << 22  # bytes of A and B above which tiles that read a panel from end to end would wait
# Rows of B at a time: as many as pay, or those of a huge B for few of A, or that collide.
DEEP, LESS_DEEP = 16, 8
FAR_COLLIDING_BYTES = 16_384  # apart: few sets of the second cache
FEW_ROWS = 12
SLAB_BYTES, FEWEST_ROWS = 32_768, 4  # of C that stays in the first caches, if it has so many rows
KEPT_BYTES = 131_072  # of A that stays in the second cache while all slabs of C meet it


def is_streamed(
    body: LoopText, tile: Tile, sizes: tuple[str, str, str], b: tuple[str, str], most: str | int
) -> str:
    """Whether fewer than `most` rows of A meet a B by rows, the two of them large.

    `sizes` are m, n and k, `b` the strides of B. Rows of B that collide push one another out of the
    first cache: a third of these rows is then enough for packing to pay.
    """
    m, n, k = sizes
    third = body.emit(f"udiv i64 {most}, 3")
    most = body.select("i64", collide(body, tile, b[0], COLLIDING_BYTES), third, most)
    few = body.both(body.is_less(m, most), body.is_less(tile.width, n))
    few = body.both(few, body.is_less(FEWEST_TERMS - 1, k))
    large = body.is_less(LARGE // tile.dtype.itemsize, body.mul(body.add(m, n), k))
    return body.both(body.both(few, large), body.is_equal(b[1], 1))


def stream_scratch(tile: Tile) -> int:
    """Elements of scratch: a slab of C, and a panel of B."""
    return SLAB_BYTES // tile.dtype.itemsize + (DEEP + tile.lanes) * tile.width


def stream_function(tile: Tile) -> str:
    """C (+)= A B by slabs of columns, which a few rows of B at a time are added to.

    The next rows are fetched meanwhile: what machines fetch ahead by themselves are long lines, and
    few of them. More rows of B at a time would be more fetches than are under way together; fewer
    are more work, which few rows of A do while they wait for memory. Of a long sum all slabs take a
    part, and then the next one. If C's columns lie apart, a slab is summed in scratch, at once.
    """
    body, e = LoopText(), tile.element
    in_place = body.is_equal("%c_col", 1)
    huge = body.is_less(HUGE // tile.dtype.itemsize, body.mul("%n", "%k"))
    waits = body.both(huge, body.is_less("%m", FEW_ROWS + 1))
    on_few_sets = collide(body, tile, "%b_row", FAR_COLLIDING_BYTES)
    depth_step = body.select("i64", body.either(waits, on_few_sets), LESS_DEEP, DEEP)
    width = slab_columns(body, tile)
    row = body.select("i64", in_place, "%c_row", width)
    panel = body.address(e, "%scratch", SLAB_BYTES // tile.dtype.itemsize)
    kept = body.emit(f"udiv i64 {KEPT_BYTES // tile.dtype.itemsize}, %m")
    part = body.select("i64", in_place, body.emit(f"and i64 {kept}, {-DEEP}"), "%k")
    with body.loop(0, "%k", part) as start, body.loop(0, "%n", width) as jc:
        columns = body.minimum(body.sub("%n", jc), width)
        slab = body.select("ptr", in_place, body.address(e, "%c", jc), "%scratch")
        end = body.minimum(body.add(start, part), "%k")
        with body.loop(start, end, depth_step) as pc:
            adds = body.either(body.is_less(0, pc), body.both(in_place, "%accumulate"))
            add_rows_of_b(body, tile, (pc, depth_step), (jc, columns), (slab, row, adds, panel))
        with body.unless(in_place):
            spread_slab(body, tile, (slab, row), (jc, columns))
        with body.when(body.both(is_given(body), body.is_equal(end, "%k"))):
            call_finish(body, (0, "%m", jc, columns))
    return body.function(internal(tile, "stream", f"{LINE_PARAMETERS}, {FINISH}"))


def slab_columns(body: LoopText, tile: Tile) -> str:
    """The columns of a slab: whole panels."""
    rows = body.select("i64", body.is_less("%m", FEWEST_ROWS), FEWEST_ROWS, "%m")
    panels = body.emit(f"udiv i64 {SLAB_BYTES // tile.dtype.itemsize // tile.width}, {rows}")
    return body.mul(panels, tile.width)


def add_rows_of_b(
    body: LoopText,
    tile: Tile,
    at: tuple[str, str],
    part: tuple[str, str],
    places: tuple[str, str, str, str],
) -> None:
    """Add what rows of B from pc on give to a slab, panel by panel."""
    (pc, step), (jc, columns), (slab, row, adds, packed), e = at, part, places, tile.element
    depth = body.minimum(body.sub("%k", pc), step)
    left = body.address(e, "%a", body.mul(pc, "%a_col"))
    lines = body.address(e, "%b", body.mul(pc, "%b_row"), jc)
    ahead = body.mul(step, "%b_row")
    with body.loop(0, columns, tile.width) as j:
        few = body.minimum(body.sub(columns, j), tile.width)
        right = body.address(e, lines, j)
        with body.loop(0, depth, LESS_DEEP) as k:
            there = body.address(e, right, ahead, body.mul(k, "%b_row"))
            for line in neighbours(body, tile, there, LESS_DEEP, "%b_row"):
                for first in range(0, tile.width, LINE_BYTES // tile.dtype.itemsize):
                    fetch(body, body.address(e, line, first), for_store=False)
        packs = is_packed(body, tile, few, "false")
        with body.when(packs):
            given = (depth, few, right, "%b_row", "%b_col", packed, tile.width)
            body.call(tile.symbol("pack_b"), PACK_B_PARAMETERS, *given)
        values = (
            *("%m", depth, left, "%a_row", "%a_row", "%a_col"),
            body.select("ptr", packs, packed, right),
            body.select("i64", packs, tile.width, "%b_row"),
            *(body.address(e, slab, j), row),
        )
        call_kernel(body, tile, few, values, adds)


def spread_slab(body: LoopText, tile: Tile, slab: tuple[str, str], part: tuple[str, str]) -> None:
    """From scratch to columns of C: squares where C^T has contiguous rows, and then the rest."""
    (start, row), (jc, columns), e = slab, part, tile.element
    target, side = body.address(e, "%c", body.mul(jc, "%c_col")), tile.square.lanes
    turned = body.both(body.is_equal("%c_row", 1), body.negation("%accumulate"))
    rows = body.select("i64", turned, body.emit(f"and i64 %m, {-side}"), 0)
    whole = body.emit(f"and i64 {columns}, {-side}")
    given = (whole, rows, start, 1, row, target, "%c_col")
    body.call(tile.symbol("pack_b"), PACK_B_PARAMETERS, *given)
    with body.loop(0, columns, 1) as j:
        source = body.address(e, start, j)
        column = body.address(e, target, body.mul(j, "%c_col"))
        first = body.select("i64", body.is_less(j, whole), rows, 0)
        with body.loop(first, "%m", 1) as i:
            value = body.emit(f"load {e}, ptr {body.address(e, source, body.mul(i, row))}")
            place = body.address(e, column, body.mul(i, "%c_row"))
            store_sum(body, tile, place, value, "%accumulate")
