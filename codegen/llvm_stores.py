"""Stores: whole vectors where consecutive iterations write consecutive elements."""

from __future__ import annotations

from gradc.codegen.llvm_arithmetic import arithmetic, fold_lanes_of, fold_tree, select
from gradc.codegen.llvm_memory import (
    address_of,
    addresses_of,
    from_memory,
    gather,
    lanes_of_index,
    load_element,
    load_reversed,
    load_strided,
    load_vector,
    reverse_lanes,
    reversed_mask,
)
from gradc.codegen.llvm_spread import Affine, Entry, KernelState, Spread, project, union
from gradc.codegen.llvm_streams import streamed
from gradc.codegen.llvm_text import literal, llvm_type, memory_suffix, memory_type
from gradc.ir.loops import Buffer, Store
from gradc.ir.types import DType, bool_


def store(k: KernelState, statement: Store) -> None:
    """Write, or add to, the elements at an index; see `Store` for what does not vary."""
    buffer = statement.buffer
    index, value = k.values[statement.index], k.values[statement.value]
    mask = None if statement.mask is None else k.values[statement.mask]
    adds = statement.mode == "add"
    if adds:
        value, mask = _summed(k, buffer.type.dtype, index, value, mask)
    axes = union([index, value] if mask is None else [index, value, mask])
    places = project(index, axes)
    masks = (None,) * len(places) if mask is None else project(mask, axes)
    wide_mask = mask is not None and mask.is_vector
    for at, new, when in zip(places, project(value, axes), masks, strict=True):
        wide_value = value.is_vector or isinstance(new, Affine)
        if index.is_vector and statement.repeat:
            assert isinstance(at, str)
            register = k.vector(buffer.type.dtype, new, value.is_vector)
            _store_in_order(k, statement, at, register, k.mask_of(when, wide_mask))
        elif isinstance(at, Affine) or index.is_vector:
            register = k.vector(buffer.type.dtype, new, value.is_vector)
            _store_vector(k, buffer, at, register, k.mask_of(when, wide_mask, buffer, at), adds)
        elif wide_value or wide_mask:  # lanes write in order: the last one stays
            register = k.vector(buffer.type.dtype, new, value.is_vector)
            mask_register = k.mask_of(when, wide_mask)
            _scatter(k, buffer, addresses_of(k, buffer, at, False), register, mask_register)
        else:
            assert isinstance(new, str)
            _store_scalar(k, buffer.type.dtype, address_of(k, buffer, at), new, when, adds)


def _summed(
    k: KernelState, dtype: DType, index: Spread, value: Spread, mask: Spread | None
) -> tuple[Spread, Spread | None]:
    """The value summed, and the mask of any, over the copies and lanes that the index ignores.

    An iteration adds its value even if that does not vary either.
    """
    over_lanes = k.lanes > 1 and not index.varies_over_lanes
    over = tuple(axis for axis in k.axes if axis not in index.axes)
    if not over and not over_lanes:
        return value, mask
    order = (*index.axes, *over)  # the axes that stay are outermost: sums are consecutive terms
    if mask is not None and (set(mask.axes) & set(over) or (over_lanes and mask.is_vector)):
        cut: Spread | None = mask
    else:
        cut = None
    wide = over_lanes or value.varies_over_lanes or (cut is not None and cut.is_vector)
    lanes, values = k.lanes if wide else 1, project(value, order)
    terms = [k.vector(dtype, v, value.is_vector) if wide else str(v) for v in values]
    if cut is not None or (over_lanes and k.mask is not None):
        whens = (None,) * len(terms) if cut is None else project(cut, order)
        zero = literal(0, dtype, lanes)
        terms = [
            select(k.w, dtype, lanes, _lane_mask(k, when, cut, wide, over_lanes), (term, zero))
            for term, when in zip(terms, whens, strict=True)
        ]
    sums = _fold(k, "add", dtype, lanes, terms, over, over_lanes)
    total = Spread(index.axes, tuple(sums), wide and not over_lanes)
    if cut is None:
        return total, mask
    flags = [_lane_mask(k, when, cut, wide, over_lanes) for when in project(cut, order)]
    anys = _fold(k, "or", bool_, lanes, flags, over, over_lanes)
    return total, Spread(index.axes, tuple(anys), wide and not over_lanes)


