"""Loops whose first and last iterations are others: written for those between, which most are.

`x[i - 1]` beside a boundary, where something else is read (`concat`, `pad`, the derivatives of
slices), compares i with the ends of the axis, and loads under masks. Between the ends all of these
comparisons are known: a vector loop over the iterations between is written without them, and what
is left, the few iterations at both ends, is a scalar loop with the whole body.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace

from gradc.ir.dims import Dim
from gradc.ir.loops import Accumulator, Buffer, For, If, Instruction, Plain, Ref, Statement, Store
from gradc.ir.record import dataclass
from gradc.ir.types import bool_, i64

_MOST = 4  # iterations at an end
_SHORTEST = 4  # vectors of a loop of known length that is cut
_BELOW = {"lt": (0, True), "le": (1, True), "ge": (0, False), "gt": (1, False)}
_TURNED = {"lt": "gt", "le": "ge", "ge": "le", "gt": "lt"}


def write_ends_apart(statements: Iterable[Statement]) -> list[Statement]:
    """The statements of a kernel, where vector loops do not ask in each trip for their ends."""
    return _Writer({}, set()).block(statements)


@dataclass(frozen=True, slots=True)
class _Writer:
    """`dims` are the integers that are expressions of the sizes, `zeros` the numbers 0.0."""

    dims: dict[Ref, Dim]
    zeros: set[Ref]

    def block(self, statements: Iterable[Statement]) -> list[Statement]:
        found: list[Statement] = []
        for statement in statements:
            if isinstance(statement, Instruction):
                self.enter(statement)
            if isinstance(statement, For) and statement.lanes > 1:
                found += self.cut(statement)
            elif isinstance(statement, For | If):
                found.append(replace(statement, body=self.block(statement.body)))
            else:
                found.append(statement)
        return found

    def enter(self, made: Instruction) -> None:
        """Note the value of an integer, if it is an expression of the sizes."""
        if made.op == "const" and made.value == 0 and made.result.dtype.is_float:
            self.zeros.add(made.result)
        if made.result.dtype is not i64:
            return
        given = [self.dims[x] for x in made.operands if x in self.dims]
        if made.op in ("const", "size"):
            self.dims[made.result] = made.value  # type: ignore[assignment]
        elif made.op in ("add", "sub") and len(given) == 2:
            a, b = given
            self.dims[made.result] = a + b if made.op == "add" else a - b

    def cut(self, loop: For) -> list[Statement]:
        """The loop over what is between the ends, and the one over the ends, if there are any."""
        if not _is_plain(loop) or self.dims.get(loop.start) != 0 or loop.stop not in self.dims:
            return [loop]
        stop = self.dims[loop.stop]
        for statement in loop.body:
            if isinstance(statement, Instruction):
                self.enter(statement)
        low, high, known = _decided(self.turning_points(loop), stop)
        if not known:
            return [loop]
        body, values = _with_known(loop.body, known, self.zeros)
        sums = [replace(a, value=values.get(a.value, a.value)) for a in loop.accumulators]
        between = replace(loop, body=_needed(body, sums), accumulators=sums)
        if low == high == 0:
            return [between]
        if isinstance(stop, int) and stop < low + high + _SHORTEST * loop.lanes:
            return [loop]
        return _apart(loop, between, stop, low, high)

    def turning_points(self, loop: For) -> dict[Ref, tuple[Dim, bool]]:
        """Comparisons with the variable that hold below a number, or (False) from it on."""
        offsets: dict[Ref, Dim] = {loop.variable: 0}
        found: dict[Ref, tuple[Dim, bool]] = {}
        for made in loop.body:
            if not isinstance(made, Instruction) or len(made.operands) != 2:
                continue
            a, b = made.operands
            if made.op == "add" and b in offsets:
                a, b = b, a
            if made.op in _BELOW and b in offsets and a in self.dims:
                offset, other, op = offsets[b], self.dims[a], _TURNED[made.op]
            elif a in offsets and b in self.dims:
                offset, other, op = offsets[a], self.dims[b], made.op
            else:
                continue
            if op in ("add", "sub"):
                offsets[made.result] = offset + other if op == "add" else offset - other
            elif op in _BELOW:
                more, below = _BELOW[op]
                found[made.result] = other - offset + more, below
        return found


def _is_plain(loop: For) -> bool:
    """Whether iterations may run in another order, and there is nothing but arithmetic in them."""
    if loop.step != 1 or any(a.kind == "bits" for a in loop.accumulators):
        return False
    stores = [s for s in loop.body if isinstance(s, Store)]
    is_plain = all(isinstance(s, Plain) for s in loop.body)
    return is_plain and not any(store.repeat for store in stores)


def _decided(points: Mapping[Ref, tuple[Dim, bool]], stop: Dim) -> tuple[int, int, dict[Ref, bool]]:
    """How many iterations are at the start and at the end, and what holds between them."""
    low = high = 0
    known: dict[Ref, bool] = {}
    for ref, (point, below) in points.items():
        left = stop - point
        if isinstance(point, int) and point <= _MOST:
            low, is_below = max(low, point), False
        elif isinstance(left, int) and left <= _MOST:
            high, is_below = max(high, left), True
        else:
            continue
        known[ref] = is_below == below
    return low, high, known


def _apart(loop: For, between: For, stop: Dim, low: int, high: int) -> list[Statement]:
    """The loop between the ends, then the ends: the first `low` iterations, and the last `high`."""
    depth = loop.variable.depth - 1
    first, ends, count, rest, last, end = (Ref(i64, depth) for _ in range(6))
    sums = [replace(a, result=Ref(a.result.dtype, depth)) for a in between.accumulators]
    return [
        Instruction(first, "const", value=low),
        Instruction(ends, "const", value=low + high),
        Instruction(count, "min", (ends, loop.stop)),
        Instruction(rest, "sub", (loop.stop, count)),
        Instruction(last, "const" if isinstance(stop, int) else "size", value=stop - high),
        Instruction(end, "max", (first, last)),
        replace(between, start=first, stop=end, accumulators=sums, padded=()),
        _scalar(loop, first, count, rest, sums),
    ]


def _scalar(loop: For, low: Ref, count: Ref, rest: Ref, before: Sequence[Accumulator]) -> For:
    """The loop for numbers below `low`, and for those from there to `count` with `rest` added."""
    depth = loop.variable.depth
    number, high, variable = (Ref(i64, depth) for _ in range(3))
    is_low = Ref(bool_, depth)
    body: list[Statement] = [
        Instruction(is_low, "lt", (number, low)),
        Instruction(high, "add", (number, rest)),
        Instruction(variable, "select", (is_low, number, high)),
    ]
    new = {loop.variable: variable}
    for statement in loop.body:
        if isinstance(statement, Store):
            body.append(_store_of(statement, new))
        elif isinstance(statement, Instruction):
            new[statement.result] = Ref(statement.result.dtype, statement.result.depth)
            operands = tuple(new.get(x, x) for x in statement.operands)
            body.append(replace(statement, result=new[statement.result], operands=operands))
    sums = [
        Accumulator(a.kind, new.get(a.value, a.value), a.result, b.result)
        for a, b in zip(loop.accumulators, before, strict=True)
    ]
    return For(number, loop.start, count, body, sums)


def _store_of(store: Store, values: Mapping[Ref, Ref]) -> Store:
    """The store with other refs."""
    mask = None if store.mask is None else values.get(store.mask, store.mask)
    index, value = (values.get(x, x) for x in (store.index, store.value))
    return replace(store, index=index, value=value, mask=mask)


# --- what is known -------------------------------------------------------------------------------


def _with_known(
    body: Sequence[Statement], known: Mapping[Ref, bool], zeros: Set[Ref]
) -> tuple[list[Statement], dict[Ref, Ref]]:
    """The body where conditions are known, and what stands for refs that are no longer there.

    Loads that differed in their masks are one, as all that is computed twice.
    """
    truth, values, before = dict(known), dict[Ref, Ref](), dict[object, Ref | Instruction]()
    written = {_memory(s.buffer) for s in body if isinstance(s, Store)}
    found: list[Statement] = []
    for statement in body:
        if isinstance(statement, Store):
            found += _stores(_store_of(statement, values), truth)
            continue
        assert isinstance(statement, Instruction)
        operands = tuple(values.get(x, x) for x in statement.operands)
        made = _simplified(replace(statement, operands=operands), truth, zeros)
        if isinstance(made, Instruction) and _memory(made.buffer) not in written:
            key = (made.op, made.result.dtype, made.operands, repr(made.value), made.buffer)
            made = before.get(key, made)
            before.setdefault(key, statement.result)
        if isinstance(made, Ref):
            values[statement.result] = made
        else:
            found.append(made)
    return found, values


def _stores(store: Store, truth: Mapping[Ref, bool]) -> list[Statement]:
    """The store, if it happens, without a mask that is known."""
    happens = None if store.mask is None else truth.get(store.mask)
    if happens is None:
        return [store]
    return [replace(store, mask=None)] if happens else []


def _memory(buffer: Buffer | None) -> object:
    """What tells memory apart: temporaries of one slot may be one another's."""
    return buffer.slot if buffer is not None and buffer.kind == "temporary" else buffer


