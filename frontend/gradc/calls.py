"""Calls: of the language's functions, of the module's functions, and derivative forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gradc import syntax
from gradc import tensor as gt
from gradc.diagnostics import Label, Refused, refuse
from gradc.expressions import (
    Evaluated,
    Poison,
    Poisoned,
    Scope,
    as_array,
    check_not_lost,
    evaluate,
)
from gradc.function_table import (
    BUILTIN_NAMES,
    FORMS,
    TUPLE_PARAMETERS,
    Builtin,
    builtin,
    did_you_mean,
)
from gradc.ir.dims import SizeExpr, product
from gradc.ir.function import Function, Value
from gradc.ir.span import Span, at
from gradc.ir.transforms.batch import batch
from gradc.ir.transforms.inline import inline
from gradc.ir.types import DTYPES_BY_NAME, DType
from gradc.located import located
from gradc.static_values import is_number
from gradc.suspicious import in_call, in_derivative, in_number
from gradc.tensor import Tensor

if TYPE_CHECKING:
    from gradc.forms import Policy

MAX_EQUATIONS = 250_000  # in one function, calls inlined
MAX_CONSTANT = 10_000_000  # entries
ENTRYWISE = "function of numbers"  # the kind of a name whose function is applied entry by entry


def evaluate_call(node: syntax.Call, scope: Scope) -> Evaluated:
    """The value of a call; a tuple where a function has several results."""
    callee = node.function
    if isinstance(callee, syntax.Name) and callee.text not in FORMS:
        name = callee.text
        if name in scope.functions:
            function = _function_named(callee, scope)
            if scope.functions[name].kind == ENTRYWISE:
                return _call_entrywise(function, node, scope)
            return _call_function(function, node, scope)
        if name in DTYPES_BY_NAME:
            return _cast(DTYPES_BY_NAME[name], node, scope)
        if name in BUILTIN_NAMES:
            return _call_builtin(builtin(name), node, scope)
        raise _unknown_function(callee, scope)
    if isinstance(callee, syntax.Name):
        raise refuse(
            "G0304",
            f"`{callee.text}` makes a function, and not a value",
            node.span,
            help=(f"call what it makes: `{callee.text}(f, wrt: x)(arguments)`",),
        )
    return _call_function(evaluate_function(callee, scope), node, scope)


def evaluate_function(node: syntax.Expression, scope: Scope) -> Function:
    """The function that an expression stands for: a name, or a derivative form."""
    if isinstance(node, syntax.Name):
        return _function_named(node, scope)
    if isinstance(node, syntax.Call) and isinstance(node.function, syntax.Name):
        if node.function.text in FORMS:
            return _derivative(node, node.function.text, scope)
        if node.function.text not in scope.functions and node.function.text not in BUILTIN_NAMES:
            raise _unknown_function(node.function, scope)
    raise refuse(
        "G0304",
        "expected a function, found a value",
        node.span,
        help=("functions are names, and forms such as `grad(f, wrt: x)`",),
    )


def _function_named(name: syntax.Name, scope: Scope) -> Function:
    binding = scope.functions.get(name.text)
    if binding is None:
        if name.text in BUILTIN_NAMES or name.text in FORMS:
            raise refuse(
                "G0304",
                f"`{name.text}` is no function of this module",
                name.span,
                help=(f"put it into one: `fn {name.text}_of(x: f64[n]) {{ {name.text}(x) }}`",),
            )
        raise _unknown_function(name, scope)
    if isinstance(binding.value, Poison):
        raise Poisoned
    function: Function = binding.value
    return function


def _unknown_function(name: syntax.Name, scope: Scope) -> Refused:
    check_not_lost(name, scope)
    binding = scope.values.get(name.text)
    if binding is not None:
        causes = [Label(binding.span, f"this {binding.kind}")] if binding.span else []
        message = f"`{name.text}` is a value, and cannot be called"
        advice = ["a product is written `*`; an element is `x[i]`"]
        return refuse("G0305", message, name.span, causes=causes, help=advice)
    known = (*scope.functions, *sorted(BUILTIN_NAMES), *FORMS, *DTYPES_BY_NAME)
    return refuse(
        "G0303",
        f"there is no function `{name.text}`",
        name.span,
        help=[_ALSO_CALLED[name.text]]
        if name.text in _ALSO_CALLED
        else did_you_mean(name.text, known),
    )


_ALSO_CALLED = {
    "ln": "the natural logarithm is `log`",
    "pow": "a power is written `x ** y`",
    "len": "the length of the first axis is `x.shape[0]`, or the size's name",
    "shape": "the shape is `x.shape`",
    "cast": "a cast is written as the type: `f32(x)`",
    "astype": "a cast is written as the type: `f32(x)`",
    "float": "a cast is written as the type: `f64(x)`",
    "int": "a cast is written as the type: `i64(x)`",
    "array": "an array is written `[1.0, 2.0]`",
    "select": "a choice is written `if condition then a else b`",
    "einsum": "contractions are written with `@`, `tensordot`, `sum` and `*`",
}


def _cast(dtype: DType, node: syntax.Call, scope: Scope) -> Tensor:
    if len(node.arguments) != 1 or node.arguments[0].name is not None:
        raise refuse("G0401", f"`{dtype}` casts one array: `{dtype}(x)`", node.span)
    argument = node.arguments[0]
    value = evaluate(argument.value, scope)
    scope.warnings.extend(in_number(value, dtype, argument.span))
    array = as_array(value, argument.span)
    with located(node.span, node.span, (argument.span,)):
        return gt.astype(array, dtype)


def _call_builtin(builtin: Builtin, node: syntax.Call, scope: Scope) -> Evaluated:
    given = _match_arguments(builtin.name, builtin.parameters, builtin.required, node, None)
    values: dict[str, Evaluated] = {}
    places: dict[str | int, Span] = {}
    for position, name in enumerate(builtin.parameters):
        if name in given:
            values[name] = _builtin_argument(name, given[name].value, scope)
            if values[name] is None and name in builtin.required:
                message = f"expected an array for `{name}`, found none"
                raise refuse("G0201", message, given[name].value.span)
            places[position] = places[name] = given[name].value.span
    _number_the_entries(builtin, given, places)
    _check_constant_size(builtin.name, values, node)
    scope.warnings.extend(in_call(builtin.name, values, places))
    name_span = node.function.span
    with located(node.span, name_span, places):
        return builtin.function(**values)


def _check_constant_size(name: str, values: Mapping[str, Evaluated], node: syntax.Call) -> None:
    """Refuse a sequence of known length that would not fit into a library."""
    count: Any = values.get("num", 0) if name == "linspace" else 0
    if name == "arange":
        start, stop = values.get("start", 0), values.get("stop")
        first, last = (0, start) if stop is None else (start, stop)
        step = values.get("step", 1)
        if all(is_number(x) for x in (first, last, step)) and step:
            count = (last - first) / step
    if is_number(count) and not count <= MAX_CONSTANT:
        message = f"this array has more than {MAX_CONSTANT:,} entries, too many for a constant"
        advice = "give it a length that is a size, known at the call"
        raise refuse("G0902", message, node.span, help=(advice,))


def _builtin_argument(name: str, node: syntax.Expression, scope: Scope) -> Evaluated:
    if name in TUPLE_PARAMETERS and isinstance(node, syntax.Array):
        return tuple(evaluate(item, scope) for item in node.items)
    return evaluate(node, scope)


def _number_the_entries(
    builtin: Builtin, given: Mapping[str, syntax.Argument], places: dict[str | int, Span]
) -> None:
    """Errors of a function of several arrays number these, not the tuple that holds them."""
    first = given.get(builtin.parameters[0]) if builtin.parameters else None
    if builtin.parameters[:1] != ("arrays",) or first is None:
        return
    if isinstance(first.value, syntax.Tuple | syntax.Array):
        places.update((i, item.span) for i, item in enumerate(first.value.items))


def _match_arguments(
    function: str,
    parameters: Sequence[str],
    required: Sequence[str],
    node: syntax.Call,
    declared_at: Span | None,
) -> dict[str, syntax.Argument]:
    """Arguments by parameter name; Refused for an unknown, repeated, missing or surplus one."""
    causes = (Label(declared_at, "declared here"),) if declared_at is not None else ()
    takes = f"`{function}` takes {', '.join(parameters) or 'no arguments'}"
    found: dict[str, syntax.Argument] = {}
    for position, argument in enumerate(node.arguments):
        if argument.name is not None:
            name = argument.name.text
            if name not in parameters:
                advice = [*did_you_mean(name, parameters), takes]
                message = f"`{function}` has no parameter `{name}`"
                raise refuse("G0403", message, argument.name.span, causes=causes, help=advice)
        elif position and node.arguments[position - 1].name is not None:
            raise refuse("G0405", "a positional argument follows a named one", argument.span)
        elif position >= len(parameters):
            count = len(parameters)
            message = f"`{function}` takes {count} argument{'' if count == 1 else 's'}"
            raise refuse(
                "G0401", message, argument.span, "one too many", causes=causes, help=(takes,)
            )
        else:
            name = parameters[position]
        if name in found:
            raise refuse(
                "G0404",
                f"the argument `{name}` is given twice",
                argument.span,
                causes=(Label(found[name].span, "given here first"),),
            )
        found[name] = argument
    missing = [name for name in required if name not in found]
    if missing:
        what = " and ".join(f"`{name}`" for name in missing)
        message = f"`{function}` is called without {what}"
        raise refuse("G0402", message, node.span, causes=causes, help=(takes,))
    return found


def _call_function(function: Function, node: syntax.Call, scope: Scope) -> Evaluated:
    names = function.parameter_names
    given = _match_arguments(_shown(node), names, names, node, None)
    arguments = [
        _argument(parameter, name, given[name].value, scope)
        for parameter, name in zip(function.parameters, names, strict=True)
    ]
    scope.equations += len(function.equations)
    if scope.equations > MAX_EQUATIONS:
        message = f"with its calls inlined, this function has more than {MAX_EQUATIONS} operations"
        raise refuse("G0902", message, node.span)
    places = {name: given[name].value.span for name in names}
    with at(node.span):
        try:
            results = inline(function, arguments)
        except TypeError as error:
            raise _misfit(error, function, arguments, places, node) from error
    tensors = tuple(Tensor(result) for result in results)
    return tensors[0] if len(tensors) == 1 else tensors


def _call_entrywise(function: Function, node: syntax.Call, scope: Scope) -> Evaluated:
    """A function of numbers, applied to each entry of arrays that broadcast."""
    names = function.parameter_names
    given = _match_arguments(_shown(node), names, names, node, None)
    arrays = [
        Tensor(_argument(p, name, given[name].value, scope, any_rank=True))
        for p, name in zip(function.parameters, names, strict=True)
    ]
    places = [given[name].value.span for name in names]
    with located(node.span, node.function.span, places):
        arrays = gt.broadcast_arrays(*arrays)
    shape = arrays[0].shape
    with at(node.span):
        if shape:
            count = product(shape)
            many = batch(function, [0] * len(names), count)
            found = inline(many, [gt.ravel(x).value for x in arrays])
        else:
            found = inline(function, [x.value for x in arrays])
        results = tuple(gt.reshape(Tensor(x), shape) for x in found)
    return results[0] if len(results) == 1 else results


def _shown(node: syntax.Call) -> str:
    callee = node.function
    while isinstance(callee, syntax.Call):
        callee = callee.function
    return callee.text if isinstance(callee, syntax.Name) else "this function"


def _argument(
    parameter: Value,
    name: str,
    node: syntax.Expression,
    scope: Scope,
    *,
    any_rank: bool = False,
) -> Value:
    """An argument as a value of the parameter's type; only numbers and sizes adapt to it."""
    value = evaluate(node, scope)
    wanted = parameter.type
    causes = _declaration(parameter.span, node.span)
    if isinstance(value, int | float | SizeExpr) and wanted.shape == ():
        fits = wanted.dtype.is_float or (wanted.dtype.kind == "b") == isinstance(value, bool)
        if fits and not (isinstance(value, float) and not wanted.dtype.is_float):
            with at(node.span):
                return gt.asarray(value, wanted.dtype).value
    array = as_array(value, node.span)
    fits = any_rank or array.ndim == len(wanted.shape)
    if array.dtype == wanted.dtype and fits:
        return array.value
    advice: tuple[str, ...] = ()
    if fits:
        advice = (f"cast it: `{wanted.dtype}({scope.source(node.span) or 'x'})`",)
    raise refuse(
        "G0406",
        f"the argument `{name}` is {wanted}, but {array.type} is given",
        node.span,
        f"this is {array.type}",
        causes=causes,
        help=advice,
    )


