"""The functions that callers see: they check sizes, provide memory, run the kernels in order.

What hardly ever runs (allocation, the count of bytes) stands in functions of its own, which LLVM
does not optimise: compiling them would take longer than compiling the call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gradc.codegen.llvm_run import run_kernels
from gradc.codegen.llvm_text import (
    KernelFunction,
    Module,
    Source,
    Writer,
    is_number,
    memory_type,
)
from gradc.ir.dims import Dim, FloorDiv
from gradc.ir.loops import (
    STATUS_NEGATIVE_SIZE,
    STATUS_OUT_OF_MEMORY,
    Buffer,
    Program,
    Slot,
    tops_of,
)
from gradc.ir.record import dataclass
from gradc.ir.types import bool_

_ALIGNMENT = 64
_LARGEST = (1 << 63) - 1
_COLD = "cold noinline optnone"
_Groups = tuple[list["_Parameter"], list["_Parameter"], list["_Parameter"]]


@dataclass(frozen=True, slots=True)
class _Parameter:
    """A parameter of the C function: its LLVM type (with attributes), its name, its source."""

    kind: str
    name: str
    source: Buffer | str  # a size's name


def write_entries(module: Module, program: Program, kernels: Sequence[KernelFunction]) -> None:
    """Add `NAME`, `NAME_workspace`, `gradc_call_NAME` and `gradc_workspace_NAME`.

    They call each other by internal aliases, which no other library's symbol can replace. In a
    process the first two are parts of the others, and nothing is allocated for a call.
    """
    sizes = [_Parameter("i64", f"%n.{name}", name) for name in program.sizes]
    arrays = [_parameter(b, f"%in.{i}") for i, b in enumerate(program.inputs)]
    results = [_Parameter("ptr", f"%out.{i}", b) for i, b in enumerate(program.outputs)]
    groups = (sizes, arrays, results)
    _write_native(module, program, kernels, groups)
    if _needed(program, results) and not module.in_process:
        _write_allocating(module, program, groups)
    _write_generic(module, program.name, groups)
    _write_workspace(module, program, sizes)


def _parameter(buffer: Buffer, name: str) -> _Parameter:
    if buffer.type.shape:
        return _Parameter("ptr", name, buffer)
    dtype = buffer.type.dtype
    return _Parameter("i8 zeroext" if dtype is bool_ else memory_type(dtype), name, buffer)


def _declared(parameters: Sequence[_Parameter]) -> str:
    return ", ".join(f"{p.kind} {p.name}" for p in parameters)


def _needed(program: Program, results: Sequence[_Parameter]) -> list[str]:
    """The pointers that the caller may leave out, the workspace last."""
    return [p.name for p in results] + (["%workspace"] if program.slots else [])


def _define(
    module: Module, head: str, symbol: str, parameters: str, w: Writer, attributes: str = ""
) -> None:
    attributes = f"{attributes} nounwind" if attributes else "nounwind"
    module.definitions[symbol] = "\n".join(
        [f"define {head} @{symbol}({parameters}) {attributes} {{", "entry:", *w.lines, "}"]
    )


def _define_twice(
    module: Module,
    kind: str,
    names: tuple[str, str],
    parameters: Sequence[_Parameter],
    w: Writer,
    attributes: str = "",
) -> None:
    """Define a function under an exported and an internal name; in a process as part of callers."""
    symbol, alias = names
    if module.in_process:
        _define(module, f"internal {kind}", alias, _declared(parameters), w, "alwaysinline")
        return
    _define(module, kind, symbol, _declared(parameters), w, attributes)
    kinds = ", ".join(p.kind.split()[0] for p in parameters)
    module.definitions[alias] = f"@{alias} = internal alias {kind} ({kinds}), ptr @{symbol}"


# --- exported symbols ----------------------------------------------------------------------------


def _write_generic(module: Module, name: str, groups: _Groups) -> None:
    """`gradc_call_NAME(sizes, inputs, outputs, workspace)`: every argument by address."""
    w, (sizes, arrays, results) = Writer(module), groups
    given = [f"i64 {v}" for v in _loaded_sizes(w, len(sizes))]
    for i, parameter in enumerate(arrays):
        value = _load_pointer(w, "%inputs", i)
        if parameter.kind != "ptr":
            kind = parameter.kind.split()[0]
            value = w.let(f"load {kind}, ptr {value}")
        given.append(f"{parameter.kind} {value}")
    given.extend(f"ptr {_load_pointer(w, '%outputs', i)}" for i in range(len(results)))
    status = w.let(f"call i32 @gradc.{name}.run({', '.join([*given, 'ptr %workspace'])})")
    w.do(f"ret i32 {status}")
    arguments = "ptr %sizes, ptr %inputs, ptr %outputs, ptr %workspace"
    _define(module, "i32", f"gradc_call_{name}", arguments, w)


def _loaded_sizes(w: Writer, count: int) -> list[str]:
    found = []
    for i in range(count):
        place = w.let(f"getelementptr i64, ptr %sizes, i64 {i}")
        found.append(w.let(f"load i64, ptr {place}"))
    return found


def _load_pointer(w: Writer, table: str, position: int) -> str:
    place = w.let(f"getelementptr ptr, ptr {table}, i64 {position}")
    return w.let(f"load ptr, ptr {place}")


def _write_workspace(module: Module, program: Program, sizes: Sequence[_Parameter]) -> None:
    """The bytes of workspace that a call needs; the largest integer where they cannot be had."""
    w, alias = Writer(module), f"gradc.{program.name}.bytes"
    counter = _Checked(w, {str(p.source): p.name for p in sizes})
    total = "0"
    if program.slots:
        places = _Places(w, program.slots, lambda a, b: counter.add(a, counter.bytes(b)))
        total = counter.add(places.highest(tops_of(program.slots)), str(_ALIGNMENT))
    if counter.failed != "false":
        total = w.let(f"select i1 {counter.failed}, i64 {_LARGEST}, i64 {total}")
    w.do(f"ret i64 {total}")
    _define_twice(module, "i64", (f"{program.name}_workspace", alias), sizes, w, _COLD)
    w = Writer(module)
    given = ", ".join(f"i64 {v}" for v in _loaded_sizes(w, len(sizes)))
    w.do(f"ret i64 {w.let(f'call i64 @{alias}({given})')}")
    _define(module, "i64", f"gradc_workspace_{program.name}", "ptr %sizes", w)


class _Places:
    """Where the slots of an arena begin and end; `add` adds a slot's bytes, rounded up."""

    def __init__(self, w: Writer, slots: Sequence[Slot], add: Callable[[str, Dim], str]) -> None:
        self.w, self.slots, self.add = w, slots, add
        self.begins: list[str] = []
        self.ends: dict[int, str] = {}
        self.found: dict[tuple[int, ...], str] = {}  # the highest ends of several slots
        for slot in slots:
            self.begins.append(self.highest(slot.on))

    def highest(self, numbers: tuple[int, ...]) -> str:
        """Where the highest of some slots ends: 0 of none."""
        if numbers not in self.found:
            ends = {self.end(number): None for number in numbers}
            known = max((int(end) for end in ends if is_number(end)), default=0)
            rest = [end for end in ends if not is_number(end)]
            first, *others = [*rest, str(known)] if known or not rest else rest
            for other in others:
                first = self.w.intrinsic("llvm.smax.i64", "i64", [("i64", first), ("i64", other)])
            self.found[numbers] = first
        return self.found[numbers]

    def end(self, number: int) -> str:
        """Where a slot ends; only where that is asked for, something is computed for it."""
        if number not in self.ends:
            self.ends[number] = self.add(self.begins[number], self.slots[number].bytes)
        return self.ends[number]


