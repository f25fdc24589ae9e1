"""The matrix product with packing, as LLVM text: C[i, j] (+)= sum_k A[i, k] B[k, j], any strides.

A register tile holds `rows` x `vectors` accumulators: for every k it loads `vectors` vectors of a
row of B and broadcasts `rows` elements of a column of A (the scheme of Goto and van de Geijn,
2008). The blocks:

* `depth_block` of the k axis at a time, so that tile rows x depth of A stay in the first cache;
* ROW_BLOCK rows of A, packed once for a depth block (third cache); rows stay rows or columns stay
  columns, whichever is contiguous, since the tile only broadcasts from them;
* some panels of B, packed as wide as the tile with zeros at the edge (second cache).

Operands that are used too little to pay for it are read where they are. A matrix with contiguous
rows times a column is a dot product a row, a row times such a matrix a sum of rows. The order of
summation is ascending in k within a lane and a depth block, then over the blocks: it depends on
sizes and strides only.
"""

from __future__ import annotations

from gradc.codegen.loop_text import Carried, LoopText
from gradc.codegen.matmul_tile import (
    ROW_BLOCK,
    ROW_PADDING,
    TILE_PARAMETERS,
    Tile,
    column_mask,
    declarations,
    fused,
    load_masked,
    load_vector,
    row_pointers,
    splat,
    store_masked,
    store_sum,
    tile_for,
    tile_functions,
)
from gradc.ir.types import DType

PACK_ROWS_OF_B = 40  # rows of C from which packing B pays
PACK_COLUMNS_OF_A = 160  # columns of C from which packing A pays
DOT_BLOCK = 4096  # elements of a column that is packed for dot products
DOT_ROWS = 4
COLUMN_BLOCK = 1024  # columns of a combination of rows: C stays in the first cache
COMBINED_ROWS = 8

PACK_A_PARAMETERS = (
    "i64 %rows, i64 %depth, ptr %a, i64 %a_row, i64 %a_col, ptr %to, i64 %to_row, i64 %to_col, "
    "i1 %by_rows"
)
PACK_B_PARAMETERS = "i64 %depth, i64 %columns, ptr %b, i64 %b_row, i64 %b_col, ptr %to"
BLOCK_PARAMETERS = (
    "i64 %rows, i64 %n, i64 %depth, ptr %a, i64 %a_row, i64 %a_col, ptr %b, i64 %b_row, "
    "i64 %b_col, ptr %c, i64 %c_row, i64 %c_col, i1 %accumulate, i1 %pack, ptr %packed"
)
PRODUCT_PARAMETERS = (
    "i64 %m, i64 %n, i64 %k, ptr %a, i64 %a_row, i64 %a_col, ptr %b, i64 %b_row, i64 %b_col, "
    "ptr %c, i64 %c_row, i64 %c_col, i1 %accumulate, ptr %scratch"
)


def scratch_bytes(dtype: DType, vector_bits: int) -> int:
    """Bytes of scratch, 64-byte aligned, that a product of any size needs."""
    tile = tile_for(dtype, vector_bits)
    return (tile.packed_a + tile.packed_b) * dtype.itemsize + 64


def matmul_functions(dtype: DType, vector_bits: int) -> str:
    """The text of `void @gradc.matmul.<dtype>` and of what it calls, all internal.

    Parameters: i64 batch, m, n, k; then for each of a, b, c: ptr, i64 batch stride, row stride,
    column stride, in elements (0 repeats an operand; c must not repeat); i1 accumulate; ptr scratch
    of `scratch_bytes` bytes. C must not overlap A, B or the scratch.
    """
    tile = tile_for(dtype, vector_bits)
    parts = [declarations(tile), tile_functions(tile), pack_a_function(tile), pack_b_function(tile)]
    parts += [block_function(tile), product_function(tile), dots_function(tile)]
    return "\n".join([*parts, combination_function(tile), entry_function(tile)])


