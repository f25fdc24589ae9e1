"""One `fn`: its parameters and sizes, its statements, its results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gradc import syntax
from gradc import tensor as gt
from gradc.diagnostics import Diagnostic, Label, Refused, refuse
from gradc.expressions import (
    POISON,
    Binding,
    Evaluated,
    Poisoned,
    Scope,
    as_array,
    evaluate,
)
from gradc.function_table import did_you_mean
from gradc.ir.dims import Dim, SizeExpr, size
from gradc.ir.function import Function, Value, function, parameter
from gradc.ir.span import Span, at
from gradc.ir.transforms.rebuild import unused_name
from gradc.ir.types import DTYPES_BY_NAME, ArrayType
from gradc.static_values import (
    CONSTANTS,
    NOT_STATIC,
    StaticValueError,
    describe,
    static_binary,
    static_negative,
)
from gradc.tensor import Tensor


class InternalError(Exception):
    """A defect of gradc, met while it worked on the source at `span`."""

    def __init__(self, span: Span) -> None:
        self.span = span
        super().__init__(str(span))


def elaborate_function(
    item: syntax.FunctionItem, module: Scope, errors: list[Diagnostic]
) -> Function | object:
    """The function, or POISON where errors were found."""
    count = len(errors)
    scope = Scope(module.file, module.text, module.call, dict(module.values), module.functions)
    parameters = _bind_parameters(item.head, scope, errors)
    results: list[Value] = []
    with _collected(errors, item.head.span):
        declared = _declared_results(item.head, scope)
        value, place = _run_body(item, scope, errors)
        results = _results(value, place, item, declared, scope)
    if len(errors) > count or not results:
        return POISON
    with _collected(errors, item.head.span):
        names = _result_names(item.head, scope)
        return function(item.name.text, parameters, results, result_names=names)
    return POISON


def _result_names(head: syntax.Head, scope: Scope) -> list[str]:
    """Declared names, `result<i>` for results without one; none where no result has one."""
    declared = [r.name.text if r.name else "" for r in head.results or ()]
    if not any(declared):
        return []
    taken = {*declared, *(name for name, b in scope.values.items() if b.kind != "variable")}
    return [name or unused_name(f"result{i}", taken) for i, name in enumerate(declared)]


@contextmanager
def _collected(errors: list[Diagnostic], span: Span) -> Iterator[None]:
    """Collect an error instead of raising it; a defect of gradc becomes an InternalError."""
    try:
        yield
    except Refused as refused:
        errors.append(refused.diagnostic)
    except Poisoned:
        pass
    except (InternalError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise InternalError(span) from error


# Parameters and sizes


def _bind_parameters(head: syntax.Head, scope: Scope, errors: list[Diagnostic]) -> list[Value]:
    """The function's parameters; they and the sizes of their types are bound in `scope`."""
    for declared in head.parameters:
        for dim in declared.type.dims:
            for name in _names_in(dim):
                with _collected(errors, name.span):
                    _bind_size(name, scope)
    values = []
    for declared in head.parameters:
        with _collected(errors, declared.span):
            made: object = POISON
            try:
                kind = elaborate_type(declared.type, scope)
                made = Tensor(parameter(kind, declared.name.text, declared.span))
                values.append(made.value)
            finally:
                _bind_new(declared.name, made, "parameter", scope)
    return values


def _names_in(node: syntax.Expression) -> list[syntax.Name]:
    found = []
    stack: list[object] = [node]
    while stack:
        current = stack.pop()
        if isinstance(current, syntax.Name):
            found.append(current)
        else:
            stack.extend(reversed(syntax.children(current)))  # type: ignore[arg-type]
    return found


def _bind_size(name: syntax.Name, scope: Scope) -> None:
    binding = scope.values.get(name.text)
    if binding is not None and binding.kind in ("size", "constant"):
        return
    _check_name(name, "size")
    scope.values[name.text] = Binding(size(name.text), name.span, "size")


def _bind_new(name: syntax.Name, value: object, kind: str, scope: Scope) -> None:
    """Bind a name; one that is bound already is an error that shows both places."""
    earlier = scope.values.get(name.text)
    if earlier is not None:
        causes = _first_binding(earlier)
        raise refuse(
            "G0306",
            f"the name `{name.text}` is bound already",
            name.span,
            "a second binding",
            causes=causes,
            help=("a name is bound once; choose another one",),
        )
    try:
        _check_name(name, kind)
    finally:
        scope.values[name.text] = Binding(value, name.span, kind)


