"""The register tile of the matrix product: its shapes, and the kernels that fill and store it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from gradc.codegen.loop_text import Carried, LoopText
from gradc.ir.record import dataclass
from gradc.ir.types import DType

PADDING = 4  # rows between packed panels and strips, against aliasing of cache sets
PANEL_BYTES = 24_576  # of a panel of B that stays in the first cache, of 32 kB
BLOCK_BYTES = 262_144  # of a block of A that stays in the second cache, of 512 kB
WIDE_BLOCK_BYTES = 393_216  # of a block of B there: machines of wide vectors have 1 MB
FAR_BYTES = 2_097_152  # of a block of B that stays in the third cache
HUGE = 1 << 24  # bytes that the third cache does not hold
IN_FLIGHT = 8  # sums that do not wait for one another: two units, four cycles each
FINISHED_AT_ONCE = 16384  # entries of C, a part of what the second cache holds
STEPS = 4  # of k in a trip of a tile's loop
LABEL = 'call void @llvm.codeview.annotation(metadata !{!"step"})'  # no instruction

KERNEL_PARAMETERS = (
    "i64 %rows, i64 %depth, ptr %a, i64 %a_step, i64 %a_row, i64 %a_col, ptr %b, i64 %b_row, "
    "ptr %c, i64 %c_row, i64 %columns, i1 %accumulate"
)

Piece: TypeAlias = "tuple[int, str, str]"  # lanes, whether they are there, the place of the first


@dataclass(frozen=True, slots=True)
class Tile:
    """The register tile and the blocks for one element type and vector width."""

    dtype: DType
    lanes: int
    rows: int
    vectors: int
    depth_block: int
    row_block: int  # rows of A that are packed together
    column_block: int | None  # columns of B that are; None: only `panels` at a time
    panels: int  # of B in a group of columns

    @property
    def element(self) -> str:
        return {"f64": "double", "f32": "float"}[self.dtype.name]

    @property
    def vector(self) -> str:
        return f"<{self.lanes} x {self.element}>"

    @property
    def mask(self) -> str:
        return f"<{self.lanes} x i1>"

    @property
    def suffix(self) -> str:
        """The end of an intrinsic's name."""
        return f"v{self.lanes}{self.dtype.name}"

    @property
    def width(self) -> int:
        """Columns of the tile."""
        return self.lanes * self.vectors

    @property
    def keeps_panels(self) -> bool:
        """Whether a panel of B stays in the first cache, not the rows of A of a tile."""
        return self.column_block is not None

    @property
    def strip(self) -> int:
        """Rows that meet a panel before the next one does."""
        return self.row_block if self.keeps_panels else self.rows

    @property
    def masks_loads(self) -> bool:
        """Whether a vector is loaded under a mask by one instruction."""
        return self.lanes * self.dtype.itemsize >= 32

    @property
    def has_mask_registers(self) -> bool:
        """Whether masks have registers of their own, and cost nothing."""
        return self.lanes * self.dtype.itemsize >= 64

    @property
    def steps(self) -> int:
        """The k of a trip of a tile's loop: one where there are enough products even so."""
        return 1 if self.has_mask_registers else STEPS

    @property
    def dot_columns(self) -> int:
        """Columns that four rows meet in dot products: sums and operands fit the registers."""
        return 4 if self.has_mask_registers else 2

    @property
    def dot_rows(self) -> int:
        """Rows up to which dot products take less time than packing B's columns does."""
        return 16 if self.has_mask_registers else self.lanes

    @property
    def square(self) -> Tile:
        """Vectors of at most eight lanes, of which as many as lanes fit the registers."""
        return replace(self, lanes=min(self.lanes, 8))

    def height(self, vectors: int) -> int:
        """Rows of the tile beside so many vectors: as many as keep the units busy."""
        rows = self.rows
        while rows * vectors < IN_FLIGHT:
            rows *= 2
        return rows

    def symbol(self, part: str = "") -> str:
        """@gradc.matmul.<part>.<dtype>"""
        return f"@gradc.matmul.{part}{'.' if part else ''}{self.dtype.name}"


