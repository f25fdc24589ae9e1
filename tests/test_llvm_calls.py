"""The calling convention of native code: sizes, requirements, memory, failures, bounds."""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from gradc.codegen.jit import load_object
from gradc.codegen.llvm import emit_module
from gradc.codegen.target import CompileError, compile_to_object, host, parse_target
from gradc.ir.dims import parse_dim, size
from gradc.ir.function import Requirement
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import (
    STATUS_INDEX_OUT_OF_RANGE,
    STATUS_NEGATIVE_SIZE,
    STATUS_OUT_OF_MEMORY,
    Buffer,
    Fill,
    Kernel,
    Program,
    Slot,
)
from gradc.ir.types import ArrayType, bool_, f32, f64, i64
from loop_native import Native, check, compile_program, compile_shared, kernel_program

N = size("n")
X, Y = Buffer("x", f64["n"], "input"), Buffer("y", f64["n"], "output")
TOTAL = Buffer("total", f64[()], "output")


def doubled() -> Program:
    """y = 2 x through a temporary, and the sum of y: two kernels, a slot, a requirement."""
    t = Buffer("t", f64["n"], "temporary", slot=1)
    first, second = LoopBuilder(), LoopBuilder()
    with first.loop(first.size(N), lanes=4) as i:
        x = first.load(X, i)
        first.store(t, i, first.add(x, x))
    with second.loop(second.size(N), lanes=8, copies=2) as i:
        value = second.load(t, i)
        second.store(Y, i, value)
        total = second.reduce("add", value)
    second.store(TOTAL, second.index(0), total)
    kernels = (Kernel("first", first.body), Kernel("second", second.body))
    requires = (
        Requirement(N - 2, ">= 0", "two elements"),
        Requirement(parse_dim("n - 2*(n//2)"), "== 0", "an even number"),
    )
    slots = (Slot(24), Slot(8 * N, (0,)), Slot(8, (0,)))
    return Program("f", ("n",), (X,), (Y, TOTAL), kernels, (t,), (), slots, requires)


def test_status_of_sizes_and_requirements() -> None:
    native = compile_program(doubled())
    x, y, total = np.ones(8), np.zeros(8), np.zeros(1)
    arrays = {X: x, Y: y, TOTAL: total}
    assert native.run({"n": -1}, arrays) == STATUS_NEGATIVE_SIZE
    assert native.run({"n": 1}, arrays) == -1
    assert native.run({"n": 5}, arrays) == -2
    assert not y.any()
    assert native.run({"n": 8}, arrays) == 0
    assert y.tolist() == [2.0] * 8
    assert total[0] == 16


@pytest.mark.parametrize("offset", [0, 1, 8, 63])
def test_workspace_of_any_alignment(offset: int) -> None:
    native = compile_program(doubled())
    need = native.workspace(10)
    assert need == 64 + 128 + 64  # each slot rounded up, and room to align
    memory = np.full(need + offset + 64, 7, np.uint8)
    y, total = np.zeros(10), np.zeros(1)
    arrays = {X: np.arange(10.0), Y: y, TOTAL: total}
    assert native.run({"n": 10}, arrays, memory.ctypes.data + offset) == 0
    assert y.tolist() == (2 * np.arange(10.0)).tolist()
    assert (memory[:offset] == 7).all()
    assert (memory[offset + need :] == 7).all()


@pytest.mark.parametrize("wanted", [(), (Y,), (TOTAL,)])
def test_outputs_that_are_not_wanted(wanted: tuple[Buffer, ...]) -> None:
    native = compile_program(doubled())
    arrays: dict[Buffer, Any] = {X: np.ones(6), Y: None, TOTAL: None}
    arrays.update({b: np.zeros(6 if b is Y else 1) for b in wanted})
    assert native.run({"n": 6}, arrays) == 0
    for buffer in wanted:
        assert arrays[buffer].tolist() == ([2.0] * 6 if buffer is Y else [12.0])


def test_more_memory_than_there_is() -> None:
    native = compile_program(doubled())
    arrays = {X: np.ones(1), Y: np.ones(1), TOTAL: np.ones(1)}
    for n in (2**60, 2**61, 2**62):
        assert native.run({"n": n}, arrays) == STATUS_OUT_OF_MEMORY
    assert native.workspace(2**60) == 2**63 - 1


