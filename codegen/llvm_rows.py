"""Rows of memory: what lanes read or write side by side is moved in whole vectors.

Where each lane reads (or writes) several neighbours, x[n, 3] with a row a lane, a vector a lane is
loaded and the vectors are transposed in registers: far less work than a gather an entry.
Rows that follow one another without a gap are one piece of memory, which is taken apart.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from gradc.codegen.llvm_arithmetic import arithmetic, shuffle
from gradc.codegen.llvm_index import index_arithmetic
from gradc.codegen.llvm_memory import (
    ZERO,
    address_of,
    lanes_of_index,
    load,
    load_element,
    masked_load,
)
from gradc.codegen.llvm_spread import Affine, KernelState, Spread
from gradc.codegen.llvm_stores import masked_store, store, store_register
from gradc.codegen.llvm_text import is_number, llvm_type
from gradc.ir.loops import Buffer, For, If, Instruction, MatMul, Ref, Statement, Store
from gradc.ir.record import dataclass
from gradc.ir.types import DType, bool_, i64

_LONGEST = 32  # entries of a row: ZERO and the sink of stores have room for a vector behind them
_DENSE = 4  # entries of a row that is taken out of a block of rows

Write = Callable[[KernelState], None]
_Key = tuple[Buffer, Ref, "Ref | None"]
_Entries = dict[int, "Instruction | Store"]
_APART = For | If | MatMul


@dataclass(frozen=True, slots=True)
class _Row:
    """Neighbours in memory: entry `offset` from `base` is read (or written) by a statement each."""

    buffer: Buffer
    base: Ref
    mask: Ref | None
    entries: Mapping[int, Instruction | Store]

    @property
    def first(self) -> int:
        return min(self.entries)

    @property
    def span(self) -> int:
        return max(self.entries) - self.first + 1


def joined_accesses(k: KernelState, statements: Sequence[Statement]) -> dict[Statement, Write]:
    """What to write for statements that read or write a row together, each in place of its own.

    The loads stand where the first of them stood, the stores where the last one did.
    """
    if k.lanes == 1 or k.axes or any(isinstance(s, _APART) for s in statements):
        return {}
    loads, stores = _rows(k, statements)
    read = {_place(s.buffer) for s in statements if isinstance(s, Instruction) and s.buffer}
    written = {_place(s.buffer) for s in statements if isinstance(s, Store)}
    found: dict[Statement, Write] = {}
    for row in loads:
        if _place(row.buffer) not in written and 2 * len(row.entries) > row.span:
            found.update(dict.fromkeys(row.entries.values(), nothing))
            found[next(iter(row.entries.values()))] = partial(_load_row, row=row)
    for row in stores:
        if _place(row.buffer) not in read and len(row.entries) == row.span:
            found.update(dict.fromkeys(row.entries.values(), nothing))
            found[list(row.entries.values())[-1]] = partial(_store_row, row=row)
    return found


def nothing(k: KernelState) -> None:
    """What stands elsewhere."""


def _place(buffer: Buffer) -> Buffer | int:
    """What tells memory apart: temporaries of one slot may be one another's."""
    return buffer.slot if buffer.kind == "temporary" else buffer


def _rows(k: KernelState, statements: Sequence[Statement]) -> tuple[list[_Row], list[_Row]]:
    """The loads and the stores of floats and integers, by what they share."""
    made = {s.result: s for s in statements if isinstance(s, Instruction) and s.op == "add"}
    loads: dict[_Key, _Entries] = {}
    stores: dict[_Key, _Entries] = {}
    twice: set[_Key] = set()
    added: dict[Buffer, _Key] = {}
    for statement in statements:
        if isinstance(statement, Instruction) and statement.op == "load":
            group, index = loads, statement.operands[0]
            mask = statement.operands[1] if len(statement.operands) > 1 else None
        elif isinstance(statement, Store) and (statement.mode == "set" or statement.repeat):
            group, index, mask = stores, statement.index, statement.mask
        else:
            continue
        buffer = statement.buffer
        if buffer is None or buffer.type.dtype is bool_:
            continue
        base, offset = _split(k, made, index)
        key = (buffer, base, mask)
        if offset in group.setdefault(key, {}):
            twice.add(key)
        group[key][offset] = statement
        if isinstance(statement, Store) and statement.repeat:  # rows of one buffer keep their order
            twice.update({key, added[buffer]} if added.setdefault(buffer, key) != key else ())
    apart = ((key, run) for key, entries in stores.items() for run in _runs(entries))
    return list(_long(loads.items(), ())), list(_long(apart, twice))


