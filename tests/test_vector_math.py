"""The vector functions: special values as C99 has them, equal results for every width, no call of
libm.

The errors in units of the last place are measured in `tests/accuracy`; a small sample of it runs
here.
"""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from accuracy.reference import arguments, measure, points_of
from gradc.codegen.jit import load_object
from gradc.codegen.math_ir import MathFunction
from gradc.codegen.target import (
    Target,
    compile_to_assembly,
    compile_to_object,
    host,
    parse_target,
)
from gradc.codegen.vector_math import JOINT, LANES, MATH_NAMES, math_function, math_text
from gradc.ir.types import DType, f32, f64, i64
from vector_loops import WITHOUT_FMA, X86, NativeFunction, loop_text, native_function

INF, NAN = math.inf, math.nan
TINY = 5e-324
MAX = 1.7976931348623157e308

# name, points, values: exact, the sign of a zero included
SPECIAL = (
    (
        "exp",
        (0.0, -0.0, INF, -INF, NAN, 709.79, 1e308, -746.0, -1e308),
        (1, 1, INF, 0, NAN, INF, INF, 0, 0),
    ),
    ("exp", (1e-300, TINY, -745.0, -744.5), (1, 1, TINY, TINY)),
    (
        "expm1",
        (0.0, -0.0, INF, -INF, NAN, 709.79, -50.0, TINY),
        (0.0, -0.0, INF, -1, NAN, INF, -1, TINY),
    ),
    (
        "log",
        (1.0, 0.0, -0.0, -1.0, INF, -INF, NAN, -TINY),
        (0.0, -INF, -INF, NAN, INF, NAN, NAN, NAN),
    ),
    (
        "log1p",
        (0.0, -0.0, -1.0, -1.5, INF, -INF, NAN, TINY),
        (0.0, -0.0, -INF, NAN, INF, NAN, NAN, TINY),
    ),
    (
        "log1p",
        (2.0**1023 * 1.5, 2.0**127 * 1.5),
        (math.log(1.5 * 2.0**1023), math.log(1.5 * 2.0**127)),
    ),
    ("tanh", (0.0, -0.0, INF, -INF, NAN, 20.0, -1e300, TINY), (0.0, -0.0, 1, -1, NAN, 1, -1, TINY)),
    (
        "sigmoid",
        (0.0, -0.0, INF, -INF, NAN, 40.0, -800.0, -745.0),
        (0.5, 0.5, 1, 0.0, NAN, 1, 0.0, TINY),
    ),
    (
        "softplus",
        (INF, -INF, NAN, 800.0, -800.0, MAX, -745.0),
        (INF, 0.0, NAN, 800.0, 0.0, MAX, TINY),
    ),
    ("sin", (0.0, -0.0, INF, -INF, NAN, TINY, -TINY), (0.0, -0.0, NAN, NAN, NAN, TINY, -TINY)),
    ("cos", (0.0, -0.0, INF, -INF, NAN, TINY), (1, 1, NAN, NAN, NAN, 1)),
    ("erf_from", (0.0, -0.0, INF, -INF, NAN, 6.0, -1e300), (0.0, -0.0, 1, -1, NAN, 1, -1)),
)

