"""The packed matrix product against NumPy: shapes around every block, all strides, both directions
of C.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from gradc.codegen.jit import Library, load_object
from gradc.codegen.matmul import matmul_functions, scratch_bytes
from gradc.codegen.matmul_half import half_function, half_symbol
from gradc.codegen.matmul_pack import pack_functions
from gradc.codegen.matmul_stream import LESS_DEEP, stream_function
from gradc.codegen.matmul_tile import declarations, kernel_functions, tile_for
from gradc.codegen.target import Target, compile_to_assembly, compile_to_object, host
from gradc.ir.types import DType, f32, f64, i64

Array = np.ndarray[Any, Any]
TRIPLE = host().triple
OF_WIDTH = {128: "x86-64", 256: "x86-64-v3", 512: "x86-64-v4"}  # vector bits: CPU
TARGETS = tuple(
    Target(TRIPLE, cpu, "", bits)
    for bits, cpu in OF_WIDTH.items()
    if bits <= host().vector_bits and TRIPLE.startswith("x86_64")
) or (host(),)
SIZES = (0, 1, 2, 3, 5, 8, 9, 17, 24, 25, 31, 48, 49, 70, 130, 300)
LAYOUTS = ("rows", "columns", "every other", "backwards", "one row", "one column")
CANARY = 7.25


@dataclass(frozen=True, slots=True)
class Product:
    """The compiled function, with a scratch area that ends in a canary."""

    address: int
    dtype: DType
    vector_bits: int
    library: Library

    def __call__(self, a: Array, b: Array, c: Array, accumulate: bool = False) -> Array:
        """C (+)= A B over a batch, as the strides of the arrays say; gives the scratch."""
        batch, m, n = c.shape
        size = scratch_bytes(self.dtype, self.vector_bits, max(m, n), a.shape[2])
        scratch = np.full(size // 8 + 16, CANARY)
        start = -scratch.ctypes.data % 64 // 8
        end = start + size // 8
        integer, pointer = ctypes.c_int64, ctypes.c_void_p
        kinds = [*[integer] * 4, *[pointer, integer, integer, integer] * 3, ctypes.c_bool, pointer]
        arguments: list[Any] = [batch, m, n, a.shape[2]]
        for array in (a, b, c):
            arguments += [array.ctypes.data, *(s // self.dtype.itemsize for s in array.strides)]
        place = scratch[start:].ctypes.data
        ctypes.CFUNCTYPE(None, *kinds)(self.address)(*arguments, accumulate, place)
        assert (scratch[end:] == CANARY).all(), "the product wrote behind its scratch"
        return scratch[start:end].view(self.dtype.numpy)


@cache
def product(dtype: DType, target: Target, half: bool = False) -> Product:
    """The whole product, or the lower half."""
    operands = ", ".join(f"ptr %{x}, i64 %{x}b, i64 %{x}r, i64 %{x}c" for x in "abc")
    parameters = f"i64 %batch, i64 %m, i64 %n, i64 %k, {operands}, i1 %add, ptr %scratch"
    text, symbol = matmul_functions(dtype, target.vector_bits), f"gradc.matmul.{dtype}"
    if half:
        text, symbol = text + half_function(dtype, target.vector_bits), half_symbol(dtype)
    text += (
        f"define void @run({parameters}) {{\n  call void @{symbol}({parameters}, "
        "ptr null, ptr null)\n  ret void\n}\n"
    )
    library = load_object(compile_to_object(text, target), ["run"])
    return Product(library.addresses["run"], dtype, target.vector_bits, library)


def matrix(
    rng: np.random.Generator, shape: tuple[int, int, int], layout: str, dtype: DType
) -> Array:
    """Random numbers of this shape, laid out in memory as `layout` says."""
    batch, rows, columns = shape
    kind = dtype.numpy
    if layout == "columns":
        return rng.normal(size=(batch, columns, rows)).astype(kind).transpose(0, 2, 1)
    if layout == "every other":
        return rng.normal(size=(batch, 2 * rows, 3 * columns)).astype(kind)[:, ::2, ::3]
    if layout == "backwards":
        return rng.normal(size=shape).astype(kind)[:, ::-1, ::-1]
    if layout == "one row":
        return np.broadcast_to(rng.normal(size=(1, 1, columns)).astype(kind), shape)
    if layout == "one column":
        return np.broadcast_to(rng.normal(size=(batch, rows, 1)).astype(kind), shape)
    return rng.normal(size=shape).astype(kind)


def check(run: Product, a: Array, b: Array, c: Array, accumulate: bool) -> None:
    """Against NumPy in f64, within the bound of any order of summation."""
    start = np.array(c) if accumulate else np.zeros_like(c)
    wide_a, wide_b = a.astype(float), b.astype(float)
    run(a, b, c, accumulate)
    bound = (
        (a.shape[2] + 2)
        * np.finfo(run.dtype.numpy).eps
        * (np.abs(wide_a) @ np.abs(wide_b) + np.abs(start))
    )
    assert (np.abs(c - (wide_a @ wide_b + start)) <= bound).all(), (a.strides, b.strides, c.strides)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"{t.vector_bits}")
@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_random_shapes_and_strides(dtype: DType, target: Target) -> None:
    rng = np.random.default_rng(0)
    run = product(dtype, target)
    for _ in range(120):
        batch, (m, n, k) = int(rng.integers(1, 3)), (int(s) for s in rng.choice(SIZES, 3))
        left, right = rng.choice(LAYOUTS, 2)
        out = rng.choice(LAYOUTS[:4])
        a, b = matrix(rng, (batch, m, k), left, dtype), matrix(rng, (batch, k, n), right, dtype)
        check(run, a, b, matrix(rng, (batch, m, n), out, dtype), bool(rng.integers(2)))


@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_every_remainder_of_the_tile(dtype: DType) -> None:
    tile = tile_for(dtype, host().vector_bits)
    rng = np.random.default_rng(1)
    run = product(dtype, host())
    for m in range(1, 2 * tile.rows + 1):
        for n in range(1, 2 * tile.width + 1, 1 + tile.lanes // 4):
            a, b = (matrix(rng, shape, "rows", dtype) for shape in ((1, m, 5), (1, 5, n)))
            check(run, a, b, matrix(rng, (1, m, n), "rows", dtype), m % 2 == 0)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"{t.vector_bits}")
@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_one_row_or_one_column(dtype: DType, target: Target) -> None:
    rng = np.random.default_rng(6)
    run = product(dtype, target)
    for m, n in ((1, 1), (1, 3), (1, 37), (1, 1100), (3, 1), (9, 1)):
        for k in (1, 7, 8, 19, 65, *((4100,) if m * n in (3, 9, 37) else ())):
            for left, right in (("rows", "rows"), ("columns", "columns"), ("backwards", "one row")):
                a, b = matrix(rng, (2, m, k), left, dtype), matrix(rng, (2, k, n), right, dtype)
                out = LAYOUTS[k % 4]
                check(run, a, b, matrix(rng, (2, m, n), out, dtype), k % 2 == 0)


def test_infinities_in_the_last_rows_of_a_combination() -> None:
    run = product(f64, host())
    for k in (3, 8, 11):
        a, b = np.ones((1, 1, k)), np.ones((1, k, 21))
        b[0, -1, 20] = np.inf
        c = np.empty((1, 1, 21))
        run(a, b, c)
        np.testing.assert_array_equal(c, a @ b)


def test_sizes_beyond_every_block() -> None:
    rng = np.random.default_rng(2)
    run = product(f64, host())
    for m, n, k in ((1030, 50, 260), (9, 230, 1030), (1100, 200, 520), (300, 1100, 300)):
        for left, right in (("rows", "columns"), ("columns", "rows")):
            a, b = matrix(rng, (1, m, k), left, f64), matrix(rng, (1, k, n), right, f64)
            check(run, a, b, np.empty((1, m, n)), False)


def test_an_operand_by_columns_that_is_large_or_collides_is_packed() -> None:
    """The last block begins with a strip as high as the tile, column after column."""
    rng = np.random.default_rng(11)
    for dtype, m, n, k, is_packed in (
        (f64, 100, 60, 5300, True),
        (f64, 100, 60, 5200, False),
        (f64, 512, 16, 100, True),
        (f64, 512, 15, 100, False),
        (f64, 510, 16, 100, False),
        (f32, 1024, 16, 32, True),
        (f32, 1024, 16, 31, False),
    ):
        run, tile, terms = product(dtype, host()), tile_for(dtype, host().vector_bits), min(k, 100)
        a, b = matrix(rng, (1, m, k), "columns", dtype), matrix(rng, (1, k, n), "rows", dtype)
        check(run, a, b, np.empty((1, m, n), dtype.numpy), False)
        strip = run(a, b, np.empty((1, m, n), dtype.numpy))[: terms * tile.rows]
        strip = strip.reshape(terms, tile.rows)
        first = (m - 1) // tile.row_block * tile.row_block
        assert (strip[0] == a[0, first : first + tile.rows].T).all(axis=1).any() == is_packed
        assert (strip[:, :1] == a[0, first]).any(axis=0).sum() == (terms if is_packed else 0)


def test_colliding_rows_of_a_short_sum_are_packed() -> None:
    run, rng, width = product(f64, host()), np.random.default_rng(13), 8
    for m, n, k, is_packed in (
        (12, 512, 11, True),
        (8, 512, 17, True),
        (12, 512, 10, False),
        (7, 512, 19, False),
        (17, 512, 8, False),
        (12, 500, 11, False),
    ):
        a, b = matrix(rng, (1, m, k), "rows", f64), matrix(rng, (1, k, n), "rows", f64)
        check(run, a, b, np.empty((1, m, n)), False)
        windows = np.lib.stride_tricks.sliding_window_view(run(a, b, np.empty((1, m, n))), width)
        assert (windows == b[0, 0, :width]).all(axis=1).any() == is_packed


def test_c_around_the_product_is_kept() -> None:
    run = product(f64, host())
    rng = np.random.default_rng(3)
    for m, n in ((3, 5), (8, 24), (9, 25), (1, 1), (30, 1), (1, 30)):
        frame = np.full((m + 4, n + 40), CANARY)
        inner = frame[2 : 2 + m, 3 : 3 + n]
        a, b = rng.normal(size=(1, m, 7)), rng.normal(size=(1, 7, n))
        check(run, a, b, inner[None], False)
        inner[...] = CANARY
        assert (frame == CANARY).all()


def test_an_empty_sum_is_zero() -> None:
    run = product(f64, host())
    c = np.full((2, 3, 4), CANARY)
    run(np.empty((2, 3, 0)), np.empty((2, 0, 4)), c, True)
    assert (c == CANARY).all()
    run(np.empty((2, 3, 0)), np.empty((2, 0, 4)), c)
    assert (c == 0).all()


def test_nan_and_infinity_are_in_their_row_and_column_only() -> None:
    run = product(f64, host())
    a, b = np.ones((1, 30, 20)), np.ones((1, 20, 40))
    a[0, 29, 3], b[0, 5, 39] = np.nan, np.inf
    c = np.empty((1, 30, 40))
    run(a, b, c)
    np.testing.assert_array_equal(c, a @ b)


def test_the_same_sum_every_time() -> None:
    run = product(f64, host())
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(1, 100, 600)), rng.normal(size=(1, 600, 100))
    first, second = np.empty((2, 1, 100, 100))
    run(a, b, first)
    for shift in range(8):
        moved = np.empty(600 * 100 + 8)[shift:][: 600 * 100].reshape(1, 600, 100)
        moved[...] = b
        run(a, moved, second)
        assert (first == second).all()


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"{t.vector_bits}")
@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_few_rows_of_long_sums(dtype: DType, target: Target) -> None:
    """Columns of A are cut where they fill a cache; a large B is streamed."""
    run, rng = product(dtype, target), np.random.default_rng(9)
    for m, n, k in (
        (12, 301, 700),
        (13, 45, 6000),
        (31, 20, 1100),
        (11, 301, 3500),
        (5, 900, 330),
    ):
        for left in ("rows", "columns"):
            a, b = matrix(rng, (1, m, k), left, dtype), matrix(rng, (1, k, n), "rows", dtype)
            check(run, a, b, matrix(rng, (1, m, n), "rows", dtype), m in (5, 12))


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"{t.vector_bits}")
@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_large_operands_that_are_streamed(dtype: DType, target: Target) -> None:
    """Either operand, of few and of many columns, into C of any strides."""
    run, rng = product(dtype, target), np.random.default_rng(10)
    for few, many, k in ((2, 16_500, 65), (4, 1037, 1100), (13, 140, 8100), (39, 70, 16_000)):
        for left, out in (("rows", "rows"), ("columns", "columns"), ("backwards", "every other")):
            a, b = matrix(rng, (2, few, k), left, dtype), matrix(rng, (2, k, many), "rows", dtype)
            check(run, a, b, matrix(rng, (2, few, many), out, dtype), few == 4)
            a, b = b.transpose(0, 2, 1), a.transpose(0, 2, 1)
            check(run, a, b, matrix(rng, (2, many, few), out, dtype), few == 13)


def hidden_terms(
    m: int, n: int, k: int, form: str = "nn", out: str = "n", half: bool = False
) -> int:
    """How many terms of each sum are added to the first one, which is too large to notice them.

    It is taken away again by the last one. So the number tells the block, and the lanes, of a sum.
    """
    run = product(f64, host(), half)
    a, b, c = (
        np.ones((1, columns, rows)).transpose(0, 2, 1) if by == "t" else np.ones((1, rows, columns))
        for rows, columns, by in ((m, k, form[0]), (k, n, form[1]), (m, n, out))
    )
    a[0, :, 0], a[0, :, -1] = 2.0**53, -(2.0**53)
    run(a, b, c)
    assert (c[0][np.tril_indices(m) if half else ...] == c[0, 0, 0]).all()
    return k - 2 - int(c[0, 0, 0])


@pytest.mark.parametrize("out", ["n", "t"])
def test_the_blocks_of_a_stream(out: str) -> None:
    for few, many, depth in ((2, 1000, 16), (31, 1000, 16), (12, 3600, 8), (13, 3600, 16)):
        assert hidden_terms(few, many, 600, "nn", out) == depth - 1
        assert hidden_terms(few, many, 600, "tn", out) == depth - 1
        assert hidden_terms(many, few, 600, "tn", out) == depth - 1
    assert hidden_terms(5, 4000, 62, "nn", out) == 62 - 2
    assert hidden_terms(1000, 40, 600, "tn", out) == 15
    assert hidden_terms(1000, 41, 600, "tn", out) == 199
    assert hidden_terms(32, 1000, 600, "nn", out) == 199
    assert hidden_terms(31, 840, 600, "nn", out) == 199


def test_operands_that_lie_far_apart_are_packed() -> None:
    """Rows of B a multiple of 2 kB apart are streamed past a third of the rows only.

    Those 16 kB apart are streamed eight at a time. Those 4 kB apart, and columns of A from 1 kB on
    that meet 64 columns, are packed in blocks of depth 256, where others are read in place, 128
    deep.
    """
    for many, streamed in ((1000, True), (1024, False)):
        assert hidden_terms(10, many, 600) == (15 if streamed else 199)
        assert hidden_terms(many, 13, 600, "tn") == (15 if streamed else 199)
    assert hidden_terms(9, 1024, 600) == hidden_terms(1024, 12, 600, "tn") == 15
    assert hidden_terms(9, 2048, 600) == hidden_terms(2048, 12, 600, "tn") == 7
    assert hidden_terms(10, 512, 768, "tn") == 255
    for m, n, terms in ((128, 64, 256 - 2), (127, 64, 127), (128, 63, 127)):
        assert hidden_terms(m, n, 256, "tn") == terms


def test_what_is_computed_by_dot_products() -> None:
    """Few columns from half as long a sum on; a B by columns as long as that is not packed."""
    tile = tile_for(f64, host().vector_bits)
    for lengths, few in ((10, tile.lanes // 2), (18, tile.lanes - 1)):
        in_lanes = hidden_terms(100, few, lengths * tile.lanes)
        assert (in_lanes == lengths - 1) == (4 * few <= 3 * tile.lanes)
    k = 32 * tile.lanes
    assert hidden_terms(tile.dot_rows, 100, k, "nt") == k // tile.lanes - 1
    assert hidden_terms(tile.dot_rows + 1, 100, k, "nt") > k // tile.lanes


def test_rows_that_meet_a_single_column() -> None:
    """Eight rows share it; one alone is eight chains of sums, as are short rows from memory."""
    lanes = tile_for(f64, host().vector_bits).lanes
    assert hidden_terms(8, 1, 64 * lanes) == 64 - 1
    assert hidden_terms(1, 1, 64 * lanes) == 64 // 8 - 1
    for m, k, is_alone in ((16_392, 128, True), (16_384, 128, False), (4_104, 512, False)):
        assert hidden_terms(m, 1, k) == k // lanes // (8 if is_alone else 1) - 1


def test_rows_of_one_vector_are_combined_in_registers() -> None:
    """Eight of them side by side are eight sums; longer rows are added up one after the other."""
    tile = tile_for(f64, host().vector_bits)
    assert hidden_terms(1, tile.lanes, 80) == (80 // 8 - 1 if tile.masks_loads else 80 - 2)
    assert hidden_terms(1, tile.lanes + 1, 80) == 80 - 2


def test_columns_of_a_block_of_a_fit_the_first_cache() -> None:
    assert hidden_terms(10, 50, 768, "tn") == 154 - 1
    assert hidden_terms(100, 20, 768, "tn") == 128 - 1


def test_the_halves_of_a_long_sum_are_computed_block_by_block() -> None:
    """The second cache holds 668 rows of 48 numbers, which are 6 blocks of depth 112."""
    assert hidden_terms(48, 48, 2 * 668, "tn", half=True) == 112 - 1


@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_halves_of_long_sums(dtype: DType) -> None:
    run, rng = product(dtype, host(), half=True), np.random.default_rng(12)
    for m, k, adds in ((33, 2500, False), (100, 700, True), (260, 600, False)):
        a, c = matrix(rng, (1, m, k), "columns", dtype), matrix(rng, (1, m, m), "rows", dtype)
        start = np.array(c) if adds else 0.0
        run(a, a.transpose(0, 2, 1), c, adds)
        wide = a.astype(float)
        wanted = np.tril(wide @ wide.transpose(0, 2, 1) + start)
        np.testing.assert_allclose(np.tril(c), wanted, atol=k * np.finfo(dtype.numpy).eps * 8)


def test_the_next_rows_of_a_stream_are_fetched() -> None:
    for bits in OF_WIDTH:
        for dtype in (f64, f32):
            tile = tile_for(dtype, bits)
            lines = -(-tile.width * dtype.itemsize // 64)
            assert stream_function(tile).count("call void @llvm.prefetch") == LESS_DEEP * lines


@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_blocks_fit_the_caches(dtype: DType) -> None:
    for bits in OF_WIDTH:
        tile = tile_for(dtype, bits)
        panel = tile.depth_block * tile.width * dtype.itemsize
        strip = tile.depth_block * tile.strip * dtype.itemsize
        assert tile.keeps_panels == (bits < 512)
        assert (panel if tile.keeps_panels else strip) <= 24 * 1024
        assert (strip if tile.keeps_panels else panel * tile.panels) <= 384 * 1024


def test_scratch_of_known_sizes_is_small() -> None:
    for bits in OF_WIDTH:
        every = scratch_bytes(f64, bits)
        assert scratch_bytes(f64, bits, 30, 20) < 24_000
        assert all(scratch_bytes(f64, bits, n, k) <= every for n in (9, 10**6) for k in (9, 10**6))


@pytest.mark.parametrize(("bits", "cpu"), OF_WIDTH.items())
@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_the_sums_of_a_tile_stay_in_registers(dtype: DType, bits: int, cpu: str) -> None:
    tile = tile_for(dtype, bits)
    text = matmul_functions(dtype, bits).replace(
        f"internal void @gradc.matmul.{dtype}(", f"void @gradc.matmul.{dtype}("
    )
    assembly = compile_to_assembly(text, Target("x86_64-unknown-linux-gnu", cpu, "", bits))
    blocks = (b.partition("\tj")[0] for b in re.split(r"^\.LBB.*:$", assembly, flags=re.MULTILINE))
    sums = rf"(?:vfmadd\w+|mulp[sd])\s.*%{'xyz'[bits // 256]}mm"
    loops = [b for b in blocks if len(re.findall(sums, b)) >= tile.rows * tile.vectors]
    assert loops
    for loop in loops:
        assert not re.search(r"mov\w+\s+%[xyz]mm\d+, .*\(%r[sb]p", loop)


@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_the_loop_of_a_tile_has_few_instructions_of_its_own(dtype: DType) -> None:
    """Of four k: 48 products, 12 loads of B, 16 of A, and at most 12 others."""
    tile = tile_for(dtype, 256)
    text = declarations(tile) + kernel_functions(tile).replace("internal ", "")
    assembly = compile_to_assembly(text, Target("x86_64-unknown-linux-gnu", OF_WIDTH[256], "", 256))
    blocks = re.split(r"^\.LBB.*:$", assembly, flags=re.MULTILINE)
    loops = [re.findall(r"^\t[a-z].*", b.partition("\tj")[0], re.MULTILINE) for b in blocks]
    lengths = [len(x) for x in loops if sum("vfmadd" in line for line in x) == 48]
    assert len(lengths) == 2
    assert max(lengths) <= 48 + 12 + 16 + 12


@pytest.mark.parametrize("bits", OF_WIDTH)
def test_ends_of_rows_are_stored_under_a_mask_only_where_it_is_a_register(bits: int) -> None:
    tile = tile_for(f64, bits)
    assert ("call void @llvm.masked.store" in kernel_functions(tile)) == tile.has_mask_registers


def test_sums_of_a_tile_keep_the_units_busy() -> None:
    for bits in OF_WIDTH:
        for dtype in (f64, f32):
            tile = tile_for(dtype, bits)
            shapes = [(tile.height(v), v) for v in range(1, tile.vectors + 1)]
            assert all(
                8 <= rows * vectors <= (24 if bits == 512 else 12) for rows, vectors in shapes
            )


def test_the_next_panel_is_fetched_while_one_is_turned() -> None:
    for bits in OF_WIDTH:
        tile = tile_for(f64, bits)
        assert pack_functions(tile).count("call void @llvm.prefetch") >= tile.square.lanes


@pytest.mark.parametrize(("dtype", "bits"), [(i64, 512), (f64, 64)])
def test_what_there_is_no_tile_for_is_refused(dtype: DType, bits: int) -> None:
    with pytest.raises(ValueError, match="have f64, f32 and 128, 256, 512"):
        matmul_functions(dtype, bits)
