"""Seeded random misuse of the Python API: any function with any arguments, compiled where it works.

    python tests/hostile_calls.py SEED COUNT

Every call gives an array or one of gradc's errors; a compiled function gives what the evaluator
gives, or an error of Python's that names the argument.
"""

from __future__ import annotations

import inspect
import random
import sys
import warnings
from collections.abc import Callable
from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
from gradc.ir.evaluate import evaluate
from gradc.tensor import Tensor

DTYPES = (gradc.f64, gradc.f64, gradc.f32, gradc.i64, gradc.i32, gradc.bool_)
LENGTHS = (0, 1, 1, 2, 3, 3, "n", "n", "m", "2*n + 1", None)
NUMBERS = (
    *(0, 1, -1, 2, 3, -7, 2**31, 2**62, 2**63, 2**70, -(2**63), True, False),
    *(0.0, -0.0, 0.5, -2.5, 1e300, 5e-324, float("inf"), float("nan"), 1j),
)
JUNK = (
    *(None, "x", "n", "", "2*n+", b"x", [], (), {}, [[]], [1, [2]], (0, 1), (-1,), (1, 0), [0, 0]),
    *(slice(None), slice(0, 2), slice(None, None, -1), slice(3, None, 0), ..., object(), abs, int),
    *(("n", 2), (2, 3), (2**40, 2**40), (-2, 3), np.int64(2), np.float32(0.5), np.bool_(True)),
    *((np.newaxis, 0), "f32", "i64", np.dtype("f4"), gradc.f32, "sum", set(), range(3), iter(())),
)
ARRAYS = (
    *(np.zeros(()), np.ones(3), np.arange(3), np.zeros((0, 3)), np.ones((2, 3), np.float32)),
    *(np.array([True, False, True]), np.array(["a"]), np.array([None]), np.ones(2, complex)),
    *(np.array([0, 2, -1]), np.array([[0, 1], [1, 0]], np.int32), np.ones(3, np.float16)),
    *(np.arange(6.0).reshape(2, 3).T, np.ones(3, ">f8"), np.ones(2, np.uint64), np.ma.ones(3)),
)
METHODS = ("sum", "mean", "max", "reshape", "astype", "T", "mT", "flatten", "clip", "argmax")
NAMES = tuple(
    name
    for name in gt.__all__
    if inspect.isfunction(getattr(gt, name)) and not name.startswith("_")
)
CALL_ERRORS = (TypeError, ValueError, IndexError, OverflowError, MemoryError)


def variable(rng: random.Random) -> Tensor:
    shape = tuple(rng.choice(LENGTHS) for _ in range(rng.choice((0, 1, 1, 2, 2, 3))))
    name = rng.choice(("x", "y", "x", "if", "a b", "n", None, ""))
    return gt.tensor(name, rng.choice(DTYPES), shape)


def argument(rng: random.Random, pool: list[Tensor]) -> Any:
    """Mostly what makes sense, so that calls get far."""
    kind = rng.random()
    if kind < 0.65 and pool:
        return rng.choice(pool)
    if kind < 0.8:
        return rng.choice(NUMBERS)
    if kind < 0.88:
        return rng.choice(ARRAYS)
    if kind < 0.93 and pool:
        return [rng.choice(pool) for _ in range(rng.randrange(3))]
    return rng.choice(JUNK)


def call(rng: random.Random, pool: list[Tensor]) -> tuple[str, Callable[[], Any]]:
    """What is called, in words, and the call."""
    kind = rng.random()
    x = rng.choice(pool)
    if kind < 0.1:
        index = tuple(argument(rng, pool) for _ in range(rng.randrange(4)))
        return f"{x!r}[{index!r}]", lambda: x[index if len(index) != 1 else index[0]]
    if kind < 0.16:
        index, value = argument(rng, pool), argument(rng, pool)
        mode = rng.choice(("set", "add"))
        return f"{x!r}.at[{index!r}].{mode}({value!r})", lambda: getattr(x.at[index], mode)(value)
    if kind < 0.2:
        name, values = rng.choice(METHODS), [argument(rng, pool) for _ in range(rng.randrange(2))]

        def method() -> Any:
            found = getattr(x, name)
            return found(*values) if callable(found) else found

        return f"{x!r}.{name}{values!r}", method
    if kind < 0.3:
        name = rng.choice(("grad", "jacobian", "hessian", "value_and_grad"))
        wrt = rng.choice((rng.choice(pool), [rng.choice(pool)], argument(rng, pool)))
        cost = x if rng.random() < 0.3 else gt.sum(x)
        return f"gradc.{name}({cost!r}, {wrt!r})", lambda: getattr(gradc, name)(cost, wrt)
    name = rng.choice(NAMES)
    function = getattr(gt, name)
    parameters = list(inspect.signature(function).parameters)
    count = min(len(parameters), rng.choice((1, 1, 2, 2, 3, 4)))
    values = [argument(rng, pool) for _ in range(count)]
    named: dict[str, Any] = {}
    if rng.random() < 0.2 and len(parameters) > count:
        named[rng.choice(parameters[count:])] = argument(rng, pool)
    return f"gt.{name}(*{values!r}, **{named!r})", lambda: function(*values, **named)