def internal(tile: Tile, part: str, parameters: str) -> str:
    """The head of a function of this module."""
    return f"internal void {tile.symbol(part)}({parameters}) noinline nounwind"


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
    e, align = tile.element, tile.dtype.itemsize
    whole = body.emit(f"and i64 {length}, {-tile.lanes}")
    whole = body.select("i64", body.is_equal(stride, 1), whole, 0)
    with body.loop(0, whole, tile.lanes) as i:
        value = load_vector(body, tile, body.address(e, source, i))
        place = body.address(e, target, i)
        body.do(f"store {tile.vector} {value}, ptr {place}, align {align}")
    with body.loop(whole, length, 1) as i:
        value = body.emit(f"load {e}, ptr {body.address(e, source, body.mul(i, stride))}")
        body.do(f"store {e} {value}, ptr {body.address(e, target, i)}")


def pack_b_function(tile: Tile) -> str:
    """depth x columns of B, columns <= width, to a panel [k, width] with zeros at its end."""
    body = LoopText()
    e, align = tile.element, tile.dtype.itemsize
    contiguous = body.is_equal("%b_col", 1)
    lefts = [body.sub("%columns", v * tile.lanes) for v in range(tile.vectors)]
    masks = [column_mask(body, tile, left) for left in lefts]
    with body.when(contiguous), body.loop(0, "%depth", 1) as k:
        source = body.address(e, "%b", body.mul(k, "%b_row"))
        target = body.address(e, "%to", body.mul(k, tile.width))
        for v, mask in enumerate(masks):
            value = load_masked(body, tile, body.address(e, source, v * tile.lanes), mask)
            place = body.address(e, target, v * tile.lanes)
            body.do(f"store {tile.vector} {value}, ptr {place}, align {align}")
    with body.unless(contiguous), body.loop(0, "%depth", 1) as k:
        source = body.address(e, "%b", body.mul(k, "%b_row"))
        target = body.address(e, "%to", body.mul(k, tile.width))
        copy_line(body, tile, source, "%b_col", target, "%columns")
        with body.loop("%columns", tile.width, 1) as j:
            body.do(f"store {e} 0.0, ptr {body.address(e, target, j)}")
    return body.function(internal(tile, "pack_b", PACK_B_PARAMETERS))


def block_function(tile: Tile) -> str:
    """rows x n of C from a block of A that is ready, by blocks of panels of B."""
    body = LoopText()
    block = tile.width * tile.panels
    buffer = body.emit(f"alloca [{tile.rows * tile.width} x {tile.element}], align 64")
    with body.loop(0, "%n", block) as jc:
        columns = body.minimum(body.sub("%n", jc), block)
        with body.loop(0, columns, tile.width) as jr:
            pack_panel(body, tile, columns, jc, jr)
        with body.loop(0, "%rows", tile.rows) as ir, body.loop(0, columns, tile.width) as jr:
            call_tile(body, tile, columns, (jc, jr, ir), buffer)
    return body.function(internal(tile, "block", BLOCK_PARAMETERS))


def pack_panel(body: LoopText, tile: Tile, columns: str, jc: str, jr: str) -> None:
    """The panel of B at column jc + jr, if panels are packed or it is partial."""
    nr = body.minimum(body.sub(columns, jr), tile.width)
    with body.when(body.either(body.is_less(nr, tile.width), "%pack")):
        source = body.address(tile.element, "%b", body.mul(body.add(jc, jr), "%b_col"))
        target = body.address(tile.element, "%packed", body.mul(jr, "%depth"))
        values = ("%depth", nr, source, "%b_row", "%b_col", target)
        body.call(tile.symbol("pack_b"), PACK_B_PARAMETERS, *values)


def call_tile(
    body: LoopText, tile: Tile, columns: str, at: tuple[str, str, str], buffer: str
) -> None:
    """The tile of C at row ir and column jc + jr, B's panel packed or in its place."""
    (jc, jr, ir), e = at, tile.element
    mr = body.minimum(body.sub("%rows", ir), tile.rows)
    nr = body.minimum(body.sub(columns, jr), tile.width)
    packed = body.either(body.is_less(nr, tile.width), "%pack")
    j = body.add(jc, jr)
    in_place = body.address(e, "%b", body.mul(j, "%b_col"))
    panel = body.address(e, "%packed", body.mul(jr, "%depth"))
    values = (
        *(mr, nr, "%depth", body.address(e, "%a", body.mul(ir, "%a_row")), "%a_row", "%a_col"),
        body.select("ptr", packed, panel, in_place),
        body.select("i64", packed, tile.width, "%b_row"),
        body.address(e, "%c", body.mul(ir, "%c_row"), body.mul(j, "%c_col")),
        *("%c_row", "%accumulate", "%c_col", buffer),
    )
    body.call(tile.symbol("tile"), TILE_PARAMETERS, *values)


