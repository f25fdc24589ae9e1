"""The exceptions of the call path: each names the argument, what was expected, what was given.

The C code calls these by name (`raise_error` in csrc) and raises what they return.
"""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np
from gradc.runtime.dims import SIZE, compile_dim, evaluate
from gradc.runtime.manifest import DTYPES, ArrayEntry, FunctionEntry

OUT_OF_MEMORY, NEGATIVE_SIZE, INDEX_OUT_OF_RANGE, EXTERNAL = 1, 2, 3, 4

_NUMPY_NAMES = dict(zip(DTYPES, ("float64", "float32", "int64", "int32", "bool"), strict=True))


def wrong_arguments(
    entry: FunctionEntry, positional: int, keywords: tuple[str, ...] | None
) -> TypeError:
    """Too many arguments, an unknown or repeated name, or missing arguments."""
    names = entry.parameter_names
    expected = f"{entry.name}({', '.join(names)})"
    if positional > len(names):
        return TypeError(f"{expected} takes {_count(len(names), 'argument')}, {positional} given")
    for name in keywords or ():
        if name in names[:positional]:
            return TypeError(f"{expected}: {name} is given twice, by position and by name")
        if name not in names:
            return TypeError(f"{expected} has no parameter {name!r}")
    missing = [name for name in names[positional:] if name not in (keywords or ())]
    return TypeError(f"{expected}: {', '.join(missing)} {_is_are(missing)} missing")


def not_an_array(entry: FunctionEntry, i: int, given: object) -> TypeError | ValueError:
    """An object that NumPy cannot make an array of the wanted dtype from."""
    array = entry.inputs[i]
    kind = ValueError if isinstance(given, list | tuple) else TypeError
    return kind(f"{array.name}: expected {array.type}, got {_describe(given)}")


def wrong_dtype(entry: FunctionEntry, i: int, given: Any, original: object) -> TypeError:
    """A dtype that does not cast safely to the wanted one."""
    array = entry.inputs[i]
    wanted = _NUMPY_NAMES[array.dtype].replace("bool", "bool_")
    is_array = isinstance(original, np.ndarray | np.generic | list | tuple)
    got = _describe(given if is_array and given.dtype != object else original)
    if given.dtype.kind not in "biuf":
        return TypeError(f"{array.name}: expected {array.type}, got {got}")
    where = f"{array.name}.astype(np.{wanted})" if given.ndim else f"np.{wanted}({array.name})"
    return TypeError(
        f"{array.name}: expected {array.type}, got {got}; gradc converts only where nothing can "
        f"be lost: pass {where} if that is what you mean"
    )


def wrong_rank(entry: FunctionEntry, i: int, given: Any) -> TypeError | ValueError:
    """An array with too many or too few axes; NumPy makes one without axes of None, say."""
    array = entry.inputs[i]
    if given.dtype == object and given.ndim == 0:
        return not_an_array(entry, i, given.item())
    axes = "a scalar" if not array.shape else _count(len(array.shape), "axis", "axes")
    return ValueError(
        f"{array.name}: expected {array.type} ({axes}), got {_describe(given)} "
        f"({_count(given.ndim, 'axis', 'axes')})"
    )


def out_of_range(entry: FunctionEntry, i: int, given: object) -> OverflowError:
    """A Python integer, or a list with one, that the dtype cannot hold."""
    array = entry.inputs[i]
    return OverflowError(f"{array.name}: {_text(given)} does not fit {array.dtype}")


