"""Rewriting: one forward sweep with a table of rules keyed by op, linear in the graph.

A rule looks at one equation, whose inputs are rewritten already, and gives back a value to take the
place of its output, or None. What it builds is rewritten too before the sweep goes on. Every
equation of the function has a fuel that bounds how often rules may fire for it, so rules that undo
one another cannot keep the sweep from ending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from gradc.ir.function import Equation, Function, Value
from gradc.ir.op import Op
from gradc.ir.span import at
from gradc.ir.transforms.rebuild import rebuild_equation, with_results

Rule: TypeAlias = Callable[[Equation], "Value | None"]
Rules: TypeAlias = Mapping[Op, tuple[Rule, ...]]

_FUEL = 50


@dataclass(frozen=True, slots=True)
class _Alias:
    """Work to do later: `values` are replaced by what replaces `target`."""

    values: tuple[Value, ...]
    target: Value


def rewrite(fn: Function, rules: Rules, everywhere: tuple[Rule, ...] = ()) -> Function:
    """`fn` with the rules of each op, and those for every op, applied until none of them fires.

    `fn` itself where no result changes. New equations carry the span of the one they replace.
    """
    final: dict[Value, Value] = {value: value for value in fn.parameters}
    for made in fn.equations:
        if not everywhere and made.op not in rules and all(final[v] is v for v in made.inputs):
            final.update(zip(made.outputs, made.outputs, strict=True))
        else:
            _settle(made, final, rules, everywhere)
    results = [final[result] for result in fn.results]
    if all(new is old for new, old in zip(results, fn.results, strict=True)):
        return fn
    return with_results(fn, results)


def _settle(
    root: Equation, final: dict[Value, Value], rules: Rules, everywhere: tuple[Rule, ...]
) -> None:
    """Enter into `final` what replaces the outputs of `root`, and of all that its rules build."""
    fuel = _FUEL
    work: list[Equation | _Alias] = [root]
    while work:
        item = work[-1]
        if isinstance(item, _Alias):
            work.pop()
            final.update(dict.fromkeys(item.values, final[item.target]))
            continue
        waiting = [v.owner for v in item.inputs if v not in final and v.owner is not None]
        if waiting:
            work.extend(waiting)
            continue
        work.pop()
        if item.outputs[0] in final:
            continue
        made = rebuild_equation(item, [final[value] for value in item.inputs])
        applicable = (*rules.get(made.op, ()), *everywhere) if fuel else ()
        found = _first(made, applicable) if applicable else None
        if found is None:
            final.update(zip(item.outputs, made.outputs, strict=True))
            final.update(zip(made.outputs, made.outputs, strict=True))
            continue
        fuel -= 1
        work.append(_Alias((*item.outputs, *made.outputs), found))
        if found not in final and found.owner is not None:
            work.append(found.owner)


def _first(made: Equation, rules: Iterable[Rule]) -> Value | None:
    """What the first rule that fires puts in the place of an equation's output."""
    with at(made.span):
        for rule in rules:
            found = rule(made)
            if found is None:
                continue
            if found.type != made.outputs[0].type:
                raise TypeError(
                    f"the rule {rule.__name__} replaced {made.outputs[0].type} by {found.type}"
                )
            return found
    return None
