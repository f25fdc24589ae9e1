"""The matrix product with packing, as LLVM text: C[i, j] (+)= sum_k A[i, k] B[k, j], any strides.

A register tile holds `rows` x `vectors` accumulators: for every k it loads `vectors` vectors of a
row of B and broadcasts `rows` elements of a column of A (the scheme of Goto and van de Geijn,
2008). The blocks:

* `depth_block` of the k axis at a time;
* with wide vectors 1024 rows of A (third cache), then some panels of B (second cache), packed as
  wide as the tile, and then a tile's rows of A, which stay in the first cache;
* with narrow vectors many panels of B (third cache), then some rows of A (second cache), and then
  a panel of B, which stays in the first cache.

A is packed in strips as high as the tile, so that it is read from end to end. Operands that are
used too little to pay for it are read where they are; if few rows or few columns meet a single
depth block, there are no blocks at all. A large B streams past few rows of A. A matrix with
contiguous rows times a column is a dot product a row, a row times such a matrix a sum of rows. The
order of summation is ascending in k within a lane and a depth block, then over the blocks: it
depends on sizes and strides only.

When entries of C are complete, `finish(context, batch, row, rows, column, columns)` is called for
the part of C that they fill, if it is not null: while that part is still in the first caches.
"""

from __future__ import annotations

from gradc.codegen.loop_text import Carried, LoopText
from gradc.codegen.matmul_finish import (
    FINISH,
    FINISH_NAMES,
    FINISH_PARAMETERS,
    call_finish,
    is_given,
)
from gradc.codegen.matmul_lines import (
    DOT_BLOCK,
    FEW_LONG_SUM,
    LINE_PARAMETERS,
    LONG_SUM,
    line_functions,
    line_scratch,
)
from gradc.codegen.matmul_pack import (
    PACK_B_PARAMETERS,
    PACK_PARAMETERS,
    is_packed,
    is_spread,
    pack_functions,
    pack_panels,
    rows_collide,
)
from gradc.codegen.matmul_stream import (
    LARGE,
    STREAMED_COLUMNS,
    STREAMED_ROWS,
    is_streamed,
    stream_function,
    stream_scratch,
)
from gradc.codegen.matmul_tile import (
    FINISHED_AT_ONCE,
    PADDING,
    Tile,
    call_kernel,
    declarations,
    internal,
    kernel_functions,
    store_sum,
    tile_for,
)
from gradc.ir.record import dataclass
from gradc.ir.types import DType

BLOCKED_ROWS = 257  # rows of C from which A is cut into blocks, and B's panels packed
REUSED_ROWS = 32  # from which that pays where a panel stays in the first cache, for a large B
SMALL_B = 131_072  # bytes
FEWEST_DEEP, COLUMNS_BYTES = 128, 16_384  # of a block of A's columns, for the first cache
MANY_LINES = 16  # rows of C beyond which few of its columns are dot products
SHORT_SUM = 4  # vectors up to which it never does
SHORT_COMBINATION = 64  # rows of B whose combination stays in registers
LONG_ROW = 256  # columns from which whole rows of B are combined even so
PACK_COLUMNS_OF_A = 160  # columns of C from which packing A pays
LARGE_A = 1 << 22  # bytes above which that of an A by columns does: they are read from end to end
NARROW_TERMS = 32  # from which that of an A that collides does, even for a single panel of B
SCRATCH_ALIGNMENT = 16  # elements

BLOCK_PARAMETERS = (
    "i64 %rows, i64 %n, i64 %depth, ptr %a, i64 %a_step, i64 %a_row, i64 %a_col, ptr %b, "
    "i64 %b_row, i64 %b_col, ptr %c, i64 %c_row, i64 %c_col, i1 %accumulate, i1 %pack, i1 %fresh, "
    f"ptr %packed, i64 %first, i64 %column, i1 %last, {FINISH}"
)
PRODUCT_PARAMETERS = f"{LINE_PARAMETERS}, {FINISH}"
OPERANDS = ", ".join(f"ptr %{x}, i64 %{x}_batch, i64 %{x}_row, i64 %{x}_col" for x in "abc")
ENTRY_PARAMETERS = (
    f"i64 %batch, i64 %m, i64 %n, i64 %k, {OPERANDS}, i1 %accumulate, ptr %scratch, ptr %finish, "
    "ptr %context"
)