def _runs(entries: _Entries) -> Iterator[_Entries]:
    """The entries in runs of neighbours, not too long: what is between is not to be written."""
    run_of: dict[int, int] = {}
    for offset in sorted(entries):
        first = run_of.get(offset - 1, offset)
        run_of[offset] = first if offset - first < _LONGEST else offset
    for first in dict.fromkeys(run_of.values()):
        yield {offset: s for offset, s in entries.items() if run_of[offset] == first}


def _long(groups: Iterable[tuple[_Key, _Entries]], unfit: Collection[_Key]) -> Iterator[_Row]:
    """The groups of several entries, but for those that are unfit."""
    for key, entries in groups:
        if len(entries) > 1 and max(entries) - min(entries) < _LONGEST and key not in unfit:
            yield _Row(*key, entries)


def _split(k: KernelState, made: Mapping[Ref, Instruction], index: Ref) -> tuple[Ref, int]:
    """An index as a ref and a number that is added to it."""
    offset = 0
    while index in made:
        a, b = made[index].operands
        number = _number(k, b)
        if number is None:
            a, b, number = b, a, _number(k, a)
        if number is None:
            break
        index, offset = a, offset + number
    return index, offset


def _number(k: KernelState, a: Ref) -> int | None:
    """The integer that a constant from outside the loop holds."""
    spread = k.values.get(a)
    if spread is None or len(spread.entries) != 1:
        return None
    (entry,) = spread.entries
    return int(entry) if isinstance(entry, str) and is_number(entry) else None


# --- rows ----------------------------------------------------------------------------------------


def _is_apart(k: KernelState, row: _Row) -> bool:
    """Whether lanes lie apart in memory: else every entry is a vector, or one scalar, by itself."""
    base = k.values[row.base]
    (entry,) = base.entries
    return base.is_vector or (isinstance(entry, Affine) and entry.stride not in ("1", "-1"))


def _block_of(k: KernelState, row: _Row) -> str | None:
    """Where the rows of all lanes begin, if they are short and follow one another without a gap."""
    (entry,) = k.values[row.base].entries
    dense = isinstance(entry, Affine) and entry.stride == str(row.span) and row.span <= _DENSE
    return k.w.add(entry.base, str(row.first)) if dense and isinstance(entry, Affine) else None


def _mask(k: KernelState, row: _Row) -> str | None:
    if row.mask is None:
        return k.mask
    spread = k.values[row.mask]
    (entry,) = spread.entries
    return k.mask_of(entry, spread.is_vector)


def _pointers(k: KernelState, row: _Row, otherwise: str) -> list[str]:
    """The address of each lane's row; `otherwise` for lanes that are masked."""
    (entry,) = k.values[row.base].entries
    if isinstance(entry, Affine):
        steps = [k.w.mul(entry.stride, str(lane)) for lane in range(k.lanes)]
        places = [k.w.add(entry.base, step) for step in steps]
    else:
        places = lanes_of_index(k, entry)
    found = []
    for lane, place in enumerate(places):
        at, base = k.w.add(place, str(row.first)), _base(k, row, lane)
        found.append(
            k.w.let(f"getelementptr {llvm_type(row.buffer.type.dtype)}, ptr {base}, i64 {at}")
        )
    mask = _mask(k, row)
    if mask is None:
        return found
    flags = llvm_type(bool_, k.lanes)
    bits = [k.w.let(f"extractelement {flags} {mask}, i64 {lane}") for lane in range(k.lanes)]
    return [
        k.w.let(f"select i1 {bit}, ptr {pointer}, ptr {otherwise}")
        for bit, pointer in zip(bits, found, strict=True)
    ]


def _base(k: KernelState, row: _Row, lane: int) -> str:
    """The address of the array in which a lane's row lies."""
    statement = next(iter(row.entries.values()))
    return k.table(statement, lane) if isinstance(statement, Store) else k.pointer(row.buffer)


