"""The matrix product with packing, as LLVM text: C[i, j] (+)= sum_k A[i, k] B[k, j], any element
strides.

A register tile holds `rows` x `vectors` accumulators: for every k it loads `vectors` vectors of a
row of B and broadcasts `rows` elements of a column of A (the scheme of Goto and van de Geijn,
2008). The blocks:

* depth <= DEPTH_BLOCK of the k axis at a time, so that rows x depth of A stay in the first cache;
* ROW_BLOCK rows of A, packed once for a depth block (third cache); rows stay rows or columns stay
  columns, whichever is contiguous, since the tile only broadcasts from them;
* `columns` of B, packed in panels as wide as the tile, zeros at the edge (second cache).

Operands that are small or used too little to pay for it are read where they are. The order of
summation is ascending in k within a depth block, then over the blocks: it depends on the sizes
only.
"""

from __future__ import annotations

from dataclasses import dataclass

from gradc.codegen.loop_text import Carried, LoopText
from gradc.ir.types import DType

ROW_BLOCK = 1024
PACK_ROWS_OF_B = 40  # rows of C from which packing B pays
PACK_COLUMNS_OF_A = 160  # columns of C from which packing A pays
UNROLL = 4
ROW_PADDING = 16  # elements between packed rows, against aliasing of cache sets


@dataclass(frozen=True, slots=True)
class Tile:
    """The register tile and the blocks for one element type and vector width."""

    dtype: DType
    lanes: int
    rows: int
    vectors: int
    depth_block: int
    panels: int  # of B in a block

    @property
    def element(self) -> str:
        return {"f64": "double", "f32": "float"}[self.dtype.name]

    @property
    def vector(self) -> str:
        return f"<{self.lanes} x {self.element}>"

    @property
    def suffix(self) -> str:
        """The end of an intrinsic's name."""
        return f"v{self.lanes}{self.dtype.name}"

    @property
    def width(self) -> int:
        """Columns of the tile."""
        return self.lanes * self.vectors

    @property
    def packed_a(self) -> int:
        """Elements of scratch for the packed block of A."""
        return (ROW_BLOCK + self.rows) * (self.depth_block + ROW_PADDING)

    @property
    def packed_b(self) -> int:
        return self.depth_block * self.width * self.panels