# C99, annexes F.9.4.4 (pow) and F.9.1.4 (atan2): x, y, value
POW = (
    *((x, y, 1.0) for x in (0.0, -0.0, 2.5, -INF, INF, NAN) for y in (0.0, -0.0)),
    *((1.0, y, 1.0) for y in (2.0, -INF, INF, NAN, 0.5)),
    *((-1.0, y, 1.0) for y in (INF, -INF, 2.0)),
    (0.0, -3.0, INF),
    (-0.0, -3.0, -INF),
    (-0.0, -2.0, INF),
    (-0.0, -0.5, INF),
    (0.0, 3.0, 0.0),
    (-0.0, 3.0, -0.0),
    (-0.0, 2.0, 0.0),
    (-0.0, 0.5, 0.0),
    (0.0, -INF, INF),
    (-2.0, 0.5, NAN),
    (-2.0, 3.0, -8.0),
    (-2.0, 4.0, 16.0),
    (-2.0, -1.0, -0.5),
    (-2.0, 1e308, INF),
    (-1.0, 4503599627370497.0, -1.0),
    (-1.0, 9007199254740992.0, 1.0),
    (0.5, INF, 0.0),
    (0.5, -INF, INF),
    (-0.5, -INF, INF),
    (2.0, INF, INF),
    (-2.0, -INF, 0.0),
    (INF, 2.0, INF),
    (INF, -2.0, 0.0),
    (-INF, 3.0, -INF),
    (-INF, 2.0, INF),
    (-INF, 0.5, INF),
    (-INF, -3.0, -0.0),
    (-INF, -2.0, 0.0),
    (NAN, 2.0, NAN),
    (2.0, NAN, NAN),
    (-2.0, NAN, NAN),
    (3.0, 2.0, 9.0),
    (7.0, 5.0, 16807.0),
    (10.0, 15.0, 1e15),
    (2.0, -1074.0, TINY),
    (2.0, 1024.0, INF),
    (4.0, 0.5, 2.0),
    (TINY, 1.0, TINY),
    (1e300, 1e-300, 1.0),
)
ATAN2 = (
    *((y, 1.0, y) for y in (0.0, -0.0)),
    (0.0, -1.0, math.pi),
    (-0.0, -1.0, -math.pi),
    (0.0, 0.0, 0.0),
    (0.0, -0.0, math.pi),
    (-0.0, 0.0, -0.0),
    (-0.0, -0.0, -math.pi),
    (1.0, 0.0, math.pi / 2),
    (-1.0, -0.0, -math.pi / 2),
    (2.0, INF, 0.0),
    (-2.0, -INF, -math.pi),
    (INF, 3.0, math.pi / 2),
    (-INF, -3.0, -math.pi / 2),
    (INF, INF, math.pi / 4),
    (INF, -INF, 3 * math.pi / 4),
    (-INF, -INF, -3 * math.pi / 4),
    (NAN, 1.0, NAN),
    (1.0, NAN, NAN),
    (MAX, MAX, math.pi / 4),
    (TINY, TINY, math.pi / 4),
    (TINY, MAX, 0.0),
    (TINY, 1.0, TINY),
)


def assert_identical(name: str, points: tuple[np.ndarray, ...], actual, expected) -> None:
    """Equal bits, any NaN for a NaN."""
    same = (actual == expected) & (np.signbit(actual) == np.signbit(expected))
    same |= np.isnan(actual) & np.isnan(expected)
    wrong = [(*(x[i] for x in points), actual[i], expected[i]) for i in np.flatnonzero(~same)]
    assert not wrong, f"{name}: (arguments, value, expected) {wrong}"


def given(name: str, x: np.ndarray) -> tuple[np.ndarray, ...]:
    with np.errstate(over="ignore"):
        return arguments(name, x)


@pytest.mark.parametrize("target", [host(), WITHOUT_FMA], ids=["host", "no-fma"])
@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize("case", SPECIAL, ids=lambda case: case[0])
def test_special_values(case, lanes: int, target: Target) -> None:
    name, points, values = case
    x = given(name, np.array(points))
    actual = native_function(name, f64, lanes, target)(*x)
    assert_identical(name, x, actual, np.array(values, float))


@pytest.mark.parametrize("target", [host(), WITHOUT_FMA], ids=["host", "no-fma"])
@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize(("name", "table"), [("pow", POW), ("atan2", ATAN2)])
def test_special_pairs(name: str, table, lanes: int, target: Target) -> None:
    x, y, expected = np.array(table, float).T
    assert_identical(name, (x, y), native_function(name, f64, lanes, target)(x, y), expected)


@pytest.mark.parametrize("case", SPECIAL, ids=lambda case: case[0])
def test_special_values_in_f32(case) -> None:
    """The points that f32 has."""
    name, points, values = case
    with np.errstate(all="ignore"):
        x, expected = np.array(points).astype("f4"), np.array(values, float).astype("f4")
    kept = x.astype(float) == np.array(points)
    kept |= np.isnan(x)
    x = given(name, x[kept])
    assert_identical(name, x, native_function(name, f32, 8)(*x), expected[kept])