def tile_for(dtype: DType, vector_bits: int) -> Tile:
    """Accumulators, vectors of B and one broadcast fit the registers: 32 with 512 bits, else 16.

    For a k a tile reads `rows` entries of A and a wider row of a panel of B. If the first cache
    holds a panel, it stays there, and rows of A come from the second one; else it is the other way.
    """
    if not dtype.is_float or vector_bits not in (128, 256, 512):
        raise ValueError(
            f"matmul: {dtype} with {vector_bits}-bit vectors; have f64, f32 and 128, 256, 512"
        )
    rows, vectors = {512: (8, 3), 256: (4, 3), 128: (4, 2)}[vector_bits]
    size, lanes = dtype.itemsize, vector_bits // (8 * dtype.itemsize)
    width = lanes * vectors
    if 256 * width * size <= PANEL_BYTES:
        row_block = BLOCK_BYTES // (256 * size)
        columns = FAR_BYTES // (256 * size) // width * width
        panels = FINISHED_AT_ONCE // row_block // width
        return Tile(dtype, lanes, rows, vectors, 256, row_block, columns, panels)
    depth = 256 if size == 8 else 384
    panels = WIDE_BLOCK_BYTES // (depth * width * size)
    return Tile(dtype, lanes, rows, vectors, depth, 1024, None, panels)


@dataclass(frozen=True, slots=True)
class Last:
    """The last vector of a row: its mask, None if it is full, and how it is stored if not under it.

    A store under a mask that is no register of its own takes ten times as long as an ordinary one:
    what is there is stored in pieces of half a vector, a quarter, and so on.
    """

    mask: Callable[[], str | None] = lambda: None
    pieces: tuple[Piece, ...] = ()


def declarations(tile: Tile) -> str:
    """The intrinsics of the kernels. `fmuladd` is a product and a sum where there is no fma."""
    v = tile.vector
    found = [
        "declare void @llvm.codeview.annotation(metadata)",
        "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)",
        f"declare {v} @llvm.fmuladd.{tile.suffix}({v}, {v}, {v})",
    ]
    for lanes in dict.fromkeys((tile.lanes, tile.square.lanes, 4)):
        own = replace(tile, lanes=lanes)
        v, mask, end = own.vector, own.mask, f"{own.suffix}.p0"
        found.append(f"declare {v} @llvm.masked.load.{end}(ptr, i32, {mask}, {v})")
        found.append(f"declare void @llvm.masked.store.{end}({v}, ptr, i32, {mask})")
    return "\n".join(found)


def internal(tile: Tile, part: str, parameters: str) -> str:
    """The head of a function of the matrix product."""
    return f"internal void {tile.symbol(part)}({parameters}) noinline nounwind"


def kernel_functions(tile: Tile) -> str:
    """`kernel1`, `kernel2`, ...: one for each number of vectors that a row of the tile may have."""
    return "\n".join(kernel_function(tile, vectors) for vectors in range(1, tile.vectors + 1))


def kernel_function(tile: Tile, vectors: int) -> str:
    """C[0:rows, 0:columns] (+)= A B over `depth`, C's rows contiguous, for any number of rows.

    The columns fill `vectors` vectors, the last of them perhaps in part; then it is loaded under a
    mask, or, where there is no such instruction, B has to be as wide as all of them. Where a mask
    takes a vector register, full vectors have code of their own: the sums need all registers.
    """
    body = LoopText()
    count = body.sub("%columns", (vectors - 1) * tile.lanes)
    mask = column_mask(body, tile, count)
    if tile.has_mask_registers:
        write_rows(body, tile, vectors, Last(lambda: mask))
    else:
        kept = kept_in_memory(body, tile, mask)
        full = body.is_equal(count, tile.lanes)
        with body.when(full):
            write_rows(body, tile, vectors, Last())
        with body.unless(full):
            last = Last(lambda: from_memory(body, tile, kept), pieces_of(body, tile, count))
            write_rows(body, tile, vectors, last)
    return body.function(internal(tile, f"kernel{vectors}", KERNEL_PARAMETERS))


