"""The call path: arguments, sizes, outputs, workspaces, errors. Native code: tests/native.c."""

from __future__ import annotations

import gc
import inspect
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradc.runtime._core import Library, NativeFunction
from gradc.runtime.manifest import ArrayEntry, FunctionEntry, ManifestError, RequirementEntry

Make = Callable[..., NativeFunction]

DTYPES = {"f64": "f8", "f32": "f4", "i64": "i8", "i32": "i4", "bool": "?"}


def arrays(*texts: str) -> tuple[ArrayEntry, ...]:
    """Entries from "x: f64[n, 2*n + 1]"; integers become integers."""
    found = []
    for text in texts:
        name, _, kind = text.partition(": ")
        dtype, _, shape = kind.rstrip("]").partition("[")
        dims = [int(d) if d.isdigit() else d for d in shape.split(", ") if d]
        found.append(ArrayEntry(name, dtype, tuple(dims)))
    return tuple(found)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    path = tmp_path_factory.mktemp("native") / "libnative.so"
    source = Path(__file__).with_name("native.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", str(source), "-o", str(path)], check=True)
    return Library(path)


@pytest.fixture
def make(library: Library) -> Make:
    """make("copy8", "n", ["x: f64[n]"], ["y: f64[n]"]): the native function with these types."""

    def native(
        symbol: str,
        sizes: str,
        inputs: list[str],
        outputs: list[str],
        *,
        workspace: str = "none",
        requires: tuple[RequirementEntry, ...] = (),
    ) -> NativeFunction:
        entry = FunctionEntry(
            "f", tuple(sizes.split()), arrays(*inputs), arrays(*outputs), requires
        )
        call, query = library.symbol(symbol), library.symbol(workspace)
        return NativeFunction(call, query, entry, library)

    return native


@pytest.fixture
def copy(make: Make) -> NativeFunction:
    return make("copy8", "n", ["x: f64[n]"], ["y: f64[n]"])


@pytest.fixture
def affine(make: Make) -> NativeFunction:
    return make("affine", "", ["a: f64", "x: f64", "b: f64"], ["y: f64"])


@pytest.fixture
def matvec(make: Make) -> NativeFunction:
    return make("matvec", "d n", ["w: f64[d]", "X: f64[n, d]"], ["z: f64[n]", "total: f64"])


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


