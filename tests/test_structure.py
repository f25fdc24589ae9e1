"""What is known of the entries of arrays: zeros in known places, and what nobody reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc.ir import structure
from gradc.ir.function import Equation, Function
from gradc.ir.lowering import Contraction
from gradc.ir.structure import structure_of

D = 6
ROWS, COLUMNS = np.indices((D, D))
LOWER = ROWS >= COLUMNS
BAND = np.abs(ROWS - COLUMNS) <= 1
Make = Callable[[Any], Any]


def packed(strict: Any) -> Any:
    """Rows of a lower triangle, set where they belong."""
    rows, columns = np.tril_indices(D, -1)
    return gt.zeros((strict.shape[0], D, D)).at[:, rows, columns].set(strict[:, : len(rows)])


def split(x: Any) -> Any:
    """A triangle set into zeros, and beside it a diagonal."""
    return packed(x).at[:, np.arange(D), np.arange(D)].add(x[:, :D])


def of_function(make: Make) -> Function:
    x = gt.tensor("x", "f64", ("n", D * D))
    return gradc.function([x], [make(x)]).optimized


def square(x: Any) -> Any:
    return gt.reshape(x, (x.shape[0], D, D))


ZEROS: dict[str, tuple[Make, np.ndarray]] = {
    "set": (packed, ROWS > COLUMNS),
    "set and added": (split, LOWER),
    "tril": (lambda x: gt.tril(square(x)), LOWER),
    "triu": (lambda x: gt.triu(square(x), 1), ROWS < COLUMNS),
    "band": (lambda x: gt.tril(gt.triu(square(x), -1), 1), BAND),
    "transposed": (lambda x: gt.tril(square(x)).mT, ~(ROWS > COLUMNS)),
    "scaled": (lambda x: -3 * gt.tril(square(x)) * square(x), LOWER),
    "sum": (lambda x: gt.tril(square(x)) + gt.sin(gt.triu(gt.tril(square(x)))), LOWER),
    "a function that is not 0 at 0": (lambda x: gt.cos(gt.tril(square(x))), LOWER | True),
    "product": (lambda x: gt.tril(square(x)) @ gt.tril(square(x)), LOWER),
    "taken": (lambda x: gt.tril(square(x))[:, np.arange(D)[::-1]], LOWER[::-1]),
    "padded": (
        lambda x: gt.pad(square(x)[:, 1:, 1:], ((0, 0), (0, 1), (1, 0))),
        (ROWS < D - 1) & (COLUMNS > 0),
    ),
}


@pytest.mark.parametrize("name", ZEROS)
def test_zeros(name: str) -> None:
    make, expected = ZEROS[name]
    fn = of_function(make)
    pattern = structure_of(fn).nonzero.get(fn.results[0], np.ones((1, D, D), bool))
    np.testing.assert_array_equal(pattern[0], expected)


def test_a_known_number_is_no_place() -> None:
    """x * 0 is nan where x is: a factor that is 0 everywhere does not leave anything out."""
    fn = of_function(lambda x: square(x) * gt.zeros((D, D)))
    assert fn.results[0] not in structure_of(fn).nonzero


def test_rows_that_a_call_tells_are_not_known() -> None:
    """Zeros in a part of the rows, or at an index that is an argument, say nothing of all rows."""
    x, i = gt.tensor("x", "f64", ("n", D)), gt.tensor("i", "i64", (3,))
    parts = [gt.pad(x[1:], ((1, 0), (0, 0))), gt.zeros((x.shape[0], D)).at[:, i].set(x[:, :3])]
    fn = gradc.function([x, i], parts).optimized
    assert not structure_of(fn).nonzero.keys() & set(fn.results)


def product_read_by(make: Make) -> np.ndarray:
    """Where a product of rows is read, if only what `make` makes of it is a result."""
    x, y = (gt.tensor(name, "f64", ("n", D)) for name in "xy")
    fn = gradc.function([x, y], [make(x.T @ y)]).optimized
    (made,) = (e for e in fn.equations if isinstance(e.op.lower, Contraction))
    return structure_of(fn).wanted.get(made.outputs[0], np.ones((D, D), bool))


READ: dict[str, tuple[Make, np.ndarray]] = {
    "all": (lambda p: p, LOWER | True),
    "gathered": (lambda p: p[np.tril_indices(D)], LOWER),
    "selected": (gt.tril, LOWER),
    "scaled and gathered": (lambda p: (2 * p).T[np.tril_indices(D)], ~(ROWS > COLUMNS)),
    "replaced": (lambda p: p.at[:2].set(0), ROWS >= 2),
    "sliced, and once more": (
        lambda p: p[1:, 1] + p[1:, 3],
        (ROWS >= 1) & np.isin(COLUMNS, (1, 3)),
    ),
}


@pytest.mark.parametrize("name", READ)
def test_reads(name: str) -> None:
    make, expected = READ[name]
    np.testing.assert_array_equal(product_read_by(make), expected)


def test_where_all_is_read_entries_are_numbered_only_for_what_leaves_some_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def note(made: Equation, *rest: Any) -> Any:
        asked.append(made.op.name)
        return moved_back(made, *rest)

    moved_back = structure._moved_back
    monkeypatch.setattr(structure, "_moved_back", note)
    x = gt.tensor("x", "f64", (2, 3))
    ends = gt.sin(gt.concat([gt.reshape(x, (3, 2)), x.T], axis=1))[:, ::2]
    fn = gradc.function([x], [ends]).ir
    unread = ~structure_of(fn).wanted[ends.value.owner.inputs[0]]
    assert np.array_equal(np.broadcast_to(unread, (3, 4)).any(axis=0), [False, True] * 2)
    assert "slice" in asked
    asked.clear()
    structure_of(gradc.function([x], [gt.sin(gt.concat([gt.reshape(x, (3, 2)), x.T], axis=1))]).ir)
    assert not asked


def test_terms_of_a_product() -> None:
    """Terms with a zero are left out, and those of sums that nobody reads."""
    x = gt.tensor("x", "f64", ("n", D))
    q = gt.tensor("q", "f64", (D, D))
    fn = gradc.function([q, x], [(x @ gt.tril(q).T)[:, 2:]]).optimized
    (made,) = (e for e in fn.equations if isinstance(e.op.lower, Contraction))
    terms = structure_of(fn).terms(made)
    assert terms is not None and terms.sum() == LOWER[2:].sum()
