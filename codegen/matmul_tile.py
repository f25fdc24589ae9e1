"""The register tile of the matrix product: its shapes, and the kernels that fill and store it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from gradc.codegen.loop_text import Carried, LoopText
from gradc.ir.types import DType

ROW_BLOCK = 1024
ROW_PADDING = 16  # elements between packed rows, against aliasing of cache sets
BYTES_OF_B = 196_608  # of a packed block: a fifth of a second cache of 1 MB

KERNEL_PARAMETERS = (
    "i64 %mr, i64 %nr, i64 %depth, ptr %a, i64 %a_row, i64 %a_col, ptr %b, i64 %b_row, ptr %c, "
    "i64 %c_row, i1 %accumulate"
)
TILE_PARAMETERS = f"{KERNEL_PARAMETERS}, i64 %c_col, ptr %buffer"


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
    def heights(self) -> tuple[int, ...]:
        """Rows of the kernels: the tile's, and less for what is left or for few rows."""
        return tuple(rows for rows in (1, 4, 8) if rows <= self.rows)

    @property
    def packed_a(self) -> int:
        """Elements of scratch for the packed block of A."""
        return (ROW_BLOCK + self.rows) * (self.depth_block + ROW_PADDING)

    @property
    def packed_b(self) -> int:
        return self.depth_block * self.width * self.panels

    def symbol(self, part: str = "") -> str:
        """@gradc.matmul.<part>.<dtype>"""
        return f"@gradc.matmul.{part}{'.' if part else ''}{self.dtype.name}"


