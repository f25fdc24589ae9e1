"""Native code of loop programs against the interpreter of loop IR, bit by bit where it can be."""

from __future__ import annotations

import re
from itertools import product
from random import Random
from typing import Any

import numpy as np
import pytest
from gradc.codegen.llvm import emit_module
from gradc.codegen.llvm_segments import plan
from gradc.codegen.target import compile_to_assembly, host, parse_target
from gradc.ir.dims import evaluate_dim, size
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import MATH_FUNCTIONS, Buffer, MatMul, Program
from gradc.ir.types import ALL_DTYPES, ArrayType, DType, bool_, f32, f64, i32, i64
from loop_fuzz import SIZES, random_program
from loop_native import check, compile_program, compile_shared, kernel_program

N = size("n")
SHAPES = ((1, 1), (1, 3), (2, 1), (4, 2), (8, 1), (8, 4), (16, 2))  # lanes, copies


def hard_values(dtype: DType, count: int, seed: int = 0) -> Any:
    """Random elements, with all values that are special among them."""
    rng = np.random.default_rng(seed)
    if dtype.kind == "b":
        return rng.integers(0, 2, count).astype(bool)
    if dtype.kind == "i":
        info = np.iinfo(dtype.numpy)
        special = np.array([0, 1, -1, info.min, info.max, info.min + 1, 7], dtype.numpy)
    else:
        special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 0.5, 1e30, -2.5], dtype.numpy)
    plain = rng.integers(-9, 10, count).astype(dtype.numpy)
    return np.where(rng.random(count) < 0.4, rng.choice(special, count), plain).astype(dtype.numpy)


def instructions_of(dtype: DType) -> list[tuple[str, int]]:
    """The arithmetic instructions that a dtype has, with their number of operands."""
    comparisons = [(op, 2) for op in ("eq", "ne", "lt", "le", "gt", "ge")]
    if dtype.kind == "b":
        return [*comparisons, *((op, 2) for op in ("and", "or", "xor", "min", "max")), ("not", 1)]
    shared = [
        *((op, 2) for op in ("add", "sub", "mul", "term", "min", "max")),
        ("neg", 1),
        ("abs", 1),
    ]
    if dtype.kind == "i":
        return [*comparisons, *shared, ("floordiv", 2), ("mod", 2), ("fma", 3)]
    rounding = [(op, 1) for op in ("floor", "ceil", "trunc", "round", "sqrt", "isnan")]
    return [*comparisons, *shared, ("div", 2), ("copysign", 2), *rounding]


@pytest.mark.parametrize(("lanes", "copies"), SHAPES)
@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
def test_every_instruction(dtype: DType, lanes: int, copies: int) -> None:
    """All instructions and casts, on special values, in vectors, copies and tails."""
    inputs = tuple(Buffer(f"x{i}", dtype["n"], "input") for i in range(3))
    flags = Buffer("c", bool_["n"], "input")
    outputs: list[Buffer] = []
    k = LoopBuilder()
    with k.loop(k.size(N), lanes=lanes, copies=copies) as i:
        x = [k.load(buffer, i) for buffer in inputs]
        found = [k.select(k.load(flags, i), x[0], x[1]), *(k.cast(x[0], d) for d in ALL_DTYPES)]
        for op, arity in instructions_of(dtype):
            result = bool_ if op in ("isnan", "eq", "ne", "lt", "le", "gt", "ge") else dtype
            found.append(k._emit(op, tuple(x[:arity]), result))
        for value in found:
            outputs.append(Buffer(f"y{len(outputs)}", value.dtype["n"], "output"))
            k.store(outputs[-1], i, value)
    native = compile_program(kernel_program(k, ("n",), (*inputs, flags), tuple(outputs)))
    for n in (0, 1, 5, lanes * copies, 41):
        arrays = {b: hard_values(dtype, n, seed) for seed, b in enumerate(inputs)}
        check(native, {"n": n}, {**arrays, flags: hard_values(bool_, n, 9)})


