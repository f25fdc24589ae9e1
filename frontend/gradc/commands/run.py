"""`gradc run`: compile one function in this process and call it."""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
from typing import Any

import numpy as np

from gradc.cli import FAILED, OK, UsageError
from gradc.commands.source import choose, read_module, refuse_to_overwrite, write_file
from gradc.driver import CompiledFunction
from gradc.ir.function import Function, Value
from gradc.trap import NotFinite, NotFiniteError, find_not_finite

_NOT_JSON = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def run_function(options: argparse.Namespace) -> int:
    """Print the results as JSON, or write them to an .npz file."""
    if options.output:
        refuse_to_overwrite(options.file, (options.output,))
    module = read_module(options)
    (text,) = module.sources.values()
    fn = choose(module.functions, options.function)
    arguments = _arguments(fn, options.arg)
    try:
        found = CompiledFunction(fn, len(fn.results) == 1, bool(options.trap_nan))(*arguments)
        origin = None
        if options.trap_nan == "everywhere":
            origin = find_not_finite(fn, *arguments, everywhere=True)
    except NotFiniteError as error:
        return _report(fn, error.origin, text)
    except (TypeError, ValueError, IndexError) as error:
        raise UsageError(str(error)) from error
    if origin is not None:
        return _report(fn, origin, text)
    results = found if isinstance(found, tuple) else (found,)
    names = fn.result_names or ("result",)
    if len(names) != len(results):
        names = tuple(f"result{i}" for i in range(len(results)))
    named = dict(zip(names, results, strict=True))
    if options.output:
        data = io.BytesIO()
        np.savez(data, **named)
        write_file(options.output, data.getvalue())
    else:
        print(json.dumps({name: _as_json(np.asarray(x).tolist()) for name, x in named.items()}))
    return OK


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


def _arguments(fn: Function, given: list[str]) -> list[Any]:
    """The arguments by position, from `name=value` texts."""
    texts: dict[str, str] = {}
    have = f"the parameters are {', '.join(fn.parameter_names) or 'none'}"
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--arg {text}: expected NAME=VALUE")
        if name not in fn.parameter_names:
            raise UsageError(f"`{fn.name}` has no parameter `{name}`; {have}")
        if name in texts:
            raise UsageError(f"the argument `{name}` is given twice")
        texts[name] = value
    missing = [name for name in fn.parameter_names if name not in texts]
    if missing:
        raise UsageError(f"no value for {', '.join(missing)}; {have}: add --arg {missing[0]}=...")
    pairs = zip(fn.parameter_names, fn.parameters, strict=True)
    return [_argument(name, parameter, texts[name]) for name, parameter in pairs]


def _argument(name: str, parameter: Value, text: str) -> Any:
    """The array that a text stands for, in the parameter's dtype."""
    try:
        found = _read(text, len(parameter.shape))
        _check_rows(found)
        array = np.asarray(found)
    except (ValueError, EOFError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise UsageError(f"--arg {name}: {reason}") from error
    wanted = parameter.dtype.numpy
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