def kept_in_memory(body: LoopText, tile: Tile, mask: str) -> str:
    """Where a mask is kept, as the signs of a vector."""
    kind = f"<{tile.lanes} x i{8 * tile.dtype.itemsize}>"
    place = body.emit(f"alloca {kind}, align 64")
    signs = body.emit(f"sext {tile.mask} {mask} to {kind}")
    body.do(f"store volatile {kind} {signs}, ptr {place}")
    return place


def from_memory(body: LoopText, tile: Tile, place: str) -> str:
    """The mask, loaded anew: a register that holds it over the loop is one that sums need."""
    kind = f"<{tile.lanes} x i{8 * tile.dtype.itemsize}>"
    signs = body.emit(f"load volatile {kind}, ptr {place}")
    return body.emit(f"icmp slt {kind} {signs}, zeroinitializer")


def pieces_of(body: LoopText, tile: Tile, count: str) -> tuple[Piece, ...]:
    """`count` lanes, fewer than all, as pieces whose sizes are powers of two, the largest first."""
    found, lanes = [], tile.lanes // 2
    while lanes:
        there = body.negation(body.is_equal(body.emit(f"and i64 {count}, {lanes}"), 0))
        found.append((lanes, there, body.emit(f"and i64 {count}, {-2 * lanes}")))
        lanes //= 2
    return tuple(found)


def write_rows(body: LoopText, tile: Tile, vectors: int, last: Last) -> None:
    """All rows of C; those behind the last whole tile are a tile of half its height, and so on."""
    height = tile.height(vectors)
    whole = body.emit(f"and i64 %rows, {-height}")
    with body.loop(0, whole, height) as i:
        write_tile(body, tile, (height, vectors), i, last)
    height //= 2
    while height:
        there = body.emit(f"and i64 %rows, {height}")
        with body.unless(body.is_equal(there, 0)):
            done = body.emit(f"and i64 %rows, {-2 * height}")
            write_tile(body, tile, (height, vectors), done, last)
        height //= 2


def write_tile(body: LoopText, tile: Tile, shape: tuple[int, int], first: str, last: Last) -> None:
    """rows x vectors of C from row `first` on, held in registers over the whole depth."""
    rows, vectors = shape
    start = body.address(tile.element, "%c", body.mul(first, "%c_row"))
    of_c = neighbours(body, tile, start, rows, "%c_row")
    places = [
        body.address(tile.element, row, v * tile.lanes) for row in of_c for v in range(vectors)
    ]
    sums = Carried(["zeroinitializer"] * (rows * vectors))
    with body.when("%accumulate"):
        for place in places:
            fetch(body, place, for_store=True)
    done = "0"
    if rows == tile.height(vectors) and not last.pieces:
        done = multiply_by_steps(body, tile, sums, (first, rows), last)
    lines = rows_of_a(body, tile, first, rows)
    with body.loop(done, "%depth", 1, tile.vector, sums) as k:
        multiply_add(body, tile, sums, lines, (k, last))
    masks = [None, last.mask()]
    ends = [masks[v == vectors - 1] for v in range(vectors)] * rows
    with body.when("%accumulate", tile.vector, sums):
        sums.values = [
            body.emit(f"fadd {tile.vector} {load(body, tile, place, end)}, {total}")
            for place, end, total in zip(places, ends, sums.values, strict=True)
        ]
    for place, end, total in zip(places, ends, sums.values, strict=True):
        if end is not None and last.pieces:
            store_pieces(body, tile, place, total, last.pieces)
        else:
            store(body, tile, place, total, end)


