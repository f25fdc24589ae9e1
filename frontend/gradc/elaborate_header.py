"""The head of a `fn`: its parameters, the sizes of their types, types in general."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from gradc import syntax
from gradc.diagnostics import Diagnostic, Label, Refused, refuse
from gradc.expressions import POISON, Binding, Poison, Poisoned, Scope, check_not_lost
from gradc.function_table import did_you_mean
from gradc.ir.dims import Dim, FloorDiv, SizeExpr, names_of, size
from gradc.ir.function import Value, parameter
from gradc.ir.span import Span
from gradc.ir.types import DTYPES_BY_NAME, ArrayType
from gradc.static_values import (
    CONSTANTS,
    NOT_STATIC,
    StaticValueError,
    static_binary,
    static_negative,
)
from gradc.tensor import Tensor


class InternalError(Exception):
    """A defect of gradc, met while it worked on the source at `span`."""

    def __init__(self, span: Span) -> None:
        self.span = span
        super().__init__(str(span))


@contextmanager
def collected(errors: list[Diagnostic], span: Span) -> Iterator[None]:
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


def bind_parameters(head: syntax.Head, scope: Scope, errors: list[Diagnostic]) -> list[Value]:
    """The function's parameters; they and the sizes of their types are bound in `scope`."""
    for declared in head.parameters:
        for dim in declared.type.dims:
            for name in _names_in(dim):
                with collected(errors, name.span):
                    _bind_size(name, scope)
    values = []
    for declared in head.parameters:
        with collected(errors, declared.span):
            made: object = POISON
            try:
                kind = elaborate_type(declared.type, scope)
                made = Tensor(parameter(kind, declared.name.text, declared.span))
                values.append(made.value)
            finally:
                bind_new(declared.name, made, "parameter", scope)
    if len(values) == len(head.parameters):
        _check_sizes_are_given(values, scope, errors)
    return values


def _check_sizes_are_given(parameters: list[Value], scope: Scope, errors: list[Diagnostic]) -> None:
    """Every size must follow from the shapes of the arguments, by solving linear equations."""
    dims = [dim for parameter in parameters for dim in parameter.shape]
    known: set[str] = set()
    progress = True
    while progress:
        progress = False
        for dim in dims:
            unknown = names_of((dim,)) - known
            if len(unknown) == 1 and _is_linear(dim, *unknown):
                known |= unknown
                progress = True
    for name in sorted(names_of(dims) - known):
        span = scope.values[name].span
        with collected(errors, span or parameters[0].span or Span(scope.file, 1)):
            raise refuse(
                "G0310",
                f"the size `{name}` does not follow from the shapes of the arguments",
                span or Span(scope.file, 1, 1, 1, 2),
                help=(f"let an axis of a parameter be just `{name}`",),
            )


def _is_linear(dim: Dim, name: str) -> bool:
    """Whether the dimension is a * name + b."""
    if not isinstance(dim, SizeExpr):
        return False
    for monomial, _ in dim.terms:
        if monomial.count(name) > 1:
            return False
        inside = [a for a in monomial if isinstance(a, FloorDiv)]
        if any(name in names_of((a.numerator, a.denominator)) for a in inside):
            return False
    return True


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
    check_name(name, "size")
    scope.values[name.text] = Binding(size(name.text), name.span, "size")


def bind_new(name: syntax.Name, value: object, kind: str, scope: Scope) -> None:
    """Bind a name; one that is bound already is an error that shows both places."""
    earlier = scope.values.get(name.text)
    if earlier is not None:
        causes = _first_binding(earlier)
        if earlier.kind == "size":  # which of the two a later use means is not known
            scope.values[name.text] = replace(earlier, value=POISON)
        raise refuse(
            "G0306",
            f"the name `{name.text}` is bound already",
            name.span,
            "a second binding",
            causes=causes,
            help=("a name is bound once; choose another one",),
        )
    try:
        check_name(name, kind)
    finally:
        scope.values[name.text] = Binding(value, name.span, kind)


def _first_binding(earlier: Binding) -> tuple[Label, ...]:
    if earlier.span is None:
        return ()
    return (Label(earlier.span, f"the {earlier.kind} of this name"),)


def check_name(name: syntax.Name, kind: str) -> None:
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
            check_not_lost(node, scope)
            sizes = [name for name, known in scope.values.items() if known.kind == "size"]
            raise refuse(
                "G0310",
                f"the size `{node.text}` is not known here",
                node.span,
                help=did_you_mean(node.text, sizes),
                notes=("sizes are bound by the shapes of the parameters",),
            )
        if isinstance(binding.value, Poison):
            raise Poisoned
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