@pytest.mark.parametrize(("lanes", "copies"), [(1, 1), (1, 4), (2, 2), (4, 3), (8, 2)])
@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_functions(dtype: DType, lanes: int, copies: int) -> None:
    """`call` reaches every mathematical function; copies are packed, or computed two by two."""
    buffers = tuple(Buffer(f"x{i}", dtype["n"], "input") for i in range(2))
    outputs = []
    k = LoopBuilder()
    with k.loop(k.size(N), lanes=lanes, copies=copies) as i:
        x = [k.load(buffer, i) for buffer in buffers]
        given = {"erf_from": (x[0], k.call("exp", k.unary("neg", k.mul(x[0], x[0]))))}
        for name, arity in MATH_FUNCTIONS.items():
            outputs.append(Buffer(name, dtype["n"], "output"))
            k.store(outputs[-1], i, k.call(name, *given.get(name, x[:arity])))
    native = compile_program(kernel_program(k, ("n",), buffers, tuple(outputs)))
    rng = np.random.default_rng(1)
    for n in (0, 3, 21):
        arrays = {b: rng.uniform(0.1, 3.0, n).astype(dtype.numpy) for b in buffers}
        check(native, {"n": n}, arrays, 1e-14 if dtype is f64 else 1e-6)


def test_numbers_from_outside_are_spread_over_the_lanes_before_the_loop() -> None:
    """Once, for its whole vectors and for what is left."""
    x, y, s = Buffer("x", f64["n"], "input"), Buffer("y", f64["n"], "output"), f64[()]
    numbers = [Buffer(name, s, "input") for name in "ab"]
    k = LoopBuilder()
    with k.loop(k.size(N), lanes=4, copies=2) as i:
        a, b = (k.load(buffer, k.index(0)) for buffer in numbers)
        k.store(y, i, k.add(k.mul(k.load(x, i), a), b))
    program = kernel_program(k, ("n",), (x, *numbers), (y,))
    text = emit_module([program], "{}", host())
    lines = text[text.index("define internal void @gradc.") :].split("\n")
    (first, *_) = [number for number, line in enumerate(lines) if line.startswith("loop")]
    spread = [number for number, line in enumerate(lines) if "insertelement <4 x double>" in line]
    assert len(spread) == 2 and max(spread) < first


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_fma_rounds_once(dtype: DType, lanes: int) -> None:
    """(1 + k e)^2 rounds to 1 + 2 k e; what is left of the exact square is k^2 e^2."""
    x, y, z = (Buffer(n, dtype["n"], "output" if n == "z" else "input") for n in "xyz")
    k = LoopBuilder()
    with k.loop(k.size(N), lanes=lanes) as i:
        a = k.load(x, i)
        k.store(z, i, k.fma(a, a, k.load(y, i)))
    native = compile_program(kernel_program(k, ("n",), (x, y), (z,)))
    counts, step = np.arange(9).astype(dtype.numpy), np.finfo(dtype.numpy).eps
    values, result = 1 + counts * step, np.ones(9, dtype.numpy)
    assert native.run({"n": 9}, {x: values, y: -(values * values), z: result}) == 0
    assert (result == (counts * step) ** 2).all()


REDUCTIONS = [
    *product((f64, f32, i64, i32), ("add", "mul", "min", "max")),
    *product((bool_,), ("and", "or", "min", "max")),
]


