"""Reading sources and writing results, for the commands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gradc.cli import UsageError, show
from gradc.codegen.whole_file import write_whole
from gradc.codes import CODES
from gradc.diagnostics import Diagnostic, DiagnosticError, Refused, refuse
from gradc.ir.span import Span
from gradc.lexer import MAX_SOURCE, decode

if TYPE_CHECKING:
    from gradc.elaborate import ElaboratedModule
    from gradc.ir.function import Function

STANDARD_INPUT = "<stdin>"
MAX_BYTES = 4 * MAX_SOURCE + 3  # of a source file: its characters, and a byte order mark


def read_source(file: str) -> tuple[str, str]:
    """The text of a source file, and its name in diagnostics; `-` is standard input."""
    name = STANDARD_INPUT if file == "-" else file
    data = _read(file)
    try:
        if len(data) > MAX_BYTES:
            message = f"this file is too large: a source file has at most {MAX_SOURCE} characters"
            raise refuse("G0107", message, Span(name, 1, 1, 1, 2))
        return decode(data, name), name
    except Refused as refused:
        raise DiagnosticError((refused.diagnostic,), {}) from refused


def _read(file: str) -> bytes:
    """The bytes of a file, of one that is too large only as many as show that it is."""
    if file != "-":
        with open(file, "rb") as source:
            return source.read(MAX_BYTES + 1)
    if sys.stdin is None:
        raise OSError("standard input is closed")
    return sys.stdin.buffer.read(MAX_BYTES + 1)


def refuse_to_overwrite(source: str, outputs: Iterable[str | Path]) -> None:
    """Raise UsageError where a result would be written over the source file."""
    for output in outputs:
        with suppress(OSError):
            if os.path.samefile(source, output):
                raise UsageError(f"{output} is the source file, and would be overwritten")


def read_module(
    options: argparse.Namespace, source: tuple[str, str] | None = None
) -> ElaboratedModule:
    """The functions of the source file, which may have been read already, after its warnings.

    Raises DiagnosticError for errors, and for warnings where these are denied.
    """
    from gradc.elaborate import elaborate_source

    module = elaborate_source(*(source or read_source(options.file)))
    warnings = shown_warnings(module, options)
    if warnings and options.deny_warnings:
        raise DiagnosticError(warnings, module.sources)
    if warnings and not getattr(options, "json", False):
        show(warnings, module.sources, options)
    return module


def shown_warnings(module: ElaboratedModule, options: argparse.Namespace) -> tuple[Diagnostic, ...]:
    """The warnings that the command line does not allow."""
    check_allowed(options)
    if "all" in options.allow:
        return ()
    return tuple(w for w in module.warnings if w.code not in options.allow)


def check_allowed(options: argparse.Namespace) -> None:
    """Raise UsageError where a warning is to be allowed that there is not."""
    known = [code for code, _ in CODES if code.startswith("G07")]
    for code in options.allow:
        if code not in (*known, "all"):
            raise UsageError(f"--allow {code}: no such warning; there are all, {', '.join(known)}")


def choose(functions: Mapping[str, Function], name: str) -> Function:
    """The function called `name`; UsageError lists those there are."""
    if name in functions:
        return functions[name]
    from gradc.function_table import did_you_mean

    close = "".join(f", {advice}" for advice in did_you_mean(name, tuple(functions)))
    have = f"there are {', '.join(functions)}" if functions else "the file declares none"
    raise UsageError(f"no function `{name}`{close} ({have})")


def write_file(path: str, data: bytes) -> None:
    """Write a file whole or not at all; a device or a pipe is written to, not replaced."""
    target = Path(path)
    if target.exists() and not target.is_file():
        target.write_bytes(data)
    else:
        write_whole(target, data)


def write_text(text: str, path: str | None) -> None:
    """Write to a file, or to standard output."""
    if path is None:
        sys.stdout.write(text)
    else:
        write_file(path, text.encode())
