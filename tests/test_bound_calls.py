"""Bound calls: arguments read and checked once, memory read and written at each call."""

from __future__ import annotations

import gc
import sys
from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc import f64
from gradc.errors import GradcValueError
from gradc.runtime._core import NativeFunction
from native_entries import Make

pytest_plugins = ("native_calls",)


def test_arrays_are_read_and_written_at_each_call(matvec: NativeFunction) -> None:
    w, X = np.array([1.0, 2.0]), np.array([[1.0, 2.0], [3.0, 4.0]])
    z, total = np.zeros(2), np.array(0.0)
    call = matvec.bind(w, X=X, out=(z, total))
    assert call() is call.out
    assert call.out[0] is z and call.out[1] is total
    assert list(z) == [5.0, 11.0] and total == 16.0
    w[:] = 0, 1
    X[0] = 7
    call()
    assert list(z) == [7.0, 4.0] and total == 11.0
    assert call.function is matvec


def test_without_out_the_same_new_arrays_are_written(matvec: NativeFunction) -> None:
    call = matvec.bind(np.ones(2), np.ones((3, 2)))
    z, total = call()
    assert z.shape == (3,) and total.shape == ()
    assert all(a is b for a, b in zip(call(), (z, total), strict=True))
    assert list(z) == [2.0, 2.0, 2.0] and total == 6.0


def test_numbers_stay_and_arrays_without_axes_are_read(affine: NativeFunction) -> None:
    x = np.array(3.0)
    call = affine.bind(2.0, x, np.float32(1))
    assert call() == 7.0
    x[()] = 10.0
    result = call()
    assert result is call.out and result == 21.0


@pytest.mark.parametrize(
    ("w", "X", "out", "error", "words"),
    [
        (
            [1.0, 2.0],
            np.ones((3, 2)),
            None,
            TypeError,
            r"w: bind reads .* got \[1.0, 2.0\]",
        ),
        (np.ones(2, "f4"), np.ones((3, 2)), None, TypeError, "w: bind reads .* got float32"),
        (
            np.ones(2),
            np.ones((2, 3)).T,
            None,
            TypeError,
            r"bind np.ascontiguousarray\(X,",
        ),
        (np.ones(2), np.ones((3, 4)), None, ValueError, "axis 1"),
        (np.ones(2), np.ones(3), None, ValueError, "1 axis"),
        (np.ones(2), np.ones((3, 2)), np.ones(3), TypeError, "a tuple of 2"),
        (
            np.ones(2),
            np.ones((3, 2)),
            (np.ones(3), None),
            ValueError,
            "out for total: a bound",
        ),
        (
            np.ones(2),
            np.ones((3, 2)),
            (np.ones(6)[::2], np.ones(())),
            ValueError,
            "out for z: a bound",
        ),
        (np.ones(2), np.ones((3, 2)), (np.ones(4), np.ones(())), ValueError, r"shape \(3,\)"),
    ],
)
def test_what_cannot_be_bound(
    matvec: NativeFunction, w: Any, X: Any, out: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        matvec.bind(w, X, out=out)


def test_an_output_may_not_share_memory_with_an_input(copy: NativeFunction) -> None:
    x = np.arange(4.0)
    with pytest.raises(ValueError, match="shares no memory with an input"):
        copy.bind(x, out=x)


def test_a_bound_call_takes_no_arguments(copy: NativeFunction) -> None:
    call: Any = copy.bind(np.arange(4.0))
    for wrong in (lambda: call(1), lambda: call(out=np.zeros(4))):
        with pytest.raises(TypeError, match="its arguments are bound"):
            wrong()
    with pytest.raises(TypeError, match="cannot create"):
        type(call)()


def test_memory_that_moved_is_never_touched(copy: NativeFunction) -> None:
    """NumPy lets one resize an array that others hold, if one insists."""
    x, y = np.arange(4.0), np.zeros(4)
    call = copy.bind(x, out=y)
    x.resize(1 << 20, refcheck=False)
    with pytest.raises(ValueError, match="x has been resized"):
        call()
    x.resize(4, refcheck=False)
    call = copy.bind(x, out=y)
    y.resize(2, refcheck=False)
    with pytest.raises(ValueError, match="out for y has been resized"):
        call()
    z = np.zeros(4)
    call = copy.bind(x, out=z)
    z.flags.writeable = False
    with pytest.raises(ValueError, match="made read-only"):
        call()


def test_bound_calls_keep_and_free_what_they_need(matvec: NativeFunction) -> None:
    w, X = np.ones(2), np.ones((3, 2))
    counts = [sys.getrefcount(thing) for thing in (w, X, matvec)]
    for _ in range(100):
        call = matvec.bind(w, X)
        call()
        with pytest.raises(TypeError):
            matvec.bind(w, [[1.0, 2.0]])
    del call
    gc.collect()
    assert [sys.getrefcount(thing) for thing in (w, X, matvec)] == counts
    call = matvec.bind(np.ones(2), np.ones((3, 2)))  # nobody else holds them
    gc.collect()
    assert call()[1] == 6.0


def test_a_status_becomes_an_exception(make: Make) -> None:
    call = make("status", "", ["status: i64"], ["y: f64"]).bind(3)
    with pytest.raises(IndexError, match="out of range"):
        call()


def test_functions_of_python() -> None:
    @gradc.function
    def f(x: f64[None], scale: f64):
        return gt.sum(gt.exp(x)) * scale

    x = np.linspace(-1, 1, 100)
    call = gradc.value_and_grad(f, wrt="x").bind(x, 2.0)
    for shift in (0.0, 0.5):
        x += shift
        value, gradient = call()
        np.testing.assert_allclose(value, 2 * np.exp(x).sum(), rtol=1e-14)
        np.testing.assert_allclose(gradient, 2 * np.exp(x), rtol=1e-14)
    trapping = gradc.function([y := gt.vector("y")], gt.sum(y), trap_nan=True)
    with pytest.raises(GradcValueError, match="bind runs native code alone"):
        trapping.bind(np.ones(3))