@pytest.mark.parametrize(("lanes", "copies"), [*product((1, 2, 4, 8), (1, 2, 4))])
def test_reductions(lanes: int, copies: int) -> None:
    """Every kind and dtype, with and without initial value, for all sizes up to 40."""
    inputs = {d: Buffer(f"x_{d}", d["n"], "input") for d in ALL_DTYPES}
    k = LoopBuilder()
    firsts = {d: k.const(3 if d.kind != "b" else True, d) for d in ALL_DTYPES}
    with k.loop(k.size(N), lanes=lanes, copies=copies) as i:
        results = [
            k.reduce(kind, k.load(inputs[d], i), first)
            for d, kind in REDUCTIONS
            for first in (None, firsts[d])
        ]
    outputs = tuple(Buffer(f"y{j}", r.dtype[()], "output") for j, r in enumerate(results))
    for buffer, result in zip(outputs, results, strict=True):
        k.store(buffer, k.index(0), result)
    native = compile_program(kernel_program(k, ("n",), tuple(inputs.values()), outputs))
    rng = np.random.default_rng(lanes)
    for n in range(41):
        # Powers of two keep products and sums exact in any order.
        arrays = {
            b: rng.integers(0, 2, n).astype(bool)
            if d is bool_
            else rng.choice([-2, -1, 1, 1, 1], n).astype(d.numpy)
            for d, b in inputs.items()
        }
        check(native, {"n": n}, arrays)


@pytest.mark.parametrize("kind", ["min", "max"])
@pytest.mark.parametrize("place", [0, 7, 8, 30, 36])
def test_a_nan_wins(kind: str, place: int) -> None:
    x, y = Buffer("x", f64["n"], "input"), Buffer("y", f64[()], "output")
    k = LoopBuilder()
    with k.loop(k.size(N), lanes=8, copies=2) as i:
        result = k.reduce(kind, k.load(x, i))
    k.store(y, k.index(0), result)
    native = compile_program(kernel_program(k, ("n",), (x,), (y,)))
    values = np.linspace(-1, 1, 37)
    values[place] = np.nan
    assert np.isnan(check(native, {"n": 37}, {x: values})[y][0])


@pytest.mark.parametrize(("outer", "inner"), [*product((1, 2, 3, 4), ((1, 1), (8, 1), (4, 3)))])
def test_register_tiles(outer: int, inner: tuple[int, int]) -> None:
    """Rows unrolled around a vector loop: accumulators exist for each row."""
    a, x = Buffer("a", f64["m", "n"], "input"), Buffer("x", f64["n"], "input")
    y, z = Buffer("y", f64["m"], "output"), Buffer("z", f64["n"], "output")
    k = LoopBuilder()
    with k.loop(k.size(size("m")), copies=outer) as row:
        with k.loop(k.size(N), lanes=inner[0], copies=inner[1]) as i:
            element = k.load(a, k.add(k.mul(row, k.size(N)), i))
            total = k.reduce("add", k.mul(element, k.load(x, i)))
            k.store(z, i, element, "add")
        k.store(y, row, total)
    native = compile_program(kernel_program(k, ("m", "n"), (a, x), (y, z)))
    rng = np.random.default_rng(0)
    for m, n in product((0, 1, 3, 4, 9), (0, 1, 8, 13, 29)):
        arrays = {a: rng.integers(-9, 9, m * n) * 1.0, x: rng.integers(-9, 9, n) * 1.0}
        check(native, {"m": m, "n": n}, arrays)


@pytest.mark.parametrize("seed", range(16))
def test_random_programs(seed: int) -> None:
    _check_random(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(16, 400))
def test_many_random_programs(seed: int) -> None:
    _check_random(seed)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["x86-64", "x86-64-v3"])
@pytest.mark.parametrize("seed", range(400, 440))
def test_random_programs_on_lesser_machines(seed: int, target: str) -> None:
    if not host().triple.startswith("x86_64"):
        pytest.skip("runs x86-64 code")
    _check_random(seed, target)


def _check_random(seed: int, target: str = "native") -> None:
    random = Random(seed)
    program = random_program(random)
    native = compile_program(program, parse_target(target))
    for _ in range(3):
        sizes = {name: random.choice([0, 1, 2, 3, 5, 8, 9, 13]) for name in SIZES}
        rng = np.random.default_rng(random.randrange(1 << 30))
        arrays = {}
        for buffer in program.inputs:
            count, dtype = evaluate_dim(buffer.type.size, sizes), buffer.type.dtype
            low, high = (0, 2) if dtype is bool_ else (-4, 6)
            arrays[buffer] = rng.integers(low, high, count).astype(dtype.numpy)
        check(native, sizes, arrays)