def attempt(text: str, work: Callable[[], Any], allowed: tuple[type[BaseException], ...]) -> Any:
    """What the call gives; None for an error that is allowed. Raises for a defect."""
    try:
        return work()
    except allowed as error:
        if not str(error).strip():
            raise AssertionError(f"{text} raises {type(error).__name__} without a word") from error
    except TypeError as error:
        if "argument" not in str(error):  # Python's own, of the signature
            raise AssertionError(f"{text} raises {error!r}") from error
    except Exception as error:
        raise AssertionError(f"{text} raises {error!r}") from error
    return None


def arrays_for(rng: random.Random, fn: gradc.CompiledFunction) -> list[Any]:
    """Arguments of the right kind for some sizes, one of them replaced by anything at times."""
    lengths = {name: rng.choice((0, 1, 2, 3, 7)) for name in fn.ir.sizes}
    numbers = np.random.default_rng(rng.randrange(2**32))
    found: list[Any] = []
    for parameter in fn.ir.parameters:
        shape = [eval(str(dim), {}, dict(lengths)) for dim in parameter.shape]
        array = numbers.integers(-3, 4, size=shape) + 0.25 * (parameter.dtype.kind == "f")
        found.append(np.asarray(array).astype(parameter.dtype.numpy))
    if found and rng.random() < 0.4:
        found[rng.randrange(len(found))] = argument(rng, [])
    return found


def check_program(seed: int) -> None:
    """A few calls; then all that came out of them as one compiled function."""
    rng = random.Random(seed)
    leaves = [variable(rng) for _ in range(rng.randrange(1, 4))]
    pool = list(leaves)
    for _ in range(rng.randrange(2, 8)):
        text, work = call(rng, pool)
        made = attempt(text, work, (gradc.GradcError,))
        made = made if isinstance(made, tuple | list) else [made]
        pool.extend(part for part in made if isinstance(part, Tensor))
    if rng.random() < 0.3:
        outputs = pool[-2:]
        text = f"gradc.function({leaves!r}, {outputs!r})"
        fn = attempt(text, lambda: gradc.function(leaves, outputs), (gradc.GradcError,))
        if fn is not None:
            check_calls(rng, fn)


def check_calls(rng: random.Random, fn: gradc.CompiledFunction) -> None:
    for _ in range(3):
        values = arrays_for(rng, fn)
        text = f"{fn!r} at {values!r} of\n{fn}"
        if rng.random() < 0.2:
            out = rng.choice((argument(rng, []), [argument(rng, []) for _ in range(2)], values))
            attempt(text, lambda: fn(*values, out=out), CALL_ERRORS)  # noqa: B023
            values = arrays_for(rng, fn)
        found = attempt(text, lambda: fn(*values), CALL_ERRORS)  # noqa: B023
        if found is None:
            continue
        given = [
            np.asarray(v, p.dtype.numpy) for v, p in zip(values, fn.ir.parameters, strict=True)
        ]
        try:
            with np.errstate(all="ignore"):
                wanted = evaluate(fn.ir, *given)
        except IndexError:  # of an index that no entry of a result is read by
            continue
        for a, b in zip(found, wanted, strict=True):
            assert np.shape(a) == np.shape(b), text
            tolerance = 1e-3 if b.dtype == np.float32 else 1e-7
            # A zero of a constant may stay zero beside an infinity, see docs/numerics.md.
            b = np.where(np.isnan(b) & (a == 0), 0, b) if b.dtype.kind == "f" else b
            scale = np.max(np.abs(b[np.isfinite(b)]), initial=1.0) if b.dtype.kind == "f" else 1.0
            np.testing.assert_allclose(a, b, tolerance, tolerance * scale, err_msg=text)


def main() -> None:
    """Run programs until one fails; the seed of that one repeats it."""
    first, count = int(sys.argv[1]), int(sys.argv[2])
    for seed in range(first, first + count):
        sys.stderr.write(f"\r{seed}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                check_program(seed)
            except Exception as error:
                text = str(error).strip()[:1500]
                print(f"\nseed {seed}: {type(error).__name__}: {text}")


if __name__ == "__main__":
    main()
