"""Rewriting: one forward sweep with a table of rules keyed by op, linear in the graph.

A rule looks at one equation, whose inputs are rewritten already, and gives back a value to take the
place of its output, or None. What it builds is rewritten too before the sweep goes on. Every
equation of the function has a fuel that bounds how often rules may fire for it, so rules that undo
one another cannot keep the sweep from ending.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Any, TypeAlias

from gradc.ir.function import Equation, Function, Value
from gradc.ir.op import Op
from gradc.ir.record import dataclass
from gradc.ir.span import at, move_to
from gradc.ir.transforms.rebuild import rebuild_equation, with_results

Rule: TypeAlias = Callable[[Equation], "Value | None"]
Rules: TypeAlias = Mapping[Op, tuple[Rule, ...]]
RulesOfKinds: TypeAlias = "Mapping[type[Any], tuple[Rule, ...]]"  # by the class of `Op.lower`

_FUEL = 50
_NO_KINDS: RulesOfKinds = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Alias:
    """Work to do later: `values` are replaced by what replaces `target`."""

    values: tuple[Value, ...]
    target: Value


@dataclass(frozen=True, slots=True)
class _Sweep:
    """The rules, those of each op as they are first asked for, and what replaces each value."""

    rules: Rules
    of_kinds: RulesOfKinds
    of_ops: dict[Op, tuple[Rule, ...]] = field(default_factory=dict)
    final: dict[Value, Value] = field(default_factory=dict)

    def rules_of(self, op: Op) -> tuple[Rule, ...]:
        found = self.of_ops.get(op)
        if found is None:
            found = (*self.rules.get(op, ()), *self.of_kinds.get(type(op.lower), ()))
            self.of_ops[op] = found
        return found


def rewrite(fn: Function, rules: Rules, of_kinds: RulesOfKinds = _NO_KINDS) -> Function:
    """`fn` with the rules of each op, and of each kind of op, applied until none of them fires.

    `fn` itself where no result changes. New equations carry the span of the one they replace.
    """
    sweep = _Sweep(rules, of_kinds)
    final = sweep.final
    final.update(zip(fn.parameters, fn.parameters, strict=True))
    with at(None):
        for made in fn.equations:
            inputs = tuple([final[value] for value in made.inputs])
            again = made if inputs == made.inputs else rebuild_equation(made, inputs)
            applicable = sweep.rules_of(made.op)
            found = _first(again, applicable) if applicable else None
            if found is None:
                _keep(final, made, again)
            else:
                _settle(sweep, [_Alias((*made.outputs, *again.outputs), found), *_made_by(found)])
    results = [final[result] for result in fn.results]
    if all(new is old for new, old in zip(results, fn.results, strict=True)):
        return fn
    return with_results(fn, results)


def _keep(final: dict[Value, Value], made: Equation, again: Equation) -> None:
    """Enter `again` as what replaces `made`: no rule fires for it."""
    for new in again.outputs:
        final[new] = new
    if again is not made:
        final.update(zip(made.outputs, again.outputs, strict=True))


def _settle(sweep: _Sweep, work: list[Equation | _Alias]) -> None:
    """Find what replaces all that a rule has built; `work` is a stack, its last entry comes first.

    Inputs come before their users, and after what a rule built the value whose place it takes.
    """
    final, fuel = sweep.final, _FUEL - 1
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
        found = _first(made, sweep.rules_of(made.op)) if fuel else None
        if found is None:
            _keep(final, item, made)
            continue
        fuel -= 1
        work += [_Alias((*item.outputs, *made.outputs), found), *_made_by(found)]


def _made_by(value: Value) -> tuple[Equation, ...]:
    """The equation that is to be settled before `value` is."""
    return () if value.owner is None else (value.owner,)


def _first(made: Equation, rules: tuple[Rule, ...]) -> Value | None:
    """What the first rule that fires puts in the place of an equation's output."""
    move_to(made.span)
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
