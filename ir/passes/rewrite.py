"""Rewriting: one forward sweep with a table of rules keyed by op, linear in the graph.

A rule looks at one equation, whose inputs are rewritten already, and gives back a value to take the
place of its output, or None. What it builds is rewritten too before the sweep goes on. Every
equation of the function has a fuel that bounds how often rules may fire for it, so rules that undo
one another cannot keep the sweep from ending.

Most equations are left as they are by most rules. So a rule says by `needs` which ops have to stand
behind the inputs, and is asked only where they do; and an equation that no rule of a table changed
remembers that: what a rule says depends on nothing but the equation, and on what its inputs are
computed from.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Any, TypeAlias

from gradc.ir.function import Equation, Function, Value
from gradc.ir.op import Op
from gradc.ir.ops.constants import constant
from gradc.ir.ops.structural import broadcast
from gradc.ir.passes.cse import computation
from gradc.ir.passes.matching import is_derived
from gradc.ir.record import dataclass
from gradc.ir.span import at, move_to
from gradc.ir.transforms.rebuild import rebuild_equation, with_results

Rule: TypeAlias = Callable[[Equation], "Value | None"]
Rules: TypeAlias = Mapping[Op, tuple[Rule, ...]]
RulesOfKinds: TypeAlias = "Mapping[type[Any], tuple[Rule, ...]]"  # by the class of `Op.lower`

_FUEL = 50


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The rules of a sweep: those of each op, and those of each kind of op."""

    of_ops: Rules
    of_kinds: RulesOfKinds = MappingProxyType({})

    def __deepcopy__(self, memo: object) -> Table:
        """Itself: equations know it by identity."""
        return self

    def rules(self, op: Op) -> tuple[Rule, ...]:
        return (*self.of_ops.get(op, ()), *self.of_kinds.get(type(op.lower), ()))


@dataclass(frozen=True, slots=True)
class _Guarded:
    """A rule that fires only if of each group of ops one makes an input, and one of `all` each."""

    rule: Rule
    groups: tuple[frozenset[Op], ...]
    all: frozenset[Op]

    def __call__(self, made: Equation) -> Value | None:
        return self.rule(made)

    def applies(self, makers: Collection[Op | None]) -> bool:
        if self.all and not self.all.issuperset(makers):
            return False
        return not any(group.isdisjoint(makers) for group in self.groups)


def joined(first: Table, second: Table) -> Table:
    """The rules of two tables, which one sweep applies; those of the first are asked first."""

    def both(a: Mapping[Any, tuple[Rule, ...]], b: Mapping[Any, tuple[Rule, ...]]) -> Any:
        return {key: (*a.get(key, ()), *b.get(key, ())) for key in (*a, *b)}

    return Table(both(first.of_ops, second.of_ops), both(first.of_kinds, second.of_kinds))


def needs(*groups: Op | tuple[Op, ...], all: tuple[Op, ...] = ()) -> Callable[[Rule], Rule]:
    """Say of a rule that it fires only if an input is made by an op, or by one of several.

    If there are several groups, that goes for each of them; ops in `all` must make all inputs.
    NUMBER makes all that holds one number everywhere.
    """
    found = tuple(frozenset(group if isinstance(group, tuple) else (group,)) for group in groups)
    return lambda rule: _Guarded(rule, found, frozenset(all))


NUMBER = (constant, broadcast)


@dataclass(frozen=True, slots=True)
class _Alias:
    """Work to do later: the outputs of equal equations are replaced by what replaces `target`."""

    equals: tuple[Equation, Equation]
    target: Value