def _declaration(span: Span | None, beside: Span) -> tuple[Label, ...]:
    """The parameter's place, where the error's file shows it."""
    if span is None or span.file != beside.file or span.column == 0:
        return ()
    return (Label(span, "the parameter"),)


def _misfit(
    error: TypeError,
    function: Function,
    arguments: Sequence[Value],
    places: Mapping[str, Span],
    node: syntax.Call,
) -> Refused:
    """The sizes of the arguments do not agree with the function's parameters."""
    message = str(error).removeprefix(f"{function.name}: ")
    causes = [
        Label(span, f"`{name}` takes {parameter.type}; this is {argument.type}")
        for (name, span), parameter, argument in zip(
            places.items(), function.parameters, arguments, strict=True
        )
        if parameter.shape
    ]
    message, _, _ = message.partition("; if they are equal")
    advice = ("sizes with different names are different; give equal sizes one name",)
    return refuse("G0407", message, node.function.span, causes=causes, help=advice)


def _derivative(node: syntax.Call, form: str, scope: Scope) -> Function:
    """`grad(f, wrt: x)` and its relatives: a function made of a function."""
    chunked = ("chunk",) if form in ("jacobian", "hessian") else ()
    known = ("function", "wrt", "constants", "disconnected", *chunked)
    given = _match_arguments(form, known, ("function",), node, None)
    source = given["function"].value
    function = evaluate_function(source, scope)
    if len(function.equations) > MAX_EQUATIONS:
        raise refuse(
            "G0902", f"this function has more than {MAX_EQUATIONS} operations", source.span
        )
    wrt = _wrt_names(form, function, given.get("wrt"), node)
    places: dict[str | int, Span] = {name.text: name.span for name in wrt}
    places["function"] = source.span
    policy = _policy(function, given, places)
    if "disconnected" not in given:
        scope.warnings.extend(in_derivative(form, function, wrt, node.span))
    with located(node.span, source.span, places, "G0503"):
        return _form(form)(function, tuple(name.text for name in wrt), policy)


