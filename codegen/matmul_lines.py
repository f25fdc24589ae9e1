"""Products of few rows or columns: dot products, and combinations of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gradc.codegen.loop_text import Carried, LoopText
from gradc.codegen.matmul_pack import PACK_B_PARAMETERS, copy_line
from gradc.codegen.matmul_tile import (
    Tile,
    column_mask,
    fused,
    internal,
    load,
    neighbours,
    shuffled,
    splat,
    store,
    store_sum,
)

LONG_SUM, FEW_LONG_SUM = 16, 8  # vectors of a dot product from which adding up the lanes pays
DOT_BLOCK = 4096  # elements of a column that is packed for dot products
DOT_ROWS = 4
LINE_PADDING = 16  # elements between packed columns, against aliasing of cache sets
COLUMN_BLOCK = 4096  # columns of a combination of rows: C stays in the caches, rows are long
COMBINED_ROWS = 8

LINE_PARAMETERS = (
    "i64 %m, i64 %n, i64 %k, ptr %a, i64 %a_row, i64 %a_col, ptr %b, i64 %b_row, i64 %b_col, "
    "ptr %c, i64 %c_row, i64 %c_col, i1 %accumulate, ptr %scratch"
)


def line_scratch(tile: Tile, k: int) -> int:
    """Elements of scratch for packed columns: of one, or of few, padded to squares."""
    one = min(k, DOT_BLOCK) + tile.lanes
    if k <= FEW_LONG_SUM * tile.lanes:
        return one
    line = -(-min(k, DOT_BLOCK // 8) // LINE_PADDING) * LINE_PADDING + LINE_PADDING
    return max(one, 2 * tile.lanes * line)


def line_functions(tile: Tile) -> str:
    return "\n".join(
        [dots_function(tile, 1), dots_function(tile, tile.dot_columns), combination_function(tile)]
    )


# --- dot products --------------------------------------------------------------------------------


def dots_function(tile: Tile, columns: int) -> str:
    """C[i, j] (+)= sum_k A[i, k] B[k, j] where A's rows are contiguous: vectors run along k.

    `columns` columns of B meet DOT_ROWS rows of A at a time; with more than one, C's columns are
    contiguous. Columns of B that are not contiguous are packed. All columns meet the same rows in
    turn, or, where there are more of them than rows, all rows the same columns.
    """
    body = LoopText()
    e = tile.element
    block = DOT_BLOCK if columns == 1 else DOT_BLOCK // 8
    whole = body.emit(f"and i64 {body.sub(body.minimum('%k', block), 1)}, {-LINE_PADDING}")
    line_length = body.add(whole, 2 * LINE_PADDING)
    packed = body.negation(body.is_equal("%b_row", 1))
    line = body.select("i64", packed, line_length, "%b_col")
    with body.loop(0, "%k", block) as pc:
        depth = body.minimum(body.sub("%k", pc), block)
        there = body.address(e, "%b", body.mul(pc, "%b_row"))
        with body.when(packed):
            if columns == 1:
                copy_line(body, tile, there, "%b_row", "%scratch", depth)
            else:
                values = ("%n", depth, there, "%b_col", "%b_row", "%scratch", line_length)
                body.call(tile.symbol("pack_b"), PACK_B_PARAMETERS, *values)
        start = body.select("ptr", packed, "%scratch", there)
        adds = body.either(body.is_less(0, pc), "%accumulate")
        group = body.select("i64", body.is_less("%n", "%m"), DOT_ROWS, "%m")
        with (
            body.loop(0, "%m", group) as ic,
            body.loop(0, "%n", columns) as j,
            body.loop(ic, body.minimum(body.add(ic, group), "%m"), DOT_ROWS) as i,
        ):
            few = body.minimum(body.sub("%n", j), columns)
            rows = body.minimum(body.sub("%m", i), DOT_ROWS)
            first = body.address(e, "%a", body.mul(i, "%a_row"), pc)
            of_a = neighbours(body, tile, first, DOT_ROWS, "%a_row", rows)
            first = body.address(e, start, body.mul(j, line))
            of_b = neighbours(body, tile, first, columns, line, few)
            sums = dot_products(body, tile, of_a, of_b, depth)
            store_dots(body, tile, sums, (i, j), (rows, few), adds)
    return body.function(internal(tile, f"dots{columns}", LINE_PARAMETERS))


def dot_products(
    body: LoopText, tile: Tile, of_a: list[str], of_b: list[str], depth: str
) -> list[list[str]]:
    """For each row of A the products with each column of B, as vectors of partial sums."""
    sums = Carried(["zeroinitializer"] * (len(of_a) * len(of_b)))

    def step(k: str, mask: str | None) -> None:
        rows, columns = (
            [load(body, tile, body.address(tile.element, line, k), mask) for line in lines]
            for lines in (of_a, of_b)
        )
        pairs = [(row, column) for row in rows for column in columns]
        sums.values = [
            fused(body, tile, *pair, total) for pair, total in zip(pairs, sums.values, strict=True)
        ]

    over_vectors(body, tile, depth, step, sums)
    return [sums.values[i : i + len(of_b)] for i in range(0, len(sums.values), len(of_b))]


def over_vectors(
    body: LoopText,
    tile: Tile,
    length: str,
    step: Callable[[str, str | None], None],
    carried: Carried | None = None,
) -> None:
    """`step(position, mask)` for vectors of a line.

    Without masks where they are costly: on most machines, and beside little other work.
    """
    if tile.has_mask_registers and (carried is None or len(carried.values) > DOT_ROWS):
        with body.loop(0, length, tile.lanes, tile.vector, carried) as i:
            step(i, column_mask(body, tile, body.sub(length, i)))
        return
    whole = body.emit(f"and i64 {length}, {-tile.lanes}")
    with body.loop(0, whole, tile.lanes, tile.vector, carried) as i:
        step(i, None)
    step(whole, column_mask(body, tile, body.sub(length, whole)))


def store_dots(
    body: LoopText,
    tile: Tile,
    sums: list[list[str]],
    at: tuple[str, str],
    counts: tuple[str, str],
    adds: str,
) -> None:
    """The totals of the partial sums to C, from row and column `at` on."""
    (i, j), (rows, columns), e = at, counts, tile.element
    narrow = replace(tile, lanes=len(sums[0]))
    mask = column_mask(body, narrow, columns) if narrow.lanes > 1 else ""
    for r, vectors in enumerate(sums):
        with body.when(body.is_less(r, rows)):
            place = body.address(e, "%c", body.mul(body.add(i, r), "%c_row"), j)
            if narrow.lanes == 1:
                store_sum(body, tile, place, lane_total(body, tile, vectors[0]), adds)
                continue
            total = Carried([totals(body, tile, vectors)])
            with body.when(adds, narrow.vector, total):
                old = load(body, narrow, place, mask)
                total.values = [body.emit(f"fadd {narrow.vector} {old}, {total.values[0]}")]
            store(body, narrow, place, total.values[0], mask)


def lane_total(body: LoopText, tile: Tile, vector: str) -> str:
    """The sum of the lanes."""
    symbol = f"@llvm.vector.reduce.fadd.{tile.suffix}"
    return body.emit(
        f"call reassoc {tile.element} {symbol}({tile.element} 0.0, {tile.vector} {vector})"
    )


def totals(body: LoopText, tile: Tile, vectors: list[str]) -> str:
    """The sums of the lanes of each vector, as one vector: halves are added, then halves of them.

    After each step a vector holds `length` partial sums of each of its numbers, side by side.
    """
    length = tile.lanes
    while len(vectors) > 1:
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        kind = f"<{tile.lanes} x {tile.element}>"
        if length == 1:
            both = [f"{kind} {x}, {kind} {y}" for x, y in pairs]
            return shuffled(body, both[0], list(range(2 * tile.lanes)))
        vectors = [halves(body, tile, (x, y), length) for x, y in pairs]
        length //= 2
    (vector,) = vectors
    while length > 1:
        vector = halves(body, tile, (vector,), length)
        tile, length = replace(tile, lanes=tile.lanes // 2), length // 2
    return vector


def halves(body: LoopText, tile: Tile, vectors: tuple[str, ...], length: int) -> str:
    """The first half of each `length` lanes plus the second."""
    first = [x for x in range(len(vectors) * tile.lanes) if x % length < length // 2]
    pair = f"{tile.vector} {vectors[0]}, {tile.vector} {vectors[-1]}"
    low = shuffled(body, pair, first)
    high = shuffled(body, pair, [x + length // 2 for x in first])
    return body.emit(f"fadd <{len(first)} x {tile.element}> {low}, {high}")


# --- combinations of rows ------------------------------------------------------------------------


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
    start = body.address(e, "%a", body.mul(k, "%a_col"))
    places = neighbours(body, tile, start, rows, "%a_col")
    factors = [splat(body, e, tile.lanes, body.emit(f"load {e}, ptr {place}")) for place in places]
    start = body.address(e, "%b", body.mul(k, "%b_row"), jc)
    lines = neighbours(body, tile, start, rows, "%b_row")
    target = body.address(e, "%c", jc)

    def step(j: str, mask: str | None) -> None:
        place = body.address(e, target, j)
        total = load(body, tile, place, mask)
        for factor, line in zip(factors, lines, strict=True):
            row = load(body, tile, body.address(e, line, j), mask)
            total = fused(body, tile, factor, row, total)
        store(body, tile, place, total, mask)

    over_vectors(body, tile, columns, step)