def test_scalars_by_value() -> None:
    """The C signature: sizes, inputs with scalars by value, outputs, workspace."""
    kinds = {f64: ctypes.c_double, f32: ctypes.c_float, i64: ctypes.c_int64, bool_: ctypes.c_uint8}
    inputs = tuple(Buffer(f"a_{d}", ArrayType(d), "input") for d in kinds)
    outputs = tuple(Buffer(f"y_{d}", d["n"], "output") for d in kinds)
    k = LoopBuilder()
    with k.loop(k.size(N), lanes=4) as i:
        for source, target in zip(inputs, outputs, strict=True):
            k.store(target, i, k.load(source, k.index(0)))
    native = compile_program(kernel_program(k, ("n",), inputs, outputs))
    signature = [ctypes.c_int64, *kinds.values(), *[ctypes.c_void_p] * 5]
    call = ctypes.CFUNCTYPE(ctypes.c_int32, *signature)(native.library.addresses["f"])
    arrays = [np.zeros(5, d.numpy) for d in kinds]
    status = call(5, 1.5, 2.5, -(2**40), True, *(a.ctypes.data for a in arrays), None)
    assert status == 0
    assert [a.tolist() for a in arrays] == [[1.5] * 5, [2.5] * 5, [-(2**40)] * 5, [True] * 5]


def test_dimensions_round_down() -> None:
    """Sizes in kernels: polynomials and floor divisions, also of negative numbers and by zero."""
    texts = ("n*m - 3*n + 7", "(m - n)//3", "(n + 1)//2 * m", "n//m", "(1 - n)//2")
    y = Buffer("y", i64[len(texts)], "output")
    k = LoopBuilder()
    for place, text in enumerate(texts):
        k.store(y, k.index(place), k.size(parse_dim(text)))
    native = compile_program(kernel_program(k, ("n", "m"), (), (y,)))
    for n, m in ((0, 1), (5, 2), (9, 4), (1, 7)):
        check(native, {"n": n, "m": m}, {})
    result = np.ones(len(texts), np.int64)
    assert native.run({"n": 5, "m": 0}, {y: result}) == 0
    assert result[3] == 0


@pytest.mark.parametrize(("lanes", "copies"), [(1, 1), (1, 4), (8, 1), (8, 4)])
def test_a_failed_condition_gives_its_status(lanes: int, copies: int) -> None:
    """An index is looked at where the mask allows, and beyond the last iteration not at all."""
    at, flags = Buffer("at", i64["n"], "input"), Buffer("flags", bool_["n"], "input")
    k = LoopBuilder()
    with k.loop(k.size(N), lanes=lanes, copies=copies) as i:
        index = k.load(at, i)

        def read() -> Any:
            good = k.compare("lt", index, k.index(10))
            k.require(good, STATUS_INDEX_OUT_OF_RANGE)
            return k.cast(index, f64)

        k.store(Y, i, k.guard(k.load(flags, i), read, k.const(0, f64)))
    native = compile_program(kernel_program(k, ("n",), (at, flags), (Y,)))
    for n in (0, 1, 7, 8, 37):
        indices, counts = np.arange(n) % 10, np.ones(n, bool)
        check(native, {"n": n}, {at: indices, flags: counts})
        for place in range(0, n, 3):
            wrong, without = indices.copy(), counts.copy()
            wrong[place], without[place] = 10, False
            arrays = {at: wrong, flags: counts, Y: np.zeros(n)}
            assert native.run({"n": n}, arrays) == STATUS_INDEX_OUT_OF_RANGE
            check(native, {"n": n}, {at: wrong, flags: without})