@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
@pytest.mark.parametrize("name", MATH_NAMES)
def test_a_sample_is_within_two_units_of_the_last_place(name: str, dtype: DType) -> None:
    points = points_of(name, dtype, 24, seed=7)
    errors = measure(name, points, native_function(name, dtype, 8)(*points))
    assert errors.largest <= 2.0, errors


@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
@pytest.mark.parametrize("name", MATH_NAMES)
def test_every_width_gives_the_same_bits(name: str, dtype: DType) -> None:
    points = points_of(name, dtype, 200, seed=3)
    first = native_function(name, dtype, 1)(*points)
    for lanes in LANES[1:]:
        assert_identical(name, points, native_function(name, dtype, lanes)(*points), first)


@pytest.mark.parametrize("target", [host(), WITHOUT_FMA], ids=["host", "lesser"])
@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
@pytest.mark.parametrize("joint", JOINT)
def test_a_joint_function_has_the_bits_of_each_alone(
    joint: str, dtype: DType, target: Target
) -> None:
    for result, name in enumerate(JOINT[joint][0]):
        x, *more = points_of(name, dtype, 200, seed=5)
        special = [x for case, points, _ in SPECIAL if case == name for x in points]
        with np.errstate(over="ignore"):
            ends = np.array(special).astype(dtype.numpy)
        given = (x, *more) if more else (np.concatenate([x, ends]),)
        own = (x, x) if more and result else given  # the third operand is the first one
        for lanes in LANES:
            alone = native_function(name, dtype, lanes, target)(*own)
            both = native_function(joint, dtype, lanes, target, result)(*given)
            assert_identical(name, own, both, alone)


@pytest.mark.parametrize("name", ["tanh", "sin", "erf_from"])
def test_odd_functions(name: str) -> None:
    x, *more = points_of(name, f64, 100)
    apply = native_function(name, f64, 8)
    assert_identical(name, (x,), apply(-x, *more), -apply(x, *more))


def test_large_arguments_among_small_ones() -> None:
    """One lane beyond 2^28 makes the vector take the branch; the other lanes keep their values."""
    x = np.linspace(-3, 3, 64)
    mixed = x.copy()
    mixed[::9] *= 1e200
    apply = native_function("sin", f64, 8)
    kept = np.abs(mixed) < 4
    assert_identical("sin", (mixed[kept],), apply(mixed)[kept], apply(x)[kept])
    np.testing.assert_allclose(apply(mixed), np.sin(mixed), rtol=1e-14)


def test_large_arguments_have_one_function_for_all_widths() -> None:
    text = math_text([("sin", f64, 4), ("cos", f64, 8), ("sin", f32, 1), ("sin", f32, 8)])
    assert len(re.findall(r"^define .*reduce_large", text, re.MULTILINE)) == 1


@pytest.mark.skipif(not X86, reason="the multiplication is looked for by its name")
def test_large_arguments_take_wide_products_where_there_are_some() -> None:
    """Three products reduce an argument, elsewhere nine; the bits are the same."""
    x = np.ldexp(np.random.default_rng(1).uniform(1, 2, 400), np.arange(28, 428))
    found = {}
    for wide in (False, True):
        text = math_text([("sin", f64, 4)], fma=host().has_fma, wide=wide)
        text += loop_text("sin", f64, 4)
        assembly = compile_to_assembly(text, host())
        products = re.findall(r"^\ti?mulx?q", assembly, re.M)
        library = load_object(compile_to_object(text, host()), ["run"])
        found[wide] = len(products), NativeFunction(library.addresses["run"], f64, 4, library)(x)
    assert found[True][0] == 3 < found[False][0]
    np.testing.assert_array_equal(found[False][1], found[True][1])
    np.testing.assert_allclose(found[True][1], np.sin(x), rtol=4e-16)


