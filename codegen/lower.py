"""Lower a function to loop IR: one kernel a step of its schedule."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from gradc.codegen.block_region import region_of
from gradc.codegen.blocks import Memory, lower_blocks, memory_of
from gradc.codegen.buffers import Arena, Lifetime, plan
from gradc.codegen.choices import Choices
from gradc.codegen.ends import write_ends_apart
from gradc.codegen.external import lower_external
from gradc.codegen.finish import finish_products, lower_finished
from gradc.codegen.layouts import turn_arrays
from gradc.codegen.neighbours import lay_side_by_side
from gradc.codegen.nest import lower_nest
from gradc.codegen.phases import in_phases
from gradc.codegen.prepare import prepare
from gradc.codegen.product import accumulates, lower_product
from gradc.codegen.quotients import divide_by_reciprocals
from gradc.codegen.reader import Reader
from gradc.codegen.routine import lower_routine
from gradc.codegen.row_group import RowGroup
from gradc.codegen.row_loops import lower_rows
from gradc.codegen.rows import Scheduled, group_rows, parts_of
from gradc.codegen.schedule import schedule
from gradc.codegen.selected import select_terms
from gradc.codegen.selected_loops import lower_bits, lower_selected
from gradc.codegen.steps import (
    BlockStep,
    ExternalStep,
    FinishedProduct,
    Nest,
    ProductStep,
    inlined_reads,
    reads,
    written,
)
from gradc.codegen.straight import Straight, lower_straight
from gradc.ir.collection import collection_paused
from gradc.ir.dims import names_of
from gradc.ir.function import Equation, Function, Value
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Buffer, Fill, Kernel, Program
from gradc.ir.ops.blocks import free_sizes
from gradc.ir.record import dataclass
from gradc.ir.types import ArrayType


class UnknownSizeError(ValueError):
    """A size that no parameter's shape tells."""


@dataclass(frozen=True, slots=True)
class Body:
    """The region of a step over blocks, cut into kernels, and the memory for one block."""

    cut: Cut
    memory: Memory


@dataclass(frozen=True, slots=True)
class Cut:
    """A function cut into kernels, one a step, and the buffers of parameters and stored values."""

    fn: Function
    sizes: tuple[str, ...]
    stored: frozenset[Value]
    steps: tuple[Scheduled, ...]
    inputs: Mapping[Value, Buffer]
    outputs: Mapping[Value, Buffer]
    homes: Mapping[Value, Value]  # values that live in the memory of a result
    arena: Arena
    bodies: Mapping[Equation, Body]  # of steps over blocks

    @property
    def buffers(self) -> Mapping[Value, Buffer]:
        """The buffer of every value in memory."""
        found = {**self.inputs, **self.outputs, **self.arena.buffers}
        found.update((value, self.outputs[result]) for value, result in self.homes.items())
        for step in self.steps:
            if isinstance(step, FinishedProduct) and step.place is not None:
                found.update(dict.fromkeys(step.passing, found[step.place]))
        return found


def lower(function: Function, name: str, choices: Choices = Choices()) -> Program:  # noqa: B008
    """The program that computes the function's results.

    Raises UnknownSizeError if a shape reads a size that no parameter has.
    """
    return lower_cut(cut_into_kernels(function, choices), name, choices)