def test_fill_scratch_constants_and_conditions() -> None:
    table = Buffer("table", f64[3], "constant", data=np.array([1.0, 2.0, 4.0]).tobytes())
    scratch = Buffer("scratch", f64[3], "scratch")
    k = LoopBuilder()
    k.append(Fill(Y))
    with k.loop(k.index(3)) as i:
        k.store(scratch, i, k.mul(k.load(table, i), k.const(10, f64)))
    with k.loop(k.size(N)) as i, k.when(k.compare("ge", i, k.index(2))):
        position = k.mod(i, k.index(3))
        k.store(Y, i, k.load(scratch, position, stable=False))
    program = kernel_program(k, ("n",), (), (Y,))
    native = compile_program(
        Program("f", program.sizes, (), (Y,), program.kernels, constants=(table,))
    )
    assert check(native, {"n": 7}, {})[Y].tolist() == [0, 0, 40, 10, 20, 40, 10]


# --- bounds --------------------------------------------------------------------------------------


class _Fenced:
    """An array that ends, or begins, next to a page that cannot be touched."""

    def __init__(self, values: np.ndarray[Any, Any], at_end: bool) -> None:
        page = mmap.PAGESIZE
        self.memory = mmap.mmap(-1, 3 * page)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        protect = ctypes.CDLL(None).mprotect
        protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for fence in (address, address + 2 * page):
            assert protect(fence, page, 0) == 0
        start = page + (page - values.nbytes if at_end else 0)
        self.array = np.frombuffer(self.memory, values.dtype, len(values), start)
        self.array[:] = values


def _survives(run: Any) -> bool:
    """Whether `run` returns true in a process of its own, which may crash."""
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        try:
            os._exit(0 if run() else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process to crash in")
@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.parametrize(("lanes", "copies"), [(1, 3), (4, 1), (8, 1), (8, 4), (16, 2)])
def test_nothing_is_touched_out_of_bounds(lanes: int, copies: int, at_end: bool) -> None:
    """Arrays between unmapped pages: loads and stores, forwards, backwards, shifted, strided."""
    outputs = tuple(Buffer(name, f64["n"], "output") for name in ("copy", "back", "shift", "pair"))
    k = LoopBuilder()
    last = k.sub(k.size(N), k.index(1))
    with k.loop(k.size(N), lanes=lanes, copies=copies) as i:
        zero = k.const(0, f64)
        k.store(outputs[0], i, k.load(X, i))
        k.store(outputs[1], k.sub(last, i), k.load(X, k.sub(last, i)))
        shifted = k.sub(i, k.index(3))
        positive = k.compare("ge", shifted, k.index(0))
        k.store(outputs[2], i, k.guard(positive, lambda: k.load(X, shifted), zero))
        pair = k.mul(i, k.index(2))
        below = k.compare("lt", pair, k.size(N))
        k.store(outputs[3], i, k.guard(below, lambda: k.load(X, pair), zero))
    native = compile_program(kernel_program(k, ("n",), (X,), outputs))
    assert _survives(lambda: _runs_fenced(native, outputs, at_end))
    assert not _survives(lambda: np.frombuffer(_Fenced(np.ones(1), True).memory)[1024] == 0)


def _runs_fenced(native: Native, outputs: tuple[Buffer, ...], at_end: bool) -> bool:
    for n in range(1, 41):
        fenced = {b: _Fenced(np.arange(n) + 1.0, at_end) for b in (X, *outputs)}
        arrays = {b: f.array for b, f in fenced.items()}
        if native.run({"n": n}, arrays) != 0 or not np.array_equal(arrays[outputs[1]], arrays[X]):
            return False
    return True


# --- modules -------------------------------------------------------------------------------------


def test_only_the_documented_symbols_are_exported() -> None:
    text = emit_module([doubled()], '{"a": 1}', host())
    exported = set(re.findall(r"^define (?!internal)\w+ @([\w.]+)", text, re.MULTILINE))
    assert exported == {"f", "f_workspace", "gradc_call_f", "gradc_workspace_f"}
    constants = re.findall(r"^@([\w.]+) = (?!internal)", text, re.MULTILINE)
    assert constants == ["gradc_manifest"]


def test_the_manifest_is_in_the_object() -> None:
    target = host()
    manifest = '{"names": ["\N{GREEK SMALL LETTER ALPHA}", "\\"quoted\\""]}'
    code = compile_to_object(emit_module([doubled()], manifest, target), target)
    library = load_object(code, ("gradc_manifest",))
    assert ctypes.string_at(library.addresses["gradc_manifest"]).decode() == manifest


def test_names_that_collide() -> None:
    first, second = LoopBuilder(), LoopBuilder()
    f = kernel_program(first, (), (), ())
    g = Program("f_workspace", (), (), (), (Kernel("k", second.body),))
    with pytest.raises(ValueError, match="'f_workspace' and 'f' would both define"):
        emit_module([f, g], "", host())
    with pytest.raises(ValueError, match="'malloc' cannot be exported"):
        emit_module([Program("malloc", (), (), (), ())], "", host())


def test_loops_that_cannot_be() -> None:
    k = LoopBuilder()
    with k.loop(k.size(N), lanes=4), k.loop(k.size(N), lanes=4):
        pass
    with pytest.raises(ValueError, match="inside another loop with lanes"):
        emit_module([kernel_program(k, ("n",), (), ())], "", host())
    k = LoopBuilder()
    with k.loop(k.size(N), lanes=4) as i, k.loop(i):
        pass
    with pytest.raises(ValueError, match="the end of a loop varies"):
        emit_module([kernel_program(k, ("n",), (), ())], "", host())


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("x86_64-unknown-linux-gnu/x86-64-v4", 512),
        ("x86_64-unknown-linux-gnu/haswell", 256),
        ("x86_64-unknown-linux-gnu//+avx2,+fma", 256),
        ("aarch64-unknown-linux-gnu", 128),
        ("wasm32-unknown-unknown", 128),
        ("riscv64-unknown-linux-gnu", 128),
        ("armv7-unknown-linux-gnueabihf", 128),
    ],
)
def test_other_targets(text: str, bits: int) -> None:
    target = parse_target(text)
    assert target.vector_bits == bits
    assert str(parse_target(str(target))) == str(target)
    assert compile_to_object(emit_module([doubled()], "{}", target), target)