def multiply_by_steps(
    body: LoopText, tile: Tile, sums: Carried, at: tuple[str, int], last: Last
) -> str:
    """The products of whole trips of several k, of an A by rows or by columns; the next k.

    With a known stride, and of several k, a trip has few instructions of its own: the units that
    start instructions are often shared. Between the k stands a label, which LLVM's scheduler does
    not cross: it would load so far ahead that sums are laid down in memory.
    """
    forms = [("1", "%a_col", body.is_equal("%a_row", 1))]
    if tile.steps > 1:
        forms.append(("%a_row", "1", body.is_equal("%a_col", 1)))
    whole, done = body.emit(f"and i64 %depth, {-tile.steps}"), "0"
    for a_row, a_col, is_so in forms:
        end = body.select("i64", is_so, whole, done)
        lines = rows_of_a(body, tile, *at, a_row)
        with body.loop(done, end, tile.steps, tile.vector, sums) as k:
            for step in range(tile.steps):
                multiply_add(body, tile, sums, lines, (body.add(k, step), last), a_col)
                body.do(LABEL)
        done = end
    return done


def rows_of_a(
    body: LoopText, tile: Tile, first: str, rows: int, stride: str = "%a_row"
) -> list[str]:
    """The addresses of rows of A from `first` on, by strips of a tile's rows."""
    e, found = tile.element, list[str]()
    strip = first if rows >= tile.rows else body.emit(f"and i64 {first}, {-tile.rows}")
    start = body.address(e, "%a", body.mul(strip, "%a_step"))
    if rows < tile.rows:
        start = body.address(e, start, body.mul(body.sub(first, strip), stride))
    for _ in range(0, rows, tile.rows):
        found += neighbours(body, tile, start, min(rows, tile.rows), stride)
        start = body.address(e, start, body.mul(tile.rows, "%a_step"))
    return found


def neighbours(
    body: LoopText, tile: Tile, start: str, rows: int, stride: str, there: str | None = None
) -> list[str]:
    """The addresses of rows from `start` on; if only `there` exist, the last one repeats."""
    found = [start]
    while len(found) < rows:
        step = stride
        if there is not None:
            step = body.select("i64", body.is_less(len(found), there), stride, 0)
        found.append(body.address(tile.element, found[-1], step))
    return found


def multiply_add(
    body: LoopText,
    tile: Tile,
    sums: Carried,
    of_a: list[str],
    at: tuple[str, Last],
    a_col: str = "%a_col",
) -> None:
    """Row k of B times column k of A, added to the sums."""
    k, last = at
    vectors = len(sums.values) // len(of_a)
    row = body.address(tile.element, "%b", body.mul(k, "%b_row"))
    offset = body.mul(k, a_col)
    places = [body.address(tile.element, row, v * tile.lanes) for v in range(vectors)]
    masks = [*[None] * (vectors - 1), last.mask() if tile.masks_loads else None]
    of_b = [load(body, tile, place, own) for place, own in zip(places, masks, strict=True)]
    for r, pointer in enumerate(of_a):
        place = body.address(tile.element, pointer, offset)
        scalar = body.emit(f"load {tile.element}, ptr {place}, align {tile.dtype.itemsize}")
        factor = splat(body, tile.element, tile.lanes, scalar)
        for v, vector in enumerate(of_b):
            i = r * vectors + v
            sums.values[i] = fused(body, tile, factor, vector, sums.values[i])


def call_kernel(
    body: LoopText, tile: Tile, columns: str, values: tuple[str | int, ...], accumulate: str
) -> None:
    """Call the kernel for so many columns; `values` are what comes before them."""
    for vectors in range(1, tile.vectors + 1):
        more = body.is_less((vectors - 1) * tile.lanes, columns)
        fits = body.both(more, body.is_less(columns, vectors * tile.lanes + 1))
        with body.when(fits):
            name = tile.symbol(f"kernel{vectors}")
            body.call(name, KERNEL_PARAMETERS, *values, columns, accumulate)