def scratch_bytes(
    dtype: DType, vector_bits: int, longest: int | None = None, k: int | None = None
) -> int:
    """Bytes of scratch, 64-byte aligned, that a product needs: of any size, or of known size.

    `longest` is the larger of m and n.
    """
    tile = tile_for(dtype, vector_bits)
    depth = tile.depth_block if k is None else min(k, tile.depth_block)
    rows = tile.row_block if longest is None else min(longest, tile.row_block)
    most = tile.column_block or tile.panels * tile.width
    columns = most if longest is None else min(-(-longest // tile.width) * tile.width, most)
    of_a = (rows + 2 * tile.rows) * (depth + PADDING) + SCRATCH_ALIGNMENT
    of_b = columns * (depth + PADDING) + tile.lanes * tile.width
    needed = of_a + max(of_b, line_scratch(tile, k if k is not None else DOT_BLOCK))
    if longest is None or k is None or 2 * longest * k * dtype.itemsize > LARGE:
        needed = max(needed, stream_scratch(tile))
    return needed * dtype.itemsize + 64


def matmul_functions(dtype: DType, vector_bits: int) -> str:
    """The text of `void @gradc.matmul.<dtype>` and of what it calls, all internal.

    Parameters: i64 batch, m, n, k; then for each of a, b, c: ptr, i64 batch stride, row stride,
    column stride, in elements (0 repeats an operand; c must not repeat); i1 accumulate; ptr scratch
    of `scratch_bytes` bytes; ptr finish and ptr context (see the module's text). C must not overlap
    A, B or the scratch.
    """
    tile = tile_for(dtype, vector_bits)
    parts = [declarations(tile), kernel_functions(tile), pack_functions(tile), line_functions(tile)]
    parts += [stream_function(tile), block_function(tile), product_function(tile)]
    return "\n".join([*parts, any_function(tile), entry_function(tile)])


def block_function(tile: Tile) -> str:
    """rows x n of C from a block of A that is ready, by groups of panels of B."""
    body = LoopText()
    length = body.add("%depth", PADDING)
    group = str(tile.panels * tile.width)
    if not tile.keeps_panels:
        panels = body.emit(f"udiv i64 {(tile.depth_block + PADDING) * tile.panels}, {length}")
        group = body.mul(panels, tile.width)
    buffer = body.emit(f"alloca [{tile.strip * tile.width} x {tile.element}], align 64")
    finishes = body.both("%last", is_given(body))
    with body.loop(0, "%n", group) as jc:
        columns = body.minimum(body.sub("%n", jc), group)
        kept = body.mul(jc, length) if tile.keeps_panels else "0"
        packed = body.address(tile.element, "%packed", kept)
        with body.when("%fresh"):
            pack_panels(body, tile, columns, jc, (packed, length))
        with body.loop(0, "%rows", tile.strip) as ir:
            with body.loop(0, columns, tile.width) as jr:
                call_tile(body, tile, columns, (jc, jr, ir), (packed, length, buffer))
            with body.when(finishes):
                rows = body.minimum(body.sub("%rows", ir), tile.strip)
                part = (body.add("%first", ir), rows, body.add("%column", jc), columns)
                call_finish(body, part)
    return body.function(internal(tile, "block", BLOCK_PARAMETERS))


def call_tile(
    body: LoopText,
    tile: Tile,
    columns: str,
    at: tuple[str, str, str],
    places: tuple[str, str, str],
) -> None:
    """The part of C at row ir and column jc + jr; by way of the buffer if C's columns lie apart."""
    (jc, jr, ir), (panels, length, buffer), e = at, places, tile.element
    mr = body.minimum(body.sub("%rows", ir), tile.strip)
    nr = body.minimum(body.sub(columns, jr), tile.width)
    packed = is_packed(body, tile, nr, "%pack")
    j = body.add(jc, jr)
    in_place = body.address(e, "%b", body.mul(j, "%b_col"))
    panel = body.address(e, panels, body.mul(jr, length))
    place = body.address(e, "%c", body.mul(ir, "%c_row"), body.mul(j, "%c_col"))
    direct = body.is_equal("%c_col", 1)
    values = (
        *(mr, "%depth", body.address(e, "%a", body.mul(ir, "%a_step"))),
        *("%a_step", "%a_row", "%a_col"),
        body.select("ptr", packed, panel, in_place),
        body.select("i64", packed, tile.width, "%b_row"),
        body.select("ptr", direct, place, buffer),
        body.select("i64", direct, "%c_row", tile.width),
    )
    call_kernel(body, tile, nr, values, body.both(direct, "%accumulate"))
    with body.unless(direct), body.loop(0, mr, 1) as i, body.loop(0, nr, 1) as column:
        entry = body.address(e, buffer, body.mul(i, tile.width), column)
        value = body.emit(f"load {e}, ptr {entry}")
        target = body.address(e, place, body.mul(i, "%c_row"), body.mul(column, "%c_col"))
        store_sum(body, tile, target, value, "%accumulate")


def product_function(tile: Tile) -> str:
    """One product: blocks of the depth, of equal size as far as possible, and of the rows."""
    body = LoopText()
    e = tile.element
    by_columns = body.is_equal("%a_row", 1)
    scattered = body.negation(body.either(by_columns, body.is_equal("%a_col", 1)))
    reused = body.is_less(PACK_COLUMNS_OF_A - 1, "%n")
    far = body.is_less(LARGE_A // tile.dtype.itemsize, body.mul("%m", "%k"))
    far = body.either(far, is_spread(body, tile, "%n", ("%a_row", "%a_col")))
    pack_a = body.either(body.either(scattered, reused), body.both(by_columns, far))
    apart = body.negation(body.is_equal("%b_col", 1))
    apart = body.either(apart, rows_collide(body, tile, "%m", "%k", "%b_row"))
    enough = REUSED_ROWS if tile.keeps_panels else BLOCKED_ROWS
    pack_b = body.either(apart, body.is_less(enough - 1, "%m"))
    step = depth_of_blocks(body, tile.depth_block)
    height = body.add(body.minimum("%m", tile.row_block), 2 * tile.rows)
    of_a = body.mul(body.add(step, PADDING), height)
    of_a = body.add(of_a, SCRATCH_ALIGNMENT - 1)
    packed_b = body.address(e, "%scratch", body.emit(f"and i64 {of_a}, {-SCRATCH_ALIGNMENT}"))
    with (
        body.loop(0, "%k", step) as pc,
        body.loop(0, "%n", tile.column_block or "%n") as jc,
        body.loop(0, "%m", tile.row_block) as ic,
    ):
        depth = body.minimum(body.sub("%k", pc), step)
        rows = body.minimum(body.sub("%m", ic), tile.row_block)
        columns = body.minimum(body.sub("%n", jc), tile.column_block or "%n")
        there = body.address(e, "%a", body.mul(ic, "%a_row"), body.mul(pc, "%a_col"))
        with body.when(pack_a):
            given = (depth, rows, there, "%a_col", "%a_row", "%scratch")
            body.call(tile.symbol("strips"), PACK_PARAMETERS, *given)
        values = (
            *(rows, columns, depth, body.select("ptr", pack_a, "%scratch", there)),
            body.select("i64", pack_a, body.add(depth, PADDING), "%a_row"),
            body.select("i64", pack_a, 1, "%a_row"),
            body.select("i64", pack_a, tile.rows, "%a_col"),
            body.address(e, "%b", body.mul(pc, "%b_row"), body.mul(jc, "%b_col")),
            *("%b_row", "%b_col"),
            body.address(e, "%c", body.mul(ic, "%c_row"), body.mul(jc, "%c_col")),
            *("%c_row", "%c_col", body.either(body.is_less(0, pc), "%accumulate")),
            *(pack_b, body.is_equal(ic, 0) if tile.keeps_panels else "true", packed_b),
            *(ic, jc, body.is_equal(body.add(pc, depth), "%k")),
        )
        body.call(tile.symbol("block"), BLOCK_PARAMETERS, *values, *FINISH_NAMES)
    return body.function(internal(tile, "product", PRODUCT_PARAMETERS))


def depth_of_blocks(body: LoopText, most: str | int) -> str:
    """k, or where it is more than a block holds, k over the number of blocks, rounded up."""
    depth = Carried(["%k"])
    with body.when(body.is_less(most, "%k"), "i64", depth):
        blocks = body.emit(f"udiv i64 {body.sub(body.add('%k', most), 1)}, {most}")
        raised = body.sub(body.add("%k", blocks), 1)
        depth.values = [body.emit(f"udiv i64 {raised}, {blocks}")]
    return depth.values[0]


# --- the entry -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Given:
    """The operands of the product as it is computed: perhaps C^T = B^T A^T."""

    turned: str
    m: str
    n: str
    a: tuple[str, str]  # row and column stride
    b: tuple[str, str]
    c: tuple[str, str]


def entry_function(tile: Tile) -> str:
    """Small products of operands that are well placed at once; all others by `any`."""
    body = LoopText()
    e = tile.element
    quick = body.is_less(body.sub("%k", 1), SHORT_SUM * tile.lanes)
    tests = [body.is_equal("%b_col", 1), body.is_equal("%c_col", 1), body.is_less(0, "%k")]
    tests += [body.is_less(1, "%m"), body.is_less(1, "%n"), body.is_less("%m", BLOCKED_ROWS)]
    for test in tests:
        quick = body.both(quick, test)
    if not tile.masks_loads:
        rest = body.emit(f"and i64 %n, {tile.lanes - 1}")
        quick = body.both(quick, body.is_equal(rest, 0))
    quick = body.both(quick, body.negation(rows_collide(body, tile, "%m", "%k", "%b_row")))
    with body.when(quick):
        step = panel_step(body, tile, "%n")
        with body.loop(0, "%batch", 1) as index:
            a, b, c = (body.address(e, f"%{x}", body.mul(index, f"%{x}_batch")) for x in "abc")
            with body.loop(0, "%n", step) as j:
                columns = body.minimum(body.sub("%n", j), step)
                right, place = body.address(e, b, j), body.address(e, c, j)
                left = ("%m", "%k", a, "%a_row", "%a_row", "%a_col")
                values = (*left, right, "%b_row", place, "%c_row")
                call_kernel(body, tile, columns, values, "%accumulate")
            with body.when(is_given(body)):
                body.call("%finish", FINISH_PARAMETERS, "%context", index, 0, "%m", 0, "%n")
    with body.unless(quick):
        names = [parameter.split()[1] for parameter in ENTRY_PARAMETERS.split(", ")]
        body.call(tile.symbol("any"), ENTRY_PARAMETERS, *names)
    return body.function(internal(tile, "", ENTRY_PARAMETERS))


def panel_step(body: LoopText, tile: Tile, n: str) -> str:
    """The columns of a panel: four vectors are two panels of two."""
    more = body.is_less(tile.width, n)
    four = body.both(more, body.is_less(n, tile.width + tile.lanes + 1))
    return body.select("i64", four, tile.width - tile.lanes, tile.width)


def any_function(tile: Tile) -> str:
    """The loop over the batch, and the choice of the way: see `ways`."""
    body = LoopText()
    given = as_computed(body, tile)
    way = ways(body, tile, given)
    lines = ("dots1", f"dots{tile.dot_columns}", "combination")
    at_once = way["empty"]
    for name in lines:
        at_once = body.either(at_once, way[name])
    at_once = body.both(is_given(body), at_once)
    with body.loop(0, "%batch", 1) as index:
        a, b, c = (
            body.address(tile.element, f"%{x}", body.mul(index, f"%{x}_batch")) for x in "abc"
        )
        left, right = body.select("ptr", given.turned, b, a), body.select("ptr", given.turned, a, b)
        values = (
            *(given.m, given.n, "%k", left, *given.a, right, *given.b, c, *given.c),
            *("%accumulate", "%scratch"),
        )
        with body.when(way["direct"]):
            multiply_directly(body, tile, given, (left, right, c), index)
        for name in ("stream", "product"):
            with body.when(way[name]):
                more = ("%finish", "%context", index, given.turned)
                body.call(tile.symbol(name), PRODUCT_PARAMETERS, *values, *more)
        for name in lines:
            with body.when(way[name]):
                body.call(tile.symbol(name), LINE_PARAMETERS, *values)
        with body.when(way["empty"]):
            clear(body, tile, c)
        with body.when(at_once):
            body.call("%finish", FINISH_PARAMETERS, "%context", index, 0, "%m", 0, "%n")
    return body.function(internal(tile, "any", ENTRY_PARAMETERS))


def as_computed(body: LoopText, tile: Tile) -> Given:
    turned = is_turned(body, tile)
    m = body.select("i64", turned, "%n", "%m")
    n = body.select("i64", turned, "%m", "%n")
    a, b, c = (
        (
            body.select("i64", turned, f"%{other}_col", f"%{own}_row"),
            body.select("i64", turned, f"%{other}_row", f"%{own}_col"),
        )
        for own, other in ("ab", "ba", "cc")
    )
    return Given(turned, m, n, a, b, c)


def clear(body: LoopText, tile: Tile, c: str) -> None:
    """The sum of nothing: zeros, unless it is added to C."""
    with body.unless("%accumulate"), body.loop(0, "%m", 1) as i, body.loop(0, "%n", 1) as j:
        place = body.address(tile.element, c, body.mul(i, "%c_row"), body.mul(j, "%c_col"))
        body.do(f"store {tile.element} 0.0, ptr {place}")


def ways(body: LoopText, tile: Tile, given: Given) -> dict[str, str]:
    """How the product is computed: conditions by name, of which one holds.

    It is empty (k = 0); a column of dot products; some columns of them, where vectors along the
    columns would be half empty, or few rows do not pay for packing B; a combination of rows; a
    stream of B past few rows of A; direct, from operands that are read where they are, but for
    panels of B whose columns are contiguous; else by blocks.
    """
    row_of_c, row_of_b = body.is_equal(given.c[1], 1), body.is_equal(given.b[1], 1)
    column_of_b = body.is_equal(given.b[0], 1)
    one_row, one_column = body.is_equal(given.m, 1), body.is_equal(given.n, 1)
    along = body.is_equal(given.a[1], 1)
    sparse = body.both(half_empty(body, tile, given.n), body.is_less(MANY_LINES, given.m))
    unpaid = body.both(column_of_b, body.is_less(given.m, tile.dot_rows + 1))
    several = body.both(body.both(along, row_of_c), body.either(sparse, unpaid))
    very_few = body.is_less(body.mul(given.n, 2), tile.lanes + 1)
    least = body.select("i64", very_few, FEW_LONG_SUM, LONG_SUM)
    several = body.both(several, body.is_less(body.mul(least, tile.lanes), "%k"))
    long = body.either(body.is_less(SHORT_COMBINATION, "%k"), body.is_less(LONG_ROW, given.n))
    lines = body.both(body.both(row_of_b, row_of_c), long)
    most_streamed = body.select("i64", given.turned, STREAMED_COLUMNS, STREAMED_ROWS)
    few = body.is_less(given.m, BLOCKED_ROWS)
    if tile.keeps_panels:
        small = body.is_less(body.mul(given.n, "%k"), SMALL_B // tile.dtype.itemsize + 1)
        few = body.both(few, body.either(small, body.is_less(given.m, REUSED_ROWS)))
    spread = is_spread(body, tile, given.n, given.a)
    colliding = body.both(row_of_b, rows_collide(body, tile, given.m, "%k", given.b[0]))
    near = body.negation(body.either(spread, colliding))
    pays = body.both(spread, body.is_less(NARROW_TERMS - 1, "%k"))
    narrow = body.both(body.is_less(given.n, tile.width + 1), body.negation(pays))
    few = body.either(body.both(few, near), narrow)
    readable = body.both(row_of_c, body.either(row_of_b, column_of_b))
    choice = {
        "empty": body.is_equal("%k", 0),
        "dots1": body.both(one_column, along),
        f"dots{tile.dot_columns}": several,
        "combination": body.both(one_row, lines),
        "stream": is_streamed(body, tile, (given.m, given.n, "%k"), given.b, most_streamed),
        "direct": body.both(few, readable),
    }
    left = "true"
    for name, condition in choice.items():
        choice[name] = body.both(left, condition)
        left = body.both(left, body.negation(condition))
    return choice | {"product": left}


def multiply_directly(
    body: LoopText, tile: Tile, given: Given, places: tuple[str, str, str], index: str
) -> None:
    """Panel after panel of B over all rows of A; four vectors that are left are two panels."""
    e = tile.element
    a, b, c = places
    pack = body.negation(body.is_equal(given.b[1], 1))
    step = panel_step(body, tile, given.n)
    entries = body.mul(body.add(given.m, 1), step)  # of a panel and more: m may be 0
    panels = body.emit(f"udiv i64 {FINISHED_AT_ONCE}, {entries}")
    group = body.mul(step, body.add(panels, 1))
    most = depth_of_block(body, tile, given)
    depth_step = depth_of_blocks(body, most)
    with body.loop(0, "%k", depth_step) as pc, body.loop(0, given.n, group) as jc:
        depth = body.minimum(body.sub("%k", pc), depth_step)
        left = body.address(e, a, body.mul(pc, given.a[1]))
        right = body.address(e, b, body.mul(pc, given.b[0]))
        adds = body.either(body.is_less(0, pc), "%accumulate")
        end = body.minimum(body.add(jc, group), given.n)
        with body.loop(jc, end, step) as j:
            columns = body.minimum(body.sub(end, j), step)
            panel = body.address(e, right, body.mul(j, given.b[1]))
            packed = is_packed(body, tile, columns, pack)
            with body.when(packed):
                given_b = (panel, *given.b, "%scratch", tile.width)
                body.call(tile.symbol("pack_b"), PACK_B_PARAMETERS, depth, columns, *given_b)
            values = (
                *(given.m, depth, left, given.a[0], *given.a),
                body.select("ptr", packed, "%scratch", panel),
                body.select("i64", packed, tile.width, given.b[0]),
                *(body.address(e, c, j), given.c[0]),
            )
            call_kernel(body, tile, columns, values, adds)
        last = body.is_equal(body.add(pc, depth), "%k")
        with body.when(body.both(is_given(body), last)):
            part = (0, given.m, jc, body.sub(end, jc))
            call_finish(body, part, index, given.turned)


def depth_of_block(body: LoopText, tile: Tile, given: Given) -> str:
    """The depth of a block: of an A that lies by columns about what the first cache holds.

    Every tile of rows reads a part of each of these columns.
    """
    column = body.mul(body.add(given.m, 1), tile.dtype.itemsize)
    held = body.emit(f"udiv i64 {COLUMNS_BYTES}, {column}")
    held = body.select("i64", body.is_less(held, FEWEST_DEEP), FEWEST_DEEP, held)
    by_columns = body.both(
        body.is_equal(given.a[0], 1), body.negation(body.is_equal(given.a[1], 1))
    )
    return body.select("i64", by_columns, body.minimum(held, tile.depth_block), tile.depth_block)


def half_empty(body: LoopText, tile: Tile, n: str) -> str:
    """Whether n columns fill at most three quarters of the vectors that they take, one or two."""
    filled = body.emit(f"and i64 {body.add(n, tile.lanes - 1)}, {-tile.lanes}")
    sparse = body.is_less(body.mul(n, 4), body.add(body.mul(filled, 3), 1))
    return body.both(sparse, body.is_less(n, 2 * tile.lanes))


def is_turned(body: LoopText, tile: Tile) -> str:
    """Whether C^T = B^T A^T is computed.

    So that a large operand is streamed; so that the columns of C are contiguous, or, where they are
    too few to fill vectors, those of A^T; with one row or one column, where the stride of C says
    nothing, so that the matrix is read along its contiguous axis.
    """
    one_row, one_column = body.is_equal("%m", 1), body.is_equal("%n", 1)
    line = body.either(one_row, one_column)
    c_turned, b_turned, a_turned = (
        body.both(body.is_equal(f"%{x}_row", 1), body.negation(body.is_equal(f"%{x}_col", 1)))
        for x in "cba"
    )
    of_line = body.either(
        body.both(one_row, b_turned),
        body.both(body.both(one_column, a_turned), body.negation(one_row)),
    )
    large = body.both(body.is_less(MANY_LINES, "%m"), body.is_less(LONG_SUM, "%k"))
    thin = body.both(body.both(half_empty(body, tile, "%n"), a_turned), large)
    sizes, turned_sizes = ("%m", "%n", "%k"), ("%n", "%m", "%k")
    strides, turned_strides = ("%b_row", "%b_col"), ("%a_col", "%a_row")
    streamed = is_streamed(body, tile, sizes, strides, STREAMED_ROWS)
    streamed_turned = is_streamed(body, tile, turned_sizes, turned_strides, STREAMED_COLUMNS)
    turned = body.either(streamed_turned, body.either(c_turned, thin))
    return body.select("i1", line, of_line, body.both(turned, body.negation(streamed)))