@pytest.mark.parametrize(("lanes", "copies"), SHAPES)
@pytest.mark.parametrize("target", ["native", "x86-64"])
def test_loops_over_bits(lanes: int, copies: int, target: str) -> None:
    """Iterations that a mask selects, 64 at a time, run alone and in their order."""
    x, y = Buffer("x", bool_["n"], "input"), Buffer("y", f64["n"], "output")
    last = Buffer("last", i64[()], "output")
    k = LoopBuilder()
    with k.loop(k.size(N), step=64) as start:
        stop = k.binary("min", k.size(N), k.add(start, k.index(64)))
        with k.loop(stop, start, lanes=lanes, copies=copies) as i:
            bits = k.reduce("bits", k.load(x, i))
        with k.loop(stop, start, bits=bits) as i:
            k.store(last, k.index(0), i)
            with k.loop(k.index(3)) as j:
                total = k.reduce("add", k.cast(k.add(i, j), f64))
            k.store(y, i, total, "add")
    program = kernel_program(k, ("n",), (x,), (y, last))
    native = compile_program(program, parse_target(target))
    for n in (0, 1, 3, 63, 64, 65, 129, 200):
        for density in (0.0, 0.1, 1.0):
            chosen = np.random.default_rng(n).random(n) < density
            check(native, {"n": n}, {x: chosen})


@pytest.mark.parametrize(("lanes", "copies"), SHAPES)
@pytest.mark.parametrize("target", ["native", "x86-64"])
def test_bits_in_lanes(lanes: int, copies: int, target: str) -> None:
    """Each lane of a loop collects bits of its own."""
    x, y = Buffer("x", bool_["m", "n"], "input"), Buffer("y", i64["n"], "output")
    k = LoopBuilder()
    with k.loop(k.size(N), lanes=lanes, copies=copies) as i:
        with k.loop(k.size(size("m")), copies=copies) as j:
            bits = k.reduce("bits", k.load(x, k.add(k.mul(j, k.size(N)), i)))
        k.store(y, i, bits)
    program = kernel_program(k, ("m", "n"), (x,), (y,))
    native = compile_program(program, parse_target(target))
    for m, n in ((0, 3), (1, 1), (5, 9), (64, 67)):
        chosen = np.random.default_rng(n).random(m * n) < 0.3
        check(native, {"m": m, "n": n}, {x: chosen})


def test_the_sum_does_not_depend_on_alignment() -> None:
    x, y = Buffer("x", f64["n"], "input"), Buffer("y", f64[()], "output")
    k = LoopBuilder()
    with k.loop(k.size(N), lanes=8, copies=4) as i:
        total = k.reduce("add", k.call("exp", k.load(x, i)))
    k.store(y, k.index(0), total)
    native = compile_program(kernel_program(k, ("n",), (x,), (y,)))
    values = np.random.default_rng(0).normal(size=1003)
    found = set()
    for offset in range(9):
        moved = np.empty(1012)[offset : offset + 1003]
        moved[:] = values
        result = np.zeros(1)
        assert native.run({"n": 1003}, {x: moved, y: result}) == 0
        found.add(float(result[0]))
    assert len(found) == 1
    assert found.pop() == pytest.approx(float(np.exp(values).sum()), rel=1e-14)


def _product_program(dtype: DType, accumulate: bool) -> Program:
    """C (+)= A^T B, through the packed kernel."""
    m, n, q = (size(name) for name in "mnq")
    a, b = Buffer("a", dtype["q", "m"], "input"), Buffer("b", dtype["q", "n"], "input")
    c = Buffer("c", dtype["m", "n"], "output")
    k = LoopBuilder()
    zero, one = k.index(0), k.index(1)
    first = (a, zero, (zero, one, k.size(m)))
    second = (b, zero, (zero, k.size(n), one))
    target = (c, zero, (zero, k.size(n), one))
    extents = [k.size(d) for d in (m, n, q)]
    k.append(MatMul(one, *extents, first, second, target, accumulate))
    return kernel_program(k, ("m", "n", "q"), (a, b), (c,))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("dtype", "accumulate"), [(f64, False), (f64, True), (f32, False)])
