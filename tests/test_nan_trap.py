"""The NaN trap names the operation, the line, the entry, and primal or gradient."""

from __future__ import annotations

# ruff: noqa: F821 (the sizes in annotations are names)
import math
from pathlib import Path
from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc import f32, f64
from gradc.cli import main
from gradc.custom import Op
from gradc.trap import NotFinite, NotFiniteError, find_not_finite


def trapped(f: Any, *args: Any) -> NotFinite:
    with pytest.raises(NotFiniteError) as caught:
        f.trap_nan(*args)
    return caught.value.origin


def test_the_first_operation_line_and_entry() -> None:
    @gradc.function
    def f(x: f64["n"], y: f64["n"]):  # type: ignore[no-untyped-def]
        logarithm = gt.log(x)
        return gt.sum(gt.exp(y) * logarithm)

    origin = trapped(f, [1.0, 0.0, 2.0], [1.0, 2.0, 3.0])
    assert (origin.op, origin.value, origin.index, origin.order) == ("log", -math.inf, (1,), 0)
    assert origin.inputs == (("x", 0.0),)
    assert origin.span is not None and origin.span.file == __file__
    assert "logarithm = gt.log(x)" in Path(__file__).read_text().splitlines()[origin.span.line - 1]
    assert "log made -inf, in the primal: entry [1] of an array of shape (3,), from x = 0" in str(
        origin
    )
    assert f.trap_nan([1.0, 2.0], [0.0, 0.0]) == pytest.approx(math.log(2.0))


def test_in_the_gradient_and_in_the_second_derivative() -> None:
    x = gt.vector("x")
    f = gradc.function([x], gradc.grad(gt.sum(gt.sqrt(x) * x), x))
    origin = trapped(gradc.function([x], gradc.grad(gt.sum(gt.sqrt(x)), x)), [4.0, 0.0])
    assert (origin.op, origin.value, origin.index, origin.order) == ("div", math.inf, (1,), 1)
    assert "in the gradient" in str(origin)
    np.testing.assert_allclose(f.trap_nan([4.0]), [3.0])
    twice = gradc.grad(gt.sum(gradc.grad(gt.sum(x**1.5), x)), x)
    origin = trapped(gradc.function([x], twice), [1.0, 0.0])
    assert origin.order == 2 and origin.index == (1,) and "second derivative" in str(origin)


def test_what_a_choice_cuts_is_no_fault() -> None:
    x = gt.vector("x")
    safe = gt.where(x > 0, gt.log(x), 0.0)
    f = gradc.function([x], safe, trap_nan=True)
    np.testing.assert_allclose(f([1.0, 0.0]), [0.0, 0.0])
    everywhere = find_not_finite(f.ir, np.array([1.0, 0.0]), everywhere=True)
    assert everywhere is not None and everywhere.op == "log"
    origin = trapped(gradc.function([x], [safe, gt.sqrt(x - 1.0)]), np.array([1.0, 0.5]))
    assert (origin.op, origin.index) == ("sqrt", (1,))


def test_the_entry_is_followed_through_moves_sums_and_products() -> None:
    X = gt.matrix("X")
    y = gt.log(X)
    moved = gt.flip(gt.concat([y.T, y.T], axis=0), axis=0)[1:, :]
    point = np.ones((2, 3))
    point[1, 2] = 0.0
    for result in (moved, moved.sum(axis=1), moved @ X, moved.ravel()[1::2]):
        origin = trapped(gradc.function([X], result), point)
        assert (origin.op, origin.index) == ("log", (1, 2))
    picked = gradc.function([X], y[0])
    np.testing.assert_array_equal(picked.trap_nan(point), np.zeros(3))


def test_a_scan_reads_the_entries_before() -> None:
    """What spoilt an entry of a running sum or product lies at that entry or before it."""
    x = gt.vector("x")
    point = [1.0, 0.0, 3.0, -1.0, 2.0]
    total = gradc.function([x], gt.cumsum(gt.log(x))[2:])
    origin = trapped(total, point)
    assert (origin.op, origin.index, origin.value) == ("log", (1,), -math.inf)
    product = gradc.function([x], gt.cumprod(gt.sqrt(x))[-1])
    assert (trapped(product, point).op, trapped(product, point).index) == ("sqrt", (3,))
    powers = gradc.function([x], gt.cumprod(x * 1e200))
    origin = trapped(powers, [1.0, 1.0])
    assert (origin.op, origin.index) == ("recurrence", (1,))
    slope = gradc.function([x], gradc.grad(gt.sum(gt.cumsum(gt.sqrt(x))), x))
    origin = trapped(slope, [1.0, 0.0])
    assert (origin.op, origin.index, origin.order) == ("div", (1,), 1)
    first = gradc.function([x], gt.linear_recurrence(x - gt.log(x[1]), x * 0.0)[-1:])
    assert trapped(first, [1.0, 0.0]).op == "log"


def test_overflow_of_a_sum_and_f32() -> None:
    x = gt.tensor("x", f32, ("n",))
    origin = trapped(gradc.function([x], gt.sum(x)), np.full(3, 3e38, np.float32))
    assert (origin.op, origin.value, origin.index) == ("sum", math.inf, ())
    f = gradc.function([x], gt.sum(x), trap_nan=True)
    assert f(np.zeros(0, np.float32)) == 0.0


def test_arguments_and_constants() -> None:
    x = gt.vector("x")
    f = gradc.function([x], gt.sum(x * 2.0), name="total")
    origin = trapped(f, [1.0, math.nan])
    assert str(origin) == "the argument x holds nan at [1]"
    with pytest.raises(NotFiniteError, match="total: a result is not finite: the argument x holds"):
        f.trap_nan(x=np.array([math.inf]))
    assert isinstance(NotFiniteError("f", origin), FloatingPointError)


def test_inside_functions_with_rules_of_their_own() -> None:
    op = Op("f", lambda x: gt.log(x), pullback=lambda p, r, c: (c / p[0],))
    x = gt.vector("x")
    assert trapped(gradc.function([x], op(x)), [0.0]).op == "log"
    origin = trapped(gradc.function([x], gradc.grad(gt.sum(op(x)), x)), [0.0])
    assert origin.op == "div"


SOURCE = """fn entropy(p: f64[n]) -> f64 {
    parts = p * log(p)
    -sum(parts)
}
slope = grad(entropy, wrt: p)
"""


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "entropy.grad"
    file.write_text(SOURCE)
    assert main(["run", str(file), "entropy", "--arg", "p=[0.5, 0.0]", "--trap-nan"]) == 3
    said = capsys.readouterr().err
    assert f"{file}:2:17: log made -inf, in the primal: entry [1]" in said
    assert "2 |     parts = p * log(p)\n  |                 ^^^^^^" in said
    assert main(["run", str(file), "slope", "--arg", "p=[0.5, 0.0]", "--trap-nan"]) == 3
    said = capsys.readouterr().err
    assert "p = 0" in said
    assert main(["run", str(file), "slope", "--arg", "p=[1.0]", "--trap-nan"]) == 0
    assert main(["run", str(file), "slope", "--arg", "p=[1.0]", "--trap-nan=everywhere"]) == 0
