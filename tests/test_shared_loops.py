"""Loops that stand in a module more than once are written once, and compute what they did."""

# ruff: noqa: F821

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from random import Random

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc import f64
from gradc.codegen.choices import Choices
from gradc.codegen.jit import load_object
from gradc.codegen.llvm import emit_module
from gradc.codegen.llvm_shared import repeated_loops
from gradc.codegen.lower import lower
from gradc.codegen.target import compile_to_object, host
from gradc.ir.dims import evaluate_dim, size
from gradc.ir.function import Function
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Buffer, Kernel, Program, Ref
from gradc.ir.passes.pipeline import optimize
from gradc.ir.types import bool_
from loop_fuzz import SIZES, random_program
from loop_native import Native, check

N = size("n")
X = Buffer("x", f64["n"], "input")
Y, Z = (Buffer(name, f64["n"], "output") for name in "yz")


def logistic() -> dict[str, Function]:
    """A value, its gradient and its Hessian-vector product: they run the same loops over rows."""

    @gradc.function
    def loss(w: f64["d"], X: f64["n", "d"], y: f64["n"]):
        z = X @ w
        return gt.mean(gt.softplus(z) - y * z)

    made = {"loss": loss, "grad": gradc.value_and_grad(loss, "w"), "hvp": gradc.hvp(loss, "w")}
    return {name: optimize(fn.ir) for name, fn in made.items()}


def compiled(programs: list[Program]) -> list[Native]:
    """The programs in one module."""
    code = compile_to_object(emit_module(programs, "{}", host()), host())
    library = load_object(code, [f"gradc_call_{program.name}" for program in programs])
    return [Native(program, library) for program in programs]


def test_a_module_with_derivatives_has_the_bits_of_modules_of_their_own() -> None:
    programs = [lower(fn, name, Choices(512)) for name, fn in logistic().items()]
    shared = repeated_loops(programs)
    assert len(shared) == 4  # the product and its adjoint, twice each
    text = emit_module(programs, "{}", host())
    assert text.count("define internal void @gradc.loop.") == 2
    alone = [compiled([program])[0] for program in programs]
    rng = np.random.default_rng(0)
    for n, d in ((0, 3), (1, 1), (3, 9), (64, 2), (131, 17)):
        data = {"w": rng.normal(size=d), "X": rng.normal(size=n * d), "y": rng.random(n)}
        data["v"] = rng.normal(size=d)
        for together, apart in zip(compiled(programs), alone, strict=True):
            inputs = {b: data.get(b.name, data["v"]) for b in together.program.inputs}
            found = []
            for native in (together, apart):
                outputs = {
                    b: np.full(evaluate_dim(b.type.size, {"n": n, "d": d}), 7.0)
                    for b in native.program.outputs
                }
                assert native.run({"n": n, "d": d}, {**inputs, **outputs}) == 0
                found.append([array.tobytes() for array in outputs.values()])
            assert found[0] == found[1]


def test_random_programs_twice_in_a_module() -> None:
    """Two copies of a program share their loops, and compute what the interpreter does."""
    shared = 0
    for seed in range(40, 50):
        first, second = (random_program(Random(seed)) for _ in range(2))
        second = replace(second, name="again")
        shared += len(repeated_loops([first, second]))
        random = Random(seed)
        for native in compiled([first, second]):
            sizes = {name: random.choice([0, 1, 3, 8, 13]) for name in SIZES}
            rng = np.random.default_rng(seed)
            inputs = {}
            for buffer in native.program.inputs:
                count, dtype = evaluate_dim(buffer.type.size, sizes), buffer.type.dtype
                low, high = (0, 2) if dtype is bool_ else (-4, 6)
                inputs[buffer] = rng.integers(low, high, count).astype(dtype.numpy)
            check(native, sizes, inputs)
    assert shared > 6


# --- which loops are shared ----------------------------------------------------------------------


def doubled(write: Callable[[LoopBuilder, Buffer], None]) -> Program:
    """A kernel in which the same is written for two outputs."""
    k = LoopBuilder()
    write(k, Y)
    write(k, Z)
    return Program("f", ("n",), (X,), (Y, Z), (Kernel("k", k.body),))


def loop(k: LoopBuilder, y: Buffer, step: int | None = None) -> None:
    """y = exp(3 x + 1), by one loop or in blocks of `step` rows."""
    if step is None:
        points(k, y, k.index(0), k.size(N))
        return
    with k.loop(k.size(N), step=step) as block:
        points(k, y, block, k.binary("min", k.sub(k.size(N), block), k.index(step)))


def points(k: LoopBuilder, y: Buffer, first: Ref, count: Ref) -> None:
    with k.loop(count, lanes=8) as i:
        at = k.add(first, i)
        x = k.add(k.mul(k.load(X, at), k.const(3.0, f64)), k.const(1.0, f64))
        k.store(y, at, k.call("exp", x))