def test_matrix_products(dtype: DType, accumulate: bool, shared: bool) -> None:
    program = _product_program(dtype, accumulate)
    native = compile_shared(program) if shared else compile_program(program)
    assert native.workspace(3, 4, 5) > 0
    rng = np.random.default_rng(0)
    for m, n, q in ((0, 2, 3), (2, 3, 0), (1, 1, 1), (7, 30, 5), (33, 17, 70)):
        arrays = {
            b: rng.integers(-5, 5, evaluate_dim(b.type.size, {"m": m, "n": n, "q": q})).astype(
                dtype.numpy
            )
            for b in program.inputs
        }
        check(native, {"m": m, "n": n, "q": q}, arrays)


@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("masks_rest", [False, True])
@pytest.mark.parametrize("narrows", [False, True])
def test_a_plan_runs_each_iteration_once(lanes: int, masks_rest: bool, narrows: bool) -> None:
    for copies, count in product((1, 2, 3, 4), range(150)):
        left = count
        planned = plan(lanes, copies, count, masks_rest=masks_rest, narrows=narrows)
        for segment in planned:
            assert segment.trips is not None
            done = segment.trips * segment.width
            assert segment.masked or done <= left
            assert segment.masked is (done > left) or not segment.masked
            left = max(0, left - done)
        assert left == 0
        rest = count % lanes
        if narrows and not masks_rest and rest & (rest - 1) == 0:
            assert not any(segment.masked for segment in planned)


def test_vector_code_is_as_intended() -> None:
    """A dot product on AVX-512: four independent fused accumulators, nothing spilled."""
    x, y = Buffer("x", f64["n"], "input"), Buffer("y", f64["n"], "input")
    s = Buffer("s", f64[()], "output")
    k = LoopBuilder()
    with k.loop(k.size(N), lanes=8, copies=4) as i:
        total = k.reduce("add", k.term(k.load(x, i), k.load(y, i)))
    k.store(s, k.index(0), total)
    target = parse_target("x86_64-unknown-linux-gnu/znver4")
    text = emit_module([kernel_program(k, ("n",), (x, y), (s,))], "{}", target)
    kernel = compile_to_assembly(text, target).split("gradc.f.0:")[1].split("func_end")[0]
    assert len(re.findall(r"vfmadd\d+pd.*zmm", kernel)) == 5  # four copies, and the masked rest
    assert not re.search(r"zmm.*\(%rsp\)|\(%rsp\).*zmm", kernel)


@pytest.mark.parametrize(
    ("cpu", "lanes", "wide"),
    [("haswell", 4, True), ("x86-64", 2, True), ("haswell", 8, False), ("znver4", 8, False)],
)
def test_functions_of_copies_fill_the_units(cpu: str, lanes: int, wide: bool) -> None:
    """Two narrow vectors are one argument; what is left is one masked vector."""
    x, y = (Buffer(name, f64["n"], kind) for name, kind in (("x", "input"), ("y", "output")))
    k = LoopBuilder()
    with k.loop(k.size(N), lanes=lanes, copies=2) as i:
        k.store(y, i, k.call("exp", k.load(x, i)))
    target = parse_target(f"x86_64-unknown-linux-gnu/{cpu}")
    text = emit_module([kernel_program(k, ("n",), (x,), (y,))], "{}", target)
    widths = {int(found) for found in re.findall(r"= call [^@]*@gradc\.exp\.v(\d+)f64", text)}
    assert widths == ({lanes, 2 * lanes} if wide else {lanes})