def _lane_mask(
    k: KernelState, when: Entry | None, cut: Spread | None, wide: bool, over_lanes: bool
) -> str:
    """The iterations whose terms count, as a register of the terms' width."""
    if over_lanes:
        mask = k.mask_of(when, cut is not None and cut.is_vector)
        assert mask is not None
        return mask
    assert isinstance(when, str) and cut is not None
    return k.vector(bool_, when, cut.is_vector) if wide else when


def _fold(
    k: KernelState,
    kind: str,
    dtype: DType,
    lanes: int,
    terms: list[str],
    over: tuple[tuple[int, int], ...],
    over_lanes: bool,
) -> list[str]:
    """Combine consecutive terms, one for each combination of copies of `over`, then the lanes."""
    width = 1
    for _, copies in over:
        width *= copies
    groups = [terms[i : i + width] for i in range(0, len(terms), width)]
    sums = [fold_tree(k.w, kind, dtype, lanes, group) for group in groups]
    return fold_lanes_of(k.w, kind, dtype, lanes, sums) if over_lanes else sums


def _store_scalar(
    k: KernelState, dtype: DType, address: str, value: str, when: Entry | None, adds: bool
) -> None:
    if when is not None:
        address = k.w.let(f"select i1 {when}, ptr {address}, ptr {k.sink()}")
    if adds:
        old = from_memory(k, dtype, 1, load_element(k, dtype, 1, address))
        value = arithmetic(k.w, "add", dtype, 1, (old, value))
    store_register(k, dtype, 1, address, value)


def _store_vector(
    k: KernelState, buffer: Buffer, at: Entry, value: str, mask: str | None, adds: bool
) -> None:
    """One vector to consecutive (also: descending) elements, else an element a lane."""
    dtype, lanes = buffer.type.dtype, k.lanes
    if not isinstance(at, Affine) or at.stride not in ("1", "-1"):
        _store_apart(k, buffer, at, value, mask, adds)
        return
    first = at.base
    if adds:
        read = load_vector if at.stride == "1" else load_reversed
        value = arithmetic(k.w, "add", dtype, lanes, (read(k, buffer, first, mask), value))
    if at.stride == "-1":
        first = k.w.sub(first, str(lanes - 1))
        value, mask = reverse_lanes(k, llvm_type(dtype, lanes), value), reversed_mask(k, mask)
    address, stream = address_of(k, buffer, first), k.stream
    is_rest = mask is not None and k.is_whole is None
    if stream is None or buffer not in stream.buffers or adds or mask is not k.mask or is_rest:
        _store_whole(k, dtype, address, value, mask)
        return
    with streamed(k, stream, f"{memory_type(dtype, lanes)} {value}", address):
        _store_whole(k, dtype, address, value, mask)


def _store_whole(k: KernelState, dtype: DType, address: str, value: str, mask: str | None) -> None:
    """One vector, or the lanes of it that the mask has, at an address."""
    if mask is None:
        store_register(k, dtype, k.lanes, address, value)
    elif mask is not k.mask or k.is_whole is None or k.module.target.has_masked_memory:
        masked_store(k, dtype, k.lanes, address, value, mask)
    else:
        w, all_lanes, some_lanes, after = k.w, *map(k.w.label, ("whole", "part", "after"))
        w.do(f"br i1 {k.is_whole}, label %{all_lanes}, label %{some_lanes}, !prof !0")
        w.start(all_lanes)
        store_register(k, dtype, k.lanes, address, value)
        w.jump(after)
        w.start(some_lanes)
        masked_store(k, dtype, k.lanes, address, value, mask)
        w.jump(after)
        w.start(after)


