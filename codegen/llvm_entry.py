"""The functions that callers see: they check sizes, provide memory, run the kernels in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradc.codegen.llvm_kernel import KernelFunction
from gradc.codegen.llvm_spread import Source
from gradc.codegen.llvm_text import Module, Writer, memory_type
from gradc.ir.dims import Dim, FloorDiv
from gradc.ir.loops import STATUS_NEGATIVE_SIZE, STATUS_OUT_OF_MEMORY, Buffer, Program
from gradc.ir.types import bool_

_ALIGNMENT = 64
_LARGEST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class _Parameter:
    """A parameter of the C function: its LLVM type (with attributes), its name, its source."""

    kind: str
    name: str
    source: Buffer | str  # a size's name


def write_entries(module: Module, program: Program, kernels: Sequence[KernelFunction]) -> None:
    """Add `NAME`, `NAME_workspace`, `gradc_call_NAME` and `gradc_workspace_NAME`."""
    sizes = [_Parameter("i64", f"%n.{name}", name) for name in program.sizes]
    arrays = [_parameter(b, f"%in.{i}") for i, b in enumerate(program.inputs)]
    results = [_Parameter("ptr", f"%out.{i}", b) for i, b in enumerate(program.outputs)]
    _write_native(module, program, kernels, (sizes, arrays, results))
    _write_generic(module, program.name, (sizes, arrays, results))
    _write_workspace(module, program, sizes)


def _parameter(buffer: Buffer, name: str) -> _Parameter:
    if buffer.type.shape:
        return _Parameter("ptr", name, buffer)
    dtype = buffer.type.dtype
    return _Parameter("i8 zeroext" if dtype is bool_ else memory_type(dtype), name, buffer)


def _declared(parameters: Sequence[_Parameter]) -> str:
    return ", ".join(f"{p.kind} {p.name}" for p in parameters)


def _define(module: Module, head: str, symbol: str, parameters: str, w: Writer) -> None:
    module.definitions[symbol] = "\n".join(
        [f"define {head} @{symbol}({parameters}) nounwind {{", "entry:", *w.lines, "}"]
    )


# --- exported symbols ----------------------------------------------------------------------------


def _write_generic(
    module: Module, name: str, groups: tuple[list[_Parameter], list[_Parameter], list[_Parameter]]
) -> None:
    """`gradc_call_NAME(sizes, inputs, outputs, workspace)`: every argument by address.

    It calls `NAME` by an internal alias, which no other library's symbol can replace.
    """
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
    w, symbol = Writer(module), f"{program.name}_workspace"
    counter = _Checked(w, {str(p.source): p.name for p in sizes})
    for slot in program.slots:
        counter.reserve(slot)
    total = counter.total if program.slots else "0"
    if program.slots:
        total = counter.add(total, str(_ALIGNMENT))
        total = w.let(f"select i1 {counter.failed}, i64 {_LARGEST}, i64 {total}")
    w.do(f"ret i64 {total}")
    _define(module, "i64", symbol, _declared(sizes), w)
    w = Writer(module)
    given = ", ".join(f"i64 {v}" for v in _loaded_sizes(w, len(sizes)))
    w.do(f"ret i64 {w.let(f'call i64 @{symbol}({given})')}")
    _define(module, "i64", f"gradc_workspace_{program.name}", "ptr %sizes", w)


# --- the call ------------------------------------------------------------------------------------


class _Checked:
    """Adds up bytes, and notes whether a sum or product left the range of i64 or was negative."""

    def __init__(self, w: Writer, sizes: Mapping[str, str]) -> None:
        self.w, self.sizes = w, sizes
        self.total, self.failed = "0", "false"
        self.offsets: list[str] = []

    def reserve(self, bounds: Sequence[Dim]) -> None:
        """Set aside the largest of `bounds` bytes, rounded up; `offsets` gains where they begin."""
        self.offsets.append(self.total)
        first, *others = [self.rounded(self.dim(bound)) for bound in bounds]
        for other in others:
            is_more = self.w.let(f"icmp sgt i64 {other}, {first}")
            first = self.w.let(f"select i1 {is_more}, i64 {other}, i64 {first}")
        self.total = self.add(self.total, first)

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


def _write_native(
    module: Module,
    program: Program,
    kernels: Sequence[KernelFunction],
    groups: tuple[list[_Parameter], list[_Parameter], list[_Parameter]],
) -> None:
    w, (sizes, arrays, results) = Writer(module), groups
    named = {str(p.source): p.name for p in sizes}
    _check_sizes(w, program, named)
    counter = _Checked(w, named)
    for slot in program.slots:
        counter.reserve(slot)
    places, base, owned = _provide_memory(w, program, results, counter)
    operands: dict[Source, str] = {name: f"i64 {v}" for name, v in named.items()}
    for parameter in arrays:
        operands[parameter.source] = _argument(w, parameter)
    operands.update({b: f"ptr {p}" for b, p in zip(program.outputs, places, strict=True)})
    for number, offset in enumerate(counter.offsets):
        operands[number] = f"ptr {w.let(f'getelementptr i8, ptr {base}, i64 {offset}')}"
    _run_kernels(w, kernels, operands, owned)
    given = [*sizes, *arrays, *results, _Parameter("ptr", "%workspace", "")]
    _define(module, "i32", program.name, _declared(given), w)
    alias, kinds = f"@gradc.{program.name}.run", ", ".join(p.kind.split()[0] for p in given)
    module.definitions[alias] = f"{alias} = internal alias i32 ({kinds}), ptr @{program.name}"


def _check_sizes(w: Writer, program: Program, sizes: Mapping[str, str]) -> None:
    for name in program.sizes:
        w.fail_unless(w.let(f"icmp sge i64 {sizes[name]}, 0"), STATUS_NEGATIVE_SIZE)
    for i, requirement in enumerate(program.requires):
        test = "eq" if requirement.relation == "== 0" else "sge"
        value = w.dim(requirement.dim, dict(sizes))
        w.fail_unless(w.let(f"icmp {test} i64 {value}, 0"), -1 - i)


def _argument(w: Writer, parameter: _Parameter) -> str:
    """An input as kernels take it: booleans as i1."""
    if parameter.kind.startswith("i8"):
        return f"i1 {w.let(f'icmp ne i8 {parameter.name}, 0')}"
    return f"{parameter.kind} {parameter.name}"


def _provide_memory(
    w: Writer, program: Program, results: Sequence[_Parameter], counter: _Checked
) -> tuple[list[str], str, str]:
    """Addresses of the outputs and of the arena, and what to free after the call (or null).

    One allocation serves for whatever the caller left out: the workspace, outputs that are not
    wanted (kernels still write them).
    """
    missing = [w.let(f"icmp eq ptr {p.name}, null") for p in results]
    if program.slots:
        missing.append(w.let("icmp eq ptr %workspace, null"))
    if not missing:
        return [], "null", "null"
    if program.slots:
        w.fail_unless(w.let(f"xor i1 {counter.failed}, true"), STATUS_OUT_OF_MEMORY)
    some = missing[0]
    for other in missing[1:]:
        some = w.let(f"or i1 {some}, {other}")
    before, allocate, ready = w.block, w.label("allocate"), w.label("ready")
    w.branch(some, allocate, ready)
    w.start(allocate)
    replaced, memory = _allocate(w, program, results, counter, missing)
    allocated = w.block
    w.jump(ready)
    w.start(ready)
    given = [p.name for p in results] + (["%workspace"] if program.slots else [])
    merged = [
        w.let(f"phi ptr [ {old}, %{before} ], [ {new}, %{allocated} ]")
        for old, new in zip([*given, "null"], [*replaced, memory], strict=True)
    ]
    base = _aligned(w, merged[-2]) if program.slots else "null"
    return merged[: len(results)], base, merged[-1]


def _allocate(
    w: Writer,
    program: Program,
    results: Sequence[_Parameter],
    counter: _Checked,
    missing: Sequence[str],
) -> tuple[list[str], str]:
    """Allocate all that is missing; gives the addresses to use, and the allocation."""
    need = _Checked(w, counter.sizes)
    places = []
    for buffer, is_missing in zip(program.outputs, missing, strict=False):
        count = need.mul(need.dim(buffer.type.size), str(buffer.type.dtype.itemsize))
        wanted = w.let(f"select i1 {is_missing}, i64 {need.rounded(count)}, i64 0")
        places.append(need.total)
        need.total = need.add(need.total, wanted)
    if program.slots:
        wanted = w.let(f"select i1 {missing[-1]}, i64 {counter.total}, i64 0")
        places.append(need.total)
        need.total = need.add(need.total, wanted)
    total = need.add(need.total, str(2 * _ALIGNMENT))
    w.fail_unless(w.let(f"xor i1 {need.failed}, true"), STATUS_OUT_OF_MEMORY)
    size = f"i{w.module.target.pointer_bits}"
    if size != "i64":
        w.fail_unless(w.let(f"icmp ult i64 {total}, {1 << 31}"), STATUS_OUT_OF_MEMORY)
        total = w.let(f"trunc i64 {total} to {size}")
    w.module.declare("malloc", f"noalias ptr @malloc({size})")
    w.module.declare("free", "void @free(ptr)")
    memory = w.let(f"call ptr @malloc({size} {total})")
    w.fail_unless(w.let(f"icmp ne ptr {memory}, null"), STATUS_OUT_OF_MEMORY)
    base = _aligned(w, memory)
    given = [p.name for p in results] + (["%workspace"] if program.slots else [])
    replaced = []
    for old, is_missing, offset in zip(given, missing, places, strict=True):
        new = w.let(f"getelementptr i8, ptr {base}, i64 {offset}")
        replaced.append(w.let(f"select i1 {is_missing}, ptr {new}, ptr {old}"))
    return replaced, memory


def _aligned(w: Writer, pointer: str) -> str:
    """The first aligned address from a pointer on."""
    number = w.let(f"ptrtoint ptr {pointer} to i64")
    negated = w.let(f"sub i64 0, {number}")
    gap = w.let(f"and i64 {negated}, {_ALIGNMENT - 1}")
    return w.let(f"getelementptr i8, ptr {pointer}, i64 {gap}")


def _run_kernels(
    w: Writer,
    kernels: Sequence[KernelFunction],
    operands: Mapping[Source, str],
    owned: str,
) -> None:
    """Run the kernels until one fails; free what was allocated; return the status."""
    finish, sources = w.label("finish"), []
    for kernel in kernels:
        given = ", ".join(operands[source] for source in kernel.sources)
        status = w.let(f"call i32 @{kernel.symbol}({given})")
        sources.append((status, w.block))
        following = w.label("next")
        if kernel is kernels[-1]:
            break
        fine = w.let(f"icmp eq i32 {status}, 0")
        w.do(f"br i1 {fine}, label %{following}, label %{finish}, !prof !0")
        w.start(following)
    if not kernels:
        sources.append(("0", w.block))
    w.jump(finish)
    w.start(finish)
    incoming = ", ".join(f"[ {status}, %{block} ]" for status, block in sources)
    result = w.let(f"phi i32 {incoming}")
    if owned != "null":
        release, leave = w.label("release"), w.label("leave")
        w.branch(w.let(f"icmp eq ptr {owned}, null"), leave, release)
        w.start(release)
        w.do(f"call void @free(ptr {owned})")
        w.jump(leave)
        w.start(leave)
    w.do(f"ret i32 {result}")
