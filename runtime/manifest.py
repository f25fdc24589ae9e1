"""The manifest: what a compiled library says of itself, and the footer that guards the file.

The JSON text and the layout of the footer are described in docs/c_abi.md. Keys that this version
does not know are ignored; a change that an older runtime cannot ignore raises `ABI_VERSION`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cached_property
from typing import Any, TypeAlias

from gradc.ir.record import dataclass
from gradc.runtime.digest import sha256
from gradc.runtime.dims import SIZE, Program, compile_dim, is_linear, sizes_read

GRADC_VERSION = "0.1.0"  # as in pyproject.toml; importlib.metadata takes 10 ms to say it
ABI_VERSION = 1
MAX_RANK = 32
DTYPES = ("f64", "f32", "i64", "i32", "bool")
RELATIONS = ("== 0", ">= 0")

FOOTER_MAGIC = b"GRADCLIB"
_FOOTER_BYTES = 8 + 32 + len(FOOTER_MAGIC)

Step: TypeAlias = "tuple[int, int, int, Program]"


class ManifestError(ValueError):
    """A manifest, or a library's footer, that cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class ArrayEntry:
    """An input or output: `shape` holds integers, and texts such as "2*n + 1" over the sizes."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    @property
    def type(self) -> str:
        """`f64[n, 3]`, or `f64` for a scalar."""
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]" if self.shape else self.dtype

    def __str__(self) -> str:
        return f"{self.name}: {self.type}"


@dataclass(frozen=True, slots=True)
class RequirementEntry:
    """A condition on the sizes: `dim` is zero ("== 0") or not negative (">= 0"); `why` explains."""

    dim: int | str
    relation: str
    why: str


@dataclass(frozen=True, slots=True)
class TargetEntry:
    """What the code was compiled for, in LLVM's words; features as "+avx2,+fma,-sse4a"."""

    triple: str
    cpu: str
    features: str


@dataclass(frozen=True)
class FunctionEntry:
    """One exported function: sizes, inputs and outputs stand in the order of the C ABI.

    `workspace` tells people the bytes of its temporaries, as a formula of the sizes; calls ask the
    library. `documentation` says what the function does. Both are empty where a library does not
    say.
    """

    name: str
    sizes: tuple[str, ...]
    inputs: tuple[ArrayEntry, ...]
    outputs: tuple[ArrayEntry, ...]
    requires: tuple[RequirementEntry, ...] = ()
    workspace: str = ""
    documentation: str = ""

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(array.name for array in self.inputs)

    def __str__(self) -> str:
        inputs = ", ".join(map(str, self.inputs))
        outputs = ", ".join(map(str, self.outputs))
        result = self.outputs[0].type if len(self.outputs) == 1 else f"({outputs})"
        return f"{self.name}({inputs}) -> {result}"

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """How a call binds the sizes: (input, axis, size to solve for or -1, program), in order.

        A size is taken from an axis that is just that size, else solved from one that is linear in
        it; all other axes are compared afterwards. ManifestError where a size stays unknown.
        """
        return _binding_steps(self)

    def plan(self) -> tuple[Any, ...]:
        """What the call path reads: (sizes, inputs, outputs, steps, requires), see csrc/plan.c."""
        inputs = tuple((a.dtype, len(a.shape)) for a in self.inputs)
        outputs = tuple(
            (a.dtype, tuple(compile_dim(d, self.sizes) for d in a.shape)) for a in self.outputs
        )
        requires = tuple(
            (compile_dim(r.dim, self.sizes), r.relation == "== 0") for r in self.requires
        )
        return len(self.sizes), inputs, outputs, self.steps, requires


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything a caller has to know about a library."""

    gradc_version: str
    target: TargetEntry
    functions: tuple[FunctionEntry, ...]
    gradc_abi: int = ABI_VERSION


def write_manifest(manifest: Manifest) -> str:
    """The manifest as JSON, on one line."""
    fields = asdict(manifest)
    ordered = {"gradc_abi": fields.pop("gradc_abi"), **fields}
    return json.dumps(ordered, ensure_ascii=True)


def read_manifest(text: str) -> Manifest:
    """Read and check a manifest; ManifestError says what is wrong, and where."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"the manifest is no JSON: {error}") from None
    root = _Node("the manifest", data)
    abi = root.get("gradc_abi").integer()
    version = root.get("gradc_version").text()
    if abi > ABI_VERSION:
        raise ManifestError(
            f"built by a newer gradc ({version}, ABI {abi}; this one reads ABI {ABI_VERSION}): "
            "update gradc, or build the library again with this version"
        )
    if abi != ABI_VERSION:
        raise ManifestError(f"ABI {abi} is unknown; this gradc reads ABI {ABI_VERSION}")
    target = root.get("target")
    entry = TargetEntry(*(target.get(key).text() for key in ("triple", "cpu", "features")))
    functions = tuple(_read_function(node) for node in root.get("functions").items())
    _check_distinct("the functions of the manifest", [function.name for function in functions])
    return Manifest(version, entry, functions, abi)


def append_footer(library: bytes, manifest: str) -> bytes:
    """The file's bytes: the library, the manifest, its length (u64, little-endian), SHA-256, magic.

    The SHA-256 is that of everything before it.
    """
    copy = manifest.encode()
    guarded = library + copy + len(copy).to_bytes(8, "little")
    return guarded + sha256(guarded).digest() + FOOTER_MAGIC


