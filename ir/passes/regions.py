"""Regions: what is computed in every block of rows, and what once for all of them.

An equation of a region that no row changes is computed outside, once (loop-invariant code), unless
it only moves or repeats entries: that costs nothing where it is read, and memory outside. For the
same reason what is moved or repeated outside is moved inside.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from gradc.ir.function import Equation, Function, Value, equation, function, parameter
from gradc.ir.lowering import IndexMap, Literal, Pointwise
from gradc.ir.ops.blocks import map_blocks, rows_of, sizes_read
from gradc.ir.record import dataclass
from gradc.ir.transforms.rebuild import rebuild_equation, with_results

_CHEAP = 4  # operations an entry: as much as a load or a store


def in_regions(fn: Function, work: Callable[[Function], Function]) -> Function:
    """`fn`, in whose regions `work` was done, and each equation stands where it costs least.

    What a region computes and nobody reads is taken out of it.
    """
    if not any(made.op is map_blocks for made in fn.equations):
        return fn
    read = {*fn.results, *(value for made in fn.equations for value in made.inputs)}
    values: dict[Value, Value] = {}
    free: dict[Value, int] = {}  # of the new graph
    for made in fn.equations:
        again = rebuild_equation(made, [values.get(value, value) for value in made.inputs])
        if made.op is not map_blocks:
            _note_free(free, again)
            values.update(zip(made.outputs, again.outputs, strict=True))
            continue
        live = [i for i, output in enumerate(made.outputs) if output in read]
        if not live:
            continue
        region = _with_moves_inside(_opened(again, live), free)
        region = replace(region, body=work(region.body))
        found = _made(again, _with_invariants_outside(region))
        values.update(zip((made.outputs[i] for i in live), found.outputs, strict=True))
    return with_results(fn, [values.get(result, result) for result in fn.results])


@dataclass(frozen=True, slots=True)
class _Region:
    """A body, its inputs and how they are taken, and how its results are given."""

    body: Function
    inputs: tuple[Value, ...]
    takes: tuple[int | None, ...]
    gives: tuple[int | None, ...]


def _opened(made: Equation, live: Sequence[int]) -> _Region:
    """The region with those of its results that are read."""
    attrs = made.attrs
    body = with_results(attrs["body"], [attrs["body"].results[i] for i in live])
    gives = tuple(attrs["gives"][i] for i in live)
    return _Region(replace(body, result_names=()), made.inputs, attrs["takes"], gives)


def _made(made: Equation, region: _Region) -> Equation:
    """The equation of a region, without inputs that it does not read."""
    body = region.body
    used = {*body.results, *(value for inner in body.equations for value in inner.inputs)}
    kept = [i for i, p in enumerate(body.parameters[1:]) if p in used]
    parameters = (body.parameters[0], *(body.parameters[1 + i] for i in kept))
    attrs = {
        **made.attrs,
        "body": function(body.name, parameters, body.results, body.requires),
        "takes": tuple(region.takes[i] for i in kept),
        "gives": region.gives,
    }
    return equation(map_blocks, [region.inputs[i] for i in kept], attrs, made.span)


def _note_free(free: dict[Value, int], made: Equation) -> None:
    """Enter what an equation gives, if it costs about nothing where it is read, and what it costs.

    That is what only moves or repeats entries, and cheap arithmetic on nothing but that.
    """
    rule = made.op.lower
    cost = sum(free.get(value, 0) for value in made.inputs)
    if isinstance(rule, Pointwise):
        cost += rule.cost if free.keys() >= set(made.inputs) else _CHEAP
    elif not isinstance(rule, IndexMap | Literal):
        return
    if cost < _CHEAP:
        free.update(dict.fromkeys(made.outputs, cost))


def _with_moves_inside(region: _Region, free: Mapping[Value, int]) -> _Region:
    """The region that reads whole values that are free by computing them."""
    moved: dict[Equation, None] = {}
    pending = [x for x, axis in zip(region.inputs, region.takes, strict=True) if axis is None]
    while pending:
        made = pending.pop().owner
        if made is not None and made not in moved and made.outputs[0] in free:
            moved[made] = None
            pending.extend(made.inputs)
    if not moved:
        return region
    outputs = {output for made in moved for output in made.outputs}
    read = dict.fromkeys(value for made in moved for value in made.inputs if value not in outputs)
    own = {value: parameter(value.type, value.name, value.span) for value in read}
    _rebuilt(_in_order(moved), own)
    pairs = zip(region.body.parameters[1:], region.inputs, strict=True)
    inside = {p: own[x] for p, x in pairs if x in outputs}
    body = _after(region.body, inside, [own[value] for value in read])
    takes = (*region.takes, *(None for _ in read))
    return replace(region, body=body, inputs=(*region.inputs, *read), takes=takes)


def _in_order(moved: Iterable[Equation]) -> list[Equation]:
    """Equations, inputs before users."""
    waiting, done = set(moved), list[Equation]()
    stack = list(waiting)
    while stack:
        made = stack[-1]
        needed = [v.owner for v in made.inputs if v.owner in waiting]
        if needed and made in waiting:
            stack.extend(owner for owner in needed if owner is not None)
            continue
        stack.pop()
        if made in waiting:
            waiting.remove(made)
            done.append(made)
    return done


def _rebuilt(equations: Iterable[Equation], values: dict[Value, Value]) -> None:
    """Build equations again, for the values that stand for their inputs."""
    for made in equations:
        again = rebuild_equation(made, [values.get(value, value) for value in made.inputs])
        values.update(zip(made.outputs, again.outputs, strict=True))


def _after(body: Function, given: Mapping[Value, Value], added: Sequence[Value]) -> Function:
    """The body with other values in the place of some, and more parameters."""
    values = dict(given)
    _rebuilt((made for made in body.equations if values.keys().isdisjoint(made.outputs)), values)
    results = [values.get(result, result) for result in body.results]
    return function(body.name, (*body.parameters, *added), results, body.requires)


def _with_invariants_outside(region: _Region) -> _Region:
    """The region without equations that no row changes, but for what is free."""
    body, rows = region.body, rows_of(region.body)
    axes = (0, *region.takes)
    fixed = {p for p, axis in zip(body.parameters, axes, strict=True) if axis is None}
    free: dict[Value, int] = {}
    for made in body.equations:
        if fixed.issuperset(made.inputs) and rows not in sizes_read(made):
            fixed.update(made.outputs)
            _note_free(free, made)
    outside = [m for m in body.equations if fixed.issuperset(m.outputs)]
    wanted = _read_inside(body, fixed, free)
    if not wanted:
        return region
    values = dict(zip(body.parameters[1:], region.inputs, strict=True))
    _rebuilt(outside, values)
    own = {value: parameter(value.type, value.name, value.span) for value in wanted}
    return replace(
        region,
        body=_after(body, own, list(own.values())),
        inputs=(*region.inputs, *(values[value] for value in wanted)),
        takes=(*region.takes, *(None for _ in wanted)),
    )


def _read_inside(body: Function, fixed: Collection[Value], free: Collection[Value]) -> list[Value]:
    """The fixed values that are computed, not free, and read by what stays in the body."""
    found: dict[Value, None] = {}
    pending = [v for m in body.equations if m.outputs[0] not in fixed for v in m.inputs]
    pending = [v for v in (*pending, *body.results) if v in fixed]
    seen: set[Value] = set()
    while pending:
        value = pending.pop()
        if value in seen or value.owner is None or value in body.parameters:
            continue
        seen.add(value)
        if value in free:
            pending.extend(value.owner.inputs)
        else:
            found[value] = None
    return list(found)
