"""External C functions and NumPy callbacks as nodes: value, derivatives, batches, artifacts."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc import bool_, f32, f64, i32, i64
from gradc.codegen.link import LinkError
from gradc.custom import Op
from gradc.external import ExternalFunction, c_function, c_scalar_function, numpy_callback
from gradc.ir.evaluate import evaluate

SOURCE = Path(__file__).parent / "external.c"
X = np.array([0.5, -1.25, 2.0])

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def cubic() -> Op:
    value = c_scalar_function("cubic", source=SOURCE)
    slope = c_scalar_function("cubic_slope", source=SOURCE)
    slope_with_rule = Op("slope", slope, pullback=lambda p, r, c: (c * 6.0 * p[0],))
    return Op("cubic", value, pullback=lambda p, r, c: (c * slope_with_rule(p[0]),))


def running() -> Op:
    """A linear function: its pullback is the same one on reversed arrays."""
    value = c_function("running", [f64["n"], f64], f64["n"], source=SOURCE)

    def pullback(p: Any, r: Any, c: Any) -> Any:
        back = op(gt.flip(c), p[1])
        return gt.flip(back), gt.sum(c * op(p[0], 1.0))

    op = Op("running", value, pullback=pullback)
    return op


# --- C functions -------------------------------------------------------------------------------


def test_scalar_functions_broadcast_and_fuse_with_the_rest() -> None:
    f = cubic()
    A = np.arange(6.0).reshape(2, 3) - 2.0
    x = gt.tensor("x", f64, ("n", 3))
    g = gradc.function([x], [gt.sum(f(2.0 * x) + x, axis=0), f(x.T)])
    total, transposed = g(A)
    np.testing.assert_allclose(total, ((2 * A) ** 3 + A).sum(0), rtol=1e-14)
    np.testing.assert_array_equal(transposed, A.T**3)
    for mine, wanted in zip(g(A[:0]), evaluate(g.ir, A[:0]), strict=True):
        np.testing.assert_array_equal(mine, wanted)
    both = c_scalar_function("weighted", 2, source=SOURCE)
    y = gt.scalar("y")
    np.testing.assert_array_equal(gradc.function([x, y], both(x, y))(A, 2.0), A * 2.0 + 2.0)
    assert gradc.function([y], f(y))(3.0) == 27.0
    single = c_scalar_function("cubic32", dtype=f32, source=SOURCE)
    z = gt.tensor("z", f32, ("n",))
    found = gradc.function([z], single(z))(X.astype("f4"))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, (X**3).astype("f4"))


def test_functions_of_libm() -> None:
    gamma = c_scalar_function("lgamma")
    x = gt.vector("x")
    np.testing.assert_allclose(gradc.function([x], gamma(x))([4.0, 5.0]), np.log([6.0, 24.0]))


@pytest.mark.parametrize("op", (cubic(), running()), ids=lambda op: op.name)
def test_derivatives_by_rules(op: Op) -> None:
    point = (X,) if op.name == "cubic" else (X, np.array(1.5))
    gradc.check_rule(op, *point)
    x = gt.vector("x")
    given = (x,) if op.name == "cubic" else (x, gt.asarray(1.5))
    J, H = gradc.function(
        [x], [gradc.jacobian(op(*given), x), gradc.hessian(gt.sum(op(*given) ** 2), x)]
    )(X)
    slopes = np.diag(3 * X**2) if op.name == "cubic" else 1.5 * np.tril(np.ones((3, 3)))
    np.testing.assert_allclose(J, slopes, rtol=1e-14)
    wanted = np.diag(30 * X**4) if op.name == "cubic" else 2 * slopes.T @ slopes
    np.testing.assert_allclose(H, wanted, rtol=1e-13)


def test_arrays_of_all_types_sizes_first() -> None:
    choose = c_function(
        "choose", [f32["n"], bool_["m"], i32], f32["n", "m"], source=SOURCE, name="choice"
    )
    x, on, k = gt.tensor("x", f32, ("a",)), gt.tensor("on", bool_, ("b",)), gt.tensor("k", i32, ())
    f = gradc.function([x, on, k], choose(x * np.float32(2), gt.logical_not(on), k + 1))
    given = np.array([1, 2], "f4"), np.array([True, False, True]), np.int32(6)
    wanted = [[7.0, 2.0, 7.0], [7.0, 4.0, 7.0]]
    np.testing.assert_array_equal(f(*given), wanted)
    np.testing.assert_array_equal(evaluate(f.ir, *given)[0], wanted)
    assert f(given[0][:0], given[1], given[2]).shape == (0, 3)
    assert "choose(" in f.stage("loops")
    assert "external function choose" in f.stage("kernels")


def halves(**options: Any) -> ExternalFunction:
    outputs = [f64["n"], f32["n"], i64, f64]
    return c_function("halves", [f64["n"]], outputs, source=SOURCE, **options)


def test_several_outputs_of_several_types() -> None:
    x = gt.vector("x")
    split = halves()
    low, high, count, mean = split(2.0 * x)
    f = gradc.function([x], [low + mean, high, count, mean * 3.0])
    for given in (X, np.array([4.0, 1.0, 1.0, 2.0]), X[:0]):
        wanted = evaluate(f.ir, given)
        for mine, reference in zip(f(given), wanted, strict=True):
            assert mine.dtype == reference.dtype
            np.testing.assert_array_equal(mine, reference)
    assert [r.dtype for r in f(X)] == ["f8", "f4", "i8", "f8"]
    np.testing.assert_allclose(f(X)[0], [-2.5 + 5 / 6, 5 / 6, 5 / 6])
    # An output that nobody reads has a place in memory all the same.
    np.testing.assert_array_equal(gradc.function([x], split(x)[2])(X), 1)
    assert "(f64[n], f32[n], i64, f64)" in repr(split)


def turn() -> Op:
    """Two outputs with a rule for both, made of the function itself: right at every order."""
    value = c_function("turn", [f64["n"]], [f64["n"], f64["n"]], source=SOURCE, status=True)
    return Op("turn", value, pullback=lambda p, r, c: (c[0] * r[1] - c[1] * r[0],))


def test_rules_for_several_outputs(tmp_path: Path) -> None:
    op = turn()
    gradc.check_rule(op, X)
    x = gt.vector("x")
    sine, cosine = op(x)
    cost = gt.sum(sine * cosine**2)
    J = gradc.jacobian(sine - cosine, x)
    f = gradc.function([x], [gradc.grad(cost, x), gradc.hessian(cost, x), J])
    s, c = np.sin(X), np.cos(X)
    slope, H, rows = f(X)
    np.testing.assert_allclose(slope, c**3 - 2 * c * s**2, rtol=1e-13)
    np.testing.assert_allclose(H, np.diag(-7 * s * c**2 + 2 * s**3), rtol=1e-13)
    np.testing.assert_allclose(rows, np.diag(c + s), rtol=1e-13)
    with pytest.raises(RuntimeError, match="an external function reported a failure"):
        f(np.array([1.0, np.inf]))
    target = tmp_path / "libturned.so"
    gradc.build(target, turned=f)
    for mine, wanted in zip(gradc.load(target).turned(X), f(X), strict=True):
        np.testing.assert_array_equal(mine, wanted)
    with pytest.raises(gradc.GradcValueError, match="turn is also the name of an external funct"):
        gradc.build(target, turn=f)


def test_two_functions_of_one_name(tmp_path: Path) -> None:
    other = tmp_path / "other.c"
    other.write_text("double cubic(double x) { return -x; }")
    x = gt.vector("x")
    both = [c_scalar_function("cubic", source=file)(x) for file in (SOURCE, other)]
    f = gradc.function([x], both)
    with pytest.raises(ValueError, match=r"two external functions have the symbol cubic, .*other"):
        f(X)
    with pytest.raises(ValueError, match=r"two external functions have the symbol cubic"):
        gradc.build(tmp_path / "libf.so", f=f)
    assert not list(tmp_path.glob("libf*"))


def test_a_scalar_of_arrays_by_value() -> None:
    dot = c_function("dot", [f64["n"], f64["n"]], f64, source=SOURCE, by_value=True)
    x, y = gt.vector("x"), gt.vector("y")
    f = gradc.function([x, y], dot(x, y + 1.0))
    assert f(X, X) == evaluate(f.ir, X, X)[0] == X @ (X + 1)
    op = Op("dot", dot, pullback=lambda p, r, c: (c * p[1], c * p[0]))
    gradc.check_rule(op, X, X)
    with pytest.raises(gradc.GradcValueError, match="by value a function returns one scalar"):
        halves(by_value=True)


def test_a_status_makes_the_call_fail() -> None:
    head = c_function("head", [f64["n"]], f64, source=SOURCE, status=True)
    x = gt.vector("x")
    f = gradc.function([x], head(x * 2.0) + 1.0)
    assert f(X) == 2.0
    with pytest.raises(RuntimeError, match="an external function reported a failure"):
        f(X[:0])
    with pytest.raises(RuntimeError, match="head returned the status 1"):
        evaluate(f.ir, X[:0])


def test_objects_and_libraries(tmp_path: Path) -> None:
    code, library = tmp_path / "external.o", tmp_path / "libexternal.so"
    subprocess.run(["cc", "-c", "-fPIC", str(SOURCE), "-o", str(code)], check=True)
    subprocess.run(
        ["cc", "-shared", "-Wl,-soname,libexternal.so", str(code), "-o", str(library)], check=True
    )
    x = gt.vector("x")
    for where in ({"object": code}, {"library": library}):
        f = gradc.function([x], c_scalar_function("cubic", **where)(x))  # type: ignore[arg-type]
        np.testing.assert_array_equal(f(X), X**3)
        target = tmp_path / f"lib{next(iter(where))}_model.so"
        gradc.build(target, cubes=f)
        np.testing.assert_array_equal(gradc.load(target).cubes(X), X**3)


def test_a_source_is_part_of_the_library(tmp_path: Path) -> None:
    f = gradc.function([x := gt.vector("x")], gradc.grad(gt.sum(cubic()(x) * running()(x, 2.0)), x))
    target = tmp_path / "libmodel.so"
    gradc.build(target, slope=f)
    np.testing.assert_allclose(gradc.load(target).slope(X), f(X), rtol=1e-14)
    symbols = ctypes.CDLL(str(target))
    assert not hasattr(symbols, "cubic")  # what is exported are gradc's functions
    wanted = 3 * X**2 * 2 * np.cumsum(X) + 2 * np.cumsum((X**3)[::-1])[::-1]
    np.testing.assert_allclose(f(X), wanted, rtol=1e-13)


def test_errors_of_c_functions(tmp_path: Path) -> None:
    x = gt.vector("x")
    with pytest.raises(LinkError, match=r"there is no function missing in .*external.c"):
        gradc.function([x], c_scalar_function("missing", source=SOURCE)(x))(X)
    with pytest.raises(gradc.GradcValueError, match="there is no file"):
        c_scalar_function("f", source=tmp_path / "none.c")
    with pytest.raises(gradc.GradcValueError, match="no name of a C function"):
        c_scalar_function("a b")
    with pytest.raises(gradc.GradcValueError, match="a result has the size k, which no input has"):
        c_function("f", [f64["n"]], f64["k"])
    with pytest.raises(gradc.GradcTypeError, match="takes 1 arguments, not 2"):
        c_scalar_function("sin")(x, x)
    with pytest.raises(gradc.GradcTypeError, match="is to be of f64, not of i64"):
        c_scalar_function("sin")(gt.tensor("k", gradc.i64, ()))
    with pytest.raises(gradc.GradcTypeError, match="x0 is to be f64"):
        c_function("running", [f64["n"], f64], f64["n"], source=SOURCE)(gt.matrix("X"), 1.0)
    broken = tmp_path / "broken.c"
    broken.write_text("double f(double x) { return x }")
    with pytest.raises(LinkError, match="error"):
        gradc.function([x], c_scalar_function("f", source=broken)(x))(X)
    plain = c_scalar_function("cubic", source=SOURCE)
    with pytest.raises(gradc.NullTypeGradError, match="cubic has no derivative; give it one with"):
        gradc.grad(gt.sum(plain(x)), x)


# --- NumPy callbacks ---------------------------------------------------------------------------


def sorted_rows() -> ExternalFunction:
    return numpy_callback(np.sort, [f64["n"]], f64["n"], name="sorted")


def test_a_callback_runs_inside_native_code() -> None:
    x = gt.vector("x")
    f = gradc.function([x], 2.0 * sorted_rows()(x + 1.0))
    np.testing.assert_array_equal(f(X), 2 * np.sort(X + 1))
    np.testing.assert_array_equal(f(X[:0]), [])
    np.testing.assert_array_equal(evaluate(f.ir, X)[0], 2 * np.sort(X + 1))


def test_a_callback_with_rules_and_batches() -> None:
    norm = numpy_callback(
        lambda x, s: s * np.sqrt((x * x).sum()), [f64["n"], f64], f64, name="norm"
    )
    op = Op("norm", norm, pullback=lambda p, r, c: (c * p[1] ** 2 * p[0] / r, c * r / p[1]))
    gradc.check_rule(op, X, np.array(1.5))
    x = gt.vector("x")
    H = gradc.function([x], gradc.hessian(op(x, 2.0), x))(X)
    length = np.sqrt(X @ X)
    np.testing.assert_allclose(H, 2 * (np.eye(3) - np.outer(X, X) / length**2) / length, rtol=1e-12)


def test_a_callback_with_several_outputs() -> None:
    both = numpy_callback(lambda x: (x.min(), np.sort(x)), [f64["n"]], (f64, f64["n"]), name="both")
    x = gt.vector("x")
    least, ascending = both(x)
    f = gradc.function([x], [least * 2.0, ascending])
    for mine, wanted in zip(f(X), evaluate(f.ir, X), strict=True):
        np.testing.assert_array_equal(mine, wanted)
    np.testing.assert_array_equal(f(X)[1], np.sort(X))
    op = Op("both", both, pullback=lambda p, r, c: (c[0] * (p[0] == r[0]),))
    np.testing.assert_array_equal(
        gradc.function([x], gradc.grad(op(x)[0] ** 2, x))(X), [0.0, 2 * X[1], 0.0]
    )
    for wrong, message in ((lambda x: x, "a tuple of 2, not ndarray"), (lambda x: (x,), "not 1")):
        f = gradc.function([x], numpy_callback(wrong, [f64["n"]], [f64, f64["n"]], name="f")(x)[1])
        with pytest.raises(TypeError, match=message):
            f(X)


def test_what_a_callback_raises_the_call_raises() -> None:
    def refuse(x: Any) -> Any:
        if x[0] < 0:
            raise KeyError("negative")
        return x if x[0] < 1 else x[:1]

    x = gt.vector("x")
    f = gradc.function([x], numpy_callback(refuse, [f64["n"]], f64["n"])(x))
    np.testing.assert_array_equal(f(np.array([0.5, 2.0])), [0.5, 2.0])
    with pytest.raises(KeyError, match="negative"):
        f(-np.ones(2))
    with pytest.raises(TypeError, match=r"refuse: the callback returned float64 of shape \(1,\)"):
        f(np.ones(2))
    np.testing.assert_array_equal(f(np.array([0.5, 2.0])), [0.5, 2.0])
    writes = numpy_callback(lambda x: x.__setitem__(0, 1.0), [f64["n"]], f64["n"], name="writes")
    with pytest.raises(ValueError, match="read-only"):
        gradc.function([x], writes(x))(X)


def test_callbacks_run_in_the_thread_that_calls() -> None:
    x = gt.vector("x")

    def check(x: Any) -> Any:
        if x[0] == 7.0:
            raise KeyError("seven")
        return x + 1.0

    f = gradc.function([x], numpy_callback(check, [f64["n"]], f64["n"])(x))

    def attempt(number: int) -> Any:
        try:
            return float(f(np.full(3, float(number)))[0])
        except KeyError as error:
            return error.args[0]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(attempt, [5, 7, 6, 7] * 50))
    assert found == [6.0, "seven", 7.0, "seven"] * 50


def test_a_callback_in_a_rule_is_no_part_of_the_value(tmp_path: Path) -> None:
    """What a library computes decides: the value here, not the derivative that it could have."""
    weights = numpy_callback(np.cos, [f64["n"]], f64["n"], name="weights")
    op = Op("sine", gt.sin, pullback=lambda p, r, c: (c * weights(p[0]),))
    x = gt.vector("x")
    value = gradc.function([x], op(x))
    target = tmp_path / "libsine.so"
    gradc.build(target, sine=value)
    np.testing.assert_array_equal(gradc.load(target).sine(X), value(X))
    slope = gradc.function([x], gradc.grad(gt.sum(op(x)), x))
    np.testing.assert_allclose(slope(X), np.cos(X), rtol=1e-15)
    with pytest.raises(gradc.GradcValueError, match="slope calls the NumPy callback weights"):
        gradc.build(target, slope=slope)


def test_a_library_cannot_hold_a_callback(tmp_path: Path) -> None:
    x = gt.vector("x")
    f = gradc.function([x], sorted_rows()(x))
    with pytest.raises(gradc.GradcValueError, match="f calls the NumPy callback sorted") as caught:
        gradc.build(tmp_path / "libf.so", f=f)
    assert f"({__file__}:" in str(caught.value) and "in this process only" in str(caught.value)
    assert not list(tmp_path.iterdir())