def read_footer(data: bytes) -> str:
    """The manifest's text from the footer; ManifestError where there is none or it is damaged."""
    if len(data) < _FOOTER_BYTES or not data.endswith(FOOTER_MAGIC):
        raise ManifestError(
            "it has no gradc footer at its end: it is truncated, stripped, or not made by gradc"
        )
    guarded = data[: -32 - len(FOOTER_MAGIC)]
    if sha256(guarded).digest() != data[len(guarded) : -len(FOOTER_MAGIC)]:
        raise ManifestError("it is corrupted: its SHA-256 is not the one in its footer")
    length = int.from_bytes(guarded[-8:], "little")
    if length > len(guarded) - 8:
        raise ManifestError("it is corrupted: the footer's length exceeds the file")
    try:
        return guarded[len(guarded) - 8 - length : -8].decode()
    except UnicodeDecodeError:
        raise ManifestError("it is corrupted: the manifest is not UTF-8") from None


@dataclass(frozen=True, slots=True)
class _Node:
    """A piece of JSON and the words for where it stands, for error messages."""

    where: str
    value: Any

    def fail(self, expected: str) -> ManifestError:
        return ManifestError(f"{self.where}: expected {expected}, found {self.value!r:.80}")

    def get(self, key: str) -> _Node:
        if not isinstance(self.value, dict):
            raise self.fail("an object")
        if key not in self.value:
            raise ManifestError(f"{self.where} lacks {key!r}")
        return _Node(f"{key!r} of {self.where}", self.value[key])

    def items(self) -> list[_Node]:
        if not isinstance(self.value, list):
            raise self.fail("an array")
        return [_Node(f"item {i} of {self.where}", item) for i, item in enumerate(self.value)]

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.fail("text")
        return self.value

    def text_or_nothing(self, key: str) -> str:
        return self.get(key).text() if key in self.value else ""

    def name(self) -> str:
        if not (isinstance(self.value, str) and self.value.isascii() and self.value.isidentifier()):
            raise self.fail("an identifier")
        return self.value

    def one_of(self, choices: tuple[str, ...]) -> str:
        if self.value not in choices:
            raise self.fail(f"one of {', '.join(choices)}")
        return str(self.value)

    def integer(self) -> int:
        if type(self.value) is not int:
            raise self.fail("an integer")
        return self.value

    def dim(self, sizes: tuple[str, ...]) -> int | str:
        if type(self.value) is int:
            return self.value
        text = self.text()
        try:
            compile_dim(text, sizes)
        except ValueError as error:
            raise ManifestError(f"{self.where}: {error}") from None
        return text


def _read_function(node: _Node) -> FunctionEntry:
    name = node.get("name").name()
    node = _Node(f"the function {name}", node.value)
    sizes = tuple(item.name() for item in node.get("sizes").items())
    inputs = tuple(_read_array(item, sizes) for item in node.get("inputs").items())
    outputs = tuple(_read_array(item, sizes) for item in node.get("outputs").items())
    requires = tuple(
        RequirementEntry(
            item.get("dim").dim(sizes),
            item.get("relation").one_of(RELATIONS),
            item.get("why").text(),
        )
        for item in node.get("requires").items()
    )
    workspace, text = (node.text_or_nothing(key) for key in ("workspace", "documentation"))
    _check_distinct(f"the sizes of {node.where}", sizes)
    _check_distinct(f"the inputs of {node.where}", [array.name for array in inputs])
    _check_distinct(f"the outputs of {node.where}", [array.name for array in outputs])
    return FunctionEntry(name, sizes, inputs, outputs, requires, workspace, text)


def _read_array(node: _Node, sizes: tuple[str, ...]) -> ArrayEntry:
    name = node.get("name").name()
    node = _Node(f"{name} ({node.where})", node.value)
    shape = node.get("shape").items()
    if len(shape) > MAX_RANK:
        raise node.fail(f"at most {MAX_RANK} axes")
    for item in shape:
        if type(item.value) is int and item.value < 0:
            raise item.fail("a length that is not negative")
    dims = tuple(item.dim(sizes) for item in shape)
    return ArrayEntry(name, node.get("dtype").one_of(DTYPES), dims)


def _check_distinct(what: str, names: list[str] | tuple[str, ...]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ManifestError(f"{what}: {', '.join(twice)} stands there twice")


def _binding_steps(entry: FunctionEntry) -> tuple[Step, ...]:
    axes = [
        (i, axis, compile_dim(dim, entry.sizes))
        for i, array in enumerate(entry.inputs)
        for axis, dim in enumerate(array.shape)
    ]
    known: set[int] = set()
    steps: list[Step] = []
    for is_plain in (True, False):
        steps += _solving_steps(axes, known, is_plain)
    if missing := [name for i, name in enumerate(entry.sizes) if i not in known]:
        raise ManifestError(
            f"{entry.name}: the sizes {', '.join(missing)} are not given by the shapes of "
            f"the inputs; every size has to stand in an axis that is linear in it ({entry})"
        )
    solved = {(i, axis) for i, axis, _, _ in steps}
    return (*steps, *((i, axis, -1, p) for i, axis, p in axes if (i, axis) not in solved))


def _solving_steps(
    axes: list[tuple[int, int, Program]], known: set[int], is_plain: bool
) -> list[Step]:
    """The steps that make sizes known, in a round of just-the-size axes or of linear ones."""
    steps: list[Step] = []
    progress = True
    while progress:
        progress = False
        for i, axis, program in axes:
            unknown = sizes_read(program) - known
            if len(unknown) != 1:
                continue
            (size,) = unknown
            if program == ((SIZE, size),) if is_plain else is_linear(program, size):
                steps.append((i, axis, size, program))
                known.add(size)
                progress = True
    return steps
