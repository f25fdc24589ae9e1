"""Products of several arrays: multiplied from the cheaper end, with the values that they had."""

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function, function, parameter
from gradc.ir.ops.contract import contract
from gradc.ir.passes.association import associate_products
from gradc.ir.passes.pipeline import optimize
from gradc.ir.text import parse_function
from gradc.ir.types import f64
from gradc.ir.verify import verify

MATRIX_TIMES_VECTOR = "lhs=[0, 1], rhs=[1], out=[0]"
MATRICES = "lhs=[0, 1], rhs=[1, 2], out=[0, 2]"
CHAIN = f"""fn chain(A: f64[4, 3], B: f64[3, 3], C: f64[3, 3], s: f64[4], t: f64[3], u: f64[3]) {{
  %0 = contract(A, t, {MATRIX_TIMES_VECTOR})
  %1 = contract(A, B, {MATRICES})
  %2 = contract(%1, u, {MATRIX_TIMES_VECTOR})
  %3 = contract(%1, C, {MATRICES})
  %4 = contract(%3, t, {MATRIX_TIMES_VECTOR})
  %5 = sub(s, %0)
  %6 = add(%5, %2)
  %7 = neg(%4)
  %8 = sub(%7, %6)
  return %8 }}"""


def multiplications(fn: Function) -> int:
    """Of all contractions."""
    total = 0
    for made in fn.equations:
        if made.op.name == "contract":
            sides = zip((made.attrs["lhs"], made.attrs["rhs"]), made.inputs, strict=True)
            extents = {x: n for own, value in sides for x, n in zip(own, value.shape, strict=True)}
            total += int(np.prod(list(extents.values())))
    return total


def checked(text: str) -> tuple[Function, Function]:
    """A function and what the pass makes of it: the same numbers."""
    fn = parse_function(text)
    made = associate_products(fn)
    verify(made)
    rng = np.random.default_rng(0)
    arguments = [rng.normal(size=value.shape) for value in fn.parameters]
    pairs = zip(evaluate(made, *arguments), evaluate(fn, *arguments), strict=True)
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)
    return fn, made


def test_a_sum_over_a_chain_multiplies_no_matrices():
    fn, made = checked(CHAIN)
    assert multiplications(fn) == 12 + 36 + 12 + 36 + 12
    assert multiplications(made) == 9 + 9 + 12


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        (f"{MATRIX_TIMES_VECTOR})", 5 * 6 * 7 + 5 * 7, 6 * 7 + 5 * 6),
        ("lhs=[0, 1], rhs=[0], out=[1])", 5 * 6 * 7 + 5 * 7, 5 * 6 + 6 * 7),
    ],
    ids=["vector behind", "vector in front"],
)
def test_a_vector_is_multiplied_first(text, before, after):
    length = 7 if "rhs=[1]" in text else 5
    fn, made = checked(f"""fn f(A: f64[5, 6], B: f64[6, 7], x: f64[{length}]) {{
      %0 = contract(A, B, {MATRICES})
      %1 = contract(%0, x, {text} return %1 }}""")
    assert (multiplications(fn), multiplications(made)) == (before, after)


def test_rows_of_small_products_are_associated_row_by_row():
    """Both matrices have the axis of the rows."""
    fn, made = checked("""fn f(A: f64[9, 3, 4], B: f64[9, 4, 3], x: f64[9, 3]) {
      %0 = contract(A, B, lhs=[0, 1, 2], rhs=[0, 2, 3], out=[0, 1, 3])
      %1 = contract(%0, x, lhs=[0, 1, 2], rhs=[0, 2], out=[0, 1]) return %1 }""")
    assert (multiplications(fn), multiplications(made)) == (9 * (36 + 9), 9 * (12 + 12))


def test_products_with_one_matrix_are_one():
    fn, made = checked(f"""fn f(A: f64[5, 6], x: f64[6], y: f64[6], z: f64[5]) {{
      %0 = contract(A, x, {MATRIX_TIMES_VECTOR})
      %1 = contract(A, y, {MATRIX_TIMES_VECTOR})
      %2 = sub(z, %0)
      %3 = sub(%2, %1) return %3 }}""")
    assert (multiplications(fn), multiplications(made)) == (60, 30)


@pytest.mark.parametrize(
    "rest",
    [
        f"%1 = contract(%0, x, {MATRIX_TIMES_VECTOR}) return %1, %0 }}",
        f"%1 = contract(%0, x, {MATRIX_TIMES_VECTOR}) %2 = sin(%0) return %1, %2 }}",
        f"%1 = contract(%0, B, {MATRICES}) return %1 }}",
        "%1 = contract(%0, B, lhs=[0, 1], rhs=[0, 1], out=[0]) return %1 }",
    ],
    ids=["a result", "read twice", "square", "on the diagonal"],
)
def test_a_product_that_is_needed_or_no_dearer_stays(rest):
    fn = parse_function(f"""fn f(A: f64[3, 3], B: f64[3, 3], x: f64[3]) {{
      %0 = contract(A, B, {MATRICES}) {rest}""")
    assert associate_products(fn) is fn