def wrong_size(entry: FunctionEntry, step: int, shapes: tuple[tuple[int, ...], ...]) -> ValueError:
    """An axis whose length no size gives, or that disagrees with sizes bound by other axes."""
    i, axis, solved, program = entry.steps[step]
    array, length = entry.inputs[i], shapes[i][axis]
    dim = array.shape[axis]
    if isinstance(dim, int):
        return ValueError(
            f"{array.name}: expected {array.type}, but axis {axis} of the {array.name} given has "
            f"length {length}, not {dim} (shape {shapes[i]})"
        )
    place = f"{array.name} has length {length} on axis {axis} ({array.type}: {dim})"
    bound = _bound_sizes(entry, step, shapes)
    if solved >= 0:
        return ValueError(f"{place}, which no {entry.sizes[solved]} gives{_known(bound)}")
    value = evaluate(program, [bound[name][0] if name in bound else 0 for name in entry.sizes])
    needed = "" if program[0][0] == SIZE and len(program) == 1 else f", so {dim} = {value}"
    read = {name: bound[name] for k, name in enumerate(entry.sizes) if (SIZE, k) in program}
    says = " and ".join(
        f"{origin} says {name} = {number}" for name, (number, origin) in read.items()
    )
    return ValueError(f"{place}, but {says}{needed}")


def failed_requirement(entry: FunctionEntry, i: int, sizes: tuple[int, ...]) -> ValueError:
    """A condition on the sizes that this call does not meet."""
    return ValueError(f"{entry.name}: {entry.requires[i].why}{_values(entry, sizes)}")


def failed_status(entry: FunctionEntry, status: int, sizes: tuple[int, ...]) -> Exception:
    """What a native function returned instead of 0."""
    if status == OUT_OF_MEMORY:
        return MemoryError(f"{entry.name}: out of memory{_values(entry, sizes)}")
    if status == INDEX_OUT_OF_RANGE:
        return IndexError(f"{entry.name}: an index is out of range{_values(entry, sizes)}")
    if status == NEGATIVE_SIZE:
        return ValueError(f"{entry.name}: a size is negative{_values(entry, sizes)}")
    if status == EXTERNAL:
        return RuntimeError(
            f"{entry.name}: an external function reported a failure{_values(entry, sizes)}"
        )
    if status < 0 and -1 - status < len(entry.requires):
        return failed_requirement(entry, -1 - status, sizes)
    return RuntimeError(f"{entry.name} returned the unknown status {status}{_values(entry, sizes)}")


def no_workspace(entry: FunctionEntry, needed: int, sizes: tuple[int, ...]) -> MemoryError:
    """A workspace that cannot be allocated, or whose size exceeds 64 bits (`needed` < 0)."""
    amount = f"{needed} bytes" if needed >= 0 else "more memory than there can be"
    return MemoryError(f"{entry.name}: the workspace needs {amount}{_values(entry, sizes)}")


def bad_output(entry: FunctionEntry, j: int, sizes: tuple[int, ...]) -> ValueError:
    """An output's length that is negative or has no value for these sizes."""
    array = entry.outputs[j]
    lengths = [evaluate(compile_dim(dim, entry.sizes), sizes) for dim in array.shape]
    shape = ", ".join("?" if length is None else str(length) for length in lengths)
    return ValueError(
        f"{entry.name}: the output {array} would have the shape ({shape}){_values(entry, sizes)}"
    )


def wrong_out(
    entry: FunctionEntry, j: int, given: Any, fault: str, shape: tuple[int, ...]
) -> TypeError | ValueError:
    """An array given as `out` that the output cannot be written into."""
    array = entry.outputs[j]
    expected = f"out for {array.name}: expected an array {_typed(array, shape)}"
    if fault == "kind":
        return TypeError(f"{expected}, got {_describe(given)}")
    if fault == "dtype":
        return TypeError(f"{expected}, got {_describe(given)}")
    if fault == "shape":
        return ValueError(f"{expected}, got {_describe(given)}")
    return ValueError(f"{expected} that can be written, got a read-only one")


def wrong_out_count(entry: FunctionEntry, given: object) -> TypeError:
    """`out` that is no array for a single output, or no tuple of the right length for several."""
    names = ", ".join(array.name for array in entry.outputs)
    what = f"a tuple of {len(given)}" if isinstance(given, tuple) else _describe(given)
    if len(entry.outputs) == 1:
        return TypeError(f"out: expected an array or a tuple of 1 ({names}), got {what}")
    expected = f"a tuple of {len(entry.outputs)} ({names}; None: a new array)"
    return TypeError(f"out: expected {expected}, got {what}")