@dataclass(frozen=True, slots=True)
class _Sweep:
    """The rules, those for each op and makers of its inputs, and what is known of values.

    `settled` are the equations that stay, or whose outputs `final` replaces. `computed`:
    what replaces the outputs of equations for which rules fired, so that an equation like one of
    them, built by a later rule, is not rewritten again from the start. `marks`: the tables that
    leave an equation as it is, with this one.
    """

    table: Table
    of_makers: dict[tuple[Op | None, ...], tuple[Rule, ...]] = field(default_factory=dict)
    settled: set[Equation] = field(default_factory=set)
    final: dict[Value, Value] = field(default_factory=dict)
    computed: dict[Hashable, Value] = field(default_factory=dict)
    marks: dict[tuple[object, ...], tuple[object, ...]] = field(default_factory=dict)

    def fired(self, made: Equation) -> Value | None:
        """What a rule puts in the place of the output of an equation of values that stay."""
        makers = [None if value.owner is None else value.owner.op for value in made.inputs]
        applicable = self.of_makers.get((made.op, *makers))
        if applicable is None:
            applicable = tuple(_applicable(self.table.rules(made.op), makers))
            self.of_makers[made.op, *makers] = applicable
        found = _first(made, applicable) if applicable else None
        if found is None:
            before = made.unchanged_by
            marks = self.marks.get(before)
            if marks is None:
                marks = self.marks[before] = (*before, self.table)
            made.unchanged_by = marks
        return found

    def rebuilt(self, made: Equation) -> Equation:
        """The equation with what stands for its inputs."""
        return rebuild_equation(made, [self.final.get(value, value) for value in made.inputs])

    def replace(self, alias: _Alias) -> None:
        """Enter what has been found to stand for equations."""
        found = self.final.get(alias.target, alias.target)
        for made in alias.equals:
            self.final.update(dict.fromkeys(made.outputs, found))
        self.computed[_key(alias.equals[1])] = found

    def keep(self, made: Equation, again: Equation) -> None:
        """Enter `again` as what replaces `made`: no rule fires for it."""
        self.settled.add(again)
        if again is not made:
            self.final.update(zip(made.outputs, again.outputs, strict=True))


def _applicable(rules: Iterable[Rule], makers: Collection[Op | None]) -> Iterator[Rule]:
    for rule in rules:
        if not isinstance(rule, _Guarded):
            yield rule
        elif rule.applies(makers):
            yield rule.rule


def _key(made: Equation) -> Hashable:
    """Equal for equations that rules treat alike: some change derivatives only."""
    return computation(made, made.inputs), is_derived(made)


def rewrite(fn: Function, table: Table) -> Function:
    """`fn` with the rules of the table applied until none of them fires.

    `fn` itself where no result changes. New equations carry the span of the one they replace.
    """
    inert = {op for op in {made.op for made in fn.equations} if not table.rules(op)}
    if all(made.op in inert or table in made.unchanged_by for made in fn.equations):
        return fn
    sweep = _Sweep(table)
    sweep.settled.update(fn.equations)
    sweep.settled.update(value.owner for value in fn.parameters if value.owner is not None)
    replaced = sweep.final.keys()
    with at(None):
        for made in fn.equations:
            again = made if replaced.isdisjoint(made.inputs) else sweep.rebuilt(made)
            is_left = again.op in inert or table in again.unchanged_by
            found = None if is_left else sweep.fired(again)
            if found is not None:
                _settle(sweep, [_Alias((made, again), found), *_made_by(found)])
            elif again is not made:
                sweep.keep(made, again)
    results = [sweep.final.get(result, result) for result in fn.results]
    if all(new is old for new, old in zip(results, fn.results, strict=True)):
        return fn
    return with_results(fn, results)


def _settle(sweep: _Sweep, work: list[Equation | _Alias]) -> None:
    """Find what replaces all that a rule has built; `work` is a stack, its last entry comes first.

    Inputs come before their users, and after what a rule built the value whose place it takes.
    """
    final, settled, fuel = sweep.final, sweep.settled, _FUEL - 1
    while work:
        item = work[-1]
        if isinstance(item, _Alias):
            work.pop()
            sweep.replace(item)
            continue
        waiting = [
            value.owner
            for value in item.inputs
            if value.owner is not None and value.owner not in settled and value not in final
        ]
        if waiting:
            work.extend(waiting)
            continue
        work.pop()
        if item in settled or item.outputs[0] in final:
            continue
        made = sweep.rebuilt(item)
        found = sweep.computed.get(_key(made))
        if found is None and fuel:
            found = None if sweep.table in made.unchanged_by else sweep.fired(made)
            fuel -= found is not None
        if found is None:
            sweep.keep(item, made)
        else:
            work += [_Alias((item, made), found), *_made_by(found)]


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
        if found.type is not made.outputs[0].type and found.type != made.outputs[0].type:
            raise TypeError(
                f"the rule {rule.__name__} replaced {made.outputs[0].type} by {found.type}"
            )
        return found
    return None