def test_equal_loops_of_a_kernel_are_one_function() -> None:
    program = doubled(loop)
    assert emit_module([program], "{}", host()).count("define internal void @gradc.loop.") == 1
    x = np.linspace(-1, 1, 21)
    check(compiled([program])[0], {"n": 21}, {X: x}, 1e-15)


@pytest.mark.parametrize(("step", "count"), [(64, 2), (16, 2), (1, 0)])
def test_a_loop_inside_another_is_shared_where_that_runs_over_blocks(step: int, count: int) -> None:
    programs = []
    for name, output in (("f", Y), ("g", Z)):
        k = LoopBuilder()
        loop(k, output, step)
        programs.append(Program(name, ("n",), (X,), (output,), (Kernel("k", k.body),)))
    assert len(repeated_loops(programs)) == count
    for native in compiled(programs):
        check(native, {"n": 37}, {X: np.linspace(-1, 1, 37)}, 1e-15)


def test_what_fails_is_not_shared() -> None:
    def requiring(k: LoopBuilder, y: Buffer) -> None:
        with k.loop(k.size(N), lanes=8) as i:
            x = k.load(X, i)
            k.require(k.compare("lt", x, k.const(4.0, f64)), 3)
            k.store(y, i, k.add(k.mul(x, x), k.call("exp", x)))

    assert not repeated_loops([doubled(requiring)])


def test_shared_loops_read_and_write_the_memory_of_their_kernel() -> None:
    """Each call passes its own: what the first loops leave there the last one reads."""
    kept = [Buffer(f"kept{i}", f64[8], "scratch") for i in range(2)]
    k = LoopBuilder()
    for buffer, output in zip(kept, (Y, Z), strict=True):
        with k.loop(k.index(8), lanes=8) as i:
            x = k.load(X, i)
            k.store(buffer, i, k.call("exp", k.mul(x, x)))
            k.store(output, i, k.add(k.load(buffer, i), x))
    with k.loop(k.index(8), lanes=8) as i:
        k.store(Z, i, k.sub(k.load(kept[0], i), k.mul(k.load(kept[1], i), k.load(X, i))))
    program = Program("f", ("n",), (X,), (Y, Z), (Kernel("k", k.body),))
    assert len(repeated_loops([program])) == 2
    assert emit_module([program], "{}", host()).count("define internal void @gradc.loop.") == 1
    check(compiled([program])[0], {"n": 8}, {X: np.linspace(-1, 1, 8)}, 1e-15)


def test_kernels_of_one_loop_are_left_alone() -> None:
    """Equal kernels are one function anyway."""
    programs = []
    for name in ("f", "g"):
        k = LoopBuilder()
        loop(k, Y)
        programs.append(Program(name, ("n",), (X,), (Y,), (Kernel("k", k.body),)))
    assert not repeated_loops(programs)


def test_loops_that_only_look_alike_stand_where_they_stood() -> None:
    k = LoopBuilder()
    for output in (Y, Z):
        with k.loop(k.size(N), lanes=8) as i:
            x = k.load(X, i)
            e = k.call("exp", k.mul(x, x))
            k.store(output, i, k.add(k.div(e, x) if output is Y else k.div(x, e), x))
    program = Program("f", ("n",), (X,), (Y, Z), (Kernel("k", k.body),))
    assert len(repeated_loops([program])) == 2
    text = emit_module([program], "{}", host())
    assert len(re.findall(r"define internal void @gradc\.loop\..* alwaysinline ", text)) == 2
    check(compiled([program])[0], {"n": 21}, {X: np.linspace(-1, 1, 21)}, 1e-15)


@pytest.mark.parametrize(("loops", "functions"), [(2, 0), (11, 11)])
def test_the_loops_of_a_huge_kernel_are_functions_by_themselves(loops: int, functions: int) -> None:
    """All of a kernel in one function would take LLVM longer than its parts."""
    k = LoopBuilder()
    for number in range(loops):
        with k.loop(k.size(N)) as i:
            x = v = k.load(X, i)
            for _ in range(400 + number):
                v = k.add(k.mul(v, k.const(0.5, f64)), x)
            k.store(Y, i, v)
    program = Program("f", ("n",), (X,), (Y,), (Kernel("k", k.body),))
    assert list(repeated_loops([program]).values()) == functions * [True]
    text = emit_module([program], "{}", host())
    assert len(re.findall(r"define internal void @gradc\.loop\..* noinline ", text)) == functions
    check(compiled([program])[0], {"n": 5}, {X: np.linspace(-1, 1, 5)}, 1e-14)
