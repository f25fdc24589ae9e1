"""The syntax tree to functions of the graph IR, with every error of a run collected.

Declarations are elaborated in the order in which they need one another. A statement with an error
binds poison: what reads it is silent, so one mistake is reported once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from gradc import syntax
from gradc.calls import ENTRYWISE, evaluate_call, evaluate_function
from gradc.codegen.c_names import exported_symbols, function_symbols
from gradc.declarations import Declared, declare, dependency_order
from gradc.diagnostics import (
    Diagnostic,
    DiagnosticError,
    Refused,
    refuse,
    sort_diagnostics,
)
from gradc.elaborate_body import elaborate_function
from gradc.elaborate_rule import with_rules
from gradc.expressions import POISON, Binding, Evaluated, Poison, Poisoned, Scope, evaluate
from gradc.ir.function import Function
from gradc.ir.record import dataclass
from gradc.parser import parse_with_errors
from gradc.unused import unused_constants, unused_in


@dataclass(frozen=True, slots=True)
class ElaboratedModule:
    """A module's functions by name, in the order of the text; its exports; what they do.

    `documentation` are the comment lines right above a function; where there are none, what a
    derivative or another name is made of: `grad(loss, wrt: w)`. `sources` are texts by file.
    """

    functions: Mapping[str, Function]
    exports: Mapping[str, Function]
    documentation: Mapping[str, str]
    warnings: tuple[Diagnostic, ...]
    sources: Mapping[str, str]


def compile_module(text: str, file: str) -> dict[str, Function]:
    """The functions that a source text exports, in its order.

    Raises DiagnosticError with every error found.
    """
    return dict(elaborate_source(text, file).exports)


def elaborate_source(text: str, file: str) -> ElaboratedModule:
    """All functions of a source text. Raises DiagnosticError with every error found."""
    return elaborate(*parse_with_errors(text, file))


def elaborate(module: syntax.Module, found: Iterable[Diagnostic] = ()) -> ElaboratedModule:
    """All functions of a module, in which the errors `found` have been found already.

    Raises DiagnosticError with every error.
    """
    errors = list(found)
    declared = declare(module, errors)
    order = dependency_order(declared, errors)
    scope = Scope(module.file, module.text, evaluate_call, lost=module.lost)
    for item in order.poisoned:
        _bind(item, POISON, scope)
    for item in order.items:
        _elaborate_item(item, declared, scope, errors)
    exports = _exports(module, scope, errors)
    if errors:
        raise DiagnosticError(errors, {module.file: module.text})
    return _elaborated(module, scope, exports)


def _elaborate_item(
    item: syntax.Item, declared: Declared, scope: Scope, errors: list[Diagnostic]
) -> None:
    value: Evaluated | Function | Poison = POISON
    scope.equations = 0
    try:
        if isinstance(item, syntax.FunctionItem):
            value = _elaborate_function(item, scope, errors)
            rules = declared.rules.get(item.name.text, ())
            if rules and isinstance(value, Function):
                value = with_rules(value, rules, scope, errors)
        elif isinstance(item, syntax.Const):
            value = evaluate(item.value, scope)
        elif not isinstance(item, syntax.Rule) and item.value is not None:
            made = evaluate_function(item.value, scope)
            value = replace(made, name=item.name.text)
    except Refused as refused:
        errors.append(refused.diagnostic)
    except Poisoned:
        pass
    _bind(item, value, scope)


def _elaborate_function(
    item: syntax.FunctionItem, scope: Scope, errors: list[Diagnostic]
) -> Evaluated | Function | Poison:
    if item.origin is None:
        return elaborate_function(item, scope, errors)
    from gradc.elaborate_external import elaborate_external

    return elaborate_external(item, item.origin, scope, errors)


def _bind(item: syntax.Item, value: Evaluated | Function | Poison, scope: Scope) -> None:
    name = item.name
    if isinstance(item, syntax.Const):
        scope.values[name.text] = Binding(value, name.span, "constant")
    else:
        kind = ENTRYWISE if _is_entrywise(item, scope) else "function"
        scope.functions[name.text] = Binding(value, name.span, kind)


def _is_entrywise(item: syntax.Item, scope: Scope) -> bool:
    """Whether an item declares a C function of numbers, which is applied entry by entry.

    Or gives one another name.
    """
    if isinstance(item, syntax.Alias | syntax.Export) and isinstance(item.value, syntax.Name):
        meant = scope.functions.get(item.value.text)
        return meant is not None and meant.kind == ENTRYWISE
    if not isinstance(item, syntax.FunctionItem) or item.origin is None:
        return False
    types = [p.type for p in item.head.parameters] + [r.type for r in item.head.results or ()]
    return bool(item.head.parameters) and not any(type.dims for type in types)


def _exports(module: syntax.Module, scope: Scope, errors: list[Diagnostic]) -> dict[str, Function]:
    exports: dict[str, Function] = {}
    for item in module.items:
        if not isinstance(item, syntax.Export):
            continue
        try:
            made = evaluate_function(item.name, scope)
            _check_symbols(item.name, exports)
            if any(isinstance(i, syntax.FunctionItem) and i.origin for i in module.items):
                _check_external_symbols(item.name, made)
            exports[item.name.text] = made
        except Refused as refused:
            errors.append(refused.diagnostic)
        except Poisoned:
            pass
    return exports


def _check_symbols(name: syntax.Name, exports: Mapping[str, Function]) -> None:
    """An exported function becomes a symbol of a C library, beside those of the others."""
    try:
        exported_symbols((*exports, name.text))
    except ValueError as error:
        message = str(error).partition("; ")[0]
        advice = "export it under another name: `export other_name = ...`"
        raise refuse("G0601", message, name.span, help=(advice,)) from error


def _check_external_symbols(name: syntax.Name, made: Function) -> None:
    """The C functions that an exported one calls become symbols of the same library."""
    from gradc.ir.ops.external import external_calls, external_symbols

    try:
        symbols = external_symbols(external_calls(made))
    except ValueError as error:
        raise refuse("G0602", str(error), name.span) from error
    taken = symbols.keys() & set(function_symbols(name.text))
    if taken:
        message = f"`{min(taken)}` is the symbol of a C function that is called"
        advice = f"export it under another name: `export c_{name.text} = {name.text}`"
        raise refuse("G0601", message, name.span, help=(advice,))


def _elaborated(
    module: syntax.Module, scope: Scope, exports: dict[str, Function]
) -> ElaboratedModule:
    functions: dict[str, Function] = {}
    documentation: dict[str, str] = {}
    for item in module.items:
        if isinstance(item, syntax.Const | syntax.Rule):
            continue
        functions[item.name.text] = evaluate_function(item.name, scope)
        earlier = documentation.get(item.name.text, "")
        documentation[item.name.text] = item.documentation or earlier or _definition(item, module)
    scope.warnings.extend(unused_constants(module))
    for item in module.items:
        if isinstance(item, syntax.FunctionItem | syntax.Rule):
            scope.warnings.extend(unused_in(item))
    warnings = sort_diagnostics(scope.warnings)
    sources = {module.file: module.text}
    return ElaboratedModule(functions, exports, documentation, warnings, sources)


def _definition(
    item: syntax.FunctionItem | syntax.Alias | syntax.Export, module: syntax.Module
) -> str:
    """What a function without a comment is made of, as the source says it: `grad(f, wrt: x)`."""
    if isinstance(item, syntax.FunctionItem) or item.value is None:
        return ""
    span = item.value.span
    lines = module.text.split("\n")[span.line - 1 : span.end_line]
    lines[-1] = lines[-1][: span.end_column - 1]
    lines[0] = lines[0][span.column - 1 :]
    return " ".join(line.strip() for line in lines)
