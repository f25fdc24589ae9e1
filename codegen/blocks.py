"""Rows in blocks: a program of its own that runs for one block of rows after the other.

Its memory, for one block, is a part of the arena: it does not depend on the number of rows. Sums
are added up from the parts that the blocks give, through memory of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradc.codegen.block_region import start_of
from gradc.codegen.reader import Reader
from gradc.ir.dims import Dim, is_nonnegative, product, size, substitute
from gradc.ir.function import Equation, Value, parameter
from gradc.ir.loops import Buffer, Fill, Program, Run, Slot
from gradc.ir.lowering import Index
from gradc.ir.ops.blocks import rows_of
from gradc.ir.record import dataclass
from gradc.ir.types import ArrayType, bool_


@dataclass(frozen=True, slots=True)
class Memory:
    """What a step over blocks needs for one of them, as values that live during the step.

    parts: of sums, by the position of the result. slots: what the slots of the program lie in;
    those of one layer share it.
    """

    parts: Mapping[int, Value]
    slots: tuple[Value, ...]

    @property
    def values(self) -> tuple[Value, ...]:
        return (*self.parts.values(), *dict.fromkeys(self.slots))


def memory_of(made: Equation, slots: Sequence[Slot]) -> Memory:
    """The memory for one block of an equation whose body has an arena of these layers of slots."""
    rows, most = rows_of(made.attrs["body"]), made.attrs["block"]
    gives = enumerate(zip(made.outputs, made.attrs["gives"], strict=True))
    layers: dict[tuple[int, ...], Dim] = {}
    for slot in slots:
        layers[slot.on] = layers.get(slot.on, 0) + _bytes(slot, rows, most)
    values = {on: parameter(ArrayType(bool_, (bytes,))) for on, bytes in layers.items()}
    return Memory(
        {i: parameter(value.type) for i, (value, axis) in gives if axis is None},
        tuple(values[slot.on] for slot in slots),
    )


def _bytes(slot: Slot, rows: str, most: int) -> Dim:
    """The bytes of a slot that suffice for every block."""
    if not is_nonnegative(substitute(slot.bytes, {rows: size(rows) + 1}) - slot.bytes):
        raise ValueError(f"a block needs less memory, {slot.bytes} bytes, for more rows, {rows}")
    return substitute(slot.bytes, {rows: most})


def lower_blocks(
    reader: Reader, made: Equation, program: Program, memory: Memory, vector_bits: int
) -> None:
    """The loop over the blocks; `program` is the body's."""
    k, attrs, buffers = reader.k, made.attrs, reader.buffers
    reader.begin(())
    for i in memory.parts:
        k.append(Fill(buffers[made.outputs[i]]))
    inputs = tuple(
        (buffers[x], k.index(0)) if x.shape else reader.at(x, Index(k, (), ())) for x in made.inputs
    )
    count, body = k.size(product(attrs["lead"])), attrs["body"]
    with k.loop(count, step=attrs["block"]) as start:
        rows = k.binary("min", k.index(attrs["block"]), k.sub(count, start))
        own = {rows_of(body): rows, start_of(body): start}
        sizes = tuple(own[name] if name in own else k.size(size(name)) for name in program.sizes)
        outputs = []
        for i, (value, axis) in enumerate(zip(made.outputs, attrs["gives"], strict=True)):
            length = product(value.shape[len(attrs["lead"]) :])
            offset = k.index(0) if axis != 0 else k.mul(start, k.size(length))
            outputs.append((buffers[memory.parts.get(i, value)], offset))
        slots = tuple(buffers[slot] for slot in memory.slots)
        k.append(Run(program, sizes, inputs, tuple(outputs), slots))
        for i, part in memory.parts.items():
            _add(reader, buffers[part], buffers[made.outputs[i]], vector_bits)


def _add(reader: Reader, part: Buffer, total: Buffer, vector_bits: int) -> None:
    """Add the part of a sum."""
    k = reader.k
    lanes = max(1, vector_bits // (8 * total.type.dtype.itemsize))
    with k.loop(k.size(total.type.size), lanes=lanes) as entry:
        k.store(total, entry, k.load(part, entry, stable=False), "add")