def tile_for(dtype: DType, vector_bits: int) -> Tile:
    """Accumulators, vectors of B and one broadcast fit the registers: 32 with 512 bits, else 16."""
    if not dtype.is_float or vector_bits not in (128, 256, 512):
        raise ValueError(
            f"matmul: {dtype} with {vector_bits}-bit vectors; have f64, f32 and 128, 256, 512"
        )
    rows, vectors = {512: (8, 3), 256: (4, 3), 128: (4, 2)}[vector_bits]
    lanes = vector_bits // (8 * dtype.itemsize)
    depth = 256 if dtype.itemsize == 8 else 384
    panels = max(1, 196_608 // (depth * lanes * vectors * dtype.itemsize))
    return Tile(dtype, lanes, rows, vectors, depth, panels)


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
    shapes = tuple((r, v) for r in kernel_rows(tile) for v in range(1, tile.vectors + 1))
    kernels = [kernel_function(tile, rows, vectors) for rows, vectors in shapes]
    parts = [declarations(tile), *kernels, tile_function(tile), pack_a_function(tile)]
    parts += [
        pack_b_function(tile),
        block_function(tile),
        product_function(tile),
        entry_function(tile),
    ]
    return "\n".join(parts)


def kernel_rows(tile: Tile) -> tuple[int, ...]:
    """Heights of kernels: the tile's, and smaller ones for what is left or for few rows."""
    return tuple(r for r in (8, 4, 2, 1) if r <= tile.rows)


def symbol(tile: Tile, part: str = "") -> str:
    return f"@gradc.matmul.{part}{'.' if part else ''}{tile.dtype.name}"


def declarations(tile: Tile) -> str:
    v, s = tile.vector, tile.suffix
    mask = f"<{tile.lanes} x i1>"
    return "\n".join(
        [
            f"declare {v} @llvm.fmuladd.{s}({v}, {v}, {v})",
            f"declare {v} @llvm.masked.load.{s}.p0(ptr, i32, {mask}, {v})",
            f"declare void @llvm.masked.store.{s}.p0({v}, ptr, i32, {mask})",
        ]
    )


def splat(body: LoopText, tile: Tile, scalar: str) -> str:
    """A vector of one scalar."""
    lane = body.emit(f"insertelement {tile.vector} poison, {tile.element} {scalar}, i64 0")
    zeros = f"<{tile.lanes} x i32> zeroinitializer"
    return body.emit(f"shufflevector {tile.vector} {lane}, {tile.vector} poison, {zeros}")


def kernel_function(tile: Tile, rows: int, vectors: int) -> str:
    """C[0:mr, 0:nr] (+)= A B over `depth`, mr <= rows, nr <= vectors * lanes; the columns of C are
    contiguous.

    B is read `vectors` whole vectors a row; rows of A past mr repeat row mr - 1 and are not stored.
    """
    body = LoopText()
    last = body.sub("%mr", 1)
    pointers = ["%a"]
    for r in range(1, rows):
        pointers.append(body.address(tile.element, "%a", body.mul(body.minimum(r, last), "%a_row")))
    sums = Carried(["zeroinitializer"] * (rows * vectors))
    with body.loop(0, "%depth", 1, tile.vector, sums) as k:
        multiply_add(body, tile, sums, pointers, k)
    for r in range(rows):
        with body.when(body.is_less(r, "%mr")):
            store_row(body, tile, r, sums.values[r * vectors : (r + 1) * vectors])
    name = symbol(tile, f"kernel{rows}x{vectors}")
    return body.function(f"internal void {name}({KERNEL_PARAMETERS}) noinline nounwind")


KERNEL_PARAMETERS = (
    "i64 %mr, i64 %nr, i64 %depth, ptr %a, i64 %a_row, i64 %a_col, ptr %b, i64 %b_row, ptr %c, "
    "i64 %c_row, i1 %accumulate"
)


def multiply_add(body: LoopText, tile: Tile, sums: Carried, pointers: list[str], k: str) -> None:
    """Row k of B times column k of A, added to the sums."""
    vectors = len(sums.values) // len(pointers)
    row = body.address(tile.element, "%b", body.mul(k, "%b_row"))
    offset = body.mul(k, "%a_col")
    align = tile.dtype.itemsize
    of_b = [
        body.emit(
            f"load {tile.vector}, ptr {body.address(tile.element, row, v * tile.lanes)}, align {align}"
        )
        for v in range(vectors)
    ]
    for r, pointer in enumerate(pointers):
        place = body.address(tile.element, pointer, offset)
        factor = splat(body, tile, body.emit(f"load {tile.element}, ptr {place}, align {align}"))
        for v, vector in enumerate(of_b):
            i = r * vectors + v
            arguments = ", ".join(f"{tile.vector} {x}" for x in (factor, vector, sums.values[i]))
            sums.values[i] = body.emit(
                f"call {tile.vector} @llvm.fmuladd.{tile.suffix}({arguments})"
            )


def store_row(body: LoopText, tile: Tile, r: int, values: list[str]) -> None:
    """Row r of C: whole vectors, the last one under a mask."""
    align, v_type = tile.dtype.itemsize, tile.vector
    row = body.address(tile.element, "%c", body.mul(r, "%c_row"))
    mask_type = f"<{tile.lanes} x i1>"
    iota = ", ".join(f"i64 {lane}" for lane in range(tile.lanes))
    for v, value in enumerate(values):
        place = body.address(tile.element, row, v * tile.lanes)
        left = body.sub("%nr", v * tile.lanes)
        lane = body.emit(f"insertelement <{tile.lanes} x i64> poison, i64 {left}, i64 0")
        bound = body.emit(
            f"shufflevector <{tile.lanes} x i64> {lane}, <{tile.lanes} x i64> poison, "
            f"<{tile.lanes} x i32> zeroinitializer"
        )
        mask = body.emit(f"icmp sgt <{tile.lanes} x i64> {bound}, <{iota}>")
        reads = body.emit(f"select i1 %accumulate, {mask_type} {mask}, {mask_type} zeroinitializer")
        old = body.emit(
            f"call {v_type} @llvm.masked.load.{tile.suffix}.p0(ptr {place}, i32 {align}, "
            f"{mask_type} {reads}, {v_type} zeroinitializer)"
        )
        total = body.emit(f"fadd {v_type} {old}, {value}")
        body.do(
            f"call void @llvm.masked.store.{tile.suffix}.p0({v_type} {total}, ptr {place}, i32 {align}, "
            f"{mask_type} {mask})"
        )


def tile_function(tile: Tile) -> str:
    """One tile of C by the smallest kernel that covers it; through `%buffer` if C's columns are
    apart.
    """
    body = LoopText()
    direct = body.is_equal("%c_col", 1)
    target = body.select("ptr", direct, "%c", "%buffer")
    target_row = body.select("i64", direct, "%c_row", tile.width)
    adds = body.emit(f"and i1 {direct}, %accumulate")
    names = (
        "%mr",
        "%nr",
        "%depth",
        "%a",
        "%a_row",
        "%a_col",
        "%b",
        "%b_row",
        target,
        target_row,
        adds,
    )
    kinds = [parameter.split()[0] for parameter in KERNEL_PARAMETERS.split(", ")]
    arguments = ", ".join(f"{kind} {name}" for kind, name in zip(kinds, names, strict=True))
    heights = (0, *sorted(kernel_rows(tile)))
    for below, rows in zip(heights, heights[1:], strict=False):
        fits_rows = in_range(body, "%mr", below, rows)
        for vectors in range(1, tile.vectors + 1):
            fits = in_range(body, "%nr", (vectors - 1) * tile.lanes, vectors * tile.lanes)
            with body.when(body.emit(f"and i1 {fits_rows}, {fits}")):
                body.do(f"call void {symbol(tile, f'kernel{rows}x{vectors}')}({arguments})")
    with body.unless(direct):
        copy_out(body, tile)
    parameters = f"{KERNEL_PARAMETERS}, i64 %c_col, ptr %buffer"
    return body.function(f"internal void {symbol(tile, 'tile')}({parameters}) noinline nounwind")


def in_range(body: LoopText, value: str, low: int, high: int) -> str:
    """low < value <= high"""
    above, within = body.is_less(low, value), body.is_less(value, high + 1)
    return body.emit(f"and i1 {above}, {within}")


def copy_out(body: LoopText, tile: Tile) -> None:
    """The buffer to C, element by element."""
    e = tile.element
    with body.loop(0, "%mr", 1) as i, body.loop(0, "%nr", 1) as j:
        value = body.emit(f"load {e}, ptr {body.address(e, '%buffer', body.mul(i, tile.width), j)}")
        place = body.address(e, "%c", body.mul(i, "%c_row"), body.mul(j, "%c_col"))
        old = body.emit(f"load {e}, ptr {place}")
        total = body.emit(f"fadd {e} {old}, {value}")
        body.do(f"store {e} {body.select(e, '%accumulate', total, value)}, ptr {place}")


def pack_a_function(tile: Tile) -> str:
    """rows x depth of A to scratch: [i, k] at i * to_row + k * to_col; the inner loop runs over
    rows if `by_rows`.
    """
    body = LoopText()
    outer = body.select("i64", "%by_rows", "%depth", "%rows")
    inner = body.select("i64", "%by_rows", "%rows", "%depth")
    steps = [
        body.select("i64", "%by_rows", a, b)
        for a, b in (("%a_col", "%a_row"), ("%a_row", "%a_col"), ("%to_col", "%to_row"))
    ]
    e = tile.element
    with body.loop(0, outer, 1) as i:
        source = body.address(e, "%a", body.mul(i, steps[0]))
        target = body.address(e, "%to", body.mul(i, steps[2]))
        copy_line(body, tile, source, steps[1], target, inner)
    parameters = "i64 %rows, i64 %depth, ptr %a, i64 %a_row, i64 %a_col, ptr %to, i64 %to_row, i64 %to_col, i1 %by_rows"
    return body.function(f"internal void {symbol(tile, 'pack_a')}({parameters}) noinline nounwind")


def copy_line(
    body: LoopText, tile: Tile, source: str, stride: str, target: str, length: str
) -> None:
    """`length` elements to contiguous scratch, by vectors where they are contiguous."""
    e, v, align = tile.element, tile.vector, tile.dtype.itemsize
    whole = body.emit(f"and i64 {length}, {-tile.lanes}")
    whole = body.select("i64", body.is_equal(stride, 1), whole, 0)
    with body.loop(0, whole, tile.lanes) as i:
        value = body.emit(f"load {v}, ptr {body.address(e, source, i)}, align {align}")
        body.do(f"store {v} {value}, ptr {body.address(e, target, i)}, align {align}")
    with body.loop(whole, length, 1) as i:
        value = body.emit(f"load {e}, ptr {body.address(e, source, body.mul(i, stride))}")
        body.do(f"store {e} {value}, ptr {body.address(e, target, i)}")


def pack_b_function(tile: Tile) -> str:
    """depth x columns of B, columns <= width, to a panel [k, width] with zeros behind the columns."""
    body = LoopText()
    e, v, align = tile.element, tile.vector, tile.dtype.itemsize
    contiguous = body.emit(
        f"and i1 {body.is_equal('%b_col', 1)}, {body.is_equal('%columns', tile.width)}"
    )
    with body.when(contiguous), body.loop(0, "%depth", 1) as k:
        source = body.address(e, "%b", body.mul(k, "%b_row"))
        target = body.address(e, "%to", body.mul(k, tile.width))
        for i in range(0, tile.width, tile.lanes):
            value = body.emit(f"load {v}, ptr {body.address(e, source, i)}, align {align}")
            body.do(f"store {v} {value}, ptr {body.address(e, target, i)}, align {align}")
    with body.unless(contiguous), body.loop(0, "%depth", 1) as k:
        source = body.address(e, "%b", body.mul(k, "%b_row"))
        target = body.address(e, "%to", body.mul(k, tile.width))
        copy_line(body, tile, source, "%b_col", target, "%columns")
        with body.loop("%columns", tile.width, 1) as j:
            body.do(f"store {e} 0.0, ptr {body.address(e, target, j)}")
    parameters = "i64 %depth, i64 %columns, ptr %b, i64 %b_row, i64 %b_col, ptr %to"
    return body.function(f"internal void {symbol(tile, 'pack_b')}({parameters}) noinline nounwind")


def block_function(tile: Tile) -> str:
    """rows x n of C from a block of A that is ready: blocks of B, packed if `pack` or a panel is
    partial.
    """
    body = LoopText()
    e = tile.element
    block = tile.width * tile.panels
    buffer = body.emit(f"alloca [{tile.rows * tile.width} x {e}], align 64")
    tile_kinds = [p.split()[0] for p in KERNEL_PARAMETERS.split(", ")] + ["i64", "ptr"]
    with body.loop(0, "%n", block) as jc:
        columns = body.minimum(body.sub("%n", jc), block)
        with body.loop(0, columns, tile.width) as jr:
            nr = body.minimum(body.sub(columns, jr), tile.width)
            partial = body.emit(f"and i1 {body.is_less(nr, tile.width)}, true")
            with body.when(body.emit(f"or i1 {partial}, %pack")):
                source = body.address(e, "%b", body.mul(body.add(jc, jr), "%b_col"))
                target = body.address(e, "%packed", body.mul(jr, "%depth"))
                body.do(
                    f"call void {symbol(tile, 'pack_b')}(i64 %depth, i64 {nr}, ptr {source}, i64 %b_row, "
                    f"i64 %b_col, ptr {target})"
                )
        with body.loop(0, "%rows", tile.rows) as ir, body.loop(0, columns, tile.width) as jr:
            mr = body.minimum(body.sub("%rows", ir), tile.rows)
            nr = body.minimum(body.sub(columns, jr), tile.width)
            in_place = body.emit(f"xor i1 {body.is_less(nr, tile.width)}, true")
            in_place = body.emit(f"and i1 {in_place}, {body.emit('xor i1 %pack, true')}")
            j = body.add(jc, jr)
            there = body.address(e, "%b", body.mul(j, "%b_col"))
            panel = body.address(e, "%packed", body.mul(jr, "%depth"))
            values = (
                mr,
                nr,
                "%depth",
                body.address(e, "%a", body.mul(ir, "%a_row")),
                "%a_row",
                "%a_col",
                body.select("ptr", in_place, there, panel),
                body.select("i64", in_place, "%b_row", tile.width),
                body.address(e, "%c", body.mul(ir, "%c_row"), body.mul(j, "%c_col")),
                "%c_row",
                "%accumulate",
                "%c_col",
                buffer,
            )
            arguments = ", ".join(f"{k} {x}" for k, x in zip(tile_kinds, values, strict=True))
            body.do(f"call void {symbol(tile, 'tile')}({arguments})")
    parameters = (
        "i64 %rows, i64 %n, i64 %depth, ptr %a, i64 %a_row, i64 %a_col, ptr %b, i64 %b_row, i64 %b_col, "
        "ptr %c, i64 %c_row, i64 %c_col, i1 %accumulate, i1 %pack, ptr %packed"
    )
    return body.function(f"internal void {symbol(tile, 'block')}({parameters}) noinline nounwind")


PRODUCT_PARAMETERS = (
    "i64 %m, i64 %n, i64 %k, ptr %a, i64 %a_row, i64 %a_col, ptr %b, i64 %b_row, i64 %b_col, "
    "ptr %c, i64 %c_row, i64 %c_col, i1 %accumulate, ptr %scratch"
)


def product_function(tile: Tile) -> str:
    """One product: blocks of the depth, of equal size as far as possible, and of the rows."""
    body = LoopText()
    e = tile.element
    a_is_line = body.emit(f"or i1 {body.is_equal('%a_row', 1)}, {body.is_equal('%a_col', 1)}")
    used_often = body.emit(f"icmp sge i64 %n, {PACK_COLUMNS_OF_A}")
    pack_a = body.emit(f"or i1 {used_often}, {body.emit(f'xor i1 {a_is_line}, true')}")
    apart = body.emit(f"xor i1 {body.is_equal('%b_col', 1)}, true")
    pack_b = body.emit(f"or i1 {apart}, {body.emit(f'icmp sge i64 %m, {PACK_ROWS_OF_B}')}")
    by_rows = body.is_equal("%a_row", 1)
    packed_b = body.address(e, "%scratch", tile.packed_a)
    blocks = body.emit(f"udiv i64 {body.add('%k', tile.depth_block - 1)}, {tile.depth_block}")
    depth_block = body.emit(f"udiv i64 {body.sub(body.add('%k', blocks), 1)}, {blocks}")
    with body.loop(0, "%k", depth_block) as pc, body.loop(0, "%m", ROW_BLOCK) as ic:
        depth = body.minimum(body.sub("%k", pc), depth_block)
        rows = body.minimum(body.sub("%m", ic), ROW_BLOCK)
        there = body.address(e, "%a", body.mul(ic, "%a_row"), body.mul(pc, "%a_col"))
        to_row = body.select("i64", by_rows, 1, tile.depth_block + ROW_PADDING)
        to_col = body.select("i64", by_rows, ROW_BLOCK + tile.rows, 1)
        with body.when(pack_a):
            body.do(
                f"call void {symbol(tile, 'pack_a')}(i64 {rows}, i64 {depth}, ptr {there}, i64 %a_row, "
                f"i64 %a_col, ptr %scratch, i64 {to_row}, i64 {to_col}, i1 {by_rows})"
            )
        later = body.is_less(0, pc)
        values = {
            "rows": f"i64 {rows}",
            "n": "i64 %n",
            "depth": f"i64 {depth}",
            "a": f"ptr {body.select('ptr', pack_a, '%scratch', there)}",
            "a_row": f"i64 {body.select('i64', pack_a, to_row, '%a_row')}",
            "a_col": f"i64 {body.select('i64', pack_a, to_col, '%a_col')}",
            "b": f"ptr {body.address(e, '%b', body.mul(pc, '%b_row'))}",
            "b strides": "i64 %b_row, i64 %b_col",
            "c": f"ptr {body.address(e, '%c', body.mul(ic, '%c_row'))}",
            "c strides": "i64 %c_row, i64 %c_col",
            "accumulate": f"i1 {body.emit(f'or i1 {later}, %accumulate')}",
            "pack": f"i1 {pack_b}",
            "packed": f"ptr {packed_b}",
        }
        body.do(f"call void {symbol(tile, 'block')}({', '.join(values.values())})")
    return body.function(
        f"internal void {symbol(tile, 'product')}({PRODUCT_PARAMETERS}) noinline nounwind"
    )


def entry_function(tile: Tile) -> str:
    """The loop over the batch; C^T = B^T A^T where the rows of C are contiguous; zeros where k = 0."""
    body = LoopText()
    e = tile.element
    turned = body.emit(f"and i1 {body.is_equal('%c_row', 1)}, {body.emit('icmp ne i64 %c_col, 1')}")

    def either(kind: str, swapped: str, given: str) -> str:
        return f"{kind} {body.select(kind, turned, swapped, given)}"

    empty = body.is_equal("%k", 0)
    zeros = body.emit(f"and i1 {empty}, {body.emit('xor i1 %accumulate, true')}")
    with body.loop(0, "%batch", 1) as index:
        a, b, c = (body.address(e, f"%{x}", body.mul(index, f"%{x}_batch")) for x in "abc")
        with body.when(zeros), body.loop(0, "%m", 1) as i, body.loop(0, "%n", 1) as j:
            place = body.address(e, c, body.mul(i, "%c_row"), body.mul(j, "%c_col"))
            body.do(f"store {e} 0.0, ptr {place}")
        with body.unless(empty):
            arguments = [
                either("i64", "%n", "%m"),
                either("i64", "%m", "%n"),
                "i64 %k",
                either("ptr", b, a),
                either("i64", "%b_col", "%a_row"),
                either("i64", "%b_row", "%a_col"),
                either("ptr", a, b),
                either("i64", "%a_col", "%b_row"),
                either("i64", "%a_row", "%b_col"),
                f"ptr {c}",
                either("i64", "%c_col", "%c_row"),
                either("i64", "%c_row", "%c_col"),
                "i1 %accumulate",
                "ptr %scratch",
            ]
            body.do(f"call void {symbol(tile, 'product')}({', '.join(arguments)})")
    operands = ", ".join(f"ptr %{x}, i64 %{x}_batch, i64 %{x}_row, i64 %{x}_col" for x in "abc")
    parameters = f"i64 %batch, i64 %m, i64 %n, i64 %k, {operands}, i1 %accumulate, ptr %scratch"
    return body.function(f"internal void {symbol(tile)}({parameters}) noinline nounwind")