def product_function(tile: Tile) -> str:
    """One product: blocks of the depth, of equal size as far as possible, and of the rows."""
    body = LoopText()
    e = tile.element
    by_rows = body.is_equal("%a_row", 1)
    scattered = body.negation(body.either(by_rows, body.is_equal("%a_col", 1)))
    pack_a = body.either(scattered, body.is_less(PACK_COLUMNS_OF_A - 1, "%n"))
    apart = body.negation(body.is_equal("%b_col", 1))
    pack_b = body.either(apart, body.is_less(PACK_ROWS_OF_B - 1, "%m"))
    to_row = body.select("i64", by_rows, 1, tile.depth_block + ROW_PADDING)
    to_col = body.select("i64", by_rows, ROW_BLOCK + tile.rows, 1)
    packed_b = body.address(e, "%scratch", tile.packed_a)
    step = depth_step(body, tile)
    with body.loop(0, "%k", step) as pc, body.loop(0, "%m", ROW_BLOCK) as ic:
        depth = body.minimum(body.sub("%k", pc), step)
        rows = body.minimum(body.sub("%m", ic), ROW_BLOCK)
        there = body.address(e, "%a", body.mul(ic, "%a_row"), body.mul(pc, "%a_col"))
        with body.when(pack_a):
            given = (rows, depth, there, "%a_row", "%a_col", "%scratch", to_row, to_col, by_rows)
            body.call(tile.symbol("pack_a"), PACK_A_PARAMETERS, *given)
        values = (
            *(rows, "%n", depth, body.select("ptr", pack_a, "%scratch", there)),
            body.select("i64", pack_a, to_row, "%a_row"),
            body.select("i64", pack_a, to_col, "%a_col"),
            *(body.address(e, "%b", body.mul(pc, "%b_row")), "%b_row", "%b_col"),
            *(body.address(e, "%c", body.mul(ic, "%c_row")), "%c_row", "%c_col"),
            *(body.either(body.is_less(0, pc), "%accumulate"), pack_b, packed_b),
        )
        body.call(tile.symbol("block"), BLOCK_PARAMETERS, *values)
    return body.function(internal(tile, "product", PRODUCT_PARAMETERS))


def depth_step(body: LoopText, tile: Tile) -> str:
    """k over the number of depth blocks, rounded up."""
    blocks = body.emit(f"udiv i64 {body.add('%k', tile.depth_block - 1)}, {tile.depth_block}")
    return body.emit(f"udiv i64 {body.sub(body.add('%k', blocks), 1)}, {blocks}")


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
                    store_sum(body, tile, total, adds, body.add(i, r), 0)
    return body.function(internal(tile, "dots", PRODUCT_PARAMETERS))


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
        x = load_vector(body, tile, body.address(e, column, k))
        for r, pointer in enumerate(pointers):
            row = load_vector(body, tile, body.address(e, pointer, k))
            sums.values[r] = fused(body, tile, row, x, sums.values[r])
    mask = column_mask(body, tile, body.sub(depth, whole))
    x = load_masked(body, tile, body.address(e, column, whole), mask)
    totals = []
    for pointer, value in zip(pointers, sums.values, strict=True):
        row = load_masked(body, tile, body.address(e, pointer, whole), mask)
        vector = fused(body, tile, row, x, value)
        symbol = f"@llvm.vector.reduce.fadd.{tile.suffix}"
        totals.append(body.emit(f"call reassoc {e} {symbol}({e} 0.0, {tile.vector} {vector})"))
    return totals


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
    return body.function(internal(tile, "combination", PRODUCT_PARAMETERS))


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
        total = load_vector(body, tile, place)
        for factor, line in zip(factors, lines, strict=True):
            row = load_vector(body, tile, body.address(e, line, j))
            total = fused(body, tile, factor, row, total)
        body.do(f"store {tile.vector} {total}, ptr {place}, align {tile.dtype.itemsize}")
    mask = column_mask(body, tile, body.sub(columns, whole))
    place = body.address(e, target, whole)
    total = load_masked(body, tile, place, mask)
    for factor, line in zip(factors, lines, strict=True):
        row = load_masked(body, tile, body.address(e, line, whole), mask)
        total = fused(body, tile, factor, row, total)
    store_masked(body, tile, place, total, mask)