def _store_apart(
    k: KernelState, buffer: Buffer, at: Entry, value: str, mask: str | None, adds: bool
) -> None:
    """An element a lane, wherever each of them is."""
    dtype, lanes = buffer.type.dtype, k.lanes
    if mask is None and isinstance(at, Affine):
        if adds:
            old = load_strided(k, buffer, at)
            value = arithmetic(k.w, "add", dtype, lanes, (old, value))
        _store_strided(k, buffer, at, value)
        return
    addresses = addresses_of(k, buffer, at, not isinstance(at, Affine))
    if adds:
        old = gather(k, dtype, addresses, mask)
        value = arithmetic(k.w, "add", dtype, lanes, (old, value))
    _scatter(k, buffer, addresses, value, mask)


def _store_in_order(
    k: KernelState, statement: Store, at: str, value: str, mask: str | None
) -> None:
    """An element a lane, one after the other: several lanes may have the same index."""
    dtype, kind = statement.buffer.type.dtype, llvm_type(statement.buffer.type.dtype, k.lanes)
    for lane, index in enumerate(lanes_of_index(k, at)):
        table = k.table(statement, lane)
        address = k.w.let(f"getelementptr {memory_type(dtype)}, ptr {table}, i64 {index}")
        element = k.w.let(f"extractelement {kind} {value}, i64 {lane}")
        when = None
        if mask is not None:
            when = k.w.let(f"extractelement {llvm_type(bool_, k.lanes)} {mask}, i64 {lane}")
        _store_scalar(k, dtype, address, element, when, statement.mode == "add")


def _store_strided(k: KernelState, buffer: Buffer, at: Affine, value: str) -> None:
    dtype, index, vector = buffer.type.dtype, at.base, llvm_type(buffer.type.dtype, k.lanes)
    for lane in range(k.lanes):
        index = at.base if lane == 0 else k.w.add(index, at.stride)
        element = k.w.let(f"extractelement {vector} {value}, i64 {lane}")
        store_register(k, dtype, 1, address_of(k, buffer, index), element)


def _scatter(k: KernelState, buffer: Buffer, addresses: str, value: str, mask: str | None) -> None:
    dtype, lanes = buffer.type.dtype, k.lanes
    kind, flags = memory_type(dtype, lanes), llvm_type(bool_, lanes)
    name = f"llvm.masked.scatter.{memory_suffix(dtype, lanes)}.v{lanes}p0"
    k.w.module.declare(name, f"void @{name}({kind}, <{lanes} x ptr>, {flags})")
    when = literal(True, bool_, lanes) if mask is None else mask
    value = _to_memory(k, dtype, lanes, value)
    k.w.do(
        f"call void @{name}({kind} {value}, <{lanes} x ptr> align {dtype.itemsize} {addresses}, "
        f"{flags} {when})"
    )


def masked_store(
    k: KernelState, dtype: DType, lanes: int, address: str, value: str, mask: str
) -> None:
    """Store the lanes where the mask holds to neighbours in memory."""
    kind, flags = memory_type(dtype, lanes), llvm_type(bool_, lanes)
    name = f"llvm.masked.store.{memory_suffix(dtype, lanes)}.p0"
    k.w.module.declare(name, f"void @{name}({kind}, ptr, i32, {flags})")
    value = _to_memory(k, dtype, lanes, value)
    k.w.do(
        f"call void @{name}({kind} {value}, ptr {address}, i32 {dtype.itemsize}, {flags} {mask})"
    )


def store_register(k: KernelState, dtype: DType, lanes: int, address: str, value: str) -> None:
    value = _to_memory(k, dtype, lanes, value)
    k.w.do(f"store {memory_type(dtype, lanes)} {value}, ptr {address}, align {dtype.itemsize}")


def _to_memory(k: KernelState, dtype: DType, lanes: int, value: str) -> str:
    """A register's value as it is kept in memory."""
    if dtype is not bool_:
        return value
    return k.w.let(f"zext {llvm_type(dtype, lanes)} {value} to {memory_type(dtype, lanes)}")