class TestOutputs:
    def test_several_outputs_are_a_tuple(self, matvec: NativeFunction) -> None:
        z, total = matvec([1.0, 2.0], [[1, 2], [3, 4], [5, 6]])
        np.testing.assert_array_equal(z, [5.0, 11.0, 17.0])
        assert type(total) is np.float64
        assert total == 33.0

    @pytest.mark.parametrize("shape", [(0, 2), (3, 0), (0, 0)])
    def test_arrays_without_elements(self, matvec: NativeFunction, shape: tuple[int, int]) -> None:
        z, total = matvec(np.zeros(shape[1]), np.zeros(shape))
        np.testing.assert_array_equal(z, np.zeros(shape[0]))
        assert total == 0.0

    def test_an_output_shape_is_computed(self, make: Make) -> None:
        function = make("sizes_of", "n", ["x: f64[n]"], ["y: i64[n*(n + 1)//2 - n + 1, 1]"])
        assert function(np.zeros(3)).shape == (4, 1)
        negative = make("sizes_of", "n", ["x: f64[n]"], ["y: i64[n - 5]"])
        with pytest.raises(ValueError, match=r"would have the shape \(-2\) \(here n = 3\)"):
            negative(np.zeros(3))
        divides = make("sizes_of", "n", ["x: f64[n]"], ["y: i64[8//n]"])
        with pytest.raises(ValueError, match=r"would have the shape \(\?\) \(here n = 0\)"):
            divides(np.zeros(0))

    def test_out_is_written_and_returned(self, matvec: NativeFunction) -> None:
        z, total = np.empty(2), np.empty(())
        result = matvec([1, 1], [[1, 2], [3, 4]], out=(z, total))
        assert result[0] is z
        assert result[1] is total
        assert list(z) == [3.0, 7.0]
        assert total == 10.0
        only = matvec([1, 1], [[1, 2], [3, 4]], out=(None, total))
        assert only[1] is total
        assert type(matvec([1, 1], [[1, 2], [3, 4]], out=None)[1]) is np.float64

    def test_a_strided_or_swapped_out_is_filled(self, copy: NativeFunction) -> None:
        whole = np.zeros((3, 2))
        assert copy([1, 2, 3], out=whole[:, 1]) is not None
        np.testing.assert_array_equal(whole, [[0, 1], [0, 2], [0, 3]])
        swapped = np.zeros(3, ">f8")
        copy([1, 2, 3], out=swapped)
        np.testing.assert_array_equal(swapped, [1, 2, 3])

    @pytest.mark.parametrize("shift", [0, 1, 2])
    def test_an_out_that_overlaps_an_input_is_written_after_the_call(
        self, make: Make, shift: int
    ) -> None:
        function = make("increment", "n", ["x: f64[n]"], ["y: f64[n]"])
        memory = np.arange(6.0)
        function(memory[:4], out=memory[shift : 4 + shift])
        np.testing.assert_array_equal(memory[shift : 4 + shift], [1, 2, 3, 4])

    def test_outs_that_share_memory_are_refused(self, make: Make) -> None:
        function = make("twice", "n", ["x: f64[n]"], ["y: f64[n]", "z: f64[n]"])
        memory = np.zeros(7)
        with pytest.raises(ValueError, match="the arrays for y and z share memory"):
            function(np.ones(4), out=(memory[:4], memory[3:]))
        function(np.ones(3), out=(memory[:6:2], memory[1:6:2]))
        np.testing.assert_array_equal(memory, [1] * 6 + [0])

    @pytest.mark.parametrize(
        ("out", "error", "message"),
        [
            (np.zeros(4), ValueError,
             "out for y: expected an array float64 of shape (3,), got float64 of shape (4,)"),
            (np.zeros((3, 1)), ValueError, "out for y: expected an array float64 of shape (3,)"),
            (np.zeros(3, "f4"), TypeError,
             "out for y: expected an array float64 of shape (3,), got float32 of shape (3,)"),
            ([0, 0, 0], TypeError, "out for y: expected an array float64 of shape (3,), got [0, 0"),
            (np.broadcast_to(0.0, 3), ValueError, "out for y: expected an array float64 of shape "
             "(3,) that can be written, got a read-only one"),
            ((), TypeError, "out: expected an array or a tuple of 1 (y), got a tuple of 0"),
        ],
    )  # fmt: skip
    def test_an_out_that_does_not_fit_is_named(
        self, copy: NativeFunction, out: Any, error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error) as caught:
            copy(np.zeros(3), out=out)
        assert str(caught.value).startswith(message)

    def test_several_outputs_need_a_tuple(self, matvec: NativeFunction) -> None:
        with pytest.raises(
            TypeError, match=r"out: expected a tuple of 2 \(z, total; None: a new array\), got"
        ):
            matvec([1], [[1]], out=np.zeros(1))


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (1, MemoryError, "f: out of memory"),
        (2, ValueError, "f: a size is negative or an array too large"),
        (3, IndexError, "f: an index is out of range"),
        (-1, ValueError, "f: the reason"),
        (-2, RuntimeError, "f returned the unknown status -2"),
        (99, RuntimeError, "f returned the unknown status 99"),
    ],
)
def test_a_status_becomes_an_exception(
    make: Make, status: int, error: type[Exception], message: str
) -> None:
    requires = (RequirementEntry(0, "== 0", "the reason"),)
    function = make("status", "", ["k: i64"], ["y: f64"], requires=requires)
    assert function(0) == 0.0
    with pytest.raises(error) as caught:
        function(status)
    assert str(caught.value) == message


class TestWorkspace:
    def test_it_is_aligned_and_reused(self, make: Make) -> None:
        function = make("reversed", "n", ["x: f64[n]"], ["y: f64[n]"], workspace="doubles")
        for n in (3, 0, 1000, 2, 5000, 1):
            x = np.arange(float(n))
            np.testing.assert_array_equal(function(x), x[::-1])

    @pytest.mark.parametrize("query", ["too_much", "overflows"])
    def test_one_that_cannot_be_had_is_an_error(self, make: Make, query: str) -> None:
        function = make("copy8", "n", ["x: f64[n]"], ["y: f64[n]"], workspace=query)
        with pytest.raises(MemoryError, match=r"f: the workspace needs .* \(here n = 2\)"):
            function(np.zeros(2))

    def test_threads_have_their_own(self, make: Make) -> None:
        function = make("patient", "n", ["x: f64[n]"], ["y: f64[n]"], workspace="doubles")
        failures: list[object] = []

        def work(seed: int) -> None:
            try:
                for k in range(60):
                    x = np.full(3000 + 100 * (k % 3), float(seed * 1000 + k))
                    if not np.array_equal(function(x), x):
                        failures.append((seed, k))
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures

    def test_what_is_kept_is_bounded(self, make: Make) -> None:
        function = make("reversed", "n", ["x: f64[n]"], ["y: f64[n]"], workspace="doubles")
        tracemalloc.start()
        for n in (1 << 24, 10, 20, 30, 40, 50, 60, 1 << 24):
            function(np.zeros(n))
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert kept < 1 << 20  # 128 MiB workspaces are given back at once


def test_slow_calls_release_the_gil(make: Make) -> None:
    function = make("pause_ms", "", ["ms: i64"], ["y: f64"])
    function(1)
    function(1)
    ticks = 0
    thread = threading.Thread(target=function, args=(200,))
    thread.start()
    while thread.is_alive():
        ticks += 1
        time.sleep(0.005)
    assert ticks > 5