def shared_out(entry: FunctionEntry, j: int, k: int) -> ValueError:
    """Two arrays of `out` that share memory."""
    first, second = entry.outputs[j].name, entry.outputs[k].name
    return ValueError(f"out: the arrays for {first} and {second} share memory; give each its own")


def bound_arguments(entry: FunctionEntry) -> TypeError:
    """A bound call that is given arguments."""
    return TypeError(
        f"{entry.name}: its arguments are bound, so a call takes none: write into the arrays that "
        "were given to bind, or bind again"
    )


def unbound_input(entry: FunctionEntry, i: int, given: object) -> TypeError:
    """An argument of `bind` that calls could not read in place."""
    array = entry.inputs[i]
    wanted = _NUMPY_NAMES[array.dtype].replace("bool", "bool_")
    return TypeError(
        f"{array.name}: bind reads an array in place at each call, so it takes a C-contiguous, "
        f"aligned {array.type} alone, got {_describe(given)}: bind "
        f"np.ascontiguousarray({array.name}, np.{wanted}), and write into that"
    )


def unbound_output(entry: FunctionEntry, j: int) -> ValueError:
    """An array given to `bind` as `out` that calls could not write in place, or None."""
    return ValueError(
        f"out for {entry.outputs[j].name}: a bound call writes in place, into a C-contiguous, "
        "aligned array that shares no memory with an input"
    )


def moved_input(entry: FunctionEntry, i: int) -> ValueError:
    """An input whose memory is no longer that which was bound."""
    return ValueError(f"{entry.inputs[i].name} has been resized since it was bound: bind again")


def moved_output(entry: FunctionEntry, j: int) -> ValueError:
    """An output whose memory is no longer that which was bound, or that became read-only."""
    return ValueError(
        f"out for {entry.outputs[j].name} has been resized, or made read-only, since it was "
        "bound: bind again"
    )


def _bound_sizes(
    entry: FunctionEntry, step: int, shapes: tuple[tuple[int, ...], ...]
) -> dict[str, tuple[int, str]]:
    """The sizes that the steps before `step` bound: value and the words for where."""
    values = [0] * len(entry.sizes)
    bound: dict[str, tuple[int, str]] = {}
    for i, axis, solved, program in entry.steps[:step]:
        if solved < 0:
            continue
        values[solved] = 0
        low = evaluate(program, values) or 0
        values[solved] = 1
        slope = (evaluate(program, values) or 0) - low
        values[solved] = (shapes[i][axis] - low) // slope if slope else 0
        array = entry.inputs[i]
        bound[entry.sizes[solved]] = (values[solved], f"axis {axis} of {array.name} ({array.type})")
    return bound


def _known(bound: dict[str, tuple[int, str]]) -> str:
    text = ", ".join(f"{name} = {value}" for name, (value, _) in bound.items())
    return f" ({text})" if text else ""


def _values(entry: FunctionEntry, sizes: tuple[int, ...]) -> str:
    text = ", ".join(f"{name} = {value}" for name, value in zip(entry.sizes, sizes, strict=True))
    return f" (here {text})" if text else ""


def _typed(array: ArrayEntry, shape: tuple[int, ...]) -> str:
    return f"{_NUMPY_NAMES[array.dtype]} of shape {shape}"


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray | np.generic):
        order = "" if value.dtype.isnative else ", byte-swapped"
        name = value.dtype.newbyteorder("=").name
        return f"{name} of shape {value.shape}{order}" if value.shape else f"a {name}{order}"
    return f"{_text(value)} ({type(value).__name__})"


def _text(value: object) -> str:
    """A short form of any object; Python does not print integers of thousands of digits."""
    if isinstance(value, int) and value.bit_length() > 1000:
        return f"an integer of {value.bit_length()} bits"
    text = reprlib.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _is_are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