def test_the_double_float_abi_of_riscv() -> None:
    """The ELF flags say that doubles go in floating-point registers, as on any Linux."""
    target = parse_target("riscv64-unknown-linux-gnu")
    code = compile_to_object(emit_module([doubled()], "{}", target), target)
    assert int.from_bytes(code[48:52], "little") & 6 == 4


def test_targets_that_are_unknown() -> None:
    with pytest.raises(ValueError, match="no target 'pdp11-dec-unix'"):
        parse_target("pdp11-dec-unix")
    with pytest.raises(ValueError, match="triple/cpu/features"):
        parse_target("a/b/c/d")
    with pytest.raises(CompileError, match="expected"):
        compile_to_object("define nonsense", host())


def test_objects_load_in_many_threads() -> None:
    target = host()
    code = compile_to_object(emit_module([doubled()], "{}", target), target)

    def run(_: int) -> float:
        native = Native(doubled(), load_object(code, ("gradc_call_f",)))
        total = np.zeros(1)
        arrays = {X: np.ones(4), Y: np.zeros(4), TOTAL: total}
        native = Native(Program("f", ("n",), (X,), (Y, TOTAL), ()), native.library)
        assert native.run({"n": 4}, arrays) == 0
        return float(total[0])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(12))) == [8.0] * 12


def test_symbols_that_are_missing() -> None:
    target = host()
    code = compile_to_object(emit_module([doubled()], "{}", target), target)
    with pytest.raises(RuntimeError, match="nothing_of_the_kind"):
        load_object(code, ("nothing_of_the_kind",))


def test_a_process_exports_what_it_calls_and_allocates_nothing() -> None:
    text = emit_module([doubled()], '{"a": 1}', host(), in_process=True)
    exported = re.findall(r"^define (?!internal)\w+ @([\w.]+)", text, re.MULTILINE)
    assert sorted(exported) == ["gradc_call_f", "gradc_workspace_f"]
    assert "malloc" not in text
    assert "gradc_manifest" not in text
    native = compile_shared(doubled())
    y, total = np.zeros(6), np.zeros(1)
    assert native.workspace(6) == 64 + 64 + 64
    assert native.run({"n": 6}, {X: np.ones(6), Y: y, TOTAL: total}) == 0
    assert (y.tolist(), total[0]) == ([2.0] * 6, 12.0)
    assert native.run({"n": 5}, {X: np.ones(6), Y: y, TOTAL: total}) == -2