def test_calls_do_not_leak(make: Make, matvec: NativeFunction) -> None:
    w, x = np.zeros(2), np.zeros((3, 2))
    z, total = np.zeros(3), np.zeros(())

    def use() -> None:
        matvec(w, x)
        matvec([1, 2], [[1, 2]])
        matvec(w, X=x[:, ::-1], out=(z, total))
        for wrong in ((w,), (w, w), (w, "x"), (w.astype("c8"), x), (x[0], x[:, :1])):
            try:
                matvec(*wrong)
            except (TypeError, ValueError):
                continue
            raise AssertionError(wrong)

    for _ in range(50):
        use()
    counts = [sys.getrefcount(thing) for thing in (w, x, z, total, None)]
    tracemalloc.start()
    for _ in range(50):
        use()
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(2000):
        use()
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 80_000  # 40 bytes a round; freed lists of the interpreter stay
    assert [sys.getrefcount(thing) for thing in (w, x, z, total)] == counts[:-1]


def test_a_function_keeps_what_it_lives_in(library: Library) -> None:
    class Owner:
        pass

    owner = Owner()
    watch = weakref.ref(owner)
    entry = FunctionEntry("f", (), arrays("a: f64", "x: f64", "b: f64"), arrays("y: f64"))
    address, query = library.symbol("affine"), library.symbol("none")
    function = NativeFunction(address, query, entry, owner)
    dead = weakref.ref(function)
    del owner
    assert watch() is not None
    assert function(1, 2, 3) == 5
    del function
    gc.collect()
    assert watch() is None
    assert dead() is None


def test_a_function_describes_itself(matvec: NativeFunction) -> None:
    assert repr(matvec) == "<gradc function f(w: f64[d], X: f64[n, d]) -> (z: f64[n], total: f64)>"
    assert (matvec.name, matvec.__name__, matvec.sizes) == ("f", "f", ("d", "n"))
    assert [str(array) for array in matvec.inputs] == ["w: f64[d]", "X: f64[n, d]"]
    assert [array.name for array in matvec.outputs] == ["z", "total"]
    assert str(inspect.signature(matvec)).startswith("(w: 'f64[d]', X: 'f64[n, d]', *, out=None)")
    assert "X: f64[n, d]" in str(matvec.__doc__)
    assert callable(matvec)
    with pytest.raises(TypeError):
        type("Derived", (NativeFunction,), {})


def test_a_parameter_may_be_called_out(make: Make) -> None:
    function = make("affine", "", ["a: f64", "out: f64", "b: f64"], ["y: f64"])
    assert function(2.0, out=3.0, b=1.0) == 7.0
    assert "*" not in str(inspect.signature(function))


def test_many_arguments_and_many_axes(make: Make) -> None:
    names = [f"x{i}: f64[n]" for i in range(60)]
    function = make("copy8", "n", names, ["y: f64[n]"])
    given = [np.full(3, float(i)) for i in range(60)]
    np.testing.assert_array_equal(function(*given), given[0])
    with pytest.raises(ValueError, match="x59 has length 4"):
        function(*given[:59], np.zeros(4))
    ones = ", ".join(["1"] * 31)
    deep = make("copy8", "n", [f"x: f64[n, {ones}]"], [f"y: f64[n, {ones}]"])
    assert deep(np.zeros((2, *[1] * 31))).ndim == 32


def test_malformed_plans_are_refused(library: Library) -> None:
    class Entry:
        parameter_names = ("x",)

        def __init__(self, plan: object) -> None:
            self._plan = plan

        def plan(self) -> object:
            return self._plan

    size = ((1, 0),)
    array = (("f64", 1),)
    good = (1, array, (("f64", (size,)),), ((0, 0, 0, size),), ())
    address, query = library.symbol("copy8"), library.symbol("none")
    assert NativeFunction(address, query, Entry(good), None) is not None  # type: ignore[arg-type]
    bad: list[object] = [
        None,
        (),
        (1, array, (("f64", (((1, 5),),)),), (), ()),
        (1, array, (("f64", (((9, 0),),)),), (), ()),
        (1, array, (("f64", (((2, 0),),)),), (), ()),
        (1, array, (("f64", (((1, 0),) * 40,)),), (), ()),
        (1, array, (("f64", ((),)),), (), ()),
        (1, array, (("f16", (size,)),), (), ()),
        (1, array, (("f64", (size,) * 33),), (), ()),
        (1, array, (), ((0, 1, 0, size),), ()),
        (1, array, (), ((0, 0, 7, size),), ()),
        (1, (("f64", 1), ("f64", 1)), (), (), ()),
    ]
    for plan in bad:
        with pytest.raises((TypeError, ValueError)):
            NativeFunction(address, query, Entry(plan), None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="an address is not 0"):
        NativeFunction(0, query, Entry(good), None)  # type: ignore[arg-type]
