"""Products with a single row or column: dot products, and combinations of rows."""

from __future__ import annotations

from gradc.codegen.loop_text import Carried, LoopText
from gradc.codegen.matmul_pack import copy_line
from gradc.codegen.matmul_tile import (
    Tile,
    column_mask,
    fused,
    internal,
    load,
    splat,
    store,
    store_sum,
)

DOT_BLOCK = 4096  # elements of a column that is packed for dot products
DOT_ROWS = 4
COLUMN_BLOCK = 1024  # columns of a combination of rows: C stays in the first cache
COMBINED_ROWS = 8

LINE_PARAMETERS = (
    "i64 %m, i64 %n, i64 %k, ptr %a, i64 %a_row, i64 %a_col, ptr %b, i64 %b_row, i64 %b_col, "
    "ptr %c, i64 %c_row, i64 %c_col, i1 %accumulate, ptr %scratch"
)


def dots_function(tile: Tile) -> str:
    """C[i, 0] (+)= sum_k A[i, k] B[k, 0] where A's rows are contiguous: vectors run along k."""
    body = LoopText()
    e = tile.element
    packed = body.negation(body.is_equal("%b_row", 1))
    with body.loop(0, "%k", DOT_BLOCK) as pc:
        depth = body.minimum(body.sub("%k", pc), DOT_BLOCK)
        there = body.address(e, "%b", body.mul(pc, "%b_row"))
        with body.when(packed):
            copy_line(body, tile, there, "%b_row", "%scratch", depth)
        column = body.select("ptr", packed, "%scratch", there)
        adds = body.either(body.is_less(0, pc), "%accumulate")
        with body.loop(0, "%m", DOT_ROWS) as i:
            start = body.address(e, "%a", body.mul(i, "%a_row"), pc)
            rows = body.minimum(body.sub("%m", i), DOT_ROWS)
            sums = dot_rows(body, tile, (start, column), rows, depth)
            for r, total in enumerate(sums):
                with body.when(body.is_less(r, rows)):
                    place = body.address(e, "%c", body.mul(body.add(i, r), "%c_row"))
                    store_sum(body, tile, place, total, adds)
    return body.function(internal(tile, "dots", LINE_PARAMETERS))


def dot_rows(
    body: LoopText, tile: Tile, places: tuple[str, str], rows: str, depth: str
) -> list[str]:
    """The dot products of DOT_ROWS rows with the column: whole vectors, then a masked one."""
    start, column = places
    e = tile.element
    pointers = row_pointers(body, tile, DOT_ROWS, rows, start)
    sums = Carried(["zeroinitializer"] * DOT_ROWS)
    whole = body.emit(f"and i64 {depth}, {-tile.lanes}")
    with body.loop(0, whole, tile.lanes, tile.vector, sums) as k:
        x = load(body, tile, body.address(e, column, k))
        for r, pointer in enumerate(pointers):
            row = load(body, tile, body.address(e, pointer, k))
            sums.values[r] = fused(body, tile, row, x, sums.values[r])
    mask = column_mask(body, tile, body.sub(depth, whole))
    x = load(body, tile, body.address(e, column, whole), mask)
    totals = []
    for pointer, value in zip(pointers, sums.values, strict=True):
        row = load(body, tile, body.address(e, pointer, whole), mask)
        vector = fused(body, tile, row, x, value)
        symbol = f"@llvm.vector.reduce.fadd.{tile.suffix}"
        totals.append(body.emit(f"call reassoc {e} {symbol}({e} 0.0, {tile.vector} {vector})"))
    return totals


def row_pointers(body: LoopText, tile: Tile, rows: int, count: str, start: str = "%a") -> list[str]:
    """The addresses of `rows` rows of A from `start`, those past `count` repeating the last one."""
    last = body.sub(count, 1)
    steps = [body.mul(body.minimum(r, last), "%a_row") for r in range(1, rows)]
    return [start, *(body.address(tile.element, start, step) for step in steps)]


def combination_function(tile: Tile) -> str:
    """C[0] (+)= sum_k A[0, k] B[k]: rows of B, read once along their contiguous columns."""
    body = LoopText()
    with body.unless("%accumulate"), body.loop(0, "%n", 1) as j:
        body.do(f"store {tile.element} 0.0, ptr {body.address(tile.element, '%c', j)}")
    whole = body.emit(f"and i64 %k, {-COMBINED_ROWS}")
    with body.loop(0, "%n", COLUMN_BLOCK) as jc:
        columns = body.minimum(body.sub("%n", jc), COLUMN_BLOCK)
        with body.loop(0, whole, COMBINED_ROWS) as k:
            add_rows(body, tile, (k, jc), columns, COMBINED_ROWS)
        with body.loop(whole, "%k", 1) as k:
            add_rows(body, tile, (k, jc), columns, 1)
    return body.function(internal(tile, "combination", LINE_PARAMETERS))


def add_rows(body: LoopText, tile: Tile, at: tuple[str, str], columns: str, rows: int) -> None:
    """C[0, jc:] += sum_r A[0, k + r] B[k + r, jc:] for r < rows, over some columns."""
    (k, jc), e = at, tile.element
    factors, lines = [], []
    for r in range(rows):
        index = body.add(k, r)
        place = body.address(e, "%a", body.mul(index, "%a_col"))
        factors.append(splat(body, e, tile.lanes, body.emit(f"load {e}, ptr {place}")))
        lines.append(body.address(e, "%b", body.mul(index, "%b_row"), jc))
    target = body.address(e, "%c", jc)
    whole = body.emit(f"and i64 {columns}, {-tile.lanes}")
    with body.loop(0, whole, tile.lanes) as j:
        place = body.address(e, target, j)
        total = load(body, tile, place)
        for factor, line in zip(factors, lines, strict=True):
            row = load(body, tile, body.address(e, line, j))
            total = fused(body, tile, factor, row, total)
        store(body, tile, place, total)
    mask = column_mask(body, tile, body.sub(columns, whole))
    place = body.address(e, target, whole)
    total = load(body, tile, place, mask)
    for factor, line in zip(factors, lines, strict=True):
        row = load(body, tile, body.address(e, line, whole), mask)
        total = fused(body, tile, factor, row, total)
    store(body, tile, place, total, mask)