def fused(body: LoopText, tile: Tile, a: str, b: str, c: str) -> str:
    """a * b + c"""
    arguments = ", ".join(f"{tile.vector} {x}" for x in (a, b, c))
    return body.emit(f"call {tile.vector} @llvm.fmuladd.{tile.suffix}({arguments})")


def splat(body: LoopText, element: str, lanes: int, scalar: str) -> str:
    """A vector of one scalar."""
    kind = f"<{lanes} x {element}>"
    lane = body.emit(f"insertelement {kind} poison, {element} {scalar}, i64 0")
    zeros = f"<{lanes} x i32> zeroinitializer"
    return body.emit(f"shufflevector {kind} {lane}, {kind} poison, {zeros}")


def column_mask(body: LoopText, tile: Tile, count: str) -> str:
    """The first `count` lanes."""
    iota = ", ".join(f"i32 {lane}" for lane in range(tile.lanes))
    few = body.emit(f"trunc i64 {body.minimum(count, tile.lanes)} to i32")
    bound = splat(body, "i32", tile.lanes, few)
    return body.emit(f"icmp sgt <{tile.lanes} x i32> {bound}, <{iota}>")


def load(body: LoopText, tile: Tile, place: str, mask: str | None = None) -> str:
    """The lanes of the mask, zeros elsewhere; all lanes without a mask."""
    align = tile.dtype.itemsize
    if mask is None:
        return body.emit(f"load {tile.vector}, ptr {place}, align {align}")
    return body.emit(
        f"call {tile.vector} @llvm.masked.load.{tile.suffix}.p0(ptr {place}, "
        f"i32 {align}, {tile.mask} {mask}, {tile.vector} zeroinitializer)"
    )


def fetch(body: LoopText, place: str, for_store: bool) -> None:
    """Ask for a line of memory that is needed soon; it need not exist."""
    body.do(f"call void @llvm.prefetch.p0(ptr {place}, i32 {int(for_store)}, i32 3, i32 1)")


def store(body: LoopText, tile: Tile, place: str, value: str, mask: str | None = None) -> None:
    """The lanes of the mask; all of them without one."""
    align = tile.dtype.itemsize
    if mask is None:
        body.do(f"store {tile.vector} {value}, ptr {place}, align {align}")
        return
    body.do(
        f"call void @llvm.masked.store.{tile.suffix}.p0({tile.vector} {value}, ptr {place}, "
        f"i32 {align}, {tile.mask} {mask})"
    )


def store_pieces(
    body: LoopText, tile: Tile, place: str, value: str, pieces: tuple[Piece, ...]
) -> None:
    """The first lanes of a vector: whatever pieces are there, one behind the other."""
    rest = Carried([value])
    for lanes, there, first in pieces:
        with body.when(there, tile.vector, rest):
            pair = f"{tile.vector} {rest.values[0]}, {tile.vector} poison"
            part = shuffled(body, pair, list(range(lanes)))
            own = replace(tile, lanes=lanes)
            store(body, own, body.address(tile.element, place, first), part)
            rest.values = [shuffled(body, pair, list(range(lanes, lanes + tile.lanes)))]


def shuffled(body: LoopText, pair: str, order: list[int]) -> str:
    """The lanes of two vectors in this order."""
    lanes = ", ".join(f"i32 {lane}" for lane in order)
    return body.emit(f"shufflevector {pair}, <{len(order)} x i32> <{lanes}>")


def store_sum(body: LoopText, tile: Tile, place: str, value: str, accumulate: str) -> None:
    """Store a scalar, or add it to what is there."""
    e = tile.element
    total = body.emit(f"fadd {e} {body.emit(f'load {e}, ptr {place}')}, {value}")
    body.do(f"store {e} {body.select(e, accumulate, total, value)}, ptr {place}")