@collection_paused()
def cut_into_kernels(
    function: Function, choices: Choices, sizes: Collection[str] = frozenset()
) -> Cut:
    """Decide which kernels compute the function's results, and where values are stored.

    A region also reads `sizes` that its parameters do not tell: those of the function around it.
    """
    fn = prepare(function)
    every = (*fn.sizes, *sorted(set(sizes).difference(fn.sizes)))
    _check_sizes(fn, every)
    if choices.select:
        fn = select_terms(fn)
    forced: frozenset[Value] = frozenset()
    if choices.turn:
        fn, forced = lay_side_by_side(fn)
    cut = schedule(fn, choices, forced)
    if choices.turn:
        turned, more = turn_arrays(fn, cut, forced)
        if turned is not fn:
            fn, cut = turned, schedule(turned, choices, more)
    inputs = {
        value: Buffer(own, value.type, "input")
        for value, own in zip(fn.parameters, function.parameter_names, strict=True)
    }
    names = function.result_names or [f"out{i}" for i in range(len(fn.results))]
    outputs = {
        value: Buffer(own, value.type, "output")
        for value, own in zip(fn.results, names, strict=True)
    }
    steps = group_rows(cut, fn, choices)
    steps = finish_products(steps, cut.stored, fn.results, choices)
    bodies = _bodies(steps, choices)
    lives, homes = _lifetimes(steps, cut.stored, outputs)
    lives += _block_lifetimes(steps, bodies)
    arena = plan(lives, choices.stack)
    return Cut(fn, every, cut.stored, steps, inputs, outputs, homes, arena, bodies)


def _bodies(steps: Sequence[Scheduled], choices: Choices) -> Mapping[Equation, Body]:
    found = {}
    for made in (step.equation for step in steps if isinstance(step, BlockStep)):
        region = region_of(made)
        cut = cut_into_kernels(region, replace(choices, stack="never"), free_sizes(region))
        found[made] = Body(cut, memory_of(made, cut.arena.slots))
    return found


@collection_paused()
def lower_cut(cut: Cut, name: str, choices: Choices) -> Program:
    """The loops of every kernel."""
    buffers = cut.buffers
    constants: dict[object, Buffer] = {}
    kernels = []
    parts = [part for step in cut.steps for part in parts_of(step)]
    last = set(cut.outputs).difference(*(inlined_reads(part, cut.stored) for part in parts))
    for number, step in enumerate(cut.steps):
        k = LoopBuilder()
        reader = Reader(k, buffers, cut.stored, constants)
        if isinstance(step, BlockStep):
            body = cut.bodies[step.equation]
            program = lower_cut(body.cut, f"{name}.b{number}", choices)
            lower_blocks(reader, step.equation, program, body.memory, choices.vector_bits)
        else:
            _lower_step(reader, step, choices.vector_bits, last)
        statements = write_ends_apart(k.body) if choices.ends else k.body
        statements = in_phases(divide_by_reciprocals(statements), choices)
        kernels.append(Kernel(f"{name}.k{number}", statements, _note(step)))
    return Program(
        name,
        cut.sizes,
        tuple(cut.inputs.values()),
        tuple(cut.outputs.values()),
        tuple(kernels),
        tuple(cut.arena.buffers.values()),
        tuple(constants.values()),
        cut.arena.slots,
        cut.fn.requires,
    )


def _lower_step(reader: Reader, step: Scheduled, vector_bits: int, last: Collection[Value]) -> None:
    """Write one kernel; `last` are the results that no kernel reads."""
    if isinstance(step, Nest) and step.selects:
        reader.k.append(Fill(reader.buffers[step.roots[0].value]))
        lower_selected(reader, step, vector_bits)
    elif isinstance(step, Nest) and step.has_own_loops:
        lower_bits(reader, step, vector_bits)
    elif isinstance(step, Nest):
        lower_nest(reader, step, vector_bits, last)
    elif isinstance(step, RowGroup):
        lower_rows(reader, step, vector_bits)
    elif isinstance(step, FinishedProduct):
        lower_finished(reader, step, vector_bits)
    elif isinstance(step, Straight):
        lower_straight(reader, step, vector_bits)
    elif isinstance(step, ProductStep):
        if accumulates(step.equation):
            reader.k.append(Fill(reader.buffers[step.equation.outputs[0]]))
        lower_product(reader, step.equation)
    elif isinstance(step, ExternalStep):
        lower_external(reader, step.equation)
    else:
        lower_routine(reader, step.equation, vector_bits)


