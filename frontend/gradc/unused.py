"""Warnings about names that are bound and never read. A name that begins with `_` is meant so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gradc import syntax
from gradc.diagnostics import Diagnostic, Label


def unused_in(item: syntax.FunctionItem | syntax.Rule) -> Iterator[Diagnostic]:
    """Bindings and parameters that the body does not read.

    A parameter counts as read where a size of its type is; a rule has the parameters of its
    function, whatever it reads of them.
    """
    read = _read_by(statement.value for statement in item.body)
    if isinstance(item, syntax.FunctionItem) and item.origin is None:
        for parameter in item.head.parameters:
            if not read & {parameter.name.text, *_read_by(parameter.type.dims)}:
                yield from _unused(parameter.name, "G0702", "the parameter", "remove it")
    for statement in item.body:
        for target in statement.targets or ():
            if target.text not in read:
                advice = "bind it to `_`" if statement.unpacks else "remove it"
                yield from _unused(target, "G0701", "the value bound to", advice)


def unused_constants(module: syntax.Module) -> Iterator[Diagnostic]:
    """Constants that nothing in the module reads."""
    constants = [item for item in module.items if isinstance(item, syntax.Const)]
    read = _read_by(e for item in module.items for e in _expressions(item)) if constants else set()
    for constant in constants:
        if constant.name.text not in read:
            yield from _unused(constant.name, "G0703", "the constant", "remove it")


def _unused(name: syntax.Name, code: str, what: str, advice: str) -> Iterator[Diagnostic]:
    if not name.text.startswith("_"):
        message = f"{what} `{name.text}` is never used"
        help = f"{advice}, or let its name begin with `_`: `_{name.text}`"
        yield Diagnostic(code, message, Label(name.span), help=(help,))


def _expressions(item: syntax.Item) -> Iterator[syntax.Expression]:
    if isinstance(item, syntax.FunctionItem):
        types = [p.type for p in item.head.parameters] + [r.type for r in item.head.results or ()]
        yield from (dim for type in types for dim in type.dims)
    if isinstance(item, syntax.FunctionItem | syntax.Rule):
        yield from (statement.value for statement in item.body)
    elif item.value is not None:
        yield item.value


def _read_by(roots: Iterable[syntax.Expression]) -> set[str]:
    """The names that stand in expressions."""
    found = set()
    stack: list[syntax.Expression | syntax.Index | syntax.Argument] = [*roots]
    while stack:
        node = stack.pop()
        if isinstance(node, syntax.Name):
            found.add(node.text)
        stack.extend(syntax.children(node))
    return found
