"""The call path: outputs, statuses, workspaces, threads, memory. Native code: tests/native.c."""

from __future__ import annotations

import gc
import inspect
import sys
import threading
import time
import tracemalloc
import weakref
from typing import Any

import numpy as np
import pytest
from gradc.runtime._core import Library, NativeFunction
from gradc.runtime.manifest import FunctionEntry, RequirementEntry
from native_entries import Make, arrays

pytest_plugins = ("native_calls",)


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
        assert type(only) is tuple
        np.testing.assert_array_equal(only[0], z)
        strided = np.zeros((2, 2))[:, 0]
        again = matvec([1, 1], [[1, 2], [3, 4]], out=(strided, total))
        assert again[0] is strided
        assert list(strided) == [3.0, 7.0]
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
        (2, ValueError, "f: a size is negative"),
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
        for n in (10, 20, 1000, 30, 1 << 20, 40, 1 << 21, 50, 1 << 20, 60):
            x = np.arange(float(n))
            np.testing.assert_array_equal(function(x), x[::-1])
        del x
        kept = tracemalloc.get_traced_memory()[0]
        assert 1 << 24 <= kept < (1 << 24) + (3 << 20)  # the largest, in pages of 2 MiB
        function.release_workspace()
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
        tracemalloc.stop()
        assert list(function(np.arange(3.0))) == [2.0, 1.0, 0.0]

    def test_a_large_one_is_kept_and_right(self, make: Make) -> None:
        function = make("reversed", "n", ["x: f64[n]"], ["y: f64[n]"], workspace="doubles")
        x = np.arange(float(9 << 20))  # 72 MiB: the system may take its pages between calls
        y = np.empty_like(x)
        tracemalloc.start()
        for _ in range(3):
            function(x, out=y)
            np.testing.assert_array_equal(y, x[::-1])
            assert tracemalloc.get_traced_memory()[0] >= 72 << 20
        function.release_workspace()
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
        tracemalloc.stop()


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
    with pytest.raises(TypeError):
        function(1.0, 2.0, 3.0, out=np.zeros(()))


def test_names_need_not_be_interned(copy: NativeFunction) -> None:
    y = np.zeros(3)
    given = {"".join("out"): y, "".join(["", "x"]): [1, 2, 3]}
    assert copy(**given) is y
    assert list(y) == [1.0, 2.0, 3.0]
    with pytest.raises(TypeError, match="ou"):
        copy([1.0], **{"".join(["o", "u"]): y})


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