def _lifetimes(
    steps: Sequence[Scheduled], stored: Collection[Value], outputs: Collection[Value]
) -> tuple[list[Lifetime], Mapping[Value, Value]]:
    """The values that need memory, and the results in whose memory others of them live.

    Each lives from the first to the last step that touches it. One that is read for the last time
    where a result of its type is written, point by point, lives in the result's memory.
    """
    first: dict[Value, int] = {}
    last: dict[Value, int] = {}
    types: dict[Value, ArrayType] = {}
    replaced: dict[Value, Value] = {}
    order: dict[Value, int] = {}
    for number, step in enumerate(steps):
        for value in _written(step):
            first[value] = last[value] = number
            types[value] = _stored_type(value, step)
            if value not in outputs:
                order[value] = len(order)
        for part in parts_of(step):
            for value in inlined_reads(part, stored) & first.keys():
                last[value] = number
        if isinstance(step, Nest):
            replaced.update(_replaced(step, stored, order))
    homes = {
        old: new
        for new, old in replaced.items()
        if new in outputs and last[old] == first[new] and types[old] == new.type
    }
    lives = [
        Lifetime(v, types[v], first[v], last[v], replaced.get(v))
        for v in first
        if v not in outputs and v not in homes
    ]
    return lives, homes


def _block_lifetimes(steps: Sequence[Scheduled], bodies: Mapping[Equation, Body]) -> list[Lifetime]:
    """What steps over blocks need while they run."""
    return [
        Lifetime(value, value.type, number, number)
        for number, step in enumerate(steps)
        if isinstance(step, BlockStep)
        for value in bodies[step.equation].memory.values
    ]


def _replaced(
    nest: Nest, stored: Collection[Value], temporaries: Mapping[Value, int]
) -> Iterator[tuple[Value, Value]]:
    """Pairs (new, old): at each point `new` is written after all reads of `old`, which are there.

    Every value of a point is computed before any of them is stored.
    """
    axes = tuple(range(len(nest.space)))
    own = set(written(nest))
    found = {read for root in nest.roots for read in reads(root, stored)}
    elsewhere = {*own, *(value for value, along in found if along != axes)}
    there = {value for value, _ in found if value in temporaries} - elsewhere
    old = sorted(there, key=lambda value: temporaries[value])
    for root in nest.roots:
        if root.kind is None and root.placement == axes:
            size = root.value.dtype.itemsize
            same = next((v for v in old if v.dtype.itemsize == size), None)
            if same is not None:
                old.remove(same)
                yield root.value, same


def _stored_type(value: Value, step: Scheduled) -> ArrayType:
    if isinstance(step, RowGroup) and value in step.local:
        return step.block_type(value)
    return value.type


def _written(step: Scheduled) -> list[Value]:
    """The values that have a buffer, in order."""
    made = list(dict.fromkeys(v for part in parts_of(step) for v in written(part)))
    if isinstance(step, FinishedProduct):
        return [v for v in made if v not in step.passing]
    return [v for v in made if v in step.kept] if isinstance(step, Straight) else made


def _note(step: Scheduled) -> str:
    return ", ".join(
        f"{value.owner.op.name if value.owner else 'copy'}: {value.type}"
        for value in _written(step)
    )


def _check_sizes(fn: Function, known: Collection[str]) -> None:
    told: set[int] = set()  # types, which many values share
    for value in (*fn.results, *(v for equation in fn.equations for v in equation.outputs)):
        if id(value.type) in told:
            continue
        told.add(id(value.type))
        unknown = names_of(value.shape).difference(known)
        if unknown:
            raise UnknownSizeError(
                f"{fn.name}: the size {min(unknown)} of {value!r} is not told by the shape of any "
                f"parameter (they tell {', '.join(fn.sizes) or 'no sizes'}); give it a number, or "
                "add a parameter whose shape has it"
            )
