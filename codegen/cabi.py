"""The C face of a library: its symbols, its header and its manifest. See docs/c_abi.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from gradc.codegen.arena_text import arena_text
from gradc.codegen.c_names import exported_symbols as exported_symbols
from gradc.codegen.c_names import function_symbols as function_symbols
from gradc.codegen.c_names import parameter_name
from gradc.codegen.llvm_product import product_scratch, with_scratch
from gradc.ir.dims import Dim
from gradc.ir.loops import Buffer, Program
from gradc.ir.record import dataclass
from gradc.runtime.manifest import (
    GRADC_VERSION,
    ArrayEntry,
    FunctionEntry,
    Manifest,
    RequirementEntry,
    TargetEntry,
    read_manifest,
    write_manifest,
)

_C_TYPES = {"f64": "double", "f32": "float", "i64": "int64_t", "i32": "int32_t", "bool": "bool"}


class TargetLike(Protocol):
    """A target in LLVM's words, as `codegen.target.Target` is."""

    @property
    def triple(self) -> str: ...
    @property
    def cpu(self) -> str: ...
    @property
    def features(self) -> str: ...
    @property
    def vector_bits(self) -> int: ...


def manifest_of(
    programs: Iterable[Program], target: TargetLike, documentation: Mapping[str, str] | None = None
) -> str:
    """The manifest of a library with these programs, as JSON; `documentation` by program."""
    texts = documentation or {}
    functions = tuple(
        _function_entry(program, target.vector_bits, texts.get(program.name, ""))
        for program in programs
    )
    entry = TargetEntry(target.triple, target.cpu, target.features)
    return write_manifest(Manifest(GRADC_VERSION, entry, functions))


def header(manifest: str, name: str) -> str:
    """The C and C++ header of a library, valid C99; `name` is its file's name without `.h`."""
    read = read_manifest(manifest)
    exported_symbols(function.name for function in read.functions)
    guard = f"GRADC_{re.sub(r'[^A-Za-z0-9]', '_', name).upper()}_H"
    made_for = " ".join(part for part in (read.target.triple, read.target.cpu) if part)
    functions = "\n".join(_declarations(function) for function in read.functions)
    return _HEADER.format(
        name=_comment_safe(name),
        version=_comment_safe(read.gradc_version),
        target=_comment_safe(made_for),
        guard=guard,
        functions=functions,
    )


_HEADER = """\
/* {name}.h: functions compiled by gradc {version} for {target}.
 *
 * Arrays are contiguous and row-major; scalars are passed by value. An output that is NULL is not
 * wanted; outputs do not overlap inputs or each other. All functions are re-entrant.
 */
#ifndef {guard}
#define {guard}

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#ifndef GRADC_STATUS
#define GRADC_STATUS
enum {{
    GRADC_OK = 0,
    GRADC_OUT_OF_MEMORY = 1,      /* the workspace could not be allocated, or is beyond 64 bits */
    GRADC_NEGATIVE_SIZE = 2,      /* a size is negative */
    GRADC_INDEX_OUT_OF_RANGE = 3, /* an index array holds an index outside its axis */
    GRADC_EXTERNAL = 4            /* an external function reported a failure */
}};
#endif

/* The manifest of this library, as JSON. */
extern const char gradc_manifest[];

{functions}
#ifdef __cplusplus
}}
#endif

#endif
"""


@dataclass(frozen=True, slots=True)
class _Parameter:
    name: str
    declaration: str
    meaning: str


def _declarations(function: FunctionEntry) -> str:
    sizes, arrays = _parameters(function)
    size_list = ", ".join(parameter.declaration for parameter in sizes) or "void"
    parameters = ",\n    ".join(p.declaration for p in (*sizes, *arrays))
    return (
        f"{_documentation(function, (*sizes, *arrays))}\n"
        f"int32_t {function.name}(\n    {parameters});\n"
        f"int64_t {function.name}_workspace({size_list});\n"
    )


def _parameters(function: FunctionEntry) -> tuple[list[_Parameter], list[_Parameter]]:
    """The sizes, and everything after them, with names that are distinct and no words of C."""
    taken: set[str] = set()
    sizes = []
    for size in function.sizes:
        name = parameter_name(size, taken)
        sizes.append(_Parameter(name, f"int64_t {name}", "size"))
    arrays = [_array_parameter(array, taken, "const ") for array in function.inputs]
    arrays += [_array_parameter(array, taken, "") for array in function.outputs]
    name = parameter_name("workspace", taken)
    calls = f"{function.name}_workspace({', '.join(size.name for size in sizes)})"
    meaning = f"{calls} bytes, or NULL: allocated for the call"
    return sizes, [*arrays, _Parameter(name, f"void *{name}", meaning)]


def _array_parameter(array: ArrayEntry, taken: set[str], const: str) -> _Parameter:
    name, c_type = parameter_name(array.name, taken), _C_TYPES[array.dtype]
    if const and not array.shape:
        return _Parameter(name, f"{c_type} {name}", f"in, {array.type}")
    direction = "in" if const else "out, or NULL"
    return _Parameter(name, f"{const}{c_type} *{name}", f"{direction}, {array.type}")


def _documentation(function: FunctionEntry, parameters: tuple[_Parameter, ...]) -> str:
    width = max(len(parameter.name) for parameter in parameters)
    lines = [str(function), ""]
    if function.documentation:
        lines += [*function.documentation.splitlines(), ""]
    lines += [f"  {p.name:<{width}}  {p.meaning}" for p in parameters]
    if function.requires:
        lines += ["", "Needs, else the status is:"]
        lines += [f"  {-1 - i}  {r.why}" for i, r in enumerate(function.requires)]
    text = "\n".join(f" * {_comment_safe(line)}".rstrip() for line in lines)
    return f"/*{text[2:]}\n */"


def _comment_safe(text: str) -> str:
    """One line of a C comment: nothing ends the comment, and control characters are spaces."""
    plain = "".join(char if char.isprintable() else " " for char in text)
    return plain.replace("*/", "* /").replace("/*", "/ *")


def _function_entry(program: Program, vector_bits: int, documentation: str) -> FunctionEntry:
    return FunctionEntry(
        program.name,
        program.sizes,
        tuple(map(_array_entry, program.inputs)),
        tuple(map(_array_entry, program.outputs)),
        tuple(RequirementEntry(_dim(r.dim), r.relation, r.why) for r in program.requires),
        workspace_text(program, vector_bits),
        documentation,
    )


def workspace_text(program: Program, vector_bits: int) -> str:
    """The bytes of a program's temporaries and of what its matrix products pack, as a formula."""
    scratch = product_scratch(program.kernels, vector_bits)
    return arena_text(with_scratch(program.slots, scratch))


def _array_entry(buffer: Buffer) -> ArrayEntry:
    return ArrayEntry(buffer.name, buffer.type.dtype.name, tuple(map(_dim, buffer.type.shape)))


def _dim(dim: Dim) -> int | str:
    return dim if isinstance(dim, int) else str(dim)
