"""`gradc check`, `gradc build`, `gradc emit`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradc.cli import OK, UsageError
from gradc.commands.source import (
    choose,
    read_module,
    read_source,
    refuse_to_overwrite,
    shown_warnings,
    write_text,
)
from gradc.diagnostics import to_json
from gradc.elaborate import ElaboratedModule
from gradc.ir.function import Function
from gradc.ir.span import Span
from gradc.ir.text import print_function
from gradc.parser import parse_source

if TYPE_CHECKING:
    from gradc.codegen.target import Target


def check_source(options: argparse.Namespace) -> int:
    """Report errors; without any, say what the file declares."""
    module = read_module(options)
    if options.json:
        sys.stdout.write(to_json(shown_warnings(module, options)))
        return OK
    for name, fn in module.functions.items():
        mark = "export " if name in module.exports else ""
        print(f"{mark}{signature(name, fn)}")
    return OK


def signature(name: str, fn: Function) -> str:
    """`loss(w: f64[d], ...) -> f64`."""
    pairs = zip(fn.parameter_names, fn.parameters, strict=True)
    inputs = ", ".join(f"{parameter}: {value.type}" for parameter, value in pairs)
    names = fn.result_names or ("",) * len(fn.results)
    outputs = [
        f"{result}: {value.type}" if result and len(fn.results) > 1 else str(value.type)
        for result, value in zip(names, fn.results, strict=True)
    ]
    result = outputs[0] if len(outputs) == 1 else f"({', '.join(outputs)})"
    return f"{name}({inputs}) -> {result}"


def build_library(options: argparse.Namespace) -> int:
    """Write the library, the header and the manifest; or stop after a pass and print."""
    from gradc.ir.passes.pipeline import DEFAULT

    passes = {work.__name__ for work in DEFAULT}
    for wanted in (options.print_after, options.stop_after):
        if wanted is not None and wanted not in passes:
            raise UsageError(f"no pass `{wanted}`; the passes are {', '.join(sorted(passes))}")
    module = read_module(options)
    if not module.exports:
        name = "standard input" if options.file == "-" else options.file
        raise UsageError(f"{name} exports nothing; add `export name`")
    if options.stop_after or options.print_after or options.time_passes:
        _observe_passes(module.exports, options)
    if options.stop_after:
        return OK
    _dump_stages(module.exports, os.environ.get("GRADC_DUMP"))
    return _link(module, options)


def _link(module: ElaboratedModule, options: argparse.Namespace) -> int:
    from gradc.codegen.link import LinkError
    from gradc.libraries import build_library, output_files

    target = _target(options)
    try:
        refuse_to_overwrite(options.file, output_files(Path(options.output)))
    except ValueError as error:
        raise UsageError(str(error).removeprefix("build: ")) from error
    try:
        fast = tuple(module.exports) if options.fast_math else ()
        exports, texts = module.exports, module.documentation
        report = build_library(Path(options.output), exports, texts, target, fast)
    except LinkError as error:
        raise OSError(str(error)) from error
    if options.json:
        written = {str(path): report.bytes[path.name] for path in report.files}
        warnings = shown_warnings(module, options)
        sys.stdout.write(to_json(warnings, bytes=written, seconds=report.seconds))
        return OK
    for file in report.files:
        print(f"{file}  {report.bytes[file.name]:,} bytes")
    if options.time_passes:
        for stage, seconds in report.seconds.items():
            print(f"{1e3 * seconds:9.2f} ms  {stage}")
    return OK


def _observe_passes(exports: Mapping[str, Function], options: argparse.Namespace) -> None:
    for name, fn in exports.items():
        passes = enumerate(_passes(fn, options.stop_after), 1)
        for number, (title, seconds, made, changed) in passes:
            if options.time_passes:
                note = "" if changed else "  unchanged"
                print(f"{1e3 * seconds:9.2f} ms  {name}  {number:02} {title}{note}")
            if title in (options.print_after, options.stop_after):
                print(f"-- {name} after {number:02} {title}\n{print_function(made)}")


def _passes(fn: Function, last: str | None) -> list[tuple[str, float, Function, bool]]:
    """Name, seconds, result and whether it changed anything, for each pass up to `last`."""
    from gradc.ir.passes.pipeline import DEFAULT, Observer, optimize

    seen: list[tuple[str, float, Function, bool]] = []

    def observe(title: str, made: Function, seconds: float, changed: bool) -> None:
        seen.append((title, seconds, made, changed))

    watch: Observer = observe
    names = [work.__name__ for work in DEFAULT]
    count = names.index(last) + 1 if last is not None else len(names)
    optimize(fn, DEFAULT[:count], observe=watch)
    return seen


def _dump_stages(exports: Mapping[str, Function], folder: str | None) -> None:
    """Write every stage of every export, numbered, where GRADC_DUMP says."""
    if not folder:
        return
    from gradc.driver import CompiledFunction

    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, fn in exports.items():
        texts = [("ir", print_function(fn))]
        for title, seconds, made, changed in _passes(fn, None):
            note = f"-- {1e3 * seconds:.2f} ms{'' if changed else ', unchanged'}\n"
            texts.append((title, note + print_function(made)))
        compiled = CompiledFunction(fn, len(fn.results) == 1)
        texts += [(stage, compiled.stage(stage)) for stage in ("loops", "llvm", "asm")]
        for number, (title, text) in enumerate(texts):
            write_text(text, str(Path(folder) / f"{name}.{number:02}.{title}.txt"))


def emit_stage(options: argparse.Namespace) -> int:
    """Print functions at a stage."""
    if options.output:
        refuse_to_overwrite(options.file, (options.output,))
    if options.stage == "syntax":
        module = parse_source(*read_source(options.file))
        items = [item for item in module.items if options.function in (None, item.name.text)]
        if not items and options.function is not None:
            raise UsageError(f"no declaration `{options.function}`")
        write_text("".join(f"{show_tree(item)}\n" for item in items), options.output)
        return OK
    elaborated = read_module(options)
    chosen = _chosen(elaborated, options.function)
    text = "\n".join(_stage(fn, options) for fn in chosen.values())
    write_text(text if text.endswith("\n") else text + "\n", options.output)
    return OK


def _chosen(module: ElaboratedModule, name: str | None) -> Mapping[str, Function]:
    if name is not None:
        return {name: choose(module.functions, name)}
    chosen = module.exports or module.functions
    if not chosen:
        raise UsageError("the file declares no function")
    return chosen


def _stage(fn: Function, options: argparse.Namespace) -> str:
    from gradc import forms
    from gradc.driver import CompiledFunction

    if options.stage == "gradient":
        wrt = tuple(
            name
            for name, p in zip(fn.parameter_names, fn.parameters, strict=True)
            if p.dtype.is_float
        )
        if not wrt:
            raise UsageError(f"`{fn.name}` has no parameter of a float type")
        is_scalar = len(fn.results) == 1 and fn.results[0].shape == ()
        return print_function((forms.value_and_grad if is_scalar else forms.vjp)(fn, wrt))
    compiled = CompiledFunction(fn, len(fn.results) == 1, fast_math=options.fast_math)
    return compiled.stage(options.stage, _target(options))


def _target(options: argparse.Namespace) -> Target:
    from gradc.codegen.target import CompileError, parse_target

    try:
        return parse_target(options.target)
    except (ValueError, CompileError) as error:
        raise UsageError(str(error)) from error


def show_tree(node: object, depth: int = 0) -> str:
    """A syntax tree as indented text."""
    indent = "  " * depth
    if isinstance(node, tuple):
        parts = ("\n" + show_tree(part, depth).removeprefix("\n") for part in node)
        return "".join(parts) or " none"
    if not is_dataclass(node):
        return f" {node!r}"
    lines = f"{indent}{type(node).__name__}{_where(node)}"
    for entry in fields(node):
        value = getattr(node, entry.name)
        if entry.name in ("span", "height") or value is None or value == "":
            continue
        is_node = is_dataclass(value)
        shown = f"\n{show_tree(value, depth + 2)}" if is_node else show_tree(value, depth + 2)
        lines += f"\n{indent}  {entry.name}:{shown}"
    return lines


def _where(node: object) -> str:
    span: Span | None = getattr(node, "span", None)
    if span is None:
        return ""
    return f" {span.line}:{span.column}-{span.end_line}:{span.end_column}"
