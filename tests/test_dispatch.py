"""Calls of `gradc.function` go through C: results, errors and the API stay those of Python."""

from __future__ import annotations

import copy
import gc
import sys
import threading
import weakref
from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc import CompiledFunction, f64
from gradc.runtime._core import Dispatcher


def made() -> CompiledFunction:
    @gradc.function
    def f(x: f64, y: f64, z: f64):
        """x y + z"""
        return x * y + z

    assert isinstance(f, CompiledFunction)
    return f


def test_scalars_give_scalars_however_they_are_passed() -> None:
    f = made()
    calls = (
        f(2.0, 3.0, 4.0),
        f(2, 3, np.float64(4)),
        f(2.0, z=4.0, y=3.0),
        f(z=4.0, y=3.0, x=2.0),
        f(*[2.0, 3.0], z=4.0),
        f(np.array(2.0), 3.0, 4.0),
    )
    for result in calls:
        assert type(result) is np.float64
        assert result == 10.0


def test_the_native_function_is_attached_by_compile_and_by_the_first_call() -> None:
    for prepare in (lambda f: f.compile(), lambda f: f(1.0, 2.0, 3.0), lambda f: f.native):
        f, asked = made(), []
        prepare(f)
        f.__dict__["fallback"] = lambda *args, asked=asked: asked.append(args)
        assert f(1.0, 2.0, 3.0) == 5.0
        assert not asked


def test_a_call_makes_no_tuple_and_no_dict() -> None:
    vectorcall = 1 << 11  # Py_TPFLAGS_HAVE_VECTORCALL
    assert type(made()).__flags__ & vectorcall


def test_a_class_with_a_call_of_its_own_is_called_by_it() -> None:
    class Counted(Dispatcher):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return "own", args, kwargs

    class Plain(Dispatcher):
        def fallback(self, *args: Any, **kwargs: Any) -> Any:
            return "base", args, kwargs

    assert Counted()(1, k=2) == ("own", (1,), {"k": 2})
    assert Plain()(1, k=2) == ("base", (1,), {"k": 2})


def test_the_workspace_can_be_given_back() -> None:
    f = made()
    f.release_workspace()
    assert f(1.0, 2.0, 3.0) == 5.0
    f.release_workspace()
    assert f(1.0, 2.0, 3.0) == 5.0


def test_variables_build_a_graph_before_and_after_compilation() -> None:
    f, x = made(), gt.scalar("x")
    for _ in range(2):
        graph = gradc.function([x], f(x, x, z=1.0))
        assert graph(3.0) == 10.0
        f.compile()


@pytest.mark.parametrize("is_compiled", [False, True])
@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((1.0, 2.0), {}, "z is missing"),
        ((1.0, 2.0, 3.0, 4.0), {}, "4"),
        ((1.0, 2.0), {"w": 3.0}, "w"),
        (("a", 2.0, 3.0), {}, "x: expected f64, got 'a'"),
        (([1.0], 2.0, 3.0), {}, "x"),
    ],
)
def test_a_wrong_call_is_a_type_error_that_names_the_argument(
    is_compiled: bool, args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    f = made()
    if is_compiled:
        f.compile()
    with pytest.raises((TypeError, ValueError), match=message):
        f(*args, **kwargs)
    assert f(1.0, 2.0, 3.0) == 5.0


def test_one_output_in_a_list_is_a_tuple_of_one() -> None:
    x = gt.vector("x")
    f, out = gradc.function([x], [x * 2.0]), np.empty(3)
    for _ in range(2):
        (result,) = f(np.arange(3.0))
        assert result.tolist() == [0.0, 2.0, 4.0]
    assert f(np.arange(3.0), out=out)[0] is out


def test_several_outputs_are_a_tuple() -> None:
    x = gt.vector("x")
    f = gradc.function([x], [x * 2.0, x.sum()])
    for _ in range(2):
        doubled, total = f(np.arange(3.0))
        assert (doubled.tolist(), total) == ([0.0, 2.0, 4.0], 3.0)


def test_an_error_of_the_arrays_is_raised_once_compiled() -> None:
    x, y = gt.vector("x"), gt.vector("y")
    f = gradc.function([x, y], gt.dot(x, y))
    assert f(np.ones(3), np.ones(3)) == 3.0
    with pytest.raises(ValueError, match="y"):
        f(np.ones(3), np.ones(4))


def test_functions_are_values_of_python() -> None:
    f = made()
    assert f(1.0, 2.0, 3.0) == copy.copy(f)(1.0, 2.0, 3.0) == copy.deepcopy(f)(1.0, 2.0, 3.0)
    assert f.__doc__ == "x y + z"
    assert hash(f) == hash(f) and f == f and f != made()
    with pytest.raises(AttributeError):
        f.single = False  # type: ignore[misc]


def test_a_function_in_a_cycle_is_collected() -> None:
    f = made()
    f(1.0, 2.0, 3.0)
    f.__dict__["itself"] = f
    seen = weakref.ref(f)
    del f
    gc.collect()
    assert seen() is None


def test_calls_keep_no_references() -> None:
    f, x = made(), np.array(2.0)
    f(x, x, x)
    before = sys.getrefcount(x), sys.getrefcount(f), sys.getrefcount(f.native)
    for _ in range(100):
        f(x, x, z=x)
        with pytest.raises(TypeError):
            f(x, x)
    assert (sys.getrefcount(x), sys.getrefcount(f), sys.getrefcount(f.native)) == before


def test_first_calls_from_several_threads() -> None:
    f, results = made(), []
    start = threading.Barrier(8)

    def run(i: int) -> None:
        start.wait()
        results.extend(f(float(i), 2.0, 1.0) - 2.0 * i for _ in range(50))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [1.0] * 400


def test_only_native_functions_are_attached() -> None:
    class Callable(Dispatcher):
        def fallback(self, *args: Any, **kwargs: Any) -> Any:
            return args, kwargs

    f = Callable()
    assert f(1, a=2) == ((1,), {"a": 2})
    with pytest.raises(TypeError, match="NativeFunction, not"):
        f.attach(len, False)  # type: ignore[arg-type]
    f.attach(made().native, True)
    assert f(1.0, 2.0, 3.0) == (5.0,)
    assert f("a", 2.0, 3.0) == (("a", 2.0, 3.0), {})


def test_a_base_without_a_fallback_says_so() -> None:
    with pytest.raises(AttributeError, match="fallback"):
        Dispatcher()(1.0)
