"""Functions of C: `extern fn dot(x: f64[n], y: f64[n]) -> f64 from "dot.c"`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gradc import syntax
from gradc.diagnostics import Diagnostic, Refused, refuse
from gradc.elaborate_body import declared_results, result_names
from gradc.elaborate_header import bind_parameters, collected
from gradc.errors import GradcValueError
from gradc.expressions import POISON, Scope
from gradc.external import called_once, declare_external
from gradc.function_table import did_you_mean
from gradc.ir.function import Function, Value, function
from gradc.ir.span import Span, at
from gradc.ir.types import ArrayType


def elaborate_external(
    item: syntax.FunctionItem, origin: syntax.Origin, module: Scope, errors: list[Diagnostic]
) -> Function | object:
    """The function that calls the C function, or POISON where errors were found."""
    count = len(errors)
    scope = module.inner()
    parameters = bind_parameters(item.head, scope, errors)
    with collected(errors, item.head.span):
        declared = declared_results(item.head, scope)
        if declared is None:
            advice = f"write `-> type` behind it: `extern fn {item.name.text}(...) -> f64`"
            message = f"`{item.name.text}` does not say what it gives"
            raise refuse("G0311", message, item.head.span, help=(advice,))
        paths = [_path(text, scope) for text in origin.files]
        names = result_names(item.head, scope)
        if len(errors) == count:
            results = _called(item, origin, parameters, declared.types, paths)
            return function(item.name.text, parameters, results, result_names=names)
    return POISON


def _path(text: syntax.Text, scope: Scope) -> Path:
    """The file, beside the source that names it. Raises Refused where there is none."""
    given = Path(text.text)
    if given.is_absolute():
        message = "a file of C is named relative to the source that names it"
        raise refuse("G0602", message, text.span, "this path is of one machine")
    path = Path(scope.file).parent / given
    if path.is_file():
        return path
    folder = path.parent
    beside = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    advice = [a.replace("?", f", in {folder}?") for a in did_you_mean(given.name, beside)]
    raise refuse("G0602", f"there is no file {path}", text.span, help=advice)


def _called(
    item: syntax.FunctionItem,
    origin: syntax.Origin,
    parameters: Sequence[Value],
    results: Sequence[ArrayType],
    paths: Sequence[Path],
) -> tuple[Value, ...]:
    symbol = origin.symbol.text if origin.symbol else item.name.text
    try:
        external = declare_external(
            symbol,
            [parameter.type for parameter in parameters],
            results,
            paths,
            status=origin.status is not None,
            by_value=len(results) == 1 and not results[0].shape and origin.status is None,
            name=item.name.text,
        )
    except GradcValueError as error:
        place = origin.symbol.span if origin.symbol else item.name.span
        raise _refused(error, place) from error
    with at(None):  # the place is that of the call
        return called_once(external, parameters)


def _refused(error: GradcValueError, place: Span) -> Refused:
    return refuse("G0602", str(error).partition("\n")[0], place)
