"""One `fn`: its parameters and sizes, its statements, its results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gradc import syntax
from gradc import tensor as gt
from gradc.diagnostics import Diagnostic, Label, Refused, refuse
from gradc.elaborate_header import (
    InternalError,
    bind_new,
    bind_parameters,
    check_name,
    collected,
    elaborate_type,
)
from gradc.expressions import (
    POISON,
    Evaluated,
    Poisoned,
    Scope,
    as_array,
    evaluate,
)
from gradc.ir.dims import SizeExpr
from gradc.ir.function import Function, Value, function
from gradc.ir.record import dataclass
from gradc.ir.span import Span, at
from gradc.ir.transforms.rebuild import unused_name
from gradc.ir.types import ArrayType
from gradc.static_values import (
    describe,
)
from gradc.tensor import Tensor


def elaborate_function(
    item: syntax.FunctionItem, module: Scope, errors: list[Diagnostic]
) -> Function | object:
    """The function, or POISON where errors were found."""
    count = len(errors)
    scope = module.inner()
    parameters = bind_parameters(item.head, scope, errors)
    results: list[Value] = []
    declared, is_known = None, False
    with collected(errors, item.head.span):
        declared = declared_results(item.head, scope)
        is_known = True
    with collected(errors, item.head.span):
        value, place = run_body(item, scope, errors)
        if is_known:
            results = _results(value, place, item, declared, scope)
    if len(errors) > count or not results:
        return POISON
    with collected(errors, item.head.span):
        names = result_names(item.head, scope)
        return function(item.name.text, parameters, results, result_names=names)
    return POISON


def result_names(head: syntax.Head, scope: Scope) -> list[str]:
    """Declared names, `result<i>` for results without one; none where no result has one."""
    declared = [r.name.text if r.name else "" for r in head.results or ()]
    if not any(declared):
        return []
    taken = {*declared, *(name for name, b in scope.values.items() if b.kind != "variable")}
    return [name or unused_name(f"result{i}", taken) for i, name in enumerate(declared)]


# Statements


def run_body(
    item: syntax.FunctionItem | syntax.Rule, scope: Scope, errors: list[Diagnostic]
) -> tuple[Evaluated, syntax.Expression]:
    """The value of the last statement, and where it stands."""
    if not item.body or item.body[-1].targets is not None:
        end = item.body[-1].span if item.body else item.span
        name = item.body[-1].targets[0].text if item.body and item.body[-1].targets else "x"
        raise refuse(
            "G0311",
            f"`{item.name.text}` has no result",
            end,
            help=(f"the last line of a function is its result, an expression: `{name}`",),
        )
    is_whole = not any(isinstance(s.value, syntax.Unreadable) for s in item.body)
    for statement in item.body[:-1]:
        with collected(errors, statement.span):
            _run_statement(statement, scope, is_whole)
    last = item.body[-1]
    with _defects_at(last.span):
        return evaluate(last.value, scope), last.value


@contextmanager
def _defects_at(span: Span) -> Iterator[None]:
    try:
        yield
    except (Refused, Poisoned, InternalError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise InternalError(span) from error


def _run_statement(statement: syntax.Statement, scope: Scope, is_whole: bool) -> None:
    """Bind what the statement binds; `is_whole`: all statements of the function could be read."""
    if statement.targets is None:
        evaluate(statement.value, scope)
        if not is_whole:
            return
        raise refuse(
            "G0312",
            "the value of this expression is not used",
            statement.span,
            help=("bind it to a name, or remove it",),
        )
    values: Sequence[object] = [POISON] * len(statement.targets)
    try:
        value = evaluate(statement.value, scope)
        values = _unpacked(value, statement, scope) if statement.unpacks else [value]
    finally:
        _bind_targets(statement.targets, values, scope)


def _bind_targets(targets: Sequence[syntax.Name], values: Sequence[object], scope: Scope) -> None:
    refused = None
    for target, value in zip(targets, values, strict=True):
        if isinstance(value, Tensor) and value.value.name is None and value.value.owner:
            value.value.name = target.text
        if target.text == "_":
            continue
        try:
            bind_new(target, value, "variable", scope)
        except Refused as error:
            refused = refused or error
    if refused is not None:
        raise refused


def _unpacked(value: Evaluated, statement: syntax.Statement, scope: Scope) -> Sequence[object]:
    """The parts of a tuple, or of an array whose first axis has a known length."""
    targets = statement.targets or ()
    count: object = len(value) if isinstance(value, tuple) else None
    if isinstance(value, Tensor) and value.shape:
        count = value.shape[0]
    if count != len(targets):
        what = describe(value)
        if isinstance(value, Tensor):
            what = f"an array of type {value.type}"
        first, last = targets[0].span, targets[-1].span
        raise refuse(
            "G0313",
            f"{len(targets)} names cannot be bound to {what}",
            Span(first.file, first.line, first.column, last.end_line, last.end_column),
            causes=(Label(statement.value.span, f"this is {what}"),),
        )
    if isinstance(value, tuple):
        return value
    with at(statement.span):
        return [value[i] for i in range(len(targets))]


# Results


@dataclass(frozen=True, slots=True)
class _Declared:
    types: tuple[ArrayType, ...]
    places: tuple[Span, ...]


def declared_results(head: syntax.Head, scope: Scope) -> _Declared | None:
    if head.results is None:
        return None
    seen: dict[str, Span] = {}
    for result in head.results:
        if result.name is not None:
            if result.name.text in seen:
                raise refuse(
                    "G0306",
                    f"two results are called `{result.name.text}`",
                    result.name.span,
                    causes=(Label(seen[result.name.text], "the first"),),
                )
            seen[result.name.text] = result.name.span
            _check_result_name(result.name, scope)
    types = tuple(elaborate_type(result.type, scope) for result in head.results)
    return _Declared(types, tuple(result.type.span for result in head.results))


def _check_result_name(name: syntax.Name, scope: Scope) -> None:
    check_name(name, "result")
    bound = scope.values.get(name.text)
    if bound is not None and bound.kind in ("parameter", "size"):
        raise refuse(
            "G0306",
            f"`{name.text}` names a {bound.kind} already",
            name.span,
            causes=(Label(bound.span, f"the {bound.kind}"),) if bound.span else (),
            help=("in C, results are parameters too: give each a name of its own",),
        )


def _results(
    value: Evaluated,
    place: syntax.Expression,
    item: syntax.FunctionItem,
    declared: _Declared | None,
    scope: Scope,
) -> list[Value]:
    """The result values, checked against the declared types."""
    values = value if isinstance(value, tuple) else (value,)
    nodes = place.items if isinstance(place, syntax.Tuple) else (place,) * len(values)
    if declared is not None and len(declared.types) != len(values):
        count = f"{len(declared.types)} result{'' if len(declared.types) == 1 else 's'}"
        message = f"`{item.name.text}` declares {count} and gives {len(values)}"
        places = declared.places
        causes = (Label(places[0], f"{len(places)} declared from here on"),) if places else ()
        raise refuse("G0314", message, place.span, f"{len(values)} given", causes=causes)
    if not values:
        raise refuse("G0311", f"`{item.name.text}` has no result", place.span)
    found = []
    for i, (part, node) in enumerate(zip(values, nodes, strict=True)):
        if declared is None:
            found.append(as_array(part, node.span).value)
        else:
            found.append(checked_result(part, node.span, declared.types[i], declared.places[i]))
    return found


def checked_result(value: Evaluated, span: Span, wanted: ArrayType, declared_at: Span) -> Value:
    is_number = isinstance(value, int | float | SizeExpr) and not isinstance(value, bool)
    if is_number and wanted.dtype.is_float and not wanted.shape:
        with at(span):
            return gt.asarray(value, wanted.dtype).value
    array = as_array(value, span)
    if array.type == wanted:
        return array.value
    advice = []
    if array.shape == wanted.shape:
        advice.append(f"cast the result by `{wanted.dtype}(...)`, or declare it as {array.type}")
    else:
        advice.append(f"declare the result as {array.type}")
    raise refuse(
        "G0315",
        f"the result is {array.type}, and {wanted} is declared",
        span,
        f"this is {array.type}",
        causes=(Label(declared_at, "declared here"),),
        help=advice,
    )