@pytest.mark.parametrize(
    "target",
    [
        host(),
        WITHOUT_FMA,
        Target("x86_64-unknown-linux-gnu", "haswell", "+fma,+avx2", 256),
        Target("aarch64-unknown-linux-gnu", "", "", 128),
        Target("riscv64-unknown-linux-gnu", "generic-rv64", "+m,+a,+f,+d", 128),
        Target("wasm32-unknown-unknown", "", "+simd128", 128),
    ],
    ids=["host", "x86-64-v1", "haswell", "aarch64", "riscv64", "wasm32"],
)
@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_nothing_outside_the_module_is_called(dtype: DType, target: Target) -> None:
    for name in (*MATH_NAMES, *JOINT):
        outside = called_outside(name, dtype, target, fma=target.has_fma)
        assert not outside, f"{name} calls {outside}"


@pytest.mark.skipif(not X86, reason="every other machine has the instruction")
def test_a_fused_multiply_add_that_the_machine_lacks_is_a_call() -> None:
    """Why `fma` must be said: and the search for calls finds this one."""
    assert called_outside("exp", f64, WITHOUT_FMA, fma=True) == {"fma@PLT"}


def called_outside(name: str, dtype: DType, target: Target, *, fma: bool) -> set[str]:
    """The symbols that the compiled function calls, those of gradc aside."""
    wide = target.has_wide_products
    text = math_text([(name, dtype, 4)], fma=fma, wide=wide) + loop_text(name, dtype, 4)
    assembly = compile_to_assembly(text, target)
    called = set(
        re.findall(r"^\s+(?:callq?|jmpq?|bl|b|tail)\s+([A-Za-z_][\w.@$]*)", assembly, re.M)
    )
    return {symbol for symbol in called if not symbol.startswith("gradc.")}


@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_constants_in_memory_are_operands(dtype: DType) -> None:
    """With AVX2 they save an instruction a constant; what is computed is the same."""
    haswell = Target("x86_64-unknown-linux-gnu", "haswell", "+fma,+avx2", 256)
    assert not haswell.repeats_numbers
    for name in MATH_NAMES:
        length = {}
        for table in (False, True):
            text = math_text([(name, dtype, 4)], fma=True, table=table)
            assembly = compile_to_assembly(text + loop_text(name, dtype, 4), haswell)
            length[table] = len(re.findall(r"^\tv", assembly, re.M))
        assert length[True] < length[False] - 4, name


def test_bounds_are_one_instruction_each() -> None:
    """Compared and chosen with the same number, which a table would otherwise hold twice."""
    haswell = parse_target("x86_64-unknown-linux-gnu/haswell")
    text = math_text([("exp", f64, 4)], fma=True, table=True) + loop_text("exp", f64, 4)
    assembly = compile_to_assembly(text, haswell)
    assert "vmaxpd" in assembly
    assert "vminpd" in assembly
    assert not re.search(r"vcmp\w*pd|vblendvpd", assembly)


@pytest.mark.parametrize(
    ("cpu", "repeats"), [("x86-64", True), ("x86-64-v3", False), ("znver4", True)]
)
def test_which_machines_repeat_a_number_in_memory(cpu: str, repeats: bool) -> None:
    assert parse_target(f"x86_64-unknown-linux-gnu/{cpu}").repeats_numbers is repeats


def test_one_function_of_a_name_dtype_and_width() -> None:
    fn = math_function("sigmoid", f64, 8)
    assert isinstance(fn, MathFunction)
    assert fn.symbol == "@gradc.sigmoid.v8f64"
    assert fn.text.startswith("define internal <8 x double> @gradc.sigmoid.v8f64(<8 x double> %x0)")
    assert math_function("exp", f64, 1).symbol == "@gradc.exp.f64"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gamma", f64, 8), "unknown; there are exp, expm1"),
        (("exp", f64, 3), "3 x f64; have f64, f32 and"),
        (("exp", i64, 8), "8 x i64"),
    ],
)
def test_what_there_is_not_is_refused(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        math_function(*arguments)
