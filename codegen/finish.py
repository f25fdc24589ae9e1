"""Products whose result is finished while it is in the first caches: bias, activation, derivative.

A nest that reads a product at its own point only, and runs over the same space, needs no pass of
its own: it runs for each part of the product as soon as that part is complete. If nothing else
reads the product, it is computed in the memory of a value that the nest stores, and never stands
anywhere as itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from gradc.codegen.choices import Choices
from gradc.codegen.loop_plan import copies_of, fit, lanes_of
from gradc.codegen.nest import placed, value_at
from gradc.codegen.product import can_finish, lower_product, runs_of
from gradc.codegen.reader import Reader
from gradc.codegen.rows import Scheduled, parts_of
from gradc.codegen.steps import (
    FinishedProduct,
    Nest,
    ProductStep,
    Root,
    inlined_reads,
)
from gradc.ir.function import Equation, Value
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Fill, Finish, Ref
from gradc.ir.lowering import Index
from gradc.ir.types import i64


def finish_products(
    steps: Sequence[Scheduled],
    stored: Collection[Value],
    results: Collection[Value],
    choices: Choices,
) -> tuple[Scheduled, ...]:
    """The steps with products joined to the nests that finish them.

    A product runs where its nest ran: nothing in between reads it.
    """
    if not choices.finish or not any(isinstance(step, ProductStep) for step in steps):
        return tuple(steps)
    readers = _readers(steps, stored)
    joined: dict[int, Scheduled] = {}
    gone: set[int] = set()
    for number, step in enumerate(steps):
        if not isinstance(step, ProductStep):
            continue
        (value,) = step.equation.outputs
        users = readers.get(value, [])
        last = steps[users[0]] if users else None
        if isinstance(last, Nest) and users[0] not in joined and can_finish(step, last, stored):
            alone = len(users) == 1 and value not in results
            place = _place(last, value) if alone else None
            joined[users[0]] = FinishedProduct(step, last, place)
            gone.add(number)
    return tuple(joined.get(i, step) for i, step in enumerate(steps) if i not in gone)


def _readers(
    steps: Sequence[Scheduled], stored: Collection[Value]
) -> Mapping[Value, Sequence[int]]:
    """The numbers of the steps that read each stored value, ascending."""
    found: dict[Value, list[int]] = {}
    for number, step in enumerate(steps):
        for value in {v for part in parts_of(step) for v in inlined_reads(part, stored)}:
            found.setdefault(value, []).append(number)
    return found


def _place(nest: Nest, product: Value) -> Value | None:
    """A value of the nest that is stored at each point, in as many bytes."""
    axes = tuple(range(len(nest.space)))
    return next(
        (
            root.value
            for root in nest.roots
            if root.kind is None
            and root.placement == axes
            and not root.starts
            and root.value.dtype.itemsize == product.dtype.itemsize
        ),
        None,
    )


def lower_finished(reader: Reader, step: FinishedProduct, vector_bits: int) -> None:
    """Write the product, and the loops that finish a part of it."""
    nest, equation = step.nest, step.product.equation
    for root in nest.roots:
        if root.kind is not None:
            reader.k.append(Fill(reader.buffers[root.value]))
    inner = reader.with_builder(LoopBuilder())
    finish = Finish(Ref(i64), Ref(i64), Ref(i64), Ref(i64), Ref(i64), inner.k.body)
    _write_body(inner, nest, equation, finish, vector_bits)
    lower_product(reader, equation, finish=finish)


def _write_body(
    reader: Reader, nest: Nest, equation: Equation, part: Finish, vector_bits: int
) -> None:
    """Loops over the rows and columns of a part; the one along the last axis is the vector."""
    k = reader.k
    labels = equation.attrs["out"]
    of_batch, first, second, _ = (found[1] for found in runs_of(equation))
    ways = [(first, part.row, part.rows), (second, part.column, part.columns)]
    if first == list(labels[-1:]):
        ways.reverse()
    (outer, lines, line_count), (inner, start, count) = ways
    widest = lanes_of(nest, vector_bits)
    lanes = fit(widest, nest.space[-1])
    reader.begin([root.value for root in nest.roots if root.kind is None and not root.starts])
    at: dict[int, Ref] = {}
    shape = dict(zip(labels, nest.space, strict=True))
    at |= _coordinates(k, of_batch, shape, part.batch)
    with k.loop(line_count) as line:
        at |= _coordinates(k, outer, shape, k.add(lines, line))
        with k.loop(count, lanes=lanes, copies=copies_of(nest, widest)) as entry:
            at[inner[0]] = k.add(start, entry)
            coordinates = {axis: at[label] for axis, label in enumerate(labels)}
            sums = _store_entries(reader, nest, coordinates)
        for root, total in sums.items():
            _store(reader, root, total, coordinates)


def _coordinates(
    k: LoopBuilder, labels: Sequence[int], shape: Mapping[int, object], position: Ref
) -> dict[int, Ref]:
    """The coordinate along each label of a run, from the position in it."""
    found = Index(k, tuple(shape[x] for x in labels), flat=position)  # type: ignore[misc]
    return dict(zip(labels, found.coordinates, strict=True)) if labels else {}


def _store_entries(reader: Reader, nest: Nest, coordinates: Mapping[int, Ref]) -> dict[Root, Ref]:
    """Store what belongs to a point; the sums over the last axis return."""
    last = len(nest.space) - 1
    sums: dict[Root, Ref] = {}
    values = {root: value_at(reader, root, coordinates, None) for root in nest.roots}
    for root, value in values.items():
        if root.kind is None or last in root.placement:
            _store(reader, root, value, coordinates)
        else:
            sums[root] = reader.k.reduce(root.kind, value)
    return sums


def _store(reader: Reader, root: Root, value: Ref, coordinates: Mapping[int, Ref]) -> None:
    k = reader.k
    at = placed(k, root, [coordinates[axis] for axis in root.placement])
    index = Index(k, root.value.shape, at)
    k.store(*reader.place(root.value, index), value, "set" if root.kind is None else "add")
