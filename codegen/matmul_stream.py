"""Few rows of A times a large B by rows, each entry of which is fetched from memory once."""

from __future__ import annotations

from gradc.codegen.loop_text import LoopText
from gradc.codegen.matmul_finish import FINISH, call_finish, is_given
from gradc.codegen.matmul_lines import LINE_PARAMETERS
from gradc.codegen.matmul_pack import PACK_B_PARAMETERS, is_packed
from gradc.codegen.matmul_tile import Tile, call_kernel, fetch, internal, store_sum

STREAMED_ROWS = 32  # of A: more are worth packed blocks of B
LARGE_B = 1_048_576  # bytes above which B is more than the caches hold
FEW_ROWS, FEW_DEEP, DEEP = 12, 8, 16  # rows of A, and how many of B they meet at a time; or more
SLAB_BYTES, FEWEST_ROWS = 32_768, 4  # of C that stays in the first caches, if it has so many rows
LINE_BYTES = 64


def stream_scratch(tile: Tile) -> int:
    """Elements of scratch: a slab of C, and a panel of B."""
    return SLAB_BYTES // tile.dtype.itemsize + (DEEP + tile.lanes) * tile.width


def stream_function(tile: Tile) -> str:
    """C (+)= A B by slabs of columns, which a few rows of B at a time are added to.

    The next rows are fetched meanwhile: what machines fetch ahead by themselves are long lines, and
    few of them. More rows of B at a time would be more fetches than are under way together. If C's
    columns lie apart, a slab is summed in scratch.
    """
    body, e = LoopText(), tile.element
    in_place = body.is_equal("%c_col", 1)
    depth_step = body.select("i64", body.is_less(FEW_ROWS, "%m"), DEEP, FEW_DEEP)
    width = slab_columns(body, tile)
    row = body.select("i64", in_place, "%c_row", width)
    panel = body.address(e, "%scratch", SLAB_BYTES // tile.dtype.itemsize)
    with body.loop(0, "%n", width) as jc:
        columns = body.minimum(body.sub("%n", jc), width)
        slab = body.select("ptr", in_place, body.address(e, "%c", jc), "%scratch")
        with body.loop(0, "%k", depth_step) as pc:
            adds = body.either(body.is_less(0, pc), body.both(in_place, "%accumulate"))
            add_rows_of_b(body, tile, (pc, depth_step), (jc, columns), (slab, row, adds, panel))
        with body.unless(in_place):
            spread_slab(body, tile, (slab, row), (jc, columns))
        with body.when(is_given(body)):
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
        with body.loop(0, depth, 1) as k:
            line = body.address(e, right, ahead, body.mul(k, "%b_row"))
            for first in range(0, tile.width, LINE_BYTES // tile.dtype.itemsize):
                fetch(body, body.address(e, line, first), for_store=False)
        packs = is_packed(body, tile, few, "false")
        with body.when(packs):
            given = (depth, few, right, "%b_row", "%b_col", packed, tile.width)
            body.call(tile.symbol("pack_b"), PACK_B_PARAMETERS, *given)
        values = (
            *("%m", depth, left, "%a_row", "%a_col"),
            body.select("ptr", packs, packed, right),
            body.select("i64", packs, tile.width, "%b_row"),
            *(body.address(e, slab, j), row),
        )
        call_kernel(body, tile, few, values, adds)


def spread_slab(body: LoopText, tile: Tile, slab: tuple[str, str], part: tuple[str, str]) -> None:
    """From scratch to C's columns from jc on."""
    (start, row), (jc, columns), e = slab, part, tile.element
    with body.loop(0, columns, 1) as j:
        column = body.address(e, "%c", body.mul(body.add(jc, j), "%c_col"))
        source = body.address(e, start, j)
        with body.loop(0, "%m", 1) as i:
            value = body.emit(f"load {e}, ptr {body.address(e, source, body.mul(i, row))}")
            place = body.address(e, column, body.mul(i, "%c_row"))
            store_sum(body, tile, place, value, "%accumulate")