@pytest.mark.parametrize("lanes", [1, 8])
def test_index_types_of_loads(lanes: int) -> None:
    """Backwards, strided, repeated, gathered, and across a loop that is not a vector."""
    x, at = Buffer("x", i32["n"], "input"), Buffer("at", i64["n"], "input")
    names = ("back", "pairs", "same", "gathered", "scattered", "scattered_back")
    y = {name: Buffer(name, i32["n"], "output") for name in names}
    k = LoopBuilder()
    last = k.sub(k.size(N), k.index(1))
    with k.loop(k.size(N), lanes=lanes, copies=2) as i:
        value = k.load(x, i)
        k.store(y["back"], i, k.load(x, k.sub(last, i)))
        pair = k.mul(i, k.index(2))
        fits = k.compare("lt", pair, k.size(N))
        k.store(y["pairs"], i, k.guard(fits, lambda: k.load(x, pair), k.const(-1, i32)))
        k.store(y["same"], i, k.load(x, last))
        k.store(y["gathered"], i, k.load(x, k.load(at, i)))
        k.store(y["scattered"], k.load(at, i), value, "add")
        k.store(y["scattered_back"], k.sub(last, i), value)
    native = compile_program(kernel_program(k, ("n",), (x, at), tuple(y.values())))
    rng = np.random.default_rng(0)
    for n in range(1, 36):
        check(native, {"n": n}, {x: rng.integers(0, 99, n).astype("i4"), at: rng.permutation(n)})


@pytest.mark.parametrize("lanes", [1, 2, 8, 16])
@pytest.mark.parametrize("static", [None, 1, 3, 8, 11, 40])
def test_division_of_indices(lanes: int, static: int | None) -> None:
    """A flat index taken apart into row and column, for rows longer and shorter than a vector."""
    width = size("m") if static is None else static
    y, z = Buffer("y", i64["n"], "output"), Buffer("z", i64["n"], "output")
    k = LoopBuilder()
    with k.loop(k.size(N), k.index(2), lanes=lanes, copies=2) as i:
        k.store(y, i, k.floordiv(i, k.size(width)))
        k.store(z, i, k.mod(i, k.size(width)))
    native = compile_program(kernel_program(k, ("n", "m"), (), (y, z)))
    for m in range(0, 21, 1 if static is None else 100):
        check(native, {"n": 77, "m": m}, {})


@pytest.mark.parametrize("is_stored", [False, True])
@pytest.mark.parametrize(("cpu", "fused"), [("haswell", True), ("x86-64", False)])
def test_sums_absorb_their_products(cpu: str, fused: bool, is_stored: bool) -> None:
    """A product is written where something else reads it, or where it is an instruction anyway."""
    x, y = Buffer("x", f64["n"], "input"), Buffer("y", f64["n"], "output")
    k = LoopBuilder()
    with k.loop(k.size(N), lanes=4, copies=2) as i:
        a = k.load(x, i)
        product_ = k.term(a, a)
        k.store(y, i, k.sub(a, product_))
        if is_stored:
            k.store(y, i, product_)
    target = parse_target(f"x86_64-unknown-linux-gnu/{cpu}")
    text = emit_module([kernel_program(k, ("n",), (x,), (y,))], "{}", target)
    assert ("call <4 x double> @llvm.fma" in text) == fused
    assert (" = fmul " in text) == (is_stored or not fused)


def test_the_text_does_not_depend_on_the_order_of_a_set() -> None:
    """Sets of names are ordered differently in every process."""
    n = size("a") * size("b") * size("c") * size("d") * size("e") * size("f")
    out, k = Buffer("out", ArrayType(i64), "output"), LoopBuilder()
    k.store(out, k.index(0), k.size(n))
    text = emit_module([kernel_program(k, tuple("abcdef"), (), (out,))], "{}", host())
    (kernel,) = re.findall(r"define internal void @gradc\.\w+\.0\((.*)\)", text)
    assert re.findall(r"%n\.(\w)", kernel) == list("abcdef")
