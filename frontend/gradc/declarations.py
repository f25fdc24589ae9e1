"""What a module declares, and in which order its declarations need one another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from gradc import syntax
from gradc.diagnostics import Diagnostic, Label
from gradc.function_table import BUILTIN_NAMES, FORMS, did_you_mean
from gradc.ir.record import dataclass
from gradc.ir.types import DTYPES_BY_NAME
from gradc.static_values import CONSTANTS


@dataclass(frozen=True, slots=True)
class Declared:
    """The first declaration of each name. Values and functions have separate names."""

    functions: Mapping[str, syntax.Item]
    values: Mapping[str, syntax.Const]
    rules: Mapping[str, tuple[syntax.Rule, ...]]


@dataclass(frozen=True, slots=True)
class Order:
    """Declarations, each after those it needs; `poisoned` are those that need themselves."""

    items: tuple[syntax.Item, ...]
    poisoned: tuple[syntax.Item, ...]


def declare(module: syntax.Module, errors: list[Diagnostic]) -> Declared:
    """Collect the declarations; a name that is taken already is an error."""
    functions: dict[str, syntax.Item] = {}
    values: dict[str, syntax.Const] = {}
    exported: dict[str, syntax.Export] = {}
    for item in module.items:
        name = item.name.text
        if isinstance(item, syntax.Rule):
            continue
        if isinstance(item, syntax.Export):
            if name in exported:
                errors.append(_twice(item, exported[name], "is exported twice"))
                continue
            exported[name] = item
            if item.value is None:
                continue
        earlier = functions.get(name) or values.get(name)
        if earlier is not None:
            errors.append(_twice(item, earlier, "is declared twice"))
            continue
        if name in _RESERVED:
            message = f"`{name}` is {_RESERVED[name]} of the language"
            is_external = isinstance(item, syntax.FunctionItem) and item.origin is not None
            help = (f"choose another name{_SYMBOL.format(name) if is_external else ''}",)
            errors.append(Diagnostic("G0307", message, Label(item.name.span), help=help))
        if isinstance(item, syntax.Const):
            values[name] = item
        else:
            functions[name] = item
    return Declared(functions, values, _rules(module, functions, errors))


def _rules(
    module: syntax.Module, functions: Mapping[str, syntax.Item], errors: list[Diagnostic]
) -> dict[str, tuple[syntax.Rule, ...]]:
    """The derivative rules of each function; one for what is no `fn`, or twice, is an error."""
    found: dict[str, tuple[syntax.Rule, ...]] = {}
    for rule in module.items:
        if not isinstance(rule, syntax.Rule):
            continue
        name = rule.name.text
        earlier = next((r for r in found.get(name, ()) if r.kind.text == rule.kind.text), None)
        if name in module.lost:
            continue
        if name not in functions:
            message = f"a derivative of `{name}` is given, and no function of that name"
            help = did_you_mean(name, tuple(functions))
            errors.append(Diagnostic("G0303", message, Label(rule.name.span), help=tuple(help)))
        elif not isinstance(functions[name], syntax.FunctionItem):
            message = f"`{name}` is made of other functions: rules belong to a function with `fn`"
            place = Label(functions[name].name.span, "made here")
            errors.append(Diagnostic("G0304", message, Label(rule.name.span), (place,)))
        elif earlier is not None:
            message = f"the {rule.kind.text} of `{name}` is given twice"
            first = Label(earlier.kind.span, "first here")
            errors.append(Diagnostic("G0306", message, Label(rule.kind.span), (first,)))
        else:
            found[name] = (*found.get(name, ()), rule)
    return found


_SYMBOL = ', and say what C calls it: `symbol "{}"`'
_RESERVED = (
    dict.fromkeys(CONSTANTS, "a constant")
    | dict.fromkeys(BUILTIN_NAMES, "a function")
    | dict.fromkeys(FORMS, "a derivative form")
    | dict.fromkeys(DTYPES_BY_NAME, "a type")
)


def _twice(item: syntax.Item, earlier: syntax.Item, what: str) -> Diagnostic:
    return Diagnostic(
        "G0306",
        f"`{item.name.text}` {what}",
        Label(item.name.span),
        (Label(earlier.name.span, "first here"),),
    )


def dependency_order(declared: Declared, errors: list[Diagnostic]) -> Order:
    """The declarations in an order that defines before use; a cycle is an error that shows it.

    A depth-first walk with its own stack, so that a chain of any length is an ordinary input.
    """
    order: list[syntax.Item] = []
    poisoned: dict[int, syntax.Item] = {}
    done: set[int] = set()
    for root in (*declared.values.values(), *declared.functions.values()):
        path = [root]
        pending: list[Iterator[syntax.Item]] = [_needs(root, declared)]
        on_path = {id(root)}
        while path and id(path[-1]) not in done:
            needed = next(pending[-1], None)
            if needed is None:
                item = path.pop()
                pending.pop()
                on_path.discard(id(item))
                done.add(id(item))
                if id(item) not in poisoned:
                    order.append(item)
            elif id(needed) in on_path:
                cycle = path[next(i for i, item in enumerate(path) if item is needed) :]
                errors.append(_cycle(cycle))
                poisoned.update((id(item), item) for item in cycle)
            elif id(needed) not in done:
                path.append(needed)
                pending.append(_needs(needed, declared))
                on_path.add(id(needed))
    return Order(tuple(order), tuple(poisoned.values()))


def _cycle(cycle: list[syntax.Item]) -> Diagnostic:
    names = [item.name.text for item in cycle]
    shown = names if len(names) <= 8 else [*names[:4], "...", *names[-3:]]
    way = " -> ".join((*shown, names[0]))
    return Diagnostic(
        "G0308",
        f"`{names[0]}` needs itself: {way}",
        Label(cycle[0].name.span),
        tuple(Label(item.name.span, "on the way") for item in cycle[1:5]),
        notes=("a function cannot call itself, directly or through others",),
    )


def _needs(item: syntax.Item, declared: Declared) -> Iterator[syntax.Item]:
    """The declarations that an item names."""
    roots: Iterable[syntax.Expression]
    if isinstance(item, syntax.FunctionItem):
        rules = declared.rules.get(item.name.text, ())
        bodies = (item.body, *(rule.body for rule in rules))
        roots = [statement.value for body in bodies for statement in body]
    elif isinstance(item, syntax.Rule):
        roots = ()
    else:
        roots = () if item.value is None else (item.value,)
    for root in roots:
        yield from _named_in(
            root, declared, not isinstance(item, syntax.FunctionItem | syntax.Const)
        )


def _named_in(
    root: syntax.Expression, declared: Declared, is_function: bool
) -> Iterator[syntax.Item]:
    """The declarations named in an expression, which stands for a function or for a value."""
    stack: list[tuple[object, bool]] = [(root, is_function)]
    while stack:
        node, is_function = stack.pop()
        if isinstance(node, syntax.Name):
            found = (declared.functions if is_function else declared.values).get(node.text)
            if found is not None:
                yield found
        elif isinstance(node, syntax.Call):
            stack.append((node.function, True))
            of_functions = isinstance(node.function, syntax.Name) and node.function.text in FORMS
            stack.extend(
                (a, of_functions) for a in node.arguments if not of_functions or a.name is None
            )
        else:
            stack.extend((child, is_function) for child in syntax.children(node))  # type: ignore[arg-type]
