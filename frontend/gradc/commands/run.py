"""`gradc run`: compile one function in this process and call it."""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gradc.cli import FAILED, OK, UsageError
from gradc.commands.source import (
    check_allowed,
    choose,
    read_module,
    read_source,
    refuse_to_overwrite,
    write_file,
)
from gradc.ir.types import DTYPES_BY_NAME
from gradc.native import function_of_source, keep_for_source
from gradc.runtime.manifest import ArrayEntry

if TYPE_CHECKING:
    from gradc.driver import CompiledFunction
    from gradc.elaborate import ElaboratedModule
    from gradc.ir.function import Function
    from gradc.trap import NotFinite

_NOT_JSON = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def run_function(options: argparse.Namespace) -> int:
    """Print the results as JSON, or write them to an .npz file."""
    if options.output:
        refuse_to_overwrite(options.file, (options.output,))
    check_allowed(options)
    source = read_source(options.file)
    known = None if options.trap_nan else function_of_source(source[0], options.function)
    if known is None:
        return _run_from_source(options, source)
    arguments = _arguments(options.function, known.inputs, options.arg)
    names = tuple(array.name for array in known.outputs)
    _write(_called(known, arguments), () if names == _unnamed(names) else names, options.output)
    return OK


def _run_from_source(options: argparse.Namespace, source: tuple[str, str]) -> int:
    """Run a function after its source has been elaborated."""
    from gradc.driver import CompiledFunction

    module = read_module(options, source)
    fn = choose(module.functions, options.function)
    arguments = _arguments(fn.name, _entries(fn), options.arg)
    compiled = CompiledFunction(fn, len(fn.results) == 1, bool(options.trap_nan))
    if options.trap_nan:
        results = _trapped(compiled, arguments, options.trap_nan == "everywhere")
    else:
        results = _called(compiled, arguments)
    if not isinstance(results, tuple):
        return _report(fn, results, source[0])
    _write(results, fn.result_names, options.output)
    if _says_all(module, fn):
        keep_for_source(source[0], fn)
    return OK


def _trapped(
    compiled: CompiledFunction, arguments: Sequence[Any], everywhere: bool
) -> tuple[Any, ...] | NotFinite:
    """The results, or what was not finite in them, or anywhere."""
    from gradc.trap import NotFiniteError, find_not_finite

    try:
        results = _called(compiled, arguments)
    except NotFiniteError as error:
        return error.origin
    origin = find_not_finite(compiled.ir, *arguments, everywhere=True) if everywhere else None
    return results if origin is None else origin


def _says_all(module: ElaboratedModule, fn: Function) -> bool:
    """Whether the compiled function, and its manifest, are all that there is to the source."""
    from gradc.ir.ops.external import external_calls

    external = any(map(external_calls, module.functions.values()))
    named = not fn.result_names or fn.result_names != _unnamed(fn.result_names)
    return named and not external and not module.warnings


def _unnamed(results: Sequence[object]) -> tuple[str, ...]:
    """What a manifest calls results that have no names."""
    return tuple(f"out{i}" for i in range(len(results)))