def tile_for(dtype: DType, vector_bits: int) -> Tile:
    """Accumulators, vectors of B and one broadcast fit the registers: 32 with 512 bits, else 16."""
    if not dtype.is_float or vector_bits not in (128, 256, 512):
        raise ValueError(
            f"matmul: {dtype} with {vector_bits}-bit vectors; have f64, f32 and 128, 256, 512"
        )
    rows, vectors = {512: (8, 3), 256: (4, 3), 128: (4, 2)}[vector_bits]
    lanes = vector_bits // (8 * dtype.itemsize)
    depth = 256 if dtype.itemsize == 8 else 384
    panels = max(1, BYTES_OF_B // (depth * lanes * vectors * dtype.itemsize))
    return Tile(dtype, lanes, rows, vectors, depth, panels)


def declarations(tile: Tile) -> str:
    """The intrinsics of the kernels. `fmuladd` is a product and a sum where there is no fma."""
    v, mask = tile.vector, tile.mask
    return "\n".join(
        [
            f"declare {v} @llvm.fmuladd.{tile.suffix}({v}, {v}, {v})",
            f"declare {v} @llvm.masked.load.{tile.suffix}.p0(ptr, i32, {mask}, {v})",
            f"declare void @llvm.masked.store.{tile.suffix}.p0({v}, ptr, i32, {mask})",
            f"declare {tile.element} @llvm.vector.reduce.fadd.{tile.suffix}({tile.element}, {v})",
        ]
    )


def tile_functions(tile: Tile) -> str:
    """The kernels, and the function that chooses one."""
    shapes = ((rows, vectors) for rows in tile.heights for vectors in range(1, tile.vectors + 1))
    kernels = [kernel_function(tile, rows, vectors) for rows, vectors in shapes]
    return "\n".join([*kernels, choice_function(tile)])


def kernel_function(tile: Tile, rows: int, vectors: int) -> str:
    """C[0:mr, 0:nr] (+)= A B over `depth`, mr <= rows, nr <= vectors * lanes, C[i] contiguous.

    B is read `vectors` whole vectors a row; rows of A past mr repeat row mr - 1 and are not stored.
    """
    body = LoopText()
    pointers = row_pointers(body, tile, rows, "%mr")
    sums = Carried(["zeroinitializer"] * (rows * vectors))
    with body.loop(0, "%depth", 1, tile.vector, sums) as k:
        multiply_add(body, tile, sums, pointers, k)
    masks = [column_mask(body, tile, body.sub("%nr", v * tile.lanes)) for v in range(vectors)]
    kind = tile.mask
    reads = [body.select(kind, "%accumulate", mask, "zeroinitializer") for mask in masks]
    for r in range(rows):
        with body.when(body.is_less(r, "%mr")):
            row = body.address(tile.element, "%c", body.mul(r, "%c_row"))
            for v, (mask, read) in enumerate(zip(masks, reads, strict=True)):
                place = body.address(tile.element, row, v * tile.lanes)
                total = body.emit(
                    f"fadd {tile.vector} {load_masked(body, tile, place, read)}, "
                    f"{sums.values[r * vectors + v]}"
                )
                store_masked(body, tile, place, total, mask)
    name = tile.symbol(f"kernel{rows}x{vectors}")
    return body.function(f"internal void {name}({KERNEL_PARAMETERS}) noinline nounwind")


def row_pointers(body: LoopText, tile: Tile, rows: int, count: str, start: str = "%a") -> list[str]:
    """The addresses of `rows` rows of A from `start`, those past `count` repeating the last one."""
    last = body.sub(count, 1)
    steps = [body.mul(body.minimum(r, last), "%a_row") for r in range(1, rows)]
    return [start, *(body.address(tile.element, start, step) for step in steps)]


def multiply_add(body: LoopText, tile: Tile, sums: Carried, pointers: list[str], k: str) -> None:
    """Row k of B times column k of A, added to the sums."""
    vectors = len(sums.values) // len(pointers)
    row = body.address(tile.element, "%b", body.mul(k, "%b_row"))
    offset = body.mul(k, "%a_col")
    places = [body.address(tile.element, row, v * tile.lanes) for v in range(vectors)]
    of_b = [load_vector(body, tile, place) for place in places]
    for r, pointer in enumerate(pointers):
        place = body.address(tile.element, pointer, offset)
        scalar = body.emit(f"load {tile.element}, ptr {place}, align {tile.dtype.itemsize}")
        factor = splat(body, tile.element, tile.lanes, scalar)
        for v, vector in enumerate(of_b):
            i = r * vectors + v
            sums.values[i] = fused(body, tile, factor, vector, sums.values[i])


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
    iota = ", ".join(f"i64 {lane}" for lane in range(tile.lanes))
    bound = splat(body, "i64", tile.lanes, count)
    return body.emit(f"icmp sgt <{tile.lanes} x i64> {bound}, <{iota}>")


def load_vector(body: LoopText, tile: Tile, place: str) -> str:
    return body.emit(f"load {tile.vector}, ptr {place}, align {tile.dtype.itemsize}")


def load_masked(body: LoopText, tile: Tile, place: str, mask: str) -> str:
    """The lanes of the mask, zeros elsewhere."""
    return body.emit(
        f"call {tile.vector} @llvm.masked.load.{tile.suffix}.p0(ptr {place}, "
        f"i32 {tile.dtype.itemsize}, {tile.mask} {mask}, {tile.vector} zeroinitializer)"
    )


def store_masked(body: LoopText, tile: Tile, place: str, value: str, mask: str) -> None:
    body.do(
        f"call void @llvm.masked.store.{tile.suffix}.p0({tile.vector} {value}, ptr {place}, "
        f"i32 {tile.dtype.itemsize}, {tile.mask} {mask})"
    )


def choice_function(tile: Tile) -> str:
    """One tile of C by the smallest kernel that covers it; by `%buffer` if C[i] has a stride."""
    body = LoopText()
    direct = body.is_equal("%c_col", 1)
    target = body.select("ptr", direct, "%c", "%buffer")
    target_row = body.select("i64", direct, "%c_row", tile.width)
    adds = body.both(direct, "%accumulate")
    given = ("%mr", "%nr", "%depth", "%a", "%a_row", "%a_col", "%b", "%b_row")
    for below, rows in pairwise((0, *tile.heights)):
        with body.when(in_range(body, "%mr", below, rows)):
            for vectors in range(1, tile.vectors + 1):
                columns = (vectors - 1) * tile.lanes, vectors * tile.lanes
                with body.when(in_range(body, "%nr", *columns)):
                    name = tile.symbol(f"kernel{rows}x{vectors}")
                    body.call(name, KERNEL_PARAMETERS, *given, target, target_row, adds)
    with body.unless(direct):
        copy_out(body, tile)
    head = f"internal void {tile.symbol('tile')}({TILE_PARAMETERS}) alwaysinline nounwind"
    return body.function(head)


def in_range(body: LoopText, value: str, low: int, high: int) -> str:
    """low < value <= high"""
    return body.both(body.is_less(low, value), body.is_less(value, high + 1))


def copy_out(body: LoopText, tile: Tile) -> None:
    """The buffer to C, element by element."""
    e = tile.element
    with body.loop(0, "%mr", 1) as i, body.loop(0, "%nr", 1) as j:
        place = body.address(e, "%buffer", body.mul(i, tile.width), j)
        store_sum(body, tile, body.emit(f"load {e}, ptr {place}"), "%accumulate", i, j)


def store_sum(
    body: LoopText, tile: Tile, value: str, accumulate: str, i: str, j: str | int
) -> None:
    """C[i, j] = value, or C[i, j] += value."""
    e = tile.element
    place = body.address(e, "%c", body.mul(i, "%c_row"), body.mul(j, "%c_col"))
    total = body.emit(f"fadd {e} {body.emit(f'load {e}, ptr {place}')}, {value}")
    body.do(f"store {e} {body.select(e, accumulate, total, value)}, ptr {place}")
