"""Loads: whole vectors where consecutive iterations read consecutive elements."""

from __future__ import annotations

from collections.abc import Sequence

from gradc.codegen.llvm_arithmetic import fold_lanes, select, shuffle
from gradc.codegen.llvm_spread import Affine, Entry, KernelState, Spread, project, union
from gradc.codegen.llvm_text import literal, llvm_type, memory_suffix, memory_type
from gradc.ir.loops import Buffer, Instruction
from gradc.ir.types import DType, bool_, i64

ZERO = "@gradc.zero"  # 320 zero bytes: where a load goes that must not happen


def load(k: KernelState, instruction: Instruction) -> Spread:
    """The elements at an index, over the copies that the index or the mask varies with."""
    buffer = instruction.buffer
    assert buffer is not None
    operands = [k.values[operand] for operand in instruction.operands]
    index, mask = operands[0], operands[1] if len(operands) > 1 else None
    axes = union(operands)
    is_vector = any(operand.varies_over_lanes for operand in operands)
    masks = project(mask, axes) if mask is not None else (None,) * len(project(index, axes))
    wide_mask = mask is not None and mask.is_vector
    entries = []
    for at, when in zip(project(index, axes), masks, strict=True):
        entry = _load_entry(k, buffer, at, index.is_vector, when, wide_mask)
        is_scalar = isinstance(at, str) and not index.is_vector and not wide_mask
        entries.append(k.splat(buffer.type.dtype, entry) if is_vector and is_scalar else entry)
    return Spread(axes, tuple(entries), is_vector)


def _load_entry(
    k: KernelState, buffer: Buffer, at: Entry, wide: bool, when: Entry | None, wide_mask: bool
) -> str:
    dtype = buffer.type.dtype
    if not wide and isinstance(at, str):
        return _load_uniform(k, buffer, at, when, wide_mask)
    mask = k.mask_of(when, wide_mask, buffer, at)
    if isinstance(at, Affine):
        if at.stride == "1":
            return load_vector(k, buffer, at.base, mask)
        if at.stride == "-1":
            return load_reversed(k, buffer, at.base, mask)
        if mask is None:
            return load_strided(k, buffer, at)
    elif mask is None and not k.module.target.has_masked_memory:
        return _load_lanes(k, buffer, lanes_of_index(k, at))
    return gather(k, dtype, addresses_of(k, buffer, at, wide), mask)


def _load_uniform(
    k: KernelState, buffer: Buffer, at: str, when: Entry | None, wide_mask: bool
) -> str:
    """One element; under a mask that varies over lanes, a vector that is zero elsewhere."""
    dtype = buffer.type.dtype
    if when is None:
        return load_scalar(k, buffer, at, None)
    assert isinstance(when, str)
    if not wide_mask:
        return load_scalar(k, buffer, at, when)
    mask = k.mask_of(when, True)
    assert mask is not None
    value = load_scalar(k, buffer, at, fold_lanes(k.w, "or", bool_, k.lanes, mask))
    zero = literal(0, dtype, k.lanes)
    return select(k.w, dtype, k.lanes, mask, (k.splat(dtype, value), zero))


def load_scalar(k: KernelState, buffer: Buffer, at: str, when: str | None) -> str:
    dtype = buffer.type.dtype
    if buffer.kind == "input" and not buffer.type.shape:
        value = k.scalar_input(buffer)
        zero = literal(0, dtype)
        return value if when is None else select(k.w, dtype, 1, when, (value, zero))
    address = address_of(k, buffer, at)
    if when is not None:
        address = k.w.let(f"select i1 {when}, ptr {address}, ptr {ZERO}")
    return from_memory(k, dtype, 1, load_element(k, dtype, 1, address))


def load_element(k: KernelState, dtype: DType, lanes: int, address: str) -> str:
    return k.w.let(f"load {memory_type(dtype, lanes)}, ptr {address}, align {dtype.itemsize}")


def load_vector(k: KernelState, buffer: Buffer, at: str, mask: str | None) -> str:
    dtype, lanes = buffer.type.dtype, k.lanes
    address = address_of(k, buffer, at)
    if mask is None:
        found = load_element(k, dtype, lanes, address)
        if dtype is i64:  # as indices they are needed one by one: from memory that is less work
            places = [address_of(k, buffer, k.w.add(at, str(lane))) for lane in range(lanes)]
            k.scalars[found] = [load_element(k, dtype, 1, place) for place in places]
        return from_memory(k, dtype, lanes, found)
    if mask is k.mask and k.is_whole is not None and not k.module.target.has_masked_memory:
        return from_memory(k, dtype, lanes, _load_mostly_whole(k, dtype, address, mask))
    return from_memory(k, dtype, lanes, masked_load(k, dtype, lanes, address, mask))