def _called(function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[Any, ...]:
    """The results; UsageError for arguments that the function refuses."""
    try:
        found = function(*arguments)
    except (TypeError, ValueError, IndexError) as error:
        raise UsageError(str(error)) from error
    return found if isinstance(found, tuple) else (found,)


def _write(results: Sequence[Any], names: Sequence[str], output: str | None) -> None:
    """Print the results, or write them to a file, under their names, if they have any."""
    names = names or ("result",)
    if len(names) != len(results):
        names = tuple(f"result{i}" for i in range(len(results)))
    named = dict(zip(names, results, strict=True))
    if output:
        data = io.BytesIO()
        np.savez(data, **named)
        write_file(output, data.getvalue())
    else:
        print(json.dumps({name: _as_json(np.asarray(x).tolist()) for name, x in named.items()}))


def _report(fn: Function, origin: NotFinite, text: str) -> int:
    """Say what made a result not finite, with its line of the source."""
    print(f"gradc run: `{fn.name}`: {origin}", file=sys.stderr)
    lines, span = text.splitlines(), origin.span
    if span is not None and 0 < span.line <= len(lines):
        stop = span.end_column if span.end_line == span.line else len(lines[span.line - 1]) + 1
        number, caret = str(span.line), "^" * max(stop - span.column, 1)
        line = lines[span.line - 1].replace("\t", " ")
        print(f"{number} | {line}", file=sys.stderr)
        print(f"{' ' * len(number)} | {' ' * (span.column - 1)}{caret}", file=sys.stderr)
    return FAILED


def _entries(fn: Function) -> list[ArrayEntry]:
    """The parameters as a manifest lists them."""
    pairs = zip(fn.parameter_names, fn.parameters, strict=True)
    return [ArrayEntry(name, p.dtype.name, tuple(map(str, p.shape))) for name, p in pairs]


def _arguments(name: str, parameters: Sequence[ArrayEntry], given: list[str]) -> list[Any]:
    """The arguments by position, from `name=value` texts."""
    texts: dict[str, str] = {}
    names = [parameter.name for parameter in parameters]
    have = f"the parameters are {', '.join(names) or 'none'}"
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--arg {text}: expected NAME=VALUE")
        if key not in names:
            raise UsageError(f"`{name}` has no parameter `{key}`; {have}")
        if key in texts:
            raise UsageError(f"the argument `{key}` is given twice")
        texts[key] = value
    missing = [key for key in names if key not in texts]
    if missing:
        raise UsageError(f"no value for {', '.join(missing)}; {have}: add --arg {missing[0]}=...")
    return [_argument(parameter, texts[parameter.name]) for parameter in parameters]


def _argument(parameter: ArrayEntry, text: str) -> Any:
    """The array that a text stands for, in the parameter's dtype."""
    name = parameter.name
    try:
        found = _read(text, len(parameter.shape))
        _check_rows(found)
        array = np.asarray(found)
    except (ValueError, EOFError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise UsageError(f"--arg {name}: {reason}") from error
    wanted = DTYPES_BY_NAME[parameter.dtype].numpy
    if array.dtype == object or not np.can_cast(array.dtype, wanted, "same_kind"):
        raise UsageError(f"--arg {name}: expected {parameter.type}, given {array.dtype} data")
    if array.ndim != len(parameter.shape):
        shown = list(array.shape) if array.ndim else "a number"
        raise UsageError(f"--arg {name}: expected {parameter.type}, given {shown}")
    return np.ascontiguousarray(array, wanted).reshape(array.shape)


def _read(text: str, rank: int) -> Any:
    if not text.startswith("@"):
        return _from_json(text)
    file = text[1:]
    if file.endswith(".npy"):
        return np.load(file, allow_pickle=False)
    if file.endswith(".csv"):
        rows = np.loadtxt(file, delimiter=",", ndmin=2)
        return rows.ravel() if rank < 2 and 1 in rows.shape else rows
    raise ValueError(f"{file}: files are read from .npy and .csv")


def _check_rows(value: Any) -> None:
    """Raise ValueError where lists beside one another differ in length."""
    if not isinstance(value, list):
        return
    lengths = {len(part) if isinstance(part, list) else -1 for part in value}
    if len(lengths) > 1:
        raise ValueError("the rows of an array have one length")
    for part in value:
        _check_rows(part)


def _from_json(text: str) -> Any:
    try:
        value = json.loads(_NOT_JSON_TEXT.get(text, text))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{text[:40]!r} is neither a number nor JSON ({error.msg}); a file is @file.npy"
        ) from error
    return _from_words(value)


_NOT_JSON_TEXT = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _from_words(value: Any) -> Any:
    """JSON has no infinities: they are written as the texts "inf", "-inf", "nan"."""
    if isinstance(value, list):
        return [_from_words(part) for part in value]
    if isinstance(value, str) and value in _NOT_JSON:
        return _NOT_JSON[value]
    if isinstance(value, str | dict) or value is None:
        raise ValueError(f"{json.dumps(value)[:40]} is no number")
    return value


def _as_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_json(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value
