"""Products of few rows or columns: dot products, and combinations of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

from gradc.codegen.loop_text import Carried, LoopText
from gradc.codegen.matmul_pack import PACK_B_PARAMETERS, copy_line
from gradc.codegen.matmul_tile import (
    HUGE,
    IN_FLIGHT,
    Tile,
    column_mask,
    fused,
    internal,
    load,
    neighbours,
    pieces_of,
    shuffled,
    splat,
    store,
    store_pieces,
    store_sum,
)

LONG_SUM, FEW_LONG_SUM = 16, 8  # vectors of a dot product from which adding up the lanes pays
DOT_BLOCK = 4096  # elements of a column that is packed for dot products
DOT_ROWS, LINE_ROWS = 4, 8  # of A that meet columns at a time, that meet a single one
FETCHED_ALONE = 256, 4096  # bytes of rows that are read from memory one by one: less than a page
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
    return "\n".join([dot_function(tile), dots_function(tile), combination_function(tile)])


# --- dot products --------------------------------------------------------------------------------


def dot_function(tile: Tile) -> str:
    """C[i, 0] (+)= sum_k A[i, k] B[k, 0] where A's rows are contiguous: vectors run along k.

    Several rows of A meet a part of the column at a time, those that are left one after the other.
    So do all rows from memory that are short: the machine fetches ahead one line that goes on, or
    several that are long. A column that is not contiguous is packed.
    """
    body, e, size = LoopText(), tile.element, tile.dtype.itemsize
    least, most = (bytes_of_row // size for bytes_of_row in FETCHED_ALONE)
    is_short = body.both(body.is_less(least - 1, "%k"), body.is_less("%k", most))
    alone = body.both(is_short, body.is_less(HUGE // size, body.mul("%m", "%k")))
    together = body.select("i64", alone, 0, body.emit(f"and i64 %m, {-LINE_ROWS}"))
    packed = body.negation(body.is_equal("%b_row", 1))
    with body.loop(0, "%k", DOT_BLOCK) as pc:
        depth = body.minimum(body.sub("%k", pc), DOT_BLOCK)
        there = body.address(e, "%b", body.mul(pc, "%b_row"))
        with body.when(packed):
            copy_line(body, tile, there, "%b_row", "%scratch", depth)
        column = body.select("ptr", packed, "%scratch", there)
        adds = body.either(body.is_less(0, pc), "%accumulate")
        for start, end, height in (("0", together, LINE_ROWS), (together, "%m", 1)):
            with body.loop(start, end, height) as i:
                first = body.address(e, "%a", body.mul(i, "%a_row"), pc)
                of_a = neighbours(body, tile, first, height, "%a_row")
                sums = dot_products(body, tile, of_a, [column], depth)
                place = body.address(e, "%c", body.mul(i, "%c_row"))
                store_column(body, tile, [own for (own,) in sums], place, adds)
    return body.function(internal(tile, "dots1", LINE_PARAMETERS))


def dots_function(tile: Tile) -> str:
    """C[i, j] (+)= sum_k A[i, k] B[k, j] where rows of A and of C are contiguous.

    Some columns of B meet DOT_ROWS rows of A at a time; those that are not contiguous are packed.
    All columns meet the same rows in turn, or, where there are more of them than rows, all rows the
    same columns.
    """
    body = LoopText()
    e, columns, block = tile.element, tile.dot_columns, DOT_BLOCK // 8
    whole = body.emit(f"and i64 {body.sub(body.minimum('%k', block), 1)}, {-LINE_PADDING}")
    line_length = body.add(whole, 2 * LINE_PADDING)
    packed = body.negation(body.is_equal("%b_row", 1))
    line = body.select("i64", packed, line_length, "%b_col")
    with body.loop(0, "%k", block) as pc:
        depth = body.minimum(body.sub("%k", pc), block)
        there = body.address(e, "%b", body.mul(pc, "%b_row"))
        with body.when(packed):
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
    """For each row of A the products with each column of B, as vectors of partial sums.

    A single product is several chains of sums, as many as the units work at together.
    """
    count = len(of_a) * len(of_b)
    chains = IN_FLIGHT if count == 1 else 1
    sums = Carried(["zeroinitializer"] * (chains * count))

    def step(k: str, mask: str | None, chain: int = 0) -> None:
        rows, columns = (
            [load(body, tile, body.address(tile.element, line, k), mask) for line in lines]
            for lines in (of_a, of_b)
        )
        for i, pair in enumerate(product(rows, columns), chain):
            sums.values[i] = fused(body, tile, *pair, sums.values[i])

    done = "0"
    if chains > 1:
        done = body.emit(f"and i64 {depth}, {-chains * tile.lanes}")
        with body.loop(0, done, chains * tile.lanes, tile.vector, sums) as k:
            for chain in range(chains):
                step(body.add(k, chain * tile.lanes), None, chain)
    over_vectors(body, tile, (done, depth), step, sums)
    found = [added(body, tile, sums.values)] if chains > 1 else sums.values
    return [found[i : i + len(of_b)] for i in range(0, count, len(of_b))]


def added(body: LoopText, tile: Tile, sums: list[str]) -> str:
    """The sum of vectors, a power of two of them, in pairs."""
    while len(sums) > 1:
        half = len(sums) // 2
        pairs = zip(sums[:half], sums[half:], strict=True)
        sums = [body.emit(f"fadd {tile.vector} {x}, {y}") for x, y in pairs]
    return sums[0]


def over_vectors(
    body: LoopText,
    tile: Tile,
    part: tuple[str, str],
    step: Callable[[str, str | None], None],
    carried: Carried | None = None,
) -> None:
    """`step(position, mask)` for vectors of a part of a line, of whole vectors and its end.

    Without masks where they are costly: on most machines, and beside little other work.
    """
    start, length = part
    if tile.has_mask_registers and (carried is None or len(carried.values) > IN_FLIGHT):
        with body.loop(start, length, tile.lanes, tile.vector, carried) as i:
            step(i, column_mask(body, tile, body.sub(length, i)))
        return
    whole = body.emit(f"and i64 {length}, {-tile.lanes}")
    with body.loop(start, whole, tile.lanes, tile.vector, carried) as i:
        step(i, None)
    with body.when(body.is_less(whole, length), tile.vector, carried):
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
    mask = column_mask(body, narrow, columns)
    for r, vectors in enumerate(sums):
        with body.when(body.is_less(r, rows)):
            place = body.address(e, "%c", body.mul(body.add(i, r), "%c_row"), j)
            add_to(body, narrow, place, totals(body, tile, vectors), adds, mask)


def store_column(body: LoopText, tile: Tile, sums: list[str], place: str, adds: str) -> None:
    """The totals of the partial sums to a column of C: by vectors where it is contiguous."""
    e, group = tile.element, min(tile.lanes, len(sums))
    parts = [totals(body, tile, sums[i : i + group]) for i in range(0, len(sums), group)]
    narrow = replace(tile, lanes=group)
    contiguous = body.is_equal("%c_row", 1)
    with body.when(contiguous):
        for i, part in enumerate(parts):
            add_to(body, narrow, body.address(e, place, i * group), part, adds)
    with body.unless(contiguous):
        for i, entry in enumerate(neighbours(body, tile, place, len(sums), "%c_row")):
            part, lane = parts[i // group], i % group
            value = body.emit(f"extractelement {narrow.vector} {part}, i64 {lane}")
            store_sum(body, tile, entry, value, adds)


def add_to(
    body: LoopText, tile: Tile, place: str, vector: str, adds: str, mask: str | None = None
) -> None:
    """Store a vector, or add it to what is there."""
    total = Carried([vector])
    with body.when(adds, tile.vector, total):
        old = load(body, tile, place, mask)
        total.values = [body.emit(f"fadd {tile.vector} {old}, {vector}")]
    store(body, tile, place, total.values[0], mask)


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
    whole = body.emit(f"and i64 %k, {-COMBINED_ROWS}")
    loops = (("0", whole, COMBINED_ROWS), (whole, "%k", 1))
    short = body.is_less("%n", tile.lanes + 1) if tile.masks_loads else "false"
    if tile.masks_loads:
        with body.when(short):
            add_short_rows(body, tile, loops)
    with body.unless(short):
        with body.unless("%accumulate"), body.loop(0, "%n", 1) as j:
            body.do(f"store {tile.element} 0.0, ptr {body.address(tile.element, '%c', j)}")
        with body.loop(0, "%n", COLUMN_BLOCK) as jc:
            columns = body.minimum(body.sub("%n", jc), COLUMN_BLOCK)
            for start, end, rows in loops:
                with body.loop(start, end, rows) as k:
                    add_rows(body, tile, (k, jc), columns, rows)
    return body.function(internal(tile, "combination", LINE_PARAMETERS))


def add_short_rows(body: LoopText, tile: Tile, loops: tuple[tuple[str, str, int], ...]) -> None:
    """The combination of rows of at most a vector: rows side by side are sums in registers.

    `loops` over the rows: from, to, step.
    """
    mask, sums = column_mask(body, tile, "%n"), Carried(["zeroinitializer"] * COMBINED_ROWS)
    for start, end, rows in loops:
        with body.loop(start, end, rows, tile.vector, sums) as k:
            factors, lines = rows_at(body, tile, (k, "0"), rows)
            for r, (factor, line) in enumerate(zip(factors, lines, strict=True)):
                row = load(body, tile, line, mask)
                sums.values[r] = fused(body, tile, factor, row, sums.values[r])
    add_to(body, tile, "%c", added(body, tile, sums.values), "%accumulate", mask)


def rows_at(
    body: LoopText, tile: Tile, at: tuple[str, str], rows: int
) -> tuple[list[str], list[str]]:
    """Entries of A from k on as vectors, and the addresses of as many rows of B at column j."""
    (k, j), e = at, tile.element
    start = body.address(e, "%a", body.mul(k, "%a_col"))
    places = neighbours(body, tile, start, rows, "%a_col")
    factors = [splat(body, e, tile.lanes, body.emit(f"load {e}, ptr {place}")) for place in places]
    start = body.address(e, "%b", body.mul(k, "%b_row"), j)
    return factors, neighbours(body, tile, start, rows, "%b_row")


def add_rows(body: LoopText, tile: Tile, at: tuple[str, str], columns: str, rows: int) -> None:
    """C[0, jc:] += sum_r A[0, k + r] B[k + r, jc:] for r < rows, over some columns."""
    e, target = tile.element, body.address(tile.element, "%c", at[1])
    factors, lines = rows_at(body, tile, at, rows)

    def step(j: str, mask: str | None) -> None:
        place = body.address(e, target, j)
        total = load(body, tile, place, mask)
        for factor, line in zip(factors, lines, strict=True):
            row = load(body, tile, body.address(e, line, j), mask)
            total = fused(body, tile, factor, row, total)
        if mask is None or tile.has_mask_registers:
            store(body, tile, place, total, mask)
        else:
            store_pieces(body, tile, place, total, pieces_of(body, tile, body.sub(columns, j)))

    over_vectors(body, tile, ("0", columns), step)