def _policy(
    function: Function,
    given: Mapping[str, syntax.Argument],
    places: dict[str | int, Span],
) -> Policy:
    """What `constants` and `disconnected` say; where the first stands is noted in `places`."""
    from gradc.forms import Policy

    constants: tuple[str, ...] = ()
    if "constants" in given:
        value = given["constants"].value
        known = list(dict.fromkeys((*function.parameter_names, *_bound_names(function))))
        names = _names(value, known, "`constants` takes the name of a variable", "variable")
        constants = tuple(name.text for name in names)
        places["constants"] = value.span
    chunk = _chunk(given["chunk"].value) if "chunk" in given else None
    if "disconnected" not in given:
        return Policy(constants, chunk=chunk)
    word = given["disconnected"].value
    if not isinstance(word, syntax.Name) or word.text not in ("zero", "error"):
        message = "`disconnected` is `zero` or `error`"
        raise refuse("G0501", message, word.span)
    return Policy(constants, "raise" if word.text == "error" else "ignore", chunk)


def _chunk(value: syntax.Expression) -> int:
    """How many rows or columns of a Jacobian are computed together."""
    number = value.value if isinstance(value, syntax.Number) else None
    if type(number) is not int or number < 1:
        message = "`chunk` is a number of rows, an integer of at least 1"
        raise refuse("G0501", message, value.span)
    return number