def _first_binding(earlier: Binding) -> tuple[Label, ...]:
    if earlier.span is None:
        return ()
    return (Label(earlier.span, f"the {earlier.kind} of this name"),)


def _check_name(name: syntax.Name, kind: str) -> None:
    text = name.text
    taken = "a constant" if text in CONSTANTS else "a type" if text in DTYPES_BY_NAME else ""
    if taken:
        message = f"`{text}` is {taken} of the language, and cannot name a {kind}"
        raise refuse("G0307", message, name.span, help=("choose another name",))
    if text.startswith("__"):
        message = f"names that begin with two underscores are reserved: `{text}`"
        raise refuse("G0307", message, name.span, help=(f"write `{text.lstrip('_') or 'x'}`",))


def elaborate_type(node: syntax.Type, scope: Scope) -> ArrayType:
    """The array type that a declaration writes. Raises Refused."""
    dtype = DTYPES_BY_NAME.get(node.dtype.text)
    if dtype is None:
        advice = did_you_mean(node.dtype.text, tuple(DTYPES_BY_NAME))
        if node.dtype.text in _ALSO_CALLED:
            advice = [f"did you mean `{_ALSO_CALLED[node.dtype.text]}`?"]
        have = ", ".join(DTYPES_BY_NAME)
        message = f"there is no type `{node.dtype.text}`"
        raise refuse("G0309", message, node.dtype.span, help=advice, notes=(f"there are {have}",))
    return ArrayType(dtype, tuple(_dim(dim, scope) for dim in node.dims))


_ALSO_CALLED = {
    "float": "f64", "double": "f64", "float64": "f64", "float32": "f32", "int": "i64",
    "int64": "i64", "int32": "i32", "boolean": "bool", "real": "f64", "scalar": "f64",
}  # fmt: skip


def _dim(node: syntax.Expression, scope: Scope) -> Dim:
    """A length: integers and sizes under `+ - * // %`."""
    value = _dim_value(node, scope)
    if isinstance(value, int) and value < 0:
        raise refuse("G0310", f"a length is not negative: {value}", node.span)
    return value


def _dim_value(node: syntax.Expression, scope: Scope) -> Dim:
    value: object = NOT_STATIC
    if isinstance(node, syntax.Number):
        value = node.value
    elif isinstance(node, syntax.Name):
        binding = scope.values.get(node.text)
        if binding is None:
            sizes = [name for name, known in scope.values.items() if known.kind == "size"]
            raise refuse(
                "G0310",
                f"the size `{node.text}` is not known here",
                node.span,
                help=did_you_mean(node.text, sizes),
                notes=("sizes are bound by the shapes of the parameters",),
            )
        value = binding.value
    elif isinstance(node, syntax.Chain):
        value = _dim_value(node.first, scope)
        for symbol, operand in node.rest:
            value = _dim_operation(symbol, value, _dim_value(operand, scope))
    elif isinstance(node, syntax.Unary) and node.operator.symbol == "-":
        value = static_negative(_dim_value(node.operand, scope))
    if isinstance(value, int | SizeExpr) and not isinstance(value, bool):
        return value
    what = "this is no integer" if not isinstance(value, Tensor) else "this is an array"
    message = "a length is made of integers and sizes with + - * // %"
    raise refuse("G0310", message, node.span, what)


def _dim_operation(symbol: syntax.Operator, x: object, y: object) -> object:
    try:
        return static_binary(symbol.symbol, x, y)
    except StaticValueError as error:
        raise refuse("G0310", str(error), symbol.span) from error


# Statements


def _run_body(
    item: syntax.FunctionItem, scope: Scope, errors: list[Diagnostic]
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
    for statement in item.body[:-1]:
        with _collected(errors, statement.span):
            _run_statement(statement, scope)
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


def _run_statement(statement: syntax.Statement, scope: Scope) -> None:
    if statement.targets is None:
        evaluate(statement.value, scope)
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
            _bind_new(target, value, "variable", scope)
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


def _declared_results(head: syntax.Head, scope: Scope) -> _Declared | None:
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
    _check_name(name, "result")
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
            found.append(_checked_result(part, node.span, declared.types[i], declared.places[i]))
    return found


def _checked_result(value: Evaluated, span: Span, wanted: ArrayType, declared_at: Span) -> Value:
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