class _Checked:
    """Adds up bytes, and notes whether a sum or product left the range of i64 or was negative."""

    def __init__(self, w: Writer, sizes: Mapping[str, str]) -> None:
        self.w, self.sizes = w, sizes
        self.total, self.failed = "0", "false"
        self.counts: dict[Dim, str] = {}

    def bytes(self, dim: Dim) -> str:
        """A number of bytes, rounded up."""
        if dim not in self.counts:
            self.counts[dim] = self.rounded(self.dim(dim))
        return self.counts[dim]

    def rounded(self, count: str) -> str:
        if count.isdigit():
            return str(-(-int(count) // _ALIGNMENT) * _ALIGNMENT)
        self._note(self.w.let(f"icmp slt i64 {count}, 0"))
        raised = self.add(count, str(_ALIGNMENT - 1))
        return self.w.let(f"and i64 {raised}, {-_ALIGNMENT}")

    def add(self, a: str, b: str) -> str:
        return self._checked("sadd", self.w.add, a, b)

    def mul(self, a: str, b: str) -> str:
        return self._checked("smul", self.w.mul, a, b)

    def dim(self, dim: Dim) -> str:
        """The value of a dimension."""
        if isinstance(dim, int):
            return str(dim)
        total = "0"
        for monomial, coefficient in dim.terms:
            term = str(coefficient)
            for atom in monomial:
                term = self.mul(self._atom(atom), term)
            total = self.add(total, term)
        return total

    def _atom(self, atom: str | FloorDiv) -> str:
        if isinstance(atom, str):
            return self.sizes[atom]
        return self.w.floor_divide(self.dim(atom.numerator), self.dim(atom.denominator))

    def _checked(self, name: str, plain: object, a: str, b: str) -> str:
        trivial = {"0"} if name == "sadd" else {"0", "1"}
        if {a, b} & trivial or (a.lstrip("-").isdigit() and b.lstrip("-").isdigit()):
            return str(plain(a, b))  # type: ignore[operator]
        pair = "{ i64, i1 }"
        full = f"llvm.{name}.with.overflow.i64"
        both = self.w.intrinsic(full, pair, [("i64", a), ("i64", b)])
        self._note(self.w.let(f"extractvalue {pair} {both}, 1"))
        return self.w.let(f"extractvalue {pair} {both}, 0")

    def _note(self, failed: str) -> None:
        seen = self.failed
        self.failed = failed if seen == "false" else self.w.let(f"or i1 {seen}, {failed}")


# --- the call ------------------------------------------------------------------------------------


def _write_native(
    module: Module, program: Program, kernels: Sequence[KernelFunction], groups: _Groups
) -> None:
    w, (sizes, arrays, results) = Writer(module), groups
    named = {str(p.source): p.name for p in sizes}
    _check_sizes(w, program, named)
    given = [*sizes, *arrays, *results, _Parameter("ptr", "%workspace", "")]
    needed = [] if module.in_process else _needed(program, results)
    if needed:
        _leave_where_missing(w, program.name, needed, given)
    operands: dict[Source, str] = {name: f"i64 {v}" for name, v in named.items()}
    for parameter in arrays:
        operands[parameter.source] = _argument(w, parameter)
    operands.update({p.source: f"ptr {p.name}" for p in results})
    if program.slots:
        base = _aligned(w, "%workspace")
        for number, offset in enumerate(_offsets(w, program.slots, named)):
            operands[number] = f"ptr {w.let(f'getelementptr i8, ptr {base}, i64 {offset}')}"
    run_kernels(w, kernels, operands)
    w.do("ret i32 0")
    _define_twice(module, "i32", (program.name, f"gradc.{program.name}.run"), given, w)


def _check_sizes(w: Writer, program: Program, sizes: Mapping[str, str]) -> None:
    if program.sizes:
        signs = sizes[program.sizes[0]]  # its highest bit is set where any size is negative
        for name in program.sizes[1:]:
            signs = w.let(f"or i64 {signs}, {sizes[name]}")
        w.fail_unless(w.let(f"icmp sge i64 {signs}, 0"), STATUS_NEGATIVE_SIZE)
    for i, requirement in enumerate(program.requires):
        test = "eq" if requirement.relation == "== 0" else "sge"
        value = w.dim(requirement.dim, dict(sizes))
        w.fail_unless(w.let(f"icmp {test} i64 {value}, 0"), -1 - i)


def _argument(w: Writer, parameter: _Parameter) -> str:
    """An input as kernels take it: booleans as i1."""
    if parameter.kind.startswith("i8"):
        return f"i1 {w.let(f'icmp ne i8 {parameter.name}, 0')}"
    return f"{parameter.kind} {parameter.name}"


def _offsets(w: Writer, slots: Sequence[Slot], sizes: Mapping[str, str]) -> list[str]:
    """Where each slot begins in a workspace.

    Nothing overflows: the caller could provide what `NAME_workspace` asked for.
    """
    counts: dict[Dim, str] = {}

    def add(begin: str, bytes: Dim) -> str:
        if bytes not in counts:
            raised = w.add(w.dim(bytes, dict(sizes)), str(_ALIGNMENT - 1))
            counts[bytes] = (
                str(int(raised) & -_ALIGNMENT)
                if is_number(raised)
                else w.let(f"and i64 {raised}, {-_ALIGNMENT}")
            )
        return w.add(begin, counts[bytes])

    return _Places(w, slots, add).begins


def _aligned(w: Writer, pointer: str) -> str:
    """The first aligned address from a pointer on."""
    number = w.let(f"ptrtoint ptr {pointer} to i64")
    negated = w.let(f"sub i64 0, {number}")
    gap = w.let(f"and i64 {negated}, {_ALIGNMENT - 1}")
    return w.let(f"getelementptr i8, ptr {pointer}, i64 {gap}")


# --- memory that the caller leaves to the call ---------------------------------------------------


def _leave_where_missing(
    w: Writer, name: str, needed: Sequence[str], parameters: Sequence[_Parameter]
) -> None:
    """Hand the call over to the function that allocates, where any pointer is missing."""
    some = "false"
    for pointer in needed:
        missing = w.let(f"icmp eq ptr {pointer}, null")
        some = missing if some == "false" else w.let(f"or i1 {some}, {missing}")
    allocate, given = w.label("allocate"), w.label("given")
    w.do(f"br i1 {some}, label %{allocate}, label %{given}, !prof !1")
    w.start(allocate)
    status = w.let(f"call i32 @gradc.{name}.allocate({_declared(parameters)})")
    w.do(f"ret i32 {status}")
    w.start(given)


def _write_allocating(module: Module, program: Program, groups: _Groups) -> None:
    """The call with memory for whatever the caller left out, by one allocation.

    That may be the workspace, and outputs that are not wanted (kernels still write them).
    """
    w, (sizes, arrays, results) = Writer(module), groups
    named = {str(p.source): p.name for p in sizes}
    needed = _needed(program, results)
    missing = [w.let(f"icmp eq ptr {pointer}, null") for pointer in needed]
    total, places = _places(w, program, named, missing)
    size = f"i{module.target.pointer_bits}"
    if size != "i64":
        w.fail_unless(w.let(f"icmp ult i64 {total}, {1 << 31}"), STATUS_OUT_OF_MEMORY)
        total = w.let(f"trunc i64 {total} to {size}")
    module.declare("malloc", f"extern_weak noalias ptr @malloc({size})")
    module.declare("free", "extern_weak void @free(ptr)")
    memory = w.let(f"call ptr @malloc({size} {total})")
    w.fail_unless(w.let(f"icmp ne ptr {memory}, null"), STATUS_OUT_OF_MEMORY)
    base = _aligned(w, memory)
    chosen = {}
    for old, is_missing, offset in zip(needed, missing, places, strict=True):
        new = w.let(f"getelementptr i8, ptr {base}, i64 {offset}")
        chosen[old] = w.let(f"select i1 {is_missing}, ptr {new}, ptr {old}")
    parameters = [*sizes, *arrays, *results, _Parameter("ptr", "%workspace", "")]
    given = ", ".join(f"{p.kind} {chosen.get(p.name, p.name)}" for p in parameters)
    status = w.let(f"call i32 @gradc.{program.name}.run({given})")
    w.do(f"call void @free(ptr {memory})")
    w.do(f"ret i32 {status}")
    symbol = f"gradc.{program.name}.allocate"
    _define(module, "internal i32", symbol, _declared(parameters), w, _COLD)


def _places(
    w: Writer, program: Program, sizes: Mapping[str, str], missing: Sequence[str]
) -> tuple[str, list[str]]:
    """The bytes to allocate, and where in them each thing begins that is missing."""
    need, places = _Checked(w, sizes), []
    counts = [
        need.rounded(need.mul(need.dim(b.type.size), str(b.type.dtype.itemsize)))
        for b in program.outputs
    ]
    if program.slots:
        named = ", ".join(f"i64 {value}" for value in sizes.values())
        counts.append(w.let(f"call i64 @gradc.{program.name}.bytes({named})"))
    for count, is_missing in zip(counts, missing, strict=True):
        places.append(need.total)
        wanted = w.let(f"select i1 {is_missing}, i64 {count}, i64 0")
        need.total = need.add(need.total, wanted)
    total = need.add(need.total, str(2 * _ALIGNMENT))
    w.fail_unless(w.let(f"xor i1 {need.failed}, true"), STATUS_OUT_OF_MEMORY)
    return total, places