def _load_mostly_whole(k: KernelState, dtype: DType, address: str, mask: str) -> str:
    """Neighbours in memory: a plain load in all trips but the last."""
    w, all_lanes, some_lanes, after = k.w, *map(k.w.label, ("whole", "part", "after"))
    w.do(f"br i1 {k.is_whole}, label %{all_lanes}, label %{some_lanes}, !prof !0")
    w.start(all_lanes)
    whole = load_element(k, dtype, k.lanes, address)
    w.jump(after)
    w.start(some_lanes)
    part = masked_load(k, dtype, k.lanes, address, mask)
    w.jump(after)
    w.start(after)
    kind = memory_type(dtype, k.lanes)
    return w.let(f"phi {kind} [ {whole}, %{all_lanes} ], [ {part}, %{some_lanes} ]")


def masked_load(k: KernelState, dtype: DType, lanes: int, address: str, mask: str) -> str:
    """Neighbours in memory where the mask holds, and zeros."""
    kind, flags = memory_type(dtype, lanes), llvm_type(bool_, lanes)
    name = f"llvm.masked.load.{memory_suffix(dtype, lanes)}.p0"
    k.w.module.declare(name, f"{kind} @{name}(ptr, i32, {flags}, {kind})")
    return k.w.let(
        f"call {kind} @{name}(ptr {address}, i32 {dtype.itemsize}, {flags} {mask}, "
        f"{kind} zeroinitializer)"
    )


def load_reversed(k: KernelState, buffer: Buffer, base: str, mask: str | None) -> str:
    """Elements base, base - 1, ...: one load of them all, and a shuffle."""
    first = k.w.sub(base, str(k.lanes - 1))
    found = load_vector(k, buffer, first, reversed_mask(k, mask))
    return reverse_lanes(k, llvm_type(buffer.type.dtype, k.lanes), found)


def reverse_lanes(k: KernelState, kind: str, value: str) -> str:
    return shuffle(k.w, kind, value, range(k.lanes - 1, -1, -1))


def reversed_mask(k: KernelState, mask: str | None) -> str | None:
    return None if mask is None else reverse_lanes(k, llvm_type(bool_, k.lanes), mask)


def load_strided(k: KernelState, buffer: Buffer, at: Affine) -> str:
    """One scalar load a lane: faster than a gather on most machines."""
    indices = [at.base]
    while len(indices) < k.lanes:
        indices.append(k.w.add(indices[-1], at.stride))
    return _load_lanes(k, buffer, indices)


def lanes_of_index(k: KernelState, index: str) -> list[str]:
    """A vector of indices as scalars."""
    if index in k.scalars:
        return list(k.scalars[index])
    kind = llvm_type(i64, k.lanes)
    return [k.w.let(f"extractelement {kind} {index}, i64 {lane}") for lane in range(k.lanes)]


def _load_lanes(k: KernelState, buffer: Buffer, indices: Sequence[str]) -> str:
    """One scalar load a lane, each at an index of its own."""
    dtype, kind, vector = buffer.type.dtype, memory_type(buffer.type.dtype, k.lanes), "poison"
    for lane, index in enumerate(indices):
        element = load_element(k, dtype, 1, address_of(k, buffer, index))
        vector = k.w.let(
            f"insertelement {kind} {vector}, {memory_type(dtype)} {element}, i64 {lane}"
        )
    return from_memory(k, dtype, k.lanes, vector)


def addresses_of(k: KernelState, buffer: Buffer, at: Entry, wide: bool) -> str:
    """The addresses of a vector of elements."""
    index = k.vector(i64, at, wide)
    return k.w.let(
        f"getelementptr {memory_type(buffer.type.dtype)}, ptr {k.pointer(buffer)}, "
        f"<{k.lanes} x i64> {index}"
    )


def gather(k: KernelState, dtype: DType, addresses: str, mask: str | None) -> str:
    kind, flags, lanes = memory_type(dtype, k.lanes), llvm_type(bool_, k.lanes), k.lanes
    name = f"llvm.masked.gather.{memory_suffix(dtype, lanes)}.v{lanes}p0"
    k.w.module.declare(name, f"{kind} @{name}(<{lanes} x ptr>, {flags}, {kind})")
    when = literal(True, bool_, lanes) if mask is None else mask
    raw = k.w.let(
        f"call {kind} @{name}(<{lanes} x ptr> align {dtype.itemsize} {addresses}, "
        f"{flags} {when}, {kind} zeroinitializer)"
    )
    return from_memory(k, dtype, lanes, raw)


def address_of(k: KernelState, buffer: Buffer, at: str) -> str:
    """The address of one element."""
    base = k.pointer(buffer)
    if at == "0":
        return base
    return k.w.let(f"getelementptr {memory_type(buffer.type.dtype)}, ptr {base}, i64 {at}")


def from_memory(k: KernelState, dtype: DType, lanes: int, value: str) -> str:
    """What was loaded, as it is kept in registers."""
    if dtype is not bool_:
        return value
    zero = "0" if lanes == 1 else "zeroinitializer"
    return k.w.let(f"icmp ne {memory_type(dtype, lanes)} {value}, {zero}")