def _pieces(span: int, lanes: int) -> Iterator[tuple[int, int]]:
    """Parts of a row, (first entry, number): whole vectors, of which the last two may overlap."""
    if span <= lanes:
        yield 0, span
        return
    for first in range(0, span - lanes, lanes):
        yield first, lanes
    yield span - lanes, lanes


def _transposed(k: KernelState, kind: str, rows: Sequence[str]) -> list[str]:
    """Lane i of vector j becomes lane j of vector i: log2(lanes) rounds of exchanges."""
    lanes, rows = k.lanes, list(rows)
    distance = lanes // 2
    while distance:
        for i in range(lanes):
            if i & distance:
                continue
            low, high = rows[i], rows[i + distance]
            kept = [x if not x & distance else lanes + x - distance for x in range(lanes)]
            moved = [x + distance if not x & distance else lanes + x for x in range(lanes)]
            rows[i] = shuffle(k.w, kind, low, kept, high)
            rows[i + distance] = shuffle(k.w, kind, low, moved, high)
        distance //= 2
    return rows


# --- loads ---------------------------------------------------------------------------------------


def _load_row(k: KernelState, row: _Row) -> None:
    if not _is_apart(k, row):
        _load_each(k, row)
        return
    start = _block_of(k, row)
    columns = _read_block(k, row, start) if start is not None else _read_lanes(k, row)
    for offset, statement in row.entries.items():
        assert isinstance(statement, Instruction)
        k.values[statement.result] = Spread((), (columns[offset - row.first],), True)


def _load_each(k: KernelState, row: _Row) -> None:
    """Entry by entry, at indices made of the base: those of later loads are not computed yet."""
    for offset, statement in row.entries.items():
        assert isinstance(statement, Instruction)
        place = Ref(i64)
        number = Spread((), (str(offset),))
        found = index_arithmetic(k, "add", (k.values[row.base], number), False)
        assert found is not None
        k.values[place] = found
        operands = (place, *statement.operands[1:])
        k.values[statement.result] = load(k, replace(statement, operands=operands))


def _read_lanes(k: KernelState, row: _Row) -> dict[int, str]:
    """The entries of the rows, by number: a vector a lane, transposed."""
    dtype, found = row.buffer.type.dtype, dict[int, str]()
    kind = llvm_type(dtype, k.lanes)
    pointers = _pointers(k, row, ZERO)
    for first, count in _pieces(row.span, k.lanes):
        rows = [_read_piece(k, dtype, pointer, first, count) for pointer in pointers]
        for i, column in enumerate(_transposed(k, kind, rows)[:count]):
            found[first + i] = column
    return found


def _read_piece(k: KernelState, dtype: DType, pointer: str, first: int, count: int) -> str:
    """`count` entries of a row in the first lanes of a vector."""
    address = k.w.let(f"getelementptr {llvm_type(dtype)}, ptr {pointer}, i64 {first}")
    width = 1 << (count - 1).bit_length()
    if width == count:
        found = load_element(k, dtype, width, address)
    else:
        bits = ", ".join(f"i1 {str(i < count).lower()}" for i in range(width))
        found = masked_load(k, dtype, width, address, f"<{bits}>")
    if width == k.lanes:
        return found
    wide = [*range(width), *[width] * (k.lanes - width)]
    return shuffle(k.w, llvm_type(dtype, width), found, wide)


def _read_block(k: KernelState, row: _Row, start: str) -> dict[int, str]:
    """The entries of rows without gaps: vectors of the whole block, taken apart."""
    dtype, span, lanes = row.buffer.type.dtype, row.span, k.lanes
    kind, mask = llvm_type(dtype, lanes), _mask(k, row)
    vectors = []
    for number in range(span):
        address = address_of(k, row.buffer, k.w.add(start, str(number * lanes)))
        part = _mask_of_block(k, mask, span, number)
        if part is None:
            vectors.append(load_element(k, dtype, lanes, address))
        else:
            vectors.append(masked_load(k, dtype, lanes, address, part))
    found = {}
    for column in range(span):
        places = [divmod(lane * span + column, lanes) for lane in range(lanes)]
        found[column] = _picked(k, kind, vectors, places)
    return found


