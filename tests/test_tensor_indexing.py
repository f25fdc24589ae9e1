"""Indexing and updates of symbolic arrays, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from against_numpy import Array, check, run

RNG = np.random.default_rng(8)
X = RNG.normal(size=(3, 4))
A3 = RNG.normal(size=(2, 3, 4))
I2 = np.array([2, 0, -1])
J2 = np.array([[0], [-2]])
INDICES: list[Any] = [
    0,
    -1,
    (1, 2),
    (slice(None), -1),
    slice(1, None),
    slice(None, -1),
    slice(0, 2),
    slice(None, None, 2),
    slice(None, None, -1),
    slice(None, None, -2),
    slice(2, 0, -1),
    slice(-1, -3, -1),
    (slice(1, 3), slice(None, None, 3)),
    (None, 1),
    (Ellipsis, None),
    (Ellipsis, 0),
    (slice(None), None, slice(None)),
    I2,
    (slice(None), I2),
    (I2, slice(1, 3)),
    (I2, I2),
    (I2, J2),
    (J2, 1),
    (0, I2),
    (None, I2, slice(None, None, -1)),
    [2, 1],
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_indexing(index: Any) -> None:
    check(lambda x: x[index], lambda x: x[index], X)


@pytest.mark.parametrize(
    "index", [(0, slice(None), I2 % 2), (I2 % 2, slice(None), I2), (..., I2, 0)]
)
def test_index_arrays_apart_come_first(index: Any) -> None:
    check(lambda x: x[index], lambda x: x[index], A3)


def test_symbolic_indices() -> None:
    check(lambda x, i: x[i], lambda x, i: x[i], X, I2)
    check(lambda x, i: x[i], lambda x, i: x[i], X, np.array(-2))
    check(lambda x, i: x[i, 1:, None], lambda x, i: x[i, 1:, None], X, np.array(1, "i4"))
    check(lambda x, i: x[:, i], lambda x, i: x[:, i], X, J2)
    check(lambda x, i, j: x[i, j], lambda x, i, j: x[i, j], X, I2, J2)


def _numpy_updated(x: Array, index: Any, values: Any, add: bool) -> Array:
    result = x.copy()
    if add:
        np.add.at(result, index, values)
    else:
        result[index] = values
    return result


@pytest.mark.parametrize("index", INDICES, ids=str)
@pytest.mark.parametrize("add", [False, True])
def test_updates(index: Any, add: bool) -> None:
    shape = X[index].shape
    for values in (np.float64(2.5), RNG.normal(size=shape)):
        check(
            lambda x, v: x.at[index].add(v) if add else x.at[index].set(v),
            lambda x, v: _numpy_updated(x, index, v, add),
            X,
            np.asarray(values),
        )


def test_updates_with_arrays_apart() -> None:
    index = (I2 % 2, slice(None), I2)
    values = RNG.normal(size=A3[index].shape)
    check(
        lambda x, v: x.at[index].add(v), lambda x, v: _numpy_updated(x, index, v, True), A3, values
    )


def test_an_index_out_of_range_of_one_of_two_axes_is_an_error_at_the_call() -> None:
    with pytest.raises((IndexError, ValueError)):
        run(lambda x, i, j: x[i, j], X, np.array([0]), np.array([7]))