def _simplified(made: Instruction, truth: dict[Ref, bool], zeros: Set[Ref]) -> Instruction | Ref:
    """An instruction where conditions are known, or what it equals; `truth` learns its result."""
    given = [truth.get(x) for x in made.operands]
    if made.op == "add" and not zeros.isdisjoint(made.operands):
        a, b = made.operands
        return b if a in zeros else a
    if made.op in ("and", "or"):
        absorbs = made.op == "or"
        if absorbs in given:
            truth[made.result] = absorbs
        elif (not absorbs) in given:
            return made.operands[1 - given.index(not absorbs)]
    elif made.op == "not" and given[0] is not None:
        truth[made.result] = not given[0]
    elif made.op == "select" and given[0] is not None:
        return made.operands[1 if given[0] else 2]
    elif made.op == "load" and given[-1] is not None:
        zero = made.result.dtype.numpy.type(0).item()
        known = Instruction(made.result, "const", value=zero)
        return replace(made, operands=made.operands[:1]) if given[-1] else known
    if made.result in truth:
        return Instruction(made.result, "const", value=truth[made.result])
    return made


def _needed(body: Sequence[Statement], sums: Sequence[Accumulator]) -> list[Statement]:
    """The body without instructions whose results nobody reads."""
    needed = {a.value for a in sums}
    found: list[Statement] = []
    for statement in reversed(body):
        if isinstance(statement, Store):
            needed.update(x for x in (statement.index, statement.value, statement.mask) if x)
        elif isinstance(statement, Instruction):
            if statement.result not in needed:
                continue
            needed.update(statement.operands)
        found.append(statement)
    return found[::-1]
