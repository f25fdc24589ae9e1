"""The cut into kernels in words: what each computes, stores and costs, and why it is so.

A kernel is one pass over memory. The text names arrays as the stage `loops` does: t0, t1, ... are
temporaries. Bytes and operations are those of one call, see `cost.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

from gradc.codegen.arena_text import arena_text
from gradc.codegen.choices import Choices
from gradc.codegen.cost import (
    Cost,
    bytes_of,
    cost_of,
    least_bytes,
    operations_an_entry,
    reads_repeatedly,
    total_of,
)
from gradc.codegen.expression import expression_of, lines_of
from gradc.codegen.inlining import moves_in_rows
from gradc.codegen.loop_outline import outline
from gradc.codegen.lower import Cut, cut_into_kernels, lower_cut
from gradc.codegen.row_group import FEWER_ROWS, RowGroup
from gradc.codegen.rows import Scheduled, parts_of
from gradc.codegen.schedule import root_of
from gradc.codegen.steps import (
    BlockStep,
    ExternalStep,
    FinishedProduct,
    Nest,
    RoutineStep,
    inlined_reads,
    is_product,
    written,
)
from gradc.codegen.straight import Straight
from gradc.ir.dims import Dim, product
from gradc.ir.function import Function, Value
from gradc.ir.loops import Kernel, Program, programs_run
from gradc.ir.lowering import (
    Bits,
    Blocks,
    Contraction,
    External,
    Pointwise,
    Reduction,
    Routine,
    Scatter,
    SelectedSum,
)
from gradc.ir.record import dataclass

# Why what ops of a kind compute is stored.
_BY_KIND: Mapping[type[Any], str] = MappingProxyType(
    {
        Scatter: "it is changed in place",
        Blocks: "written block by block",
        External: "an external function writes it",
        Routine: "its entries depend on one another",
    }
)
_LISTED = 6  # names of operations that are computed again


def explain_kernels(function: Function, name: str, choices: Choices) -> str:
    """What each kernel of a function computes, stores and costs; ends with a newline."""
    cut = cut_into_kernels(function, choices)
    program = lower_cut(cut, name, choices)
    return "\n".join(_lines(_Explained(cut, program))) + "\n"


@dataclass(frozen=True)
class _Explained:
    """A cut with its program, and what follows from both."""

    cut: Cut
    program: Program

    @cached_property
    def names(self) -> Mapping[Value, str]:
        """The name of every array in memory."""
        buffers = {**self.cut.inputs, **self.cut.outputs, **self.cut.arena.buffers}
        buffers.update((old, self.cut.outputs[new]) for old, new in self.cut.homes.items())
        return {value: buffer.name for value, buffer in buffers.items()}

    @cached_property
    def costs(self) -> Sequence[Cost]:
        return [cost_of(self.cut, step) for step in self.cut.steps]

    @cached_property
    def users(self) -> Mapping[Value, Sequence[Value]]:
        """The values whose equations read a value."""
        found: dict[Value, list[Value]] = {}
        for equation in self.cut.fn.equations:
            for value in dict.fromkeys(equation.inputs):
                found.setdefault(value, []).extend(equation.outputs)
        return found

    @cached_property
    def readers(self) -> Mapping[Value, Sequence[int]]:
        """The numbers of the kernels that read a stored value."""
        found: dict[Value, list[int]] = {}
        for number, step in enumerate(self.cut.steps, 1):
            read = {v for p in parts_of(step) for v in inlined_reads(p, self.cut.stored)}
            for value in read:
                found.setdefault(value, []).append(number)
        return found

    @cached_property
    def shared(self) -> Collection[Value]:
        """The values that more than one step reads, whatever kernels these are in.

        A nest may read a value that it computes.
        """
        count: Counter[Value] = Counter()
        for step in [part for whole in self.cut.steps for part in parts_of(whole)]:
            own = {v for v, _ in step.reads} if isinstance(step, Nest) else set()
            count.update((own & self.cut.stored) | inlined_reads(step, self.cut.stored))
        return {value for value, number in count.items() if number > 1}


def _lines(it: _Explained) -> Iterator[str]:
    yield _title(it.program)
    computed: dict[Value, int] = {}
    kernels = zip(it.cut.steps, it.program.kernels, it.costs, strict=True)
    for number, (step, kernel, cost) in enumerate(kernels, 1):
        yield ""
        yield f"kernel {number}: {_kind(step)}"
        for value in _made(step, it.names):
            yield from _stored_value(it, step, number, value)
        yield from _loops(kernel)
        if isinstance(step, BlockStep):
            yield from _body(it, step, kernel)
        yield from _again(cost, computed)
        yield from _cost(it, cost)
        for value in cost.inlined:
            computed.setdefault(value, number)
    yield ""
    yield from _total(it)


def _body(it: _Explained, step: BlockStep, kernel: Kernel) -> Iterator[str]:
    """The kernels of the program that runs for each block."""
    (program,) = programs_run(kernel)
    for line in _lines(_Explained(it.cut.bodies[step.equation].cut, program)):
        yield f"    {line}".rstrip()


def _title(program: Program) -> str:
    inputs = ", ".join(f"{b.name}: {b.type}" for b in program.inputs)
    outputs = ", ".join(f"{b.name}: {b.type}" for b in program.outputs)
    count = len(program.kernels)
    what = f"{count} kernel{'s' if count != 1 else ''}"
    return f"{program.name}({inputs}) -> ({outputs}): {what}"


def _kind(step: Scheduled) -> str:
    if isinstance(step, RowGroup):
        at_a_time = f"{FEWER_ROWS} or {step.block}" if step.matrices else str(step.block)
        text = f"{len(step.steps)} steps over the {step.extent} rows, {at_a_time} rows at a time"
        return text if step.short is None else f"{text}, or {_short_rows(*step.short)}"
    if isinstance(step, Straight):
        rows = "" if step.rows is None else f", a row a lane over the {step.rows} rows"
        return f"straight-line code{rows}, small arrays in registers"
    if isinstance(step, Nest) and len(step.scattered) == len(step.roots):
        return "a copy, and entries added or set in place"
    if isinstance(step, ExternalStep):
        return f"calls of the external function {step.equation.attrs['symbol']}"
    if isinstance(step, BlockStep):
        attrs = step.equation.attrs
        return f"{product(attrs['lead'])} rows, {attrs['block']} at a time, by a program of its own"
    if isinstance(step, RoutineStep):
        return f"the loops of {step.equation.op.name}, entry after entry"
    if isinstance(step, FinishedProduct):
        return "a matrix product, each part of it finished in the cache"
    return "one loop nest" if isinstance(step, Nest) else "a matrix product"


def _short_rows(group: RowGroup, lengths: Sequence[tuple[Dim, int]]) -> str:
    limits = ", ".join(f"{length} <= {most}" for length, most in lengths)
    return f"{group.block} where they are short ({limits})"


def _made(step: Scheduled, names: Mapping[Value, str]) -> Sequence[Value]:
    """The values that a kernel stores, in order."""
    made = dict.fromkeys(v for part in parts_of(step) for v in written(part))
    return [value for value in made if value in names]


def _stored_value(it: _Explained, step: Scheduled, number: int, value: Value) -> Iterator[str]:
    where = lines_of(value, it.cut.stored)
    text = f"  {it.names[value]}: {value.type} = {expression_of(value, it.names)}"
    yield f"{text}  [{where}]" if where else text
    if isinstance(step, RowGroup) and value in step.local:
        size = bytes_of(value) if value not in it.cut.arena.buffers else _buffer_bytes(it, value)
        place = f"kept in the cache, {size} bytes a block"
    else:
        where = " in the memory of the result" if value in it.cut.homes else ""
        place = f"stored{where}, {bytes_of(value)} bytes"
    yield f"      {place}: {'; '.join(_reasons(it, value, number))}"


def _buffer_bytes(it: _Explained, value: Value) -> Dim:
    kind = it.cut.arena.buffers[value].type
    return kind.size * kind.dtype.itemsize


def _reasons(it: _Explained, value: Value, number: int) -> Iterator[str]:
    """Why a value is stored, and who reads it."""
    if value in it.cut.outputs:
        yield "a result"
    else:
        yield _why(it, value)
    later = [n for n in it.readers.get(value, ()) if n != number]
    if later:
        yield f"read by kernel{'s' if len(later) > 1 else ''} {_listed(later)}"
    elif number in it.readers.get(value, ()):
        yield "read in this kernel only"


def _why(it: _Explained, value: Value) -> str:
    """Why a value that is no result is stored rather than computed where it is read."""
    owner = value.owner
    assert owner is not None
    rule = owner.op.lower
    if type(rule) in _BY_KIND:
        return _BY_KIND[type(rule)]
    combines = isinstance(rule, Contraction | Reduction | Bits | SelectedSum)
    if combines and root_of(owner).kind is not None:
        if isinstance(rule, Contraction) and is_product(owner):
            return "a matrix product"
        return "complete only after its loop"
    cost = operations_an_entry(value, it.cut.stored)
    costly = f", and an entry costs {cost} operations" if cost > 1 else ""
    for user in it.users.get(value, ()):
        made = user.owner
        assert made is not None
        if isinstance(made.op.lower, Contraction) and is_product(made):
            return "a matrix product reads it from memory"
        if reads_repeatedly(user, value):
            return f"read repeatedly{costly}"
    if len(it.readers.get(value, ())) > 1:
        return f"read by several kernels{costly}"
    if value in it.shared:
        return f"read by several loops{costly}"
    if _is_read_by_neighbours(it, value):
        return f"read by neighbours in its row{costly}"
    return "too much code to compute it where it is read"


def _is_read_by_neighbours(it: _Explained, value: Value) -> bool:
    """Whether what is computed of a value is read at several places of its row."""
    moved, stack = 0, [value]
    while stack:
        for user in it.users.get(stack.pop(), ()):
            made = user.owner
            assert made is not None
            moved += moves_in_rows(made)
            if isinstance(made.op.lower, Pointwise) and user not in it.cut.stored:
                stack.append(user)
    return moved > 1


def _loops(kernel: Kernel) -> Iterator[str]:
    lines = list(outline(kernel))
    if lines:
        yield "  loops"
        yield from (f"    {line}" for line in lines)


def _again(cost: Cost, computed: Mapping[Value, int]) -> Iterator[str]:
    """What a kernel computes that an earlier one did compute too, rather than store it."""
    again = {v: n for v, n in cost.inlined.items() if v in computed and v.shape and n != 0}
    if not again:
        return
    operations: Dim = 0
    for number in again.values():
        operations = operations + number
    names = list(dict.fromkeys(v.owner.op.name for v in again if v.owner is not None))
    shown = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
    where = sorted({computed[value] for value in again})
    yield (
        f"  again     {shown}, as in kernel{'s' if len(where) > 1 else ''} {_listed(where)}: "
        f"{operations} operations rather than memory"
    )


def _cost(it: _Explained, cost: Cost) -> Iterator[str]:
    for title, arrays in (("reads", cost.reads), ("writes", cost.writes)):
        shown = [f"{name} {arrays[v]}" for v, name in it.names.items() if v in arrays]
        if shown:
            yield f"  {title:<9} {', '.join(shown)} bytes"
    yield f"  computes  {cost.operations} operations"


def _total(it: _Explained) -> Iterator[str]:
    traffic, operations = total_of(it.costs)
    least = least_bytes(it.cut, it.costs)
    yield "all kernels"
    yield f"  memory      {traffic} bytes"
    yield f"              {least} of them for inputs and results, each once"
    yield f"              {traffic - least} more between kernels"
    yield f"  operations  {operations} (an exp counts as about 20)"
    yield f"  workspace   {arena_text(it.program.slots)} bytes"


def _listed(numbers: Sequence[int]) -> str:
    shown = [str(number) for number in numbers[:_LISTED]]
    if len(numbers) > _LISTED:
        return f"{', '.join(shown)}, ..."
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