def entry_function(tile: Tile) -> str:
    """The loop over the batch: zeros where k = 0, else a column, a row or the tiled product."""
    body = LoopText()
    e = tile.element
    turned = is_turned(body)

    def choose(kind: str, given: str, other: str) -> str:
        return body.select(kind, turned, other, given)

    m, n = choose("i64", "%m", "%n"), choose("i64", "%n", "%m")
    a_strides = choose("i64", "%a_row", "%b_col"), choose("i64", "%a_col", "%b_row")
    b_strides = choose("i64", "%b_row", "%a_col"), choose("i64", "%b_col", "%a_row")
    c_strides = choose("i64", "%c_row", "%c_col"), choose("i64", "%c_col", "%c_row")
    empty = body.is_equal("%k", 0)
    zeros = body.both(empty, body.negation("%accumulate"))
    dots = body.both(body.is_equal(n, 1), body.is_equal(a_strides[1], 1))
    dots = body.both(dots, body.negation(empty))
    special = body.either(dots, empty)
    lines = body.both(body.is_equal(b_strides[1], 1), body.is_equal(c_strides[1], 1))
    combination = body.both(body.both(body.is_equal(m, 1), lines), body.negation(special))
    tiles = body.negation(body.either(combination, special))
    with body.loop(0, "%batch", 1) as index:
        a, b, c = (body.address(e, f"%{x}", body.mul(index, f"%{x}_batch")) for x in "abc")
        with body.when(zeros), body.loop(0, "%m", 1) as i, body.loop(0, "%n", 1) as j:
            place = body.address(e, c, body.mul(i, "%c_row"), body.mul(j, "%c_col"))
            body.do(f"store {e} 0.0, ptr {place}")
        left, right = choose("ptr", a, b), choose("ptr", b, a)
        values = (m, n, "%k", left, *a_strides, right, *b_strides, c, *c_strides)
        parts = ((dots, "dots"), (combination, "combination"), (tiles, "product"))
        for condition, part in parts:
            with body.when(condition):
                name = tile.symbol(part)
                body.call(name, PRODUCT_PARAMETERS, *values, "%accumulate", "%scratch")
    operands = ", ".join(f"ptr %{x}, i64 %{x}_batch, i64 %{x}_row, i64 %{x}_col" for x in "abc")
    parameters = f"i64 %batch, i64 %m, i64 %n, i64 %k, {operands}, i1 %accumulate, ptr %scratch"
    return body.function(internal(tile, "", parameters))


def is_turned(body: LoopText) -> str:
    """Whether C^T = B^T A^T is computed.

    So that the columns of C are contiguous; with one row or one column, where the stride of C says
    nothing, so that the matrix is read along its contiguous axis.
    """
    one_row, one_column = body.is_equal("%m", 1), body.is_equal("%n", 1)
    line = body.either(one_row, one_column)
    c_turned = body.both(body.is_equal("%c_row", 1), body.negation(body.is_equal("%c_col", 1)))
    b_turned = body.both(body.is_equal("%b_row", 1), body.negation(body.is_equal("%b_col", 1)))
    a_turned = body.both(body.is_equal("%a_row", 1), body.negation(body.is_equal("%a_col", 1)))
    of_line = body.either(
        body.both(one_row, b_turned),
        body.both(body.both(one_column, a_turned), body.negation(one_row)),
    )
    return body.select("i1", line, of_line, c_turned)