def _bound_names(function: Function) -> list[str]:
    """The names of variables on the way to a function's results."""
    outputs = (output for made in function.equations for output in made.outputs)
    return [output.name for output in outputs if output.name]


def _wrt_names(
    form: str, function: Function, argument: syntax.Argument | None, node: syntax.Call
) -> tuple[syntax.Name, ...]:
    """The parameters to differentiate by."""
    names = function.parameter_names
    if argument is None:
        raise refuse(
            "G0501",
            f"`{form}` needs to know what to differentiate by",
            node.span,
            help=(f"write `{form}(..., wrt: {names[0] if names else 'x'})`",),
        )
    return _names(argument.value, names, "`wrt` takes the name of a parameter", "parameter")


def _names(
    value: syntax.Expression, known: Sequence[str], takes: str, kind: str
) -> tuple[syntax.Name, ...]:
    """The names that an argument of a form lists, all of them known ones."""
    items = value.items if isinstance(value, syntax.Tuple | syntax.Array) else (value,)
    names = []
    for item in items or (value,):
        if not isinstance(item, syntax.Name):
            raise refuse("G0501", f"{takes}, or names in parentheses", item.span)
        if item.text not in known:
            raise refuse(
                "G0502",
                f"the function has no {kind} `{item.text}`",
                item.span,
                help=[*did_you_mean(item.text, known), f"its {kind}s are {', '.join(known)}"],
            )
        names.append(item)
    return tuple(names)


def _form(name: str) -> Callable[[Function, tuple[str, ...], Policy], Function]:
    """The derivative form called `name`: (function, names of parameters, policy) -> function."""
    from gradc import forms

    table: dict[str, Any] = {
        "grad": forms.grad,
        "value_and_grad": forms.value_and_grad,
        "jvp": forms.jvp,
        "Rop": forms.jvp,
        "vjp": forms.vjp,
        "Lop": forms.vjp,
        "jacobian": forms.jacobian,
        "hessian": forms.hessian,
        "hvp": forms.hvp,
    }
    return table[name]  # type: ignore[no-any-return]