def test_integers_and_truths_stay():
    for dtype in ("i64", "bool"):
        fn = parse_function(f"""fn f(A: {dtype}[5, 6], B: {dtype}[6, 7], x: {dtype}[7]) {{
          %0 = contract(A, B, {MATRICES})
          %1 = contract(%0, x, {MATRIX_TIMES_VECTOR}) return %1 }}""")
        assert associate_products(fn) is fn


def test_a_long_chain_takes_linear_time_and_no_recursion():
    a, x = parameter(f64[3, 3], "A"), parameter(f64[3], "x")
    total, matrix = contract(a, x, lhs=(0, 1), rhs=(1,), out=(0,)), a
    for _ in range(1500):
        matrix = contract(matrix, a, lhs=(0, 1), rhs=(1, 2), out=(0, 2))
        total = total + contract(matrix, x, lhs=(0, 1), rhs=(1,), out=(0,))
    fn = function("f", [a, x], [total])
    assert multiplications(associate_products(fn)) == 1501 * 9


def test_derivatives_of_a_chain_have_no_matrix_products():
    @gradc.function
    def end(q: gradc.f64[3], s: gradc.f64[3, 2]):
        rotation, total = None, None
        for i in range(3):
            c, s_ = gt.cos(q[i]), gt.sin(q[i])
            link = gt.stack([gt.stack([c, -s_]), gt.stack([s_, c])])
            step = s[i] if rotation is None else rotation @ s[i]
            total = step if total is None else total + step
            rotation = link if rotation is None else rotation @ link
        return gt.sum(total**2)

    found = gradc.hvp(end, wrt="q")
    shapes = [made.outputs[0].shape for made in found.optimized.equations]
    names = [made.op.name for made in found.optimized.equations]
    assert names.count("contract") > 0
    assert all(s == (2,) for s, name in zip(shapes, names, strict=True) if name == "contract")
    rng = np.random.default_rng(1)
    q, s, p = rng.normal(size=3), rng.normal(size=(3, 2)), rng.normal(size=3)
    gradient, h = gradc.grad(end, wrt="q"), 1e-5
    expected = (gradient(q + h * p, s) - gradient(q - h * p, s)) / (2 * h)
    np.testing.assert_allclose(found(q, s, p), expected, rtol=1e-8)


def test_a_narrow_product_is_multiplied_first():
    """(W M) R is W (M R), where W is long."""
    fn = parse_function(f"""fn f(W: f64[n, 16], M: f64[16, 3], R: f64[3, 3]) {{
      %0 = contract(W, M, {MATRICES})
      %1 = contract(%0, R, {MATRICES})
      return %1 }}""")
    made = optimize(fn, check=True)
    shapes = [e.outputs[0].shape for e in made.equations]
    assert shapes == [(16, 3), fn.results[0].shape]


def test_what_a_jacobian_is_taken_by_stays():
    """A product of matrices that y is derived by, or that is held constant, is no chain."""
    A, B, x = gt.matrix("A"), gt.matrix("B"), gt.vector("x")
    R = A @ B
    y = R @ x + A @ x
    found = gradc.function([A, B, x], [gradc.jacobian(y, R), gradc.jacobian(y, A, [R])])
    a, b, c = np.random.default_rng(2).normal(size=(3, 4, 4))
    expected = np.einsum("ik,l->ikl", np.eye(4), c[0])
    for jacobian in found(a, b, c[0]):
        np.testing.assert_allclose(jacobian, expected, atol=1e-15)


def test_the_jacobian_of_a_chain_of_values_has_no_products_of_its_matrices():
    x, links = gt.tensor("x", shape=(5,)), gt.tensor("links", shape=(4, 5, 5))
    end, matrix = gt.exp(x), None
    for i in range(4):
        matrix = links[i] if matrix is None else matrix @ links[i]
        end = end + matrix @ gt.sin(x)
    rows = gradc.function([x, links], [end, gradc.jacobian(gt.sum(end**2), x)])
    shapes = [e.outputs[0].shape for e in rows.optimized.equations if e.op.name == "contract"]
    assert shapes and all(shape == (5,) for shape in shapes)
    rng = np.random.default_rng(3)
    value, given = rng.normal(size=5), rng.normal(size=(4, 5, 5))
    h, p = 1e-6, rng.normal(size=5)
    high, low = (np.sum(rows(value + t * p, given)[0] ** 2) for t in (h, -h))
    np.testing.assert_allclose(rows(value, given)[1] @ p, (high - low) / (2 * h), rtol=1e-7)
