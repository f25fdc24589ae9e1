"""The call path: arguments and sizes. The native code is tests/native.c."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gradc.runtime._core import NativeFunction
from gradc.runtime.manifest import ManifestError, RequirementEntry
from native_entries import DTYPES, Make

pytest_plugins = ("native_calls",)


@pytest.mark.parametrize(
    "arguments",
    [(2.0, 3.0, 1.0), (2, 3, 1), (np.float64(2), np.int32(3), np.float32(1)), (True + 1, 3.0, True),
     (np.array(2.0), np.array(3, "i4"), np.array(1.0, ">f8"))],
)  # fmt: skip
def test_scalars_of_all_kinds_are_taken(affine: NativeFunction, arguments: Any) -> None:
    result = affine(*arguments)
    assert result == 7.0
    assert type(result) is np.float64


def test_keywords_go_by_name(affine: NativeFunction) -> None:
    assert affine(b=1.0, x=3.0, a=2.0) == affine(2.0, b=1.0, x=3.0) == 7.0
    name = "".join(["b", ""])  # a name that is perhaps not interned
    assert affine(2.0, 3.0, **{name: 1.0}) == 7.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: f(1, 2), "f(a, x, b): b is missing"),
        (lambda f: f(), "f(a, x, b): a, x, b are missing"),
        (lambda f: f(1, 2, 3, 4), "f(a, x, b) takes 3 arguments, 4 given"),
        (lambda f: f(1, 2, 3, a=4), "f(a, x, b): a is given twice, by position and by name"),
        (lambda f: f(1, 2, c=3), "f(a, x, b) has no parameter 'c'"),
        (lambda f: f(1, 2, 3, c=3), "f(a, x, b) has no parameter 'c'"),
        (lambda f: f("1", 2, 3), "a: expected f64, got '1' (str)"),
        (lambda f: f(None, 2, 3), "a: expected f64, got None (NoneType)"),
        (lambda f: f(1j, 2, 3), "a: expected f64, got 1j (complex)"),
        (
            lambda f: f(dict.fromkeys(range(99)), 2, 3),
            "a: expected f64, got {0: None, 1: None, 2: None, 3: None, ...} (dict)",
        ),
    ],
)
def test_wrong_arguments_are_named(
    affine: NativeFunction, call: Callable[[Any], Any], message: str
) -> None:
    with pytest.raises(TypeError) as caught:
        call(affine)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("dtype", "symbol", "values"),
    [
        ("f64", "8", [1.5, -0.0, np.inf, 5e-324]),
        ("f32", "4", [1.5, -0.0, np.inf, 1e-45]),
        ("i64", "8", [2**63 - 1, -(2**63), 0]),
        ("i32", "4", [2**31 - 1, -(2**31), 0]),
        ("bool", "1", [True, False, True]),
    ],
)
class TestEveryDtype:
    def test_arrays_and_scalars_pass_unchanged(
        self, make: Make, dtype: str, symbol: str, values: list[Any]
    ) -> None:
        vector = make("copy" + symbol, "n", [f"x: {dtype}[n]"], [f"y: {dtype}[n]"])
        scalar = make("scalar" + symbol, "", [f"x: {dtype}"], [f"y: {dtype}"])
        given = np.array(values, DTYPES[dtype])
        for same in (given, given.astype(given.dtype.newbyteorder()), given.tolist()):
            result = vector(same)
            assert result.dtype == given.dtype
            assert result.dtype.isnative
            np.testing.assert_array_equal(result, given)
        for value in (*given, *given.tolist(), given[:1].reshape(())):
            result = scalar(value)
            assert type(result) is given.dtype.type
            assert result == value

    def test_out_takes_only_its_own_dtype(
        self, make: Make, dtype: str, symbol: str, values: list[Any]
    ) -> None:
        vector = make("copy" + symbol, "n", [f"x: {dtype}[n]"], [f"y: {dtype}[n]"])
        given = np.array(values, DTYPES[dtype])
        for other in DTYPES.values():
            out = np.zeros(len(given), other)
            if out.dtype == given.dtype:
                assert vector(given, out=out) is out
                np.testing.assert_array_equal(out, given)
            else:
                with pytest.raises(TypeError, match="out for y: expected an array"):
                    vector(given, out=out)


@pytest.mark.parametrize(
    "given",
    [
        [1.0, 2.0, 3.0],
        (1, 2, 3),
        np.arange(1, 4),
        np.arange(1, 4, dtype="i4"),
        np.arange(1, 4, dtype=">f8"),
        np.arange(1.0, 4.0)[::-1][::-1],
        np.arange(6.0)[1::2] / 2 + 0.5,
        np.array([[1.0, 0], [2, 0], [3, 0]])[:, 0],
        np.frombuffer(b"\0" + np.arange(1.0, 4.0).tobytes(), "f8", offset=1),
        memoryview(np.arange(1.0, 4.0)),
    ],
)
def test_convertible_arrays_are_converted(copy: NativeFunction, given: Any) -> None:
    np.testing.assert_array_equal(copy(given), [1.0, 2.0, 3.0])


def test_a_read_only_input_is_fine(copy: NativeFunction) -> None:
    given = np.arange(3.0)
    given.flags.writeable = False
    result = copy(given)
    assert result.flags.writeable
    np.testing.assert_array_equal(result, given)


def test_an_array_is_passed_without_a_copy(copy: NativeFunction) -> None:
    given = np.zeros(1 << 20)
    tracemalloc.start()
    copy(given, out=np.empty_like(given))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < given.nbytes + 100_000  # `out` itself


@pytest.mark.parametrize(
    ("dtype", "given", "error", "message"),
    [
        ("f32", np.zeros(3), TypeError,
         "x: expected f32[n], got float64 of shape (3,); gradc converts only where nothing can be "
         "lost: pass x.astype(np.float32) if that is what you mean"),
        ("i32", np.zeros(3, "i8"), TypeError, "x: expected i32[n], got int64 of shape (3,)"),
        ("i64", [1.5], TypeError, "x: expected i64[n], got float64 of shape (1,)"),
        ("bool", [1], TypeError, "x: expected bool[n], got int64 of shape (1,)"),
        ("f64", np.zeros(3, "c16"), TypeError, "x: expected f64[n], got complex128 of shape (3,)"),
        ("f64", np.array(["a"]), TypeError, "x: expected f64[n], got str32 of shape (1,)"),
        ("f64", [[1.0], [2, 3]], ValueError, "x: expected f64[n], got [[1.0], [2, 3]] (list)"),
        ("f64", np.zeros((2, 3)), ValueError,
         "x: expected f64[n] (1 axis), got float64 of shape (2, 3) (2 axes)"),
        ("f64", 1.0, ValueError, "x: expected f64[n] (1 axis), got a float64 (0 axes)"),
        ("f64", None, TypeError, "x: expected f64[n], got None"),
        ("f64", {"a": 1}, TypeError, "x: expected f64[n], got {'a': 1} (dict)"),
        ("i32", [2**40], OverflowError, "x: [1099511627776] does not fit i32"),
    ],
)  # fmt: skip
def test_refused_arrays_are_named(
    make: Make, dtype: str, given: Any, error: type[Exception], message: str
) -> None:
    symbol = {"f64": "copy8", "i64": "copy8", "f32": "copy4", "i32": "copy4", "bool": "copy1"}
    function = make(symbol[dtype], "n", [f"x: {dtype}[n]"], [f"y: {dtype}[n]"])
    with pytest.raises(error) as caught:
        function(given)
    assert str(caught.value).startswith(message)


def test_an_integer_that_does_not_fit_is_refused(make: Make) -> None:
    for dtype, symbol, limit in (("i32", "scalar4", 2**31), ("i64", "scalar8", 2**63)):
        function = make(symbol, "", [f"k: {dtype}"], [f"y: {dtype}"])
        assert function(limit - 1) == limit - 1
        assert function(-limit) == -limit
        for value in (limit, -limit - 1, 10**30):
            with pytest.raises(OverflowError, match=f"k: {value} does not fit {dtype}"):
                function(value)


def test_an_integer_beyond_floats_is_refused(affine: NativeFunction) -> None:
    with pytest.raises(OverflowError, match="x: an integer of 20001 bits does not fit f64"):
        affine(1, 1 << 20000, 1)
    assert affine(1, 1 << 1000, 0) == 2.0**1000


def test_python_numbers_take_the_dtype_of_a_scalar_but_arrays_do_not(make: Make) -> None:
    function = make("scalar4", "", ["x: f32"], ["y: f32"])
    assert function(0.1) == np.float32(0.1)
    assert function([0.1][0]) == function(np.float32(0.1))
    with pytest.raises(TypeError, match=r"x: expected f32, got a float64.*np.float32\(x\)"):
        function(np.float64(0.1))
    integer = make("scalar8", "", ["k: i64"], ["y: i64"])
    with pytest.raises(TypeError, match=r"k: expected i64, got 1.0 \(float\)"):
        integer(1.0)
    with pytest.raises(
        ValueError, match=r"k: expected i64 \(a scalar\), got int64 of shape \(1,\)"
    ):
        integer(np.array([1]))


class TestSizes:
    @pytest.mark.parametrize(
        ("sizes", "shape", "given", "expected"),
        [
            ("n", "n", 5, 5),
            ("n", "2*n + 1", 7, 3),
            ("n", "2*n + 1", 1, 0),
            ("n", "n - 3", 0, 3),
            ("n", "-n + 10", 4, 6),
            ("n", "3*(n + 1) - n", 7, 2),
        ],
    )
    def test_a_size_is_solved_for(
        self, make: Make, sizes: str, shape: str, given: int, expected: int
    ) -> None:
        function = make("sizes_of", sizes, [f"x: f64[{shape}]"], ["y: i64[1]"])
        assert function(np.zeros(given)) == [expected]

    @pytest.mark.parametrize(("shape", "given"), [("2*n + 1", 6), ("2*n + 1", 0), ("n + 3", 2)])
    def test_a_length_that_no_size_gives_is_named(self, make: Make, shape: str, given: int) -> None:
        function = make("sizes_of", "n", [f"x: f64[{shape}]"], ["y: i64[1]"])
        with pytest.raises(ValueError) as caught:
            function(np.zeros(given))
        expected = f"x has length {given} on axis 0 (f64[{shape}]: {shape}), which no n gives"
        assert str(caught.value) == expected

    def test_a_later_argument_may_give_the_size(self, make: Make) -> None:
        inputs = ["x: f64[m*n, (n + 1)//2]", "y: f64[2*m]", "z: f64[n]"]
        function = make("two_sizes_of", "m n", inputs, ["s: i64[2]"])
        assert list(function(np.zeros((15, 3)), np.zeros(6), np.zeros(5))) == [3, 5]
        with pytest.raises(ValueError) as caught:
            function(np.zeros((15, 2)), np.zeros(6), np.zeros(5))
        assert str(caught.value) == (
            "x has length 2 on axis 1 (f64[m*n, (n + 1)//2]: (n + 1)//2), but axis 0 of z (f64[n]) "
            "says n = 5, so (n + 1)//2 = 3"
        )

    def test_an_axis_solved_with_a_known_size(self, make: Make) -> None:
        function = make("two_sizes_of", "m n", ["x: f64[m]", "y: f64[m*n + 1]"], ["s: i64[2]"])
        assert list(function(np.zeros(3), np.zeros(13))) == [3, 4]
        with pytest.raises(ValueError, match=r"y has length 12 .* which no n gives \(m = 3\)"):
            function(np.zeros(3), np.zeros(12))
        with pytest.raises(ValueError, match=r"which no n gives \(m = 0\)"):
            function(np.zeros(0), np.zeros(1))

    def test_a_disagreement_names_both_places(self, matvec: NativeFunction) -> None:
        with pytest.raises(ValueError) as caught:
            matvec(np.zeros(3), np.zeros((5, 4)))
        assert str(caught.value) == (
            "X has length 4 on axis 1 (f64[n, d]: d), but axis 0 of w (f64[d]) says d = 3"
        )

    def test_a_fixed_length_is_checked(self, make: Make) -> None:
        function = make("copy8", "n", ["x: f64[n]", "k: f64[2, 3]"], ["y: f64[n]"])
        assert len(function(np.zeros(4), np.zeros((2, 3)))) == 4
        with pytest.raises(ValueError) as caught:
            function(np.zeros(4), np.zeros((2, 1)))
        assert str(caught.value) == (
            "k: expected f64[2, 3], but axis 1 of the k given has length 1, not 3 (shape (2, 1))"
        )

    def test_a_size_that_no_axis_gives_is_refused_when_the_function_is_made(
        self, make: Make
    ) -> None:
        for shape in ("n*n", "(n + 1)//2", "m + n"):
            with pytest.raises(ManifestError, match="not given by the shapes of the inputs"):
                make("copy8", "m n", [f"x: f64[{shape}]"], ["y: f64[n]"])

    def test_requirements_are_checked_before_the_call(self, make: Make) -> None:
        requires = (
            RequirementEntry("n - 7", ">= 0", "x[5:7] needs n >= 7"),
            RequirementEntry("n - 2*(n//2)", "== 0", "x.reshape(2, -1) needs an even n"),
        )
        function = make("copy8", "n", ["x: f64[n]"], ["y: f64[n]"], requires=requires)
        assert len(function(np.zeros(8))) == 8
        with pytest.raises(ValueError, match=r"^f: x\[5:7\] needs n >= 7 \(here n = 6\)$"):
            function(np.zeros(6))
        with pytest.raises(ValueError, match=r"needs an even n \(here n = 9\)$"):
            function(np.zeros(9))