def _mask_of_block(k: KernelState, mask: str | None, span: int, number: int) -> str | None:
    """The entries of a vector of the block that belong to lanes that count."""
    if mask is None:
        return None
    order = [(number * k.lanes + i) // span for i in range(k.lanes)]
    return shuffle(k.w, llvm_type(bool_, k.lanes), mask, order)


def _picked(
    k: KernelState, kind: str, vectors: Sequence[str], places: Sequence[tuple[int, int]]
) -> str:
    """The vector of the entries at (vector, lane): a shuffle for each further vector.

    The first shuffle brings the entries of its first vector to their places, the others keep them.
    """
    used = list(dict.fromkeys(vector for vector, _ in places))
    found = vectors[used[0]]
    if len(used) == 1:
        return shuffle(k.w, kind, found, [lane for _, lane in places])
    for number in used[1:]:
        order = [
            k.lanes + lane if vector == number else i if number != used[1] else lane
            for i, (vector, lane) in enumerate(places)
        ]
        found = shuffle(k.w, kind, found, order, vectors[number])
    return found


# --- stores --------------------------------------------------------------------------------------


def _store_row(k: KernelState, row: _Row) -> None:
    if not _is_apart(k, row):
        for statement in row.entries.values():
            assert isinstance(statement, Store)
            store(k, statement)
        return
    dtype = row.buffer.type.dtype
    columns, adds = [], False
    for offset in range(row.first, row.first + row.span):
        statement = row.entries[offset]
        assert isinstance(statement, Store)
        adds = statement.mode == "add"
        (entry,) = k.vectors(dtype, k.values[statement.value]).entries
        assert isinstance(entry, str)
        columns.append(entry)
    start = None if adds else _block_of(k, row)
    if start is not None:
        _write_block(k, row, start, columns)
    else:
        _write_lanes(k, row, columns, adds)


def _write_lanes(k: KernelState, row: _Row, columns: Sequence[str], adds: bool) -> None:
    """Transpose the entries, and store a vector a lane, one lane after the other."""
    dtype, lanes = row.buffer.type.dtype, k.lanes
    kind = llvm_type(dtype, lanes)
    pointers = _pointers(k, row, k.sink())
    apart = ((first, min(lanes, row.span - first)) for first in range(0, row.span, lanes))
    for first, count in apart if adds else _pieces(row.span, lanes):
        part = [*columns[first : first + count], *["poison"] * (lanes - count)]
        for pointer, register in zip(pointers, _transposed(k, kind, part), strict=True):
            _write_piece(k, dtype, pointer, (first, count), register, adds)


def _write_piece(
    k: KernelState, dtype: DType, pointer: str, part: tuple[int, int], register: str, adds: bool
) -> None:
    """Store or add the lanes of a part of the row, in pieces whose lengths are powers of two."""
    first, count = part
    done = 0
    while done < count:
        width = 1 << ((count - done).bit_length() - 1)
        kind, piece = llvm_type(dtype, k.lanes), register
        if width == 1:
            piece = k.w.let(f"extractelement {kind} {register}, i64 {done}")
        elif width < k.lanes:
            piece = shuffle(k.w, kind, register, range(done, done + width))
        address = k.w.let(f"getelementptr {llvm_type(dtype)}, ptr {pointer}, i64 {first + done}")
        if adds:
            old = load_element(k, dtype, width, address)
            piece = arithmetic(k.w, "add", dtype, width, (old, piece))
        store_register(k, dtype, width, address, piece)
        done += width


def _write_block(k: KernelState, row: _Row, start: str, columns: Sequence[str]) -> None:
    """Store rows without gaps: vectors of the whole block, put together."""
    dtype, span, lanes = row.buffer.type.dtype, row.span, k.lanes
    kind, mask = llvm_type(dtype, lanes), _mask(k, row)
    for number in range(span):
        places = [divmod(number * lanes + i, span)[::-1] for i in range(lanes)]
        register = _picked(k, kind, columns, places)
        address = address_of(k, row.buffer, k.w.add(start, str(number * lanes)))
        part = _mask_of_block(k, mask, span, number)
        if part is None:
            store_register(k, dtype, lanes, address, register)
        else:
            masked_store(k, dtype, lanes, address, register, part)
